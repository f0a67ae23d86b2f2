"""The bars of DESIGN's section 5, held against measured lines."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from benchmarks.common import print_table

Measure = Callable[[dict], float | None]


class Checked(NamedTuple):
    name: str
    wanted: str
    measured: float
    held: bool


def over(contender: str) -> Measure:
    """How many times as fast as this contender, in the same rounds."""
    return lambda line: line["ratios"].get(contender)


def over_best_rival(line: dict) -> float | None:
    """Against the fastest that is not ours."""
    rivals = [value for name, value in line["ratios"].items() if not name.startswith("ours")]
    return min(rivals, default=None)


def share_of_floor(line: dict) -> float | None:
    return line["share_of_floor"]


def cost_of_norm(line: dict) -> float | None:
    return 1 / line["ratios"]["ours, without norm"]


def of_fresh_clone(line: dict) -> float | None:
    return line.get("of_fresh_clone")


class Bar(NamedTuple):
    op: str
    direction: str
    measure: Measure
    what: str
    relation: str  # at least or at most
    cpu: float | None  # None: no such bar
    gpu: float | None
    where: str = ""  # to be found in the sizes


LARGEST = r"^1024x\S+$"  # in float32, where the bytes alone say that a GPU's norm costs 1.35 times as much
ALL_OTHERS = r"^(?!1024x\S+$)"

SPEED = (
    Bar("joint_relation", "forward", over("plain"), "times plain", ">=", 5, 5),
    Bar("joint_relation", "forward", over_best_rival, "times best rival", ">=", 2, 1.5),
    Bar("joint_relation", "forward", share_of_floor, "share of floor", ">=", None, 0.85),
    Bar("joint_relation", "forward", of_fresh_clone, "of a fresh clone's time", "<=", 1.15, None, "^256x"),
    Bar("joint_relation", "backward", over_best_rival, "times best rival", ">=", 3, 2),
    Bar("joint_relation", "backward", share_of_floor, "share of floor", ">=", None, 0.8),
    Bar("joint_relation_norm", "forward", cost_of_norm, "times the relation", "<=", 1.3, 1.25, ALL_OTHERS),
    Bar("joint_relation_norm", "forward", cost_of_norm, "times the relation", "<=", None, 1.45, LARGEST),
    Bar("joint_relation_norm", "backward", cost_of_norm, "times the relation", "<=", 1.3, 1.25, ALL_OTHERS),
    Bar("joint_relation_norm", "backward", cost_of_norm, "times the relation", "<=", None, 1.45, LARGEST),
    Bar("dynamic_conv2d", "forward", over_best_rival, "times best rival", ">=", 1.5, 3, "7x7"),
    Bar("dynamic_conv2d", "forward", share_of_floor, "share of floor", ">=", None, 0.75, "7x7"),
    Bar("dynamic_conv2d", "backward", over_best_rival, "times best rival", ">=", 8, 4, "7x7"),
    Bar("dynamic_conv2d", "backward", share_of_floor, "share of floor", ">=", None, 0.7, "7x7"),
    Bar("dynamic_conv2d", "backward", share_of_floor, "share of floor", ">=", 0.6, None, "3x3|5x5"),
    Bar("dynamic_match", "forward", over("ours, unfused"), "times our unfused pair", ">=", 1.2, 1.6),
)


def check(lines: Sequence[dict], device: str) -> list[Checked]:
    """Every bar that the lines have numbers for."""
    ours = [line for line in lines if line["contender"] == "ours"]
    timed = [line for line in ours if "ratios" in line]
    return [*_speed(timed, device), *_never_slower(timed), *_latency(ours), *_memory(timed, lines)]


def _judge(name: str, measured: float, relation: str, wanted: float) -> Checked:
    held = measured >= wanted if relation == ">=" else measured <= wanted
    return Checked(name, f"{relation} {wanted:g}", measured, held)


def _speed(timed: Iterable[dict], device: str) -> list[Checked]:
    names = {(case.op, case.sizes) for case in _named_cases(device)}
    found = []
    for line in timed:
        if (line["op"], line["sizes"]) not in names:
            continue
        for bar in SPEED:
            wanted = bar.cpu if device == "cpu" else bar.gpu
            if (
                wanted is None
                or (bar.op, bar.direction) != (line["op"], line["direction"])
                or not re.search(bar.where, line["sizes"])
            ):
                continue
            value = bar.measure(line)
            if value is not None:
                name = f"{bar.op} {bar.direction} {line['sizes']}: {bar.what}"
                found.append(_judge(name, value, bar.relation, wanted))
    return found


def _named_cases(device: str) -> list:
    from benchmarks.contenders import bar_cases

    # One sample is there for its latency alone.
    return [case for case in bar_cases(device) if case.samples > 1]


def _never_slower(timed: Sequence[dict]) -> list[Checked]:
    """The worst shape of each operation and direction."""
    found = []
    for op, direction in dict.fromkeys((line["op"], line["direction"]) for line in timed):
        of_this = [line for line in timed if (line["op"], line["direction"]) == (op, direction)]
        values = [(over_best_rival(line), line["sizes"]) for line in of_this]
        value, sizes = min((v, s) for v, s in values if v is not None)
        name = f"{op} {direction}, {len(of_this)} shapes, never slower than the best rival (worst: {sizes})"
        found.append(_judge(name, value, ">=", 1))
    return found


def _latency(ours: Iterable[dict]) -> list[Checked]:
    found = []
    for line in ours:
        if "launches" in line:
            name = f"{line['op']} {line['sizes']} in a CUDA graph"
            found.append(_judge(f"{name}: microseconds", line["median_ms"] * 1e3, "<=", 6))
            found.append(_judge(f"{name}: launches", line["launches"], "<=", 1))
    return found


def _memory(timed: Iterable[dict], lines: Sequence[dict]) -> list[Checked]:
    """Peaks above what was there before; workspace is what a peak holds besides results and gradients."""
    found = []
    for line in timed:
        memory = line.get("memory")
        if not memory or line["direction"] != "forward":
            continue
        name = f"{line['op']} {line['sizes']}"
        inputs, result = memory["inputs"], memory["result"]
        forward = (memory["forward_peak"] - result) / inputs
        backward = (memory["step_peak"] - result - inputs) / (
            inputs + result
        )  # its inputs are the gradient as well
        if line["samples"] > 1:  # a page more or less of one sample would decide
            name_of_bar = f"{name}: workspace as a share of inputs"
            found.append(_judge(name_of_bar, max(forward, backward), "<=", 0.05))
        if line["op"] == "joint_relation":
            maps = int(line["sizes"].split("x")[1])
            numbers = memory["kept"] / (4 * line["samples"] * maps * maps)
            found.append(_judge(f"{name}: kept for backward, as multiples of B K K", numbers, "<=", 1))
        if line["op"] == "dynamic_match":
            unfused = next(
                other["memory"]
                for other in lines
                if other.get("memory")
                and other["contender"] == "ours, unfused"
                and other["sizes"] == line["sizes"]
            )
            for what in ("forward_peak", "step_peak"):
                share = memory[what] / unfused[what]
                title = what.replace("_", " ").replace("step", "forward and backward")
                found.append(_judge(f"{name}: {title} as a share of the unfused pair's", share, "<=", 0.45))
    return found


def show(checked: Sequence[Checked]) -> None:
    print_table(("bar", "wanted", "measured", "held"), checked)
