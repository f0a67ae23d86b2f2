"""Clips per second of a training by one and by two processes of this machine, and an estimate for many GPUs.

    python -m benchmarks.scale                                     # synthetic clips, a small network
    python -m benchmarks.scale training/configs/penn_action.yaml --set data.root=FOLDER --set train.batch_size=16
    python -m benchmarks.scale --step-seconds 0.11 --gpus 8 32     # the step of one GPU, as measured on one

Measured, on this machine: two epochs by one process and by two (gloo), with all cores shared out; of the second one
clips per second, and the share of it that was spent waiting for data. Clips per second of one core that only makes
them. Counted: bytes that one process gives to and takes from the others in a step.

Estimated, not measured: a step of many GPUs, each with the batch of `--per-gpu` clips. It is the longest of

    step + (1 - overlap) * 2 (N - 1) / N * gradient bytes / bandwidth + calls of norms * latency
    clips of a GPU / (clips per second of a core * cores per GPU)

The step is that of one process here unless --step-seconds has another, and so says nothing of a GPU. Gradients are
reduced in a ring, while the backward pass still runs, the share `--overlap` of it for nothing. Each call of a batch
normalisation waits for all, forward and backward. Printed with the numbers it stands on.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from rpstn_ext import JointRelationExtractor
from rpstn_training import cli
from rpstn_training.building import build_network, describe_network
from rpstn_training.codec import Codec
from rpstn_training.config import (
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    TrainConfig,
    load_config,
    to_yaml,
)
from rpstn_training.data.clips import TrainClips
from rpstn_training.data.loader import Batches
from rpstn_training.data.sets import load_skeleton
from rpstn_training.data.subsets import for_training
from rpstn_training.errors import UserError

from .common import append_lines, print_table, provenance

CHOSEN = ("bandwidth", "latency", "overlap", "cores")  # assumptions that are options
KEPT = ("clips_per_second", "data_share", "seconds")
SMALL = {"pose_initializer": "resnet18", "feature_extractor": "resnet18", "width": 16, "channels": 32}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Of the machines that the estimate is for; none of it is measured here."""

    per_gpu: int  # clips of a GPU in a step
    bandwidth: float = 25e9  # bytes per second and GPU through the narrowest link of the ring
    latency: float = 30e-6  # seconds that a small collective takes
    overlap: float = 0.8  # share of the reduction that the backward pass hides
    cores: int = 8  # of a machine, for each of its GPUs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What a step is made of."""

    step: float  # seconds of the network and the optimiser for `per_gpu` clips
    gradient_bytes: int
    norm_calls: int  # forward; backward there are as many
    clips_per_core: float  # per second


def estimate(parts: Parts, gpus: int, assumed: Assumptions) -> tuple[float, str]:
    """Clips per second of so many GPUs, and what holds them back: the network, the network's cables, or the data."""
    ring = 2 * (gpus - 1) / gpus * parts.gradient_bytes / assumed.bandwidth
    waits = 2 * parts.norm_calls * assumed.latency if gpus > 1 else 0.0
    reducing = (1 - assumed.overlap) * ring + waits
    data = assumed.per_gpu / (parts.clips_per_core * assumed.cores)
    slowest = max(parts.step + reducing, data)
    limit = "data" if data > parts.step + reducing else "reduction" if reducing > parts.step else "network"
    return gpus * assumed.per_gpu / slowest, limit


def counted(config: Config) -> tuple[int, int, int]:
    """Of one step: bytes of all gradients, calls of batch normalisations, and bytes of their statistics forward and
    backward (2 C + 1 and 2 C numbers for C channels, of float32; where the relation extractor fuses them, of float64).
    """
    model = build_network(config.model, load_skeleton(config.data), config.heatmap.maps_per_joint).train()
    calls: list[int] = []
    norms = [module.norm for module in model.modules() if isinstance(module, JointRelationExtractor)]
    fused = {id(norm.weight) for norm in norms if norm is not None}  # the first frame's norm has the same
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = 8 if id(module.weight) in fused else 4
            numbers = 4 * module.num_features + 1
            module.register_forward_hook(lambda *_, told=size * numbers: calls.append(told))
    width, height = config.data.input_size
    with torch.no_grad():
        model(torch.zeros(2, config.data.clip_length, model.in_channels, height, width))
    gradients = sum(p.numel() * p.element_size() for p in model.parameters())
    return gradients, len(calls), sum(calls)


def clips_per_core(config: Config) -> float:
    """Per second, made by this process and by one thread, of one epoch."""
    tracks, _ = for_training(config)
    skeleton = load_skeleton(config.data)
    codec = Codec.of(config, build_network(config.model, skeleton, config.heatmap.maps_per_joint))
    clips = TrainClips(tracks, skeleton, config.data, codec, config.augmentation, config.seed)
    alone = dataclasses.replace(config, data=dataclasses.replace(config.data, workers=0))
    batches = Batches(clips, alone, torch.device("cpu"))
    for _ in batches.epoch(0):  # so that files are in the system's cache
        pass
    began = time.perf_counter()
    for _ in batches.epoch(1):
        pass
    return len(clips) / (time.perf_counter() - began)


def measured(config: Config, processes: int, folder: Path) -> dict[str, float]:
    """The line of metrics.jsonl of the second epoch of a training on this machine's CPUs."""
    run, path = folder / f"by_{processes}", folder / f"by_{processes}.yaml"
    train = dataclasses.replace(config.train, epochs=2, max_steps=None, device="cpu", eval_every=2)
    path.write_text(to_yaml(dataclasses.replace(config, output=str(run), train=train)), encoding="utf-8")
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*(start if processes > 1 else []), "-m", "rpstn_training", "train", str(path)]
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode != 0:
        raise UserError(f"benchmarks.scale: {processes} processes ended with {done.stderr.strip()[-500:]}")
    return json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])


def small(folder: Path) -> Config:
    """Synthetic clips in Penn Action's layout, and a small RPSTN."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        arguments = [
            "--dataset",
            "penn_action",
            "--out",
            str(folder / "clips"),
            "--clips",
            "12",
            "--frames",
            "6",
        ]
        assert cli.main(["synth", *arguments, "--size", "128x96", "--workers", "1"]) == 0
    data = DataConfig(
        name="penn_action",
        root=str(folder / "clips"),
        clip_length=3,
        input_size=(128, 128),
        workers=1,
        clips_per_epoch=24,
    )
    return Config(
        output=str(folder / "run"),
        data=data,
        model=ModelConfig(options=SMALL),
        train=TrainConfig(batch_size=8, milestones=()),
        eval=EvalConfig(select="test"),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, nargs="?")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--step-seconds", type=float, help="of one GPU, for --per-gpu clips")
    parser.add_argument("--per-gpu", type=int, default=8)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 32])
    for name in CHOSEN:
        default = getattr(Assumptions, name)
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--out", type=Path, help="append the numbers as JSON lines")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = small(folder) if args.config is None else load_config(args.config, args.overrides)
        runs = {processes: measured(config, processes, folder) for processes in (1, 2)}
        torch.set_num_threads(1)
        decoded = clips_per_core(config)
        gradients, calls, statistics = counted(config)

    facts, model = provenance(), describe_network(config.model)
    shape = f"{config.train.batch_size} clips of {config.data.clip_length} frames in a step"
    print(f"{facts['cpu']}, torch {facts['torch']}; {model}; {shape}")
    print_table(
        ["processes", "clips/s", "waiting for data"],
        [
            [n, round(run["clips_per_second"], 2), f"{100 * run['data_share']:.0f}%"]
            for n, run in runs.items()
        ],
    )
    print(
        f"one core makes {decoded:.1f} clips/s; in a step {gradients:,} bytes of gradients are reduced, and {calls}"
    )
    print(f"batch normalisations give {statistics:,} bytes of sums, forward and backward together")

    given = args.step_seconds is not None
    busy = (1 - runs[1]["data_share"]) / runs[1]["clips_per_second"]  # seconds for a clip
    step = args.step_seconds if given else args.per_gpu * busy
    assumed = Assumptions(per_gpu=args.per_gpu, **{name: getattr(args, name) for name in CHOSEN})
    parts = Parts(step=step, gradient_bytes=gradients, norm_calls=calls, clips_per_core=decoded)
    print(f"\nAn estimate, not a measurement. A step of {assumed.per_gpu} clips takes {step:.3f} s, ", end="")
    print("as given;" if given else "as on this machine's CPU, which says nothing of a GPU;")
    print("; ".join(f"{name} {getattr(assumed, name):g}" for name in CHOSEN))
    answers = {gpus: estimate(parts, gpus, assumed) for gpus in (1, *args.gpus)}
    alone = answers[1][0]
    print_table(
        ["GPUs", "clips/s", "of N times one", "held back by"],
        [[n, round(rate, 1), f"{100 * rate / (n * alone):.0f}%", why] for n, (rate, why) in answers.items()],
    )
    if args.out is not None:
        measured_here = [{"processes": n, **{key: run[key] for key in KEPT}} for n, run in runs.items()]
        numbers = {
            "gradient_bytes": gradients,
            "norm_calls": calls,
            "norm_bytes": statistics,
            "clips_per_core": decoded,
        }
        append_lines(args.out, [{**row, **numbers, "model": model, **facts} for row in measured_here])
    return 0


if __name__ == "__main__":
    sys.exit(main())
