"""The benchmarks' own judgement: the gate, the bars and the memory that is counted."""

import argparse
from dataclasses import replace

import pytest
import torch
from small_videos import write_weights
from tiny_clips import SMALL_MODEL

from benchmarks import bars, predict
from benchmarks.common import Speed
from benchmarks.contenders import Case, contenders, hanging, inputs
from benchmarks.memory import _measure
from benchmarks.ops import Prepared, exact_results, leaves_of, measure, of_fresh_clone, worst_error

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


def of(case: Case, direction: str, **measured: object) -> dict:
    of_case = {"op": case.op, "sizes": case.sizes, "samples": case.samples, "direction": direction}
    return {**line(plain=100.0), **of_case, **measured}


@pytest.mark.parametrize(
    "case, direction, bar, held, missed",
    [
        (Case("joint_relation", 16, 13, 64, 64), "forward", "times plain", 5, 4.9),
        (Case("joint_relation", 16, 13, 64, 64), "forward", "times best rival", 2, 1.9),
        (Case("joint_relation", 256, 13, 64, 64), "backward", "times best rival", 3, 2.9),
        (Case("joint_relation", 256, 13, 64, 64), "forward", "of a fresh clone's time", 1.15, 1.2),
        (Case("joint_relation_norm", 64, 13, 64, 64), "forward", "times the relation", 1.3, 1.4),
        (Case("joint_relation_norm", 16, 13, 64, 64), "backward", "times the relation", 1.3, 1.4),
        (Case("dynamic_conv2d", 4, 256, 64, 64, 7), "forward", "times best rival", 1.5, 1.4),
        (Case("dynamic_conv2d", 4, 256, 64, 64, 7), "backward", "times best rival", 8, 7.9),
        (Case("dynamic_conv2d", 4, 256, 64, 64, 3), "backward", "share of floor", 0.6, 0.59),
        (Case("dynamic_conv2d", 4, 256, 64, 64, 5), "backward", "share of floor", 0.6, 0.59),
        (Case("dynamic_match", 4, 256, 64, 64, 7), "forward", "times our unfused pair", 1.2, 1.1),
    ],
)
def test_each_bar_of_the_cpu(case, direction, bar, held, missed):
    ratios = {"times plain": "plain", "times best rival": "folded", "times our unfused pair": "ours, unfused"}

    def checked(value: float) -> list[bool]:
        measured = {
            "share of floor": {"share_of_floor": value},
            "of a fresh clone's time": {"of_fresh_clone": value},
        }
        if bar == "times the relation":
            measured[bar] = {"ratios": {"plain": 100.0, "ours, without norm": 1.0001 / value}}
        elif bar in ratios:
            measured[bar] = {"ratios": {"plain": 100.0, ratios[bar]: value}}
        found = bars.check([of(case, direction, **measured[bar])], "cpu")
        return [each.held for each in found if each.name.endswith(bar)]

    assert checked(missed) == [False]
    assert checked(held) == [True]


def test_bars_are_set_for_the_sizes_that_they_name():
    """A smaller kernel is judged by the floor alone; a norm of 1024 samples by a bar of its own, on a GPU."""
    small = of(
        Case("dynamic_conv2d", 4, 256, 64, 64, 3), "backward", ratios={"grouped": 1.1}, share_of_floor=0.7
    )
    assert all(each.held for each in bars.check([small], "cpu"))
    norm = {"ratios": {"plain": 9.0, "ours, without norm": 1 / 1.4}}
    for samples, dtype, held in ((256, "float32", False), (1024, "float32", True), (1024, "bfloat16", False)):
        case = Case("joint_relation_norm", samples, 13, 64, 64, dtype=dtype)
        (found,) = [
            each
            for each in bars.check([of(case, "forward", **norm)], "cuda")
            if each.name.endswith("the relation")
        ]
        assert found.held == held


def test_a_fresh_clone_is_timed_where_memory_is_fresh(monkeypatch):
    limits = argparse.Namespace(rounds=5, seconds=0.1)
    assert of_fresh_clone(Case("joint_relation", 16, 13, 64, 64), limits) is None
    monkeypatch.setattr("benchmarks.common.ROUND_SECONDS", 1e-3)
    share = of_fresh_clone(Case("joint_relation", 8, 16, 256, 256), limits)
    assert share is not None and 0.05 < share < 20


def test_floors_are_of_the_speed_just_before_and_after(monkeypatch):
    """A slow machine before all, a fast copy in between, fast products after all."""
    speeds = iter([Speed(1e9, 1e9), Speed(1e11, 1e9), Speed(1e9, 1e10)])
    monkeypatch.setattr("benchmarks.ops.machine_speed", lambda device, rounds: next(speeds))
    monkeypatch.setattr("benchmarks.common.ROUND_SECONDS", 1e-3)
    lines = measure(CASE, "cpu", argparse.Namespace(compile=False, rounds=2, seconds=0.1))
    found = {line["direction"]: line for line in lines if line["contender"] == "ours"}
    for direction, speed in {"forward": Speed(1e11, 1e9), "backward": Speed(1e11, 1e10)}.items():
        of = found[direction]
        assert speed.facts().items() <= of.items()
        assert of["floor_ms"] == pytest.approx(speed.floor(of["bytes"], of["multiply_adds"]) * 1e3)
        assert of["share_of_floor"] == pytest.approx(of["floor_ms"] / of["median_ms"])
    assert Speed.of_lines([*lines, {"op": "without"}]) == Speed(1e11, 1e10)


def test_a_rival_that_hangs_is_named_and_left_out(monkeypatch):
    case = Case("dynamic_conv2d", 1, 2, 16, 16, 15, dtype="float16")
    monkeypatch.setattr("benchmarks.contenders.hanging_convolution", lambda: "never ends")
    assert set(contenders(case, "cpu", compiled=False)) == {"ours", "plain"}
    assert hanging(case, "cpu") == dict.fromkeys(("grouped", "per sample", "channels_last"), "never ends")
    for other in (replace(case, kernel=7), replace(case, dtype="bfloat16"), replace(case, dtype="float32")):
        assert hanging(other, "cpu") == {}
        assert "grouped" in contenders(other, "cpu", compiled=False)
    assert hanging(case, "cuda") == {}


def test_kept_memory_is_the_relation_alone():
    tensors = inputs(CASE, "cpu")
    everyone = contenders(CASE, "cpu", compiled=False)
    kept = _measure(everyone["ours"], tensors, "cpu")["kept"]
    assert kept == 4 * 2 * 5 * 5
    assert _measure(everyone["plain"], tensors, "cpu")["kept"] > kept


def test_both_ways_of_prediction_must_find_the_same(tmp_path, monkeypatch):
    weights = write_weights(tmp_path / "a.pt", **SMALL_MODEL)
    videos = predict.write_videos(tmp_path, 2, 2)
    speeds = predict.compare(weights, videos, tmp_path, rounds=1, overlay="none")
    assert len(speeds) == 2 and min(speeds.values()) > 0
    monkeypatch.setattr(predict, "AGREE", -1.0)
    with pytest.raises(SystemExit, match="expected the same joints of both within"):
        predict.compare(weights, videos, tmp_path, rounds=1, overlay="none")


def test_the_memory_of_a_long_prediction_is_watched(tmp_path):
    weights = write_weights(tmp_path / "a.pt", **SMALL_MODEL)
    seen = predict.memory(weights, tmp_path, 20, overlay="mp4")
    assert [done for done, _ in seen] == list(range(2, 21, 2))
    assert min(held for _, held in seen) > 50  # this process
    block = bytearray(b"1") * (64 << 20)
    watch = predict.Watch(1)
    watch.step()
    assert watch.seen[0][1] > seen[-1][1] + 30 and len(block)
