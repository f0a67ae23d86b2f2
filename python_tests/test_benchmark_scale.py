"""The benchmark of many processes: its estimate by hand, what it counts, and that it runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_clips import tiny_config

scale = pytest.importorskip("benchmarks.scale", reason="started outside the repository root")


def test_the_estimate_by_hand():
    parts = scale.Parts(step=0.1, gradient_bytes=4_000_000_000, norm_calls=50, clips_per_core=10.0)
    assumed = scale.Assumptions(per_gpu=8, bandwidth=40e9, latency=1e-4, overlap=0.5, cores=16)
    assert scale.estimate(parts, 1, assumed) == (pytest.approx(80.0), "network")
    # 0.1 s, half of 2 * 7/8 * 0.1 s of reduction, and 2 * 50 calls of 0.1 ms
    assert scale.estimate(parts, 8, assumed) == (pytest.approx(64 / 0.1975), "network")
    assert scale.estimate(parts, 8, replace(assumed, overlap=0.0)) == (pytest.approx(64 / 0.285), "reduction")
    # one core of a GPU makes 10 clips a second, 8 take 0.8 s
    assert scale.estimate(parts, 8, replace(assumed, cores=1)) == (pytest.approx(80.0), "data")


def test_what_a_step_gives_to_the_others(tmp_path):
    config = tiny_config(Path("unused"), tmp_path)
    gradients, calls, statistics = scale.counted(config)
    options = {**config.model.options, "num_convs": 3}
    fewer = scale.counted(replace(config, model=replace(config.model, options=options)))
    # The fourth convolution of 16 channels and its norm, which two of three frames of a clip go through.
    assert gradients - fewer[0] == 4 * (16 * 16 * 9 + 16 + 2 * 16)
    assert calls - fewer[1] == 2 and statistics - fewer[2] == 2 * 4 * (4 * 16 + 1)
    options = {**config.model.options, "relation": "none"}
    without = scale.counted(replace(config, model=replace(config.model, options=options)))
    # The norm of 13 joints in each of three frames, whose numbers have twice as many bytes where a relation is fused.
    assert calls == without[1] and statistics - without[2] == 3 * 4 * (4 * 13 + 1)


def test_what_is_measured_is_printed_and_written(tmp_path, monkeypatch, capsys):
    """But for the two trainings, each of which is a command of its own."""
    asked = []

    def measured(config, processes, folder):
        asked.append((config.train.batch_size, processes))
        return {"clips_per_second": 2.0 * processes, "data_share": 0.25, "seconds": 12.0}

    monkeypatch.setattr(scale, "measured", measured)
    out = tmp_path / "scale.jsonl"
    assert scale.main(["--gpus", "8", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert asked == [(8, 1), (8, 2)]
    assert (
        "An estimate, not a measurement. A step of 8 clips takes 3.000 s, as on this machine's CPU" in printed
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["processes"], row["clips_per_second"]) for row in rows] == [(1, 2.0), (2, 4.0)]
    assert rows[0]["clips_per_core"] > 0 and f"{rows[0]['gradient_bytes']:,} bytes of gradients" in printed
