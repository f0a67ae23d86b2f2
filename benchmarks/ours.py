"""Our kernels alone, in the order in which a borrowed GPU's minutes are worth most; each line is out at once.

    python -m benchmarks.ours --device cuda --module build/tune/_tune_cuda.so --out results.jsonl
    python -m benchmarks.ours --device cpu --small

1. One call of each kernel against float64: every dtype, memory that bulk copies can read and memory that they cannot,
   and with --module every way through the hardware that the device has.
2. Ceilings of the machine: copies, a second-level cache, multiply-adds, a launch.
3. The bars' sizes, from graphs of many calls over memory of their own: microseconds, launches, bytes and multiply-adds
   per second, the share of the floor and of the time that `clone` takes for as many bytes in the same rounds.

Ends with 1 where a result is wrong, after the rest.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import Speed, Timing, append_lines, keep_memory, machine_speed, provenance
from benchmarks.contenders import DTYPES, Case, bar_cases, contenders, floor_work, inputs
from benchmarks.ops import CHECKED_SAMPLES, Prepared, error_and_allowed, exact_results
from benchmarks.tune import Tuner, describe
from benchmarks.turns import Turns, alternate_turns, clone_of, sets_of_memory

CHECKED = (
    Case("joint_relation", 3, 13, 64, 64),
    Case("joint_relation", 5, 17, 25, 41),
    Case("joint_relation", 2, 40, 16, 12),
    Case("dynamic_conv2d", 2, 9, 64, 64, 7),
    Case("dynamic_conv2d", 2, 5, 29, 29, 5, valid=True),
    Case("dynamic_conv2d", 1, 5, 37, 41, 9),
)
SMALL = (Case("joint_relation", 2, 5, 8, 8), Case("dynamic_conv2d", 2, 3, 8, 8, 3))
OF_RELATION, OF_CONV = ("joint_relation", "joint_relation_norm"), ("dynamic_conv2d", "dynamic_match")


def checked_cases(cases: Sequence[Case]) -> Iterator[Case]:
    for case in cases:
        for op in OF_RELATION if case.kernel == 0 else OF_CONV:
            for dtype in DTYPES:
                yield replace(case, op=op, dtype=dtype)


def misaligned(tensor: Tensor) -> Tensor:
    """The same values where no vector begins."""
    memory = tensor.new_empty(tensor.numel() + 1)
    return memory[1:].view(tensor.shape).copy_(tensor)


def checks(cases: Sequence[Case], device: str, tuner: Tuner | None) -> Iterator[dict]:
    """A line for each case, place in memory and way through the hardware."""
    for case in checked_cases(cases):
        torch.manual_seed(0)
        tensors = inputs(case, device)
        function = contenders(case, device, compiled=False)["ours"]
        ways: list[dict[str, int]] = [{}]
        if tuner is not None:
            with tuner.serving():
                function.function(*tensors)
                newest, _ = tuner.module.asked().get("architecture", (0, 0))
            ways += [{"architecture": older} for older in (75, 80) if older < newest]
        for place, laid in (("aligned", Tensor.clone), ("misaligned", misaligned)):
            for way in ways:
                line = {"check": f"{case.op} {case.sizes}", "memory": place, "choices": describe(way)}
                with tuner.choosing(**way) if way else nullcontext():
                    try:
                        leaves = [laid(t).requires_grad_() for t in tensors]
                        grad = torch.randn(function.function(*leaves).shape, device=device).to(
                            tensors[0].dtype
                        )
                        prepared = Prepared(function, leaves, laid(grad))
                        checked_grad = prepared.grad.clone()
                        checked_grad[CHECKED_SAMPLES:] = 0
                        exact = exact_results(case, device, tensors, checked_grad)
                        error, allowed = error_and_allowed(case, device, prepared, exact, checked_grad)
                        line |= {"error": error, "allowed": allowed, "right": error < allowed}
                    except RuntimeError as problem:
                        line |= {"right": False, "problem": str(problem).splitlines()[0]}
                yield line


def call_once(case: Case, device: str) -> None:
    leaves = [tensor.requires_grad_() for tensor in inputs(case, device)]
    contenders(case, device, compiled=False)["ours"].function(*leaves).sum().backward()


def ceilings(device: str, speed: Speed, small: bool) -> Iterator[dict]:
    yield {"ceiling": "copy and matrix product", **speed.facts()}
    sizes = {
        "clone": 2**20 if small else 2**28,
        "clone within the second-level cache": 2**16 if small else 2**22,
    }
    for name, nbytes in sizes.items():
        tensor = torch.zeros(nbytes, dtype=torch.int8, device=device)
        turns = {name: Turns([tensor.clone] * 4, device)}
        seconds = min(alternate_turns(turns, 3 if small else 20, device)[name])
        yield {"ceiling": name, "bytes": nbytes, "gb_per_s": 2 * nbytes / seconds / 1e9}
    one = torch.zeros(1, device=device)
    turns = {"launch": Turns([partial(one.add_, 1.0)] * 20, device)}
    yield {"ceiling": "one small kernel", "us": min(alternate_turns(turns, 20, device)["launch"]) * 1e6}


def launches(call, device: str) -> int | None:
    """Kernels and copies of one call."""
    if device == "cpu":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        call()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profiler.events())


def measured(case: Case, device: str, speed: Speed, rounds: int, seconds: float) -> Iterator[dict]:
    """Forward and backward of ours."""
    torch.manual_seed(0)
    tensors = inputs(case, device)
    contender = contenders(case, device, compiled=False)["ours"]
    stream = torch.cuda.Stream() if device != "cpu" else None
    if stream is not None:
        stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        out = contender.function(*tensors)
        count = min(rounds, sets_of_memory(sum(t.nbytes for t in tensors) + out.nbytes, device))
        grad = torch.randn(out.shape, device=device).to(out.dtype)
        prepared = [
            Prepared(contender, [t.clone().requires_grad_() for t in tensors], grad.clone())
            for _ in range(count)
        ]
        counted = {name: launches(getattr(prepared[0], name), device) for name in ("forward", "backward")}
    for direction in ("forward", "backward"):
        moved, multiply_adds = floor_work(case, tensors, out, direction)
        turns = {
            "ours": Turns([getattr(p, direction) for p in prepared], device, stream),
            "clone": clone_of(moved, device),
        }
        with torch.set_grad_enabled(direction == "backward"):
            once = sum(max(0.02, v[0] * turns[n].calls) for n, v in alternate_turns(turns, 1, device).items())
            timed = alternate_turns(turns, max(3, min(rounds, int(seconds / once))), device)
        timing, clone = Timing.of(timed["ours"]), Timing.of(timed["clone"])
        yield {
            "op": case.op,
            "direction": direction,
            "sizes": case.sizes,
            "us": timing.median * 1e3,
            "p20_us": timing.p20 * 1e3,
            "p80_us": timing.p80 * 1e3,
            "rounds": len(timed["ours"]),
            "launches": counted[direction],
            "gb_per_s": moved / timing.median / 1e6,
            "g_multiply_adds_per_s": multiply_adds / timing.median / 1e6,
            "share_of_floor": speed.floor(moved, multiply_adds) * 1e3 / timing.median,
            "share_of_clone": clone.median / timing.median,
        }


def show(line: dict) -> None:
    words = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in line.values()]
    print("  ".join(f"{name} {word}" for name, word in zip(line, words)), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ours", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--module", type=Path, help="the tuning module, for the ways of older devices")
    parser.add_argument("--rounds", type=int, default=200, help="at most, per case and direction")
    parser.add_argument("--seconds", type=float, default=2.0, help="at most, per case and direction")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try every step of it")
    parser.add_argument(
        "--once", choices=("checks", "bars"), help="one call for each size and nothing else, for profilers"
    )
    parser.add_argument("--out", type=Path, help="file that JSON lines are appended to")
    given = parser.parse_args(arguments)
    device, tuner = given.device, Tuner(given.module) if given.module else None
    if device == "cpu":
        keep_memory()
    else:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if given.once:
        bars = [case for case in bar_cases(device) if case.samples > 1]
        for case in bars if given.once == "bars" else checked_cases(CHECKED):
            call_once(case, device)
        return
    facts = provenance(device)
    wrong = 0

    def tell(line: dict) -> None:
        show(line)
        if given.out:
            append_lines(given.out, [{**line, **facts}])

    for line in checks(SMALL if given.small else CHECKED, device, tuner):
        tell(line)
        wrong += not line["right"]
    speed = machine_speed(device, min(40, given.rounds))
    for line in ceilings(device, speed, given.small):
        tell(line)
    cases = list(checked_cases(SMALL))[::4] if given.small else bar_cases(device)
    for case in cases:
        for line in measured(case, device, speed, given.rounds, given.seconds):
            tell(line)
    if wrong:
        sys.exit(f"{wrong} results are wrong")


if __name__ == "__main__":
    main()
