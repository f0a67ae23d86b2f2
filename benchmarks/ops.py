"""Times the operations against their rivals, forward and backward: right first, then quick.

    python -m benchmarks.ops                              # the sizes that DESIGN's section 5 sets bars for
    python -m benchmarks.ops --grid --no-compile --out ops.jsonl --plot ops.png
    python -m benchmarks.ops --op joint_relation --require-bars

Every contender's result and gradients are compared with plain PyTorch in float64 before it is timed; a rival that
fails is left out and named, ours ends the run. On the CPU rounds alternate between the contenders; on a GPU CUDA
events, with the cache overwritten before every call. Ratios are medians over rounds of times in the same round. The
floor is the larger of the bytes that must move at the speed of a copy and the multiply-adds at that of a matrix
product, each the faster of two measurements, just before and just after the rounds: neighbours slow a machine down for
half a minute at a time. On the CPU memory is not handed back to the system between calls, for any contender; what a
result of joint_relation costs in memory that the system has just given is timed first, against a copy of its input.
"""

import argparse
import gc
import importlib
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks import bars, plot
from benchmarks.common import (
    Speed,
    Timing,
    alternate,
    alternate_on_gpu,
    append_lines,
    keep_memory,
    limit_memory,
    machine_speed,
    print_table,
    provenance,
    why_not_compiled,
)
from benchmarks.contenders import (
    OPS,
    Case,
    Contender,
    bar_cases,
    case_of,
    contenders,
    exact_function,
    floor_work,
    grid_cases,
    hanging,
    inputs,
)
from benchmarks.memory import peaks

CHECKED_SAMPLES = (
    16  # whose results and gradients the gate compares in float64; statistics are of all samples
)
SPEED_ROUNDS = 5  # of each measurement of the machine's speed
FLOOR = {
    "float64": 1e-10,
    "float32": 2e-5,
    "bfloat16": 3e-2,
    "float16": 5e-3,
}  # of the largest value; thrice plain's error may be added


class Prepared:
    """A contender with its inputs, which those of the same layout share, its results and what is to be timed."""

    def __init__(self, contender: Contender, leaves: list[Tensor], grad: Tensor) -> None:
        self.function, self.leaves, self.grad = contender.function, leaves, grad
        self.tensors = [leaf.detach() for leaf in leaves]
        self.out = self.function(*leaves)

    def forward(self) -> Tensor:
        return self.function(*self.tensors)

    def gradients(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(self.out, self.leaves, grad, retain_graph=True, allow_unused=True)

    def backward(self) -> object:
        return self.gradients(self.grad)


def leaves_of(contender: Contender, tensors: list[Tensor]) -> list[Tensor]:
    """The inputs in the contender's layout, differentiable."""
    layout = torch.channels_last if contender.channels_last else torch.contiguous_format
    laid_out = [t.contiguous(memory_format=layout) if t.dim() == 4 else t for t in tensors]
    return [tensor.detach().requires_grad_() for tensor in laid_out]


def worst_error(prepared: Prepared, exact: tuple[Tensor, ...], checked_grad: Tensor) -> float:
    """The largest error of the result and of each gradient, relative to the largest value.

    Biases are judged by the largest of their gradients: that of a bias before a normalisation is zero.
    """
    results = [prepared.out.detach(), *prepared.gradients(checked_grad)]
    biases = max((float(e.abs().max()) for e in exact if e.dim() == 1), default=0.0)
    worst = 0.0
    for result, e in zip(results, exact):
        result = result[: len(e)] if e.dim() == 4 else result
        largest = biases if e.dim() == 1 else float(e.abs().max())
        worst = max(worst, float((result.double() - e).abs().max()) / largest)
    return worst


def error_and_allowed(
    case: Case, device: str, ours: Prepared, exact: tuple[Tensor, ...], checked_grad: Tensor
) -> tuple[float, float]:
    """Our error, and the floor with three times plain PyTorch's: a convolution of groups, which needs less memory."""
    everyone = contenders(case, device, compiled=False)
    rival = Prepared(everyone["grouped" if "grouped" in everyone else "plain"], ours.leaves, ours.grad)
    return worst_error(ours, exact, checked_grad), FLOOR[case.dtype] + 3 * worst_error(
        rival, exact, checked_grad
    )


def exact_results(case: Case, device: str, tensors: list[Tensor], checked_grad: Tensor) -> tuple[Tensor, ...]:
    """Result and gradients in float64, of the first samples where samples are independent of each other."""
    whole = case.op == "joint_relation_norm"
    count = case.samples if whole else min(case.samples, CHECKED_SAMPLES)
    leaves = [(t[:count] if t.dim() == 4 else t).double().requires_grad_() for t in tensors]
    out = exact_function(case, device)(*leaves)
    return (out.detach(), *torch.autograd.grad(out, leaves, checked_grad[:count].double()))


def measure(case: Case, device: str, limits: argparse.Namespace) -> list[dict]:
    """One line per contender and direction."""
    torch.manual_seed(0)
    tensors = inputs(case, device)
    everyone = contenders(case, device, compiled=limits.compile)
    for name, reason in hanging(case, device).items():
        leave_out(case, name, reason)
    shape = everyone["ours"].function(*tensors).shape
    grad = torch.randn(shape, device=device).to(tensors[0].dtype)
    checked_grad = grad.clone()
    checked_grad[CHECKED_SAMPLES:] = 0
    exact = exact_results(case, device, tensors, checked_grad)

    ready: dict[str, Prepared] = {}
    errors: dict[str, float] = {}
    for name, contender in everyone.items():
        try:
            prepared = Prepared(contender, leaves_of(contender, tensors), grad)
            if name != "ours, without norm":
                errors[name] = worst_error(prepared, exact, checked_grad)
            ready[name] = prepared
        except RuntimeError as problem:  # out of memory, or not compiled
            leave_out(case, name, str(problem))
    # Errors are held against plain PyTorch's, or those of the next rival where it had no room.
    yardstick = next((error for name, error in errors.items() if not name.startswith("ours")), 0.0)
    allowed = FLOOR[case.dtype] + 3 * yardstick
    for name, error in errors.items():
        if not error < allowed:
            del ready[name]
            leave_out(case, name, f"relative error {error:.1e} against float64, allowed are {allowed:.1e}")
    del exact

    lines = []
    before = machine_speed(device, SPEED_ROUNDS)
    for direction in ("forward", "backward"):
        with torch.set_grad_enabled(direction == "backward"):
            seconds = {}
            while not seconds:
                calls = {name: named(name, getattr(p, direction)) for name, p in ready.items()}
                try:
                    seconds = rounds_of(calls, device, limits)
                except ContenderFailed as failed:
                    del ready[failed.name]
                    leave_out(case, failed.name, str(failed.__cause__))
        after = machine_speed(device, SPEED_ROUNDS)
        speed, before = Speed.fastest([before, after]), after
        floor = speed.floor(*floor_work(case, tensors, ready["ours"].out, direction))
        for name, values in seconds.items():
            timing = Timing.of(values)
            lines.append(
                {
                    "op": case.op,
                    "direction": direction,
                    "sizes": case.sizes,
                    "samples": case.samples,
                    "contender": name,
                    "median_ms": timing.median,
                    "p20_ms": timing.p20,
                    "p80_ms": timing.p80,
                    "rounds": len(values),
                    "floor_ms": floor * 1e3,
                    "share_of_floor": floor * 1e3 / timing.median,
                    **moved(case, tensors, ready["ours"].out, direction),
                    **speed.facts(),
                }
            )
            if name == "ours":
                lines[-1]["ratios"] = {n: ratio(v, values) for n, v in seconds.items() if n != "ours"}
    return lines


class ContenderFailed(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def named(name: str, call: Callable[[], object]) -> Callable[[], object]:
    """The call; its RuntimeError, out of memory mostly, says whose it was."""

    def run() -> object:
        try:
            return call()
        except RuntimeError as problem:
            raise ContenderFailed(name) from problem

    return run


def leave_out(case: Case, name: str, problem: str) -> None:
    """Says why a rival is not timed; ends the run if it is not a rival."""
    reason = (problem.strip().splitlines() or ["no reason given"])[0][:200]
    if name.startswith("ours"):
        sys.exit(f"{case.op} {case.sizes}, {name}: {reason}")
    tqdm.write(f"{case.op} {case.sizes}, {name} left out: {reason}")


def moved(case: Case, tensors: list[Tensor], out: Tensor, direction: str) -> dict[str, float]:
    bytes_moved, multiply_adds = floor_work(case, tensors, out, direction)
    return {"bytes": bytes_moved, "multiply_adds": multiply_adds}


def ratio(slower: Sequence[float], faster: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(slower, faster))


def of_fresh_clone(case: Case, limits: argparse.Namespace) -> float | None:
    """Of the time in which the input is copied, both into memory that the system gives anew for each call: ours.

    glibc does so from 32 MiB on, before keep_memory; None for smaller results.
    """
    tensors = inputs(case, "cpu")
    if tensors[0].nbytes < 2**25:
        return None
    function = contenders(case, "cpu", compiled=False)["ours"].function
    with torch.no_grad():
        calls = {"ours": lambda: function(*tensors), "clone": tensors[0].clone}
        seconds = rounds_of(calls, "cpu", limits)
    return ratio(seconds["ours"], seconds["clone"])


def rounds_of(
    calls: dict[str, Callable[[], object]], device: str, limits: argparse.Namespace
) -> dict[str, list[float]]:
    """As many rounds as asked for, or as fit into the time, but five."""
    time_rounds = alternate if device == "cpu" else alternate_on_gpu
    once = sum(max(0.02, statistics.median(v)) for v in time_rounds(calls, 1).values())
    return time_rounds(calls, max(5, min(limits.rounds, int(limits.seconds / once))))


def graph_latency(device: str) -> dict:
    """Microseconds of joint_relation for one sample in a CUDA graph, and the kernels it launches."""
    case = Case("joint_relation", 1, 13, 64, 64)
    tensors = inputs(case, device)
    call = contenders(case, device, compiled=False)["ours"].function
    repeats = 50
    with torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                call(*tensors)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(repeats):
                call(*tensors)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            call(*tensors)
            torch.cuda.synchronize()
    launches = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profiler.events())
    timing = Timing.of(alternate_on_gpu({"graph": graph.replay}, 50)["graph"])
    return {
        "op": case.op,
        "direction": "latency in a CUDA graph",
        "sizes": case.sizes,
        "samples": 1,
        "contender": "ours",
        "median_ms": timing.median / repeats,
        "p20_ms": timing.p20 / repeats,
        "p80_ms": timing.p80 / repeats,
        "launches": launches,
    }


def show_case(lines: list[dict]) -> None:
    ours = {line["direction"]: line for line in lines if line["contender"] == "ours"}
    rows = []
    for line in lines:
        if "floor_ms" not in line:
            continue
        of_ours = ours[line["direction"]]["ratios"].get(line["contender"])
        rows.append(
            (
                line["direction"],
                line["contender"],
                line["median_ms"],
                line["p20_ms"],
                line["p80_ms"],
                f"{line['share_of_floor']:.0%}",
                of_ours,
            )
        )
    speed = Speed.of_lines(lines).facts()
    print(
        f"\n{lines[0]['op']} {lines[0]['sizes']}; meanwhile copy {speed['copy_gb_per_s']} GB/s, "
        f"{speed['multiply_adds_g_per_s']} G multiply-adds/s"
    )
    print_table(("direction", "contender", "ms", "p20", "p80", "of floor", "times ours"), rows)


def show_memory(case: Case, found: dict[str, dict[str, int]]) -> None:
    print(f"\n{case.op} {case.sizes}: memory in MB, above the inputs")
    mb = 1e6
    print_table(
        ("contender", "forward peak", "kept for backward", "peak of both"),
        [(n, m["forward_peak"] / mb, m["kept"] / mb, m["step_peak"] / mb) for n, m in found.items()],
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ops", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--op", choices=OPS, nargs="+", default=list(OPS))
    parser.add_argument(
        "--case", type=case_of, nargs="+", help="op:BxKxHxW[:kernel][:dtype], in place of the bars' sizes"
    )
    parser.add_argument("--grid", action="store_true", help="the grid of shapes as well")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--rounds", type=int, default=25, help="at most, per case and direction")
    parser.add_argument("--seconds", type=float, default=4.0, help="at most, per case and direction")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave peak memory out")
    parser.add_argument("--out", type=Path, help="file that JSON lines are appended to")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="shares of the floor and the roofline")
    parser.add_argument("--require-bars", action="store_true", help="exit with 1 if a bar is not held")
    limits = parser.parse_args()
    device = limits.device
    torch.set_num_threads(limits.threads)
    named = limits.case or bar_cases(device)
    cases = list(dict.fromkeys([*named, *(grid_cases(device) if limits.grid else ())]))
    # The largest last: what they leave in the allocator's hands is not there for those that come after.
    cases = sorted((case for case in cases if case.op in limits.op), key=lambda case: case.elements)
    fresh: dict[Case, float | None] = {}
    if device == "cpu":
        fresh = {case: of_fresh_clone(case, limits) for case in cases if case.op == "joint_relation"}
        keep_memory()
        limit_memory()
    else:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if limits.compile and (reason := why_not_compiled(device)):
        print(f"torch.compile is left out: {reason}")
        limits.compile = False
    if limits.compile:
        # A backward that is timed again and again keeps its buffers.
        importlib.import_module("torch._functorch.config").donated_buffer = False
    facts = provenance(device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))

    lines: list[dict] = []
    for case in tqdm(cases, unit="case", disable=None):
        torch.compiler.reset()
        gc.collect()
        found = measure(case, device, limits)
        if fresh.get(case) is not None:
            ours = next(
                line for line in found if (line["contender"], line["direction"]) == ("ours", "forward")
            )
            ours["of_fresh_clone"] = fresh[case]
        show_case(found)
        if limits.memory and case in bar_cases(device):
            memory = peaks(case, device, limits.threads)
            if isinstance(memory, str):
                print(f"no memory measured: {memory}")
            else:
                show_memory(case, memory)
                for line in found:
                    line["memory"] = memory.get(line["contender"])
        lines += found
        if limits.out:
            append_lines(limits.out, ({**line, **facts} for line in found))
    if device == "cuda" and "joint_relation" in limits.op and not limits.case:
        latency = graph_latency(device)
        print(
            f"\njoint_relation in a CUDA graph: {latency['median_ms'] * 1e3:.2f} us, {latency['launches']} launches"
        )
        lines.append(latency)
        if limits.out:
            append_lines(limits.out, [{**latency, **facts}])

    checked = bars.check(lines, device)
    print("\nBars")
    bars.show(checked)
    if limits.plot:
        plot.draw(lines, {**facts, **Speed.of_lines(lines).facts()}, limits.plot)
    if limits.require_bars and not all(bar.held for bar in checked):
        sys.exit(1)


if __name__ == "__main__":
    main()
