"""Times the operations against their rivals on the CPU: right first, then quick.

    python benchmarks/ops.py                        # every operation, sizes of DESIGN's bars
    python benchmarks/ops.py --op joint_relation --samples 1 16 64 --threads 2 --out ops.jsonl

Each contender's result is compared with plain PyTorch in float64 before it is timed. Rounds alternate between the
contenders, so that a disturbance hits all of them; the median and the fastest and slowest tenth are reported. The
floor is the larger of the bytes that must move at the measured speed of a copy and the multiply-adds at the measured
speed of a matrix product. Memory is not handed back to the system between calls, for any contender.
One JSON object per line: operation, direction, sizes, contender, times in milliseconds, ratio to the fastest rival.
"""

import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import rpstn_ext as rx

Call = Callable[[], object]


def folded_relation(
    heatmaps: Tensor, weight_g: Tensor, bias_g: Tensor, weight_o: Tensor, bias_o: Tensor
) -> Tensor:
    """The compiled operation's algebra in PyTorch: two batched products over the columns instead of five."""
    values = heatmaps.flatten(2)
    mixing = weight_o @ torch.softmax(torch.bmm(values, values.mT), dim=2)
    offset = mixing @ bias_g + bias_o
    mixing = mixing @ weight_g + torch.eye(heatmaps.shape[1])
    return torch.baddbmm(offset[:, :, None], mixing, values).view_as(heatmaps)


def conv_per_sample(features: Tensor, kernels: Tensor) -> Tensor:
    channels, padding = features.shape[1], kernels.shape[-1] // 2
    samples = zip(features, kernels)
    return torch.stack(
        [F.conv2d(f[None], k[:, None], padding=padding, groups=channels)[0] for f, k in samples]
    )


def grouped_conv(features: Tensor, kernels: Tensor) -> Tensor:
    planes = features.shape[0] * features.shape[1]
    filters = kernels.reshape(planes, 1, *kernels.shape[2:])
    out = F.conv2d(features.reshape(1, planes, *features.shape[2:]), filters, padding="same", groups=planes)
    return out.reshape(features.shape)


def relation_inputs(samples: int) -> list[Tensor]:
    weights = torch.randn(2, 13, 13) * 0.2
    return [torch.rand(samples, 13, 64, 64) * 0.1, weights[0], torch.randn(13), weights[1], torch.randn(13)]


def conv_inputs(samples: int) -> list[Tensor]:
    return [torch.randn(samples, 256, 64, 64), torch.randn(samples, 256, 7, 7)]


OPS: dict[str, dict] = {
    "joint_relation": {
        "inputs": relation_inputs,
        "samples": [1, 4, 16, 64],
        "ours": rx.joint_relation,
        "plain": rx.reference.joint_relation,
        "rivals": {"folded": folded_relation},
        # Multiply-adds of a sample, forward and backward; elements through memory, forward and backward, in inputs.
        "multiply_adds": lambda x, *_: (1.5 * x.shape[1] * x[0].numel(), 3 * x.shape[1] * x[0].numel()),
    },
    "dynamic_conv2d": {
        "inputs": conv_inputs,
        "samples": [4],
        "ours": rx.dynamic_conv2d,
        "plain": rx.reference.dynamic_conv2d,
        "rivals": {"grouped": grouped_conv, "per sample": conv_per_sample},
        "multiply_adds": lambda x, k: (k[0, 0].numel() * x[0].numel(), 2 * k[0, 0].numel() * x[0].numel()),
    },
}


def check(name: str, result: Tensor, exact: Tensor) -> None:
    error = (result.double() - exact).abs().max() / exact.abs().max()
    if not error < 1e-5:
        sys.exit(f"{name}: relative error {error:.1e} against float64; not timed")


def alternate(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Seconds per call of each round."""
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(0.02 / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    return seconds


def machine_speed() -> tuple[float, float]:
    """Bytes per second of a copy too large for the caches, multiply-adds per second of a matrix product."""
    source = torch.ones(32 * 2**20)
    target = torch.empty_like(source)
    square = torch.randn(1024, 1024)
    out = torch.empty_like(square)
    seconds = alternate(
        {"copy": lambda: target.copy_(source), "product": lambda: torch.mm(square, square, out=out)}, 15
    )
    return 2 * source.nbytes / min(seconds["copy"]), 1024**3 / min(seconds["product"])


def measure(name: str, samples: int, rounds: int, speed: tuple[float, float]) -> list[dict]:
    op = OPS[name]
    tensors = op["inputs"](samples)
    functions = {"ours": op["ours"], "plain": op["plain"], **op["rivals"]}
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    exact_leaves = [tensor.double().requires_grad_() for tensor in tensors]
    exact = op["plain"](*exact_leaves)
    grad = torch.randn(exact.shape)
    exact_grads = torch.autograd.grad(exact, exact_leaves, grad.double())

    outs = {key: function(*leaves) for key, function in functions.items()}
    for key, out in outs.items():
        check(f"{name}, {key}", out, exact)
        grads = torch.autograd.grad(out, leaves, grad, retain_graph=True)
        for index, (g, e) in enumerate(zip(grads, exact_grads)):
            check(f"{name}, {key}, gradient {index}", g, e)

    with torch.no_grad():
        forward = alternate({k: lambda f=f: f(*tensors) for k, f in functions.items()}, rounds)
    backward = alternate(
        {k: lambda o=o: torch.autograd.grad(o, leaves, grad, retain_graph=True) for k, o in outs.items()},
        rounds,
    )
    work = op["multiply_adds"](*tensors)
    lines = []
    for index, (direction, seconds) in enumerate((("forward", forward), ("backward", backward))):
        floor = max((2 + index) * tensors[0].nbytes / speed[0], samples * work[index] / speed[1])
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        best_rival = min(value for key, value in medians.items() if key != "ours")
        for key, values in seconds.items():
            tenths = statistics.quantiles(values, n=10)
            lines.append(
                {
                    "op": name,
                    "direction": direction,
                    "sizes": list(tensors[0].shape),
                    "contender": key,
                    "median_ms": round(medians[key] * 1e3, 4),
                    "p10_ms": round(tenths[0] * 1e3, 4),
                    "p90_ms": round(tenths[-1] * 1e3, 4),
                    "share_of_floor": round(floor / medians[key], 3),
                    "times_as_fast_as_best_rival": round(best_rival / medians[key], 2),
                    "times_as_fast_as_plain": round(medians["plain"] / medians[key], 2),
                }
            )
    return lines


def keep_memory() -> None:
    """Large blocks stay with the process: otherwise every fresh result costs page faults that hide the arithmetic."""
    if platform.system() == "Linux":
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 2**30)
        libc.mallopt(m_trim_threshold, 2**30)


def provenance() -> dict[str, object]:
    root = Path(__file__).resolve().parents[1]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() if commit.returncode == 0 else None,
        "torch": torch.__version__,
        "backend": rx.backend(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--op", choices=OPS, nargs="+", default=list(OPS))
    parser.add_argument(
        "--samples", type=int, nargs="+", help="numbers of samples instead of the operation's own"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--out", type=Path, help="file the lines are appended to, as well as printed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    keep_memory()
    speed = machine_speed()
    facts = {
        **provenance(),
        "copy_gb_per_s": round(speed[0] / 1e9, 1),
        "multiply_adds_g_per_s": round(speed[1] / 1e9, 1),
    }
    for name in arguments.op:
        for samples in arguments.samples or OPS[name]["samples"]:
            for line in measure(name, samples, arguments.rounds, speed):
                text = json.dumps({**line, **facts})
                print(text, flush=True)
                if arguments.out:
                    with arguments.out.open("a") as file:
                        file.write(text + "\n")


if __name__ == "__main__":
    main()
