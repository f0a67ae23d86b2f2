"""The benchmarks' own judgement: the gate, the bars and the memory that is counted."""

import torch

from benchmarks import bars
from benchmarks.contenders import Case, contenders, inputs
from benchmarks.memory import _measure
from benchmarks.ops import Prepared, exact_results, leaves_of, worst_error

CASE = Case("joint_relation", 2, 5, 6, 7)


def line(**ratios: float) -> dict:
    case = Case("dynamic_conv2d", 4, 256, 64, 64, 7)
    return {
        "op": case.op,
        "direction": "forward",
        "sizes": case.sizes,
        "samples": case.samples,
        "contender": "ours",
        "share_of_floor": 0.5,
        "ratios": ratios,
    }


def test_the_gate_sees_one_wrong_element():
    torch.manual_seed(0)
    tensors = inputs(CASE, "cpu")
    everyone = contenders(CASE, "cpu", compiled=False)
    grad = torch.randn(2, 5, 6, 7)
    exact = exact_results(CASE, "cpu", tensors, grad)
    ours = Prepared(everyone["ours"], leaves_of(everyone["ours"], tensors), grad)
    assert worst_error(ours, exact, grad) < 1e-5
    ours.out = ours.out + 0.1 * (torch.arange(ours.out.numel()) == 17).view_as(ours.out)
    assert worst_error(ours, exact, grad) > 1e-3


def test_bars_are_held_or_not():
    held = {bar.name: bar.held for bar in bars.check([line(plain=3.0, grouped=1.6)], "cpu")}
    assert held and all(held.values())
    lost = [bar for bar in bars.check([line(plain=3.0, grouped=0.9)], "cpu") if not bar.held]
    assert [bar.measured for bar in lost] == [0.9, 0.9]  # the bar of this size, and "never slower"
    assert not any(
        b.held for b in bars.check([{**line(plain=0.5), "op": "joint_relation", "sizes": "1x1"}], "cpu")
    )


def test_kept_memory_is_the_relation_alone():
    tensors = inputs(CASE, "cpu")
    everyone = contenders(CASE, "cpu", compiled=False)
    kept = _measure(everyone["ours"], tensors, "cpu")["kept"]
    assert kept == 4 * 2 * 5 * 5
    assert _measure(everyone["plain"], tensors, "cpu")["kept"] > kept
