"""`rpstn demo` on a few clips, one epoch: all four steps, and a second call that finds everything done."""

import argparse
from dataclasses import replace

import pytest

from rpstn_training.commands import demo


@pytest.fixture
def small(monkeypatch):
    full = demo.demo_config

    def config(out, *, seed=0):
        found = full(out, seed=seed)
        options = dict(found.model.options, width=8, channels=16)
        return replace(
            found,
            data=replace(found.data, clips_per_epoch=4, workers=0, input_size=(64, 64)),
            model=replace(found.model, options=options),
            train=replace(found.train, epochs=1, eval_every=1),
        )

    monkeypatch.setattr(demo, "demo_config", config)
    monkeypatch.setattr(demo, "CLIPS", 4)
    monkeypatch.setattr(demo, "FRAMES_PER_CLIP", 5)


def test_all_steps_and_a_second_call(tmp_path, small, capsys):
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    args = parser.parse_args(["--out", str(tmp_path / "demo")])
    assert demo.run(args) == 0
    first = capsys.readouterr().out
    assert "visible joints" in first and "occluded joints" in first and "held-out clips" in first
    assert (tmp_path / "demo" / "index.html").is_file() and (tmp_path / "demo" / "overlay.webm").is_file()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    kept = [path for path in files if path.suffix in (".jpg", ".mat", ".pt")]
    assert demo.run(args) == 0
    assert all(path.stat().st_mtime_ns == files[path] for path in kept) and len(kept) > 8
    first, second = (
        text.partition("\nPCK@0.2\n")[2].rpartition("PCK@")[0] for text in (first, capsys.readouterr().out)
    )
    assert first == second and "person" in first
