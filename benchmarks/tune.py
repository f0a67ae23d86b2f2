"""Sweeps what the kernels choose: instruction sets, sizes of blocks, tiles and clusters, ways through the hardware.

    cmake -B build/tune -DRPSTN_TUNE=ON ... && cmake --build build/tune      # the module; never part of a wheel
    python -m benchmarks.tune --module build/tune/_tune.so --case joint_relation:16x13x64x64
    python -m benchmarks.tune --module build/tune/_tune_cuda.so --device cuda
    python -m benchmarks.tune --module build/tune/_tune.so --kernels

The module holds the operations of one kind of device again, compiled so that their choices can be set, and serves the
package's calls meanwhile. Each value of each choice stands alone beside the usual one. Every variant's result and
gradients are compared with plain PyTorch in float64 before it is timed, and a wrong one ends the run; one that the
kernels refuse is left out and named. Variants take turns within each round.
"""

import argparse
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

import torch

from benchmarks.common import (
    Speed,
    Timing,
    append_lines,
    keep_memory,
    machine_speed,
    print_table,
    provenance,
)
from benchmarks.contenders import Case, Contender, bar_cases, case_of, contenders, floor_work, inputs
from benchmarks.ops import CHECKED_SAMPLES, Prepared, error_and_allowed, exact_results, leaves_of
from benchmarks.turns import Turns, alternate_turns, sets_of_memory

# For each operation the choices that its calls may ask for, the CPU's and then the GPU's, and values to try.
_RELATION = {
    "instruction_set": (0, 1, 2),
    "relation_chunk": (256, 512, 2048, 4096),
    "relation_chunks_of_part": (1, 2, 4),
    "relation_by_chunk": (0, 1),
    "past_caches": (0, 1),
    "architecture": (75, 80),
    "relation_cluster": (1, 2, 4, 8),
    "shared_memory": (100_000, 160_000),
}
_PLANES = {
    "instruction_set": (0, 1, 2),
    "band_rows": (8, 16, 32, 64),
    "past_caches": (0, 1),
    "architecture": (75, 80),
    "plane_units": (32, 64, 128),
    "plane_units_of_thread": (1, 2, 4),
    "shared_memory": (65_536, 100_000, 160_000),
}
VALUES: dict[str, dict[str, tuple[int, ...]]] = {
    "joint_relation": _RELATION,
    "joint_relation_norm": _RELATION,
    "dynamic_conv2d": _PLANES,
    "dynamic_match": {**_PLANES, "match_rows": (4, 16, 32, 64)},
}

Choices = Mapping[str, int]


class Tuner:
    """The tuning module of one file."""

    def __init__(self, file: Path | str) -> None:
        self.module = _load(Path(file))

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Calls of the package reach the module inside the block."""
        self.module.serve(True)
        try:
            yield
        finally:
            self.module.choose({})
            self.module.serve(False)

    @contextmanager
    def choosing(self, **choices: int) -> Iterator[None]:
        """Calls inside the block are served by the module and choose so.

        Raises:
            ValueError: no call asked for one of the choices, which then changed nothing.
        """
        with self.serving():
            self.module.choose(choices)
            yield
            self.check_asked(choices)

    def check_asked(self, choices: Choices) -> None:
        asked = self.module.asked()
        missing = sorted(choices.keys() - asked.keys())
        if missing:
            raise ValueError(f"no call asked for {', '.join(missing)}, but for {', '.join(sorted(asked))}")

    def instruction_sets(self) -> dict[str, int]:
        """Those that this machine runs, with the value of their choice; of a CPU's module."""
        return {k["instruction_set"]: k["choice"] for k in self.module.kernels() if k["runs_here"]}


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        file.stem, file, loader=ExtensionFileLoader(file.stem, str(file))
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Variant:
    """A case's calls under some choices, checked and ready to be timed."""

    def __init__(self, tuner: Tuner, case: Case, choices: Choices, device: str, most_sets: int) -> None:
        """most_sets (int): at most so many calls, each on memory of its own.

        Raises:
            RuntimeError: the kernels refuse the choices.
            WrongResult: the result or a gradient is not what float64 gives.
        """
        self.choices = choices
        contender = Contender(contenders(case, device, compiled=False)["ours"].function)
        torch.manual_seed(0)
        tensors = inputs(case, device)
        self.tensors = tensors
        tuner.module.choose(choices)
        stream = torch.cuda.Stream() if device != "cpu" else None
        with torch.cuda.stream(stream):
            leaves = leaves_of(contender, tensors)
            grad = torch.randn_like(contender.function(*leaves))
            first = Prepared(contender, leaves, grad)
            checked_grad = grad.clone()
            checked_grad[CHECKED_SAMPLES:] = 0
            exact = exact_results(case, device, tensors, checked_grad)
            error, allowed = error_and_allowed(case, device, first, exact, checked_grad)
            if not error < allowed:
                raise WrongResult(
                    f"{describe(choices)}: relative error {error:.1e}, allowed are {allowed:.1e}"
                )
            tuner.check_asked(choices)
            self.asked = tuner.module.asked()
            self.out = first.out
            nbytes = sum(t.nbytes for t in tensors) + first.out.nbytes
            count = min(most_sets, sets_of_memory(nbytes, device))
            prepared = [first] + [
                Prepared(contender, leaves_of(contender, [t.clone() for t in tensors]), grad.clone())
                for _ in range(count - 1)
            ]
        self.turns = {
            direction: Turns([getattr(p, direction) for p in prepared], device, stream)
            for direction in ("forward", "backward")
        }


class WrongResult(Exception):
    pass


def describe(choices: Choices) -> str:
    return ", ".join(f"{name} {value}" for name, value in choices.items()) or "usual"


def variants(
    tuner: Tuner, case: Case, device: str, values: Mapping[str, Sequence[int]], most_sets: int
) -> tuple[list[Variant], dict[str, str]]:
    """The usual choices, then each other value of each choice that the calls ask for; and what was refused."""
    usual = Variant(tuner, case, {}, device, most_sets)
    found, refused = [usual], {}
    for name, tried in values.items():
        for value in tried:
            if name not in usual.asked or value == usual.asked[name][0]:
                continue
            if name == "instruction_set" and value not in tuner.instruction_sets().values():
                continue
            if name == "architecture" and value > usual.asked[name][0]:
                continue
            try:
                found.append(Variant(tuner, case, {name: value}, device, most_sets))
            except RuntimeError as problem:
                refused[describe({name: value})] = str(problem).splitlines()[0]
    return found, refused


def sweep(tuner: Tuner, case: Case, device: str, speed: Speed, rounds: int, seconds: float) -> list[dict]:
    """One line per variant and direction."""
    lines = []
    with tuner.serving():
        found, refused = variants(tuner, case, device, VALUES[case.op], rounds)
        for what, problem in refused.items():
            print(f"{case.op} {case.sizes}: {what} left out: {problem}", flush=True)
        choices = {describe(variant.choices): variant.choices for variant in found}
        for direction in ("forward", "backward"):
            turns = {describe(variant.choices): variant.turns[direction] for variant in found}

            timed = partial(
                alternate_turns, turns, device=device, before=lambda name: tuner.module.choose(choices[name])
            )
            with torch.set_grad_enabled(direction == "backward"):
                once = sum(max(0.02, values[0] * turns[name].calls) for name, values in timed(1).items())
                measured = timed(max(3, min(rounds, int(seconds / once))))
            moved, multiply_adds = floor_work(case, found[0].tensors, found[0].out, direction)
            floor = speed.floor(moved, multiply_adds)
            for name, values in measured.items():
                timing = Timing.of(values)
                paired = [a / b for a, b in zip(values, measured["usual"])]
                lines.append(
                    {
                        "op": case.op,
                        "direction": direction,
                        "sizes": case.sizes,
                        "variant": name,
                        "median_us": timing.median * 1e3,
                        "fastest_us": min(values) * 1e6,
                        "of_usual": sorted(paired)[len(paired) // 2],
                        "share_of_floor": floor * 1e3 / timing.median,
                        "rounds": len(values),
                    }
                )
    return lines


def show(lines: Sequence[dict]) -> None:
    print(f"\n{lines[0]['op']} {lines[0]['sizes']}")
    print_table(
        ("direction", "variant", "us", "fastest", "of usual", "of floor"),
        [
            (
                line["direction"],
                line["variant"],
                line["median_us"],
                line["fastest_us"],
                line["of_usual"],
                f"{line['share_of_floor']:.0%}",
            )
            for line in lines
        ],
    )


def show_kernels(tuner: Tuner, cases: Sequence[Case], device: str) -> None:
    """CPU: every instruction set. CUDA: what the cases' calls, forward and backward, launch."""
    if device != "cpu":
        with tuner.serving():
            tuner.module.kernels()
            for case in cases:
                function = contenders(case, device, compiled=False)["ours"].function
                leaves = leaves_of(Contender(function), inputs(case, device))
                function(*leaves).sum().backward()
            known = tuner.module.kernels()
    else:
        known = tuner.module.kernels()
    columns = list(dict.fromkeys(name for kernel in known for name in kernel))
    print_table(columns, [[kernel.get(name) for name in columns] for kernel in known])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tune", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--module", type=Path, required=True, help="_tune.so, or _tune_cuda.so with --device cuda"
    )
    parser.add_argument(
        "--case", type=case_of, nargs="+", help="op:BxKxHxW[:kernel][:dtype]; the bars' sizes"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--rounds", type=int, default=200, help="at most, per case and direction")
    parser.add_argument("--seconds", type=float, default=10.0, help="at most, per case and direction")
    parser.add_argument(
        "--kernels", action="store_true", help="what is known of the kernels, without timing them"
    )
    parser.add_argument("--out", type=Path, help="file that JSON lines are appended to")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    tuner, device = Tuner(given.module), given.device
    cases = given.case or [case for case in bar_cases(device) if case.samples > 1]
    if given.kernels:
        show_kernels(tuner, cases, device)
        return
    if device == "cpu":
        keep_memory()
    speed = machine_speed(device, min(40, given.rounds))
    facts = {**provenance(device), **speed.facts()}
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    for case in cases:
        try:
            lines = sweep(tuner, case, device, speed, given.rounds, given.seconds)
        except WrongResult as problem:
            sys.exit(f"{case.op} {case.sizes}, {problem}")
        show(lines)
        if given.out:
            append_lines(given.out, ({**line, **facts} for line in lines))


if __name__ == "__main__":
    main()
