"""Times RPSTN as a whole: a clip's forward, a training step and a streaming step, with different operations inside.

    python -m benchmarks.model                   # small: ResNet-18, 128x128, ends in minutes on a CPU
    python -m benchmarks.model --full            # the paper's: ResNet-50, 256x256, clips of 5 frames
    python -m benchmarks.model --out model.jsonl

The same weights run with our operations, with plain PyTorch (`reference`) and with those of the released formulation:
a grouped convolution followed by a 1x1 convolution, and the relation extractor as five products and a batch
normalisation. Clips' heat maps must agree before anything is timed. The share of the operations is the time of their
calls alone, with the same inputs, over the time of the whole.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import rpstn_ext as rx
from benchmarks.common import (
    Call,
    Timing,
    alternate,
    alternate_on_gpu,
    append_lines,
    keep_memory,
    print_table,
    provenance,
    why_not_compiled,
)
from benchmarks.contenders import grouped_conv
from rpstn_ext.modules import DynamicMatcher, JointRelationExtractor

JOINTS = 13
WAYS = ("ours", "reference", "released")
AGREE = 2e-3  # of the largest heat map value: float32 through two ResNets


class ReleasedMatcher(nn.Module):
    """Convolution with a group per sample and channel, then a 1x1 convolution."""

    def __init__(self, source: DynamicMatcher) -> None:
        super().__init__()
        self.conv_d = source.conv_d

    def forward(self, features: Tensor, kernels: Tensor) -> Tensor:
        rows, columns = (size // 2 for size in kernels.shape[-2:])
        padded = F.pad(features, (columns, columns, rows, rows))
        return self.conv_d(grouped_conv(padded, kernels, "valid"))


class ReleasedRelation(nn.Module):
    """The relation extractor operation by operation, in the paper's layout so that results agree."""

    def __init__(self, source: JointRelationExtractor) -> None:
        super().__init__()
        self.conv_g, self.conv_o, self.norm = source.conv_g, source.conv_o, source.norm

    def forward(self, heatmaps: Tensor, *, apply_norm: bool = True, norm: nn.Module | None = None) -> Tensor:
        values = heatmaps.flatten(2)
        weights = torch.softmax(torch.bmm(values, values.transpose(1, 2)), dim=2)
        messages = torch.bmm(weights.to(values.dtype), self.conv_g(heatmaps).flatten(2))
        related = self.conv_o(messages.view_as(heatmaps)) + heatmaps
        return (norm or self.norm)(related) if apply_norm else related


def build(way: str, options: argparse.Namespace) -> nn.Module:
    """The same weights whatever the way."""
    torch.manual_seed(0)
    model = rx.models.build(
        "rpstn",
        num_joints=JOINTS,
        pose_initializer=options.depth,
        feature_extractor=options.depth,
        relation_start="random",  # so that the ways differ where one of them is wrong
    )
    if way == "released":
        model.matcher = ReleasedMatcher(model.matcher)
        model.relation = ReleasedRelation(model.relation)
    return model.to(options.device)


@contextmanager
def serving(way: str) -> Iterator[None]:
    with rx.use_backend("reference") if way == "reference" else nullcontext():
        yield


class Runs:
    """The three things that are timed, of one model."""

    def __init__(self, model: nn.Module, way: str, clip: Tensor, *, autocast: bool) -> None:
        self.model, self.way, self.clip, self.autocast = model, way, clip, autocast
        self.target = torch.zeros(
            *clip.shape[:2], JOINTS, clip.shape[3] // 4, clip.shape[4] // 4, device=clip.device
        )
        self.evaluated = self.trained = model
        with torch.no_grad(), serving(way):
            model.eval()
            self.state = model.start(clip[:, 0])[1]

    def compile(self) -> None:
        self.evaluated = self.trained = torch.compile(self.model, dynamic=False)

    def _within(self) -> object:
        enabled = self.autocast
        return torch.autocast(self.clip.device.type, dtype=torch.bfloat16, enabled=enabled)

    def forward(self) -> Tensor:
        self.model.eval()
        with torch.no_grad(), serving(self.way), self._within():
            return self.evaluated(self.clip)

    def training_step(self) -> None:
        """Forward, loss and backward; the optimiser, the same for all, is left out."""
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        with serving(self.way):
            with self._within():
                loss = F.mse_loss(self.trained(self.clip).float(), self.target)
            loss.backward()

    def streaming_step(self) -> Tensor:
        self.model.eval()
        with torch.no_grad(), serving(self.way), self._within():
            return self.model.step(self.clip[:, 0], self.state)[0]

    def graphed(self, call: Call) -> Call:
        """The call captured in a CUDA graph."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        return graph.replay


def operations_alone(runs: Runs, options: argparse.Namespace) -> dict[str, Call]:
    """The matcher's and the extractor's calls of a clip, a training step and a streaming step, without the rest."""
    model, clip = runs.model, runs.clip
    samples, frames, size = clip.shape[0], clip.shape[1], (clip.shape[3] // 4, clip.shape[4] // 4)
    with torch.no_grad(), serving(runs.way):
        kernel_size = runs.state.shape[-2:]
    torch.manual_seed(1)
    features = torch.randn(samples, model.propagator.channels, *size, device=clip.device)
    kernels = torch.randn(*features.shape[:2], *kernel_size, device=clip.device) * 0.1
    pseudo = torch.rand(samples, JOINTS, *size, device=clip.device) * 0.1
    leaves = [tensor.requires_grad_() for tensor in (features, kernels, pseudo)]

    def calls(count: int) -> list[Tensor]:
        return [model.matcher(*leaves[:2]) for _ in range(count - 1)] + [
            model.relation(leaves[2]) for _ in range(count)
        ]

    def forward() -> None:
        model.eval()
        with torch.no_grad(), serving(runs.way):
            calls(frames)

    def training() -> None:
        model.train()
        with serving(runs.way):
            outs = calls(frames)
            torch.autograd.backward(outs, [torch.ones_like(out) for out in outs])

    def streaming() -> None:
        model.eval()
        with torch.no_grad(), serving(runs.way):
            model.matcher(*leaves[:2])
            model.relation(leaves[2])

    return {"clip forward": forward, "training step": training, "streaming step": streaming}


def modes(options: argparse.Namespace) -> list[str]:
    found = ["eager", "bfloat16 autocast", "channels_last"]
    if options.compile:
        if reason := why_not_compiled(options.device):
            print(f"torch.compile is left out: {reason}")
        else:
            found.append("torch.compile")
    return [*found, "CUDA graph"] if options.device == "cuda" else found


def prepare(mode: str, way: str, clip: Tensor, options: argparse.Namespace) -> dict[str, Call]:
    model = build(way, options)
    if mode == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    runs = Runs(model, way, clip, autocast=mode == "bfloat16 autocast")
    if mode == "torch.compile":
        runs.compile()
    calls = {"clip forward": runs.forward, "training step": runs.training_step}
    if mode != "torch.compile":  # `step` is not the compiled call
        calls["streaming step"] = runs.streaming_step
    if mode == "CUDA graph":
        del calls["training step"]  # gradients that come and go cannot be captured as they are
        return {name: runs.graphed(call) for name, call in calls.items()}
    return calls


def agree(clip: Tensor, options: argparse.Namespace) -> None:
    """Ends the run where the ways' heat maps differ."""
    results = {}
    for way in WAYS:
        results[way] = Runs(build(way, options), way, clip, autocast=False).forward()
    exact = results["reference"]
    for way, result in results.items():
        error = float((result - exact).abs().max() / exact.abs().max())
        if not error < AGREE:
            sys.exit(f"{way}: heat maps differ from the reference by {error:.1e} of their largest value")


def measure(options: argparse.Namespace) -> list[dict]:
    clip = torch.rand(options.samples, options.frames, 3, options.size, options.size, device=options.device)
    agree(clip, options)
    time_rounds: Callable = alternate if options.device == "cpu" else alternate_on_gpu
    sizes = {
        "network": options.depth,
        "clip": list(clip.shape),
    }
    lines: list[dict] = []
    for mode in tqdm(modes(options), unit="mode", disable=None):
        torch.compiler.reset()
        by_way = {way: prepare(mode, way, clip, options) for way in WAYS}
        for what in by_way["ours"]:
            seconds = time_rounds({way: calls[what] for way, calls in by_way.items()}, options.rounds)
            for way, values in seconds.items():
                timing = Timing.of(values)
                lines.append(
                    {
                        "what": what,
                        "mode": mode,
                        "operations": way,
                        "median_ms": timing.median,
                        "p20_ms": timing.p20,
                        "p80_ms": timing.p80,
                        "rounds": len(values),
                        **sizes,
                    }
                )
    alone = {
        way: operations_alone(Runs(build(way, options), way, clip, autocast=False), options) for way in WAYS
    }
    for what in alone["ours"]:
        seconds = time_rounds({way: calls[what] for way, calls in alone.items()}, options.rounds)
        for line in lines:
            if line["what"] == what and line["mode"] == "eager":
                own = Timing.of(seconds[line["operations"]]).median
                line |= {"operations_ms": own, "operations_share": own / line["median_ms"]}
    return lines


def show(lines: list[dict]) -> None:
    plain = {(n["what"], n["mode"]): n["median_ms"] for n in lines if n["operations"] == "reference"}
    rows = []
    for line in lines:
        share = line.get("operations_share")
        rows.append(
            (
                line["what"],
                line["mode"],
                line["operations"],
                line["median_ms"],
                line["p20_ms"],
                line["p80_ms"],
                plain[line["what"], line["mode"]] / line["median_ms"],
                line.get("operations_ms"),
                None if share is None else f"{share:.1%}",
            )
        )
    print_table(
        ("what", "mode", "operations", "ms", "p20", "p80", "times reference", "operations ms", "their share"),
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.model", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="the paper's network and clips")
    parser.add_argument("--depth", help="ResNet of both halves: resnet18, resnet50, ...")
    parser.add_argument("--size", type=int, help="pixels of a side, a multiple of 32")
    parser.add_argument("--samples", type=int, default=1, help="clips at a time")
    parser.add_argument("--frames", type=int, help="of a clip")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--out", type=Path, help="file that JSON lines are appended to")
    options = parser.parse_args()
    options.depth = options.depth or ("resnet50" if options.full else "resnet18")
    options.size = options.size or (256 if options.full else 128)
    options.frames = options.frames or (5 if options.full else 3)
    torch.set_num_threads(options.threads)
    if options.device == "cpu":
        keep_memory()
    else:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    facts = provenance(options.device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    lines = measure(options)
    show(lines)
    if options.out:
        append_lines(options.out, ({**line, **facts} for line in lines))


if __name__ == "__main__":
    main()
