"""`rpstn demo` on a few clips, one epoch: all four steps, and a second call that finds everything done."""

import argparse
import re
import shlex
from dataclasses import replace

import pytest
import torch
from small_videos import picture, write_picture

from rpstn_training import arms
from rpstn_training.arms import ARMS
from rpstn_training.building import build_network
from rpstn_training.commands import demo
from rpstn_training.data.sets import penn_action
from rpstn_training.errors import UserError
from rpstn_training.figures import gallery
from rpstn_training.train.checkpoint import load


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


def test_all_steps_and_a_second_call(tmp_path, small, capsys, monkeypatch):
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    args = parser.parse_args(["--out", str(tmp_path / "demo")])
    assert demo.run(args) == 0
    first = capsys.readouterr().out
    assert "visible joints" in first and "occluded joints" in first and "held-out clips" in first
    assert (tmp_path / "demo" / "index.html").is_file() and (tmp_path / "demo" / "overlay.mp4").is_file()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    kept = [path for path in files if path.suffix in (".jpg", ".mat", ".pt")]
    monkeypatch.setattr(gallery, "_draw", lambda *parts: None)  # once is enough
    assert demo.run(args) == 0
    assert all(path.stat().st_mtime_ns == files[path] for path in kept) and len(kept) > 8
    second = capsys.readouterr().out
    first, second = (text.partition("3 of 4")[2].partition("4 of 4")[0] for text in (first, second))
    assert first == second and "person" in first


def test_arms_and_a_real_clip_come_onto_the_page(tmp_path, small, capsys, monkeypatch):
    monkeypatch.setattr(gallery, "_draw", lambda *parts: None)
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(5):
        write_picture(frames / f"{number}.png", picture(number))
    out = tmp_path / "demo"
    args = parser.parse_args(["--out", str(out), "--compare", "--real", str(frames)])
    assert demo.run(args) == 0
    page = (out / "index.html").read_text()
    for name, arm in ARMS.items():
        assert page.count(f"<td>{arm.title}</td>") == 1
        trained = load(out / "compare" / name / "best.pt")
        assert (trained.model_name, trained.model_options) == (
            arm.model(demo.demo_config(out).model).name,
            arm.model(demo.demo_config(out).model).options,
        )
    assert re.search(
        r"5 frames, \d+ poses? found. Weights: drawn_people.pt, trained on [^;(]+\. People: ", page
    )
    assert {path.name for path in (out / "real").glob("[os]*")} == {"overlay.mp4", "stills.png"}
    assert 'src="real/stills.png"' in page and 'src="real/overlay.mp4"' in page
    printed = capsys.readouterr().out
    assert f"open {out / 'index.html'} in a browser" in printed
    command = re.search("your own video: (.*)", printed)[1]
    assert shlex.split(command)[-4:] == ["--weights", str(out / "run" / "best.pt"), "--out", "poses"]


def test_a_wrong_path_of_a_real_clip_is_known_before_the_training(tmp_path, small):
    args = argparse.Namespace(out=tmp_path / "demo", seed=0, compare=False, real=tmp_path / "absent")
    with pytest.raises(UserError, match="absent: expected"):
        demo.run(args)
    assert not (tmp_path / "demo").exists()


def test_arms_leave_one_thing_out_and_take_the_same_time(tmp_path, monkeypatch):
    """A network twice as fast makes twice as many epochs, and its rate falls at the same shares of them."""
    config, skeleton = demo.demo_config(tmp_path), penn_action.SKELETON
    monkeypatch.setattr(arms, "step_seconds", lambda configs, skeleton: [2.0, 1.0])
    made = {name: arms.arm_config(config, name, tmp_path, skeleton) for name in ARMS}
    for name, other in made.items():
        assert other.data == config.data and other.augmentation == config.augmentation
        assert other.train.epochs == 2 * config.train.epochs
        assert other.train.milestones == tuple(2 * step for step in config.train.milestones)
        assert other.train.eval_every == 2 * config.train.eval_every
        assert other.output == str(tmp_path / "compare" / name)
    networks = {name: build_network(other.model, skeleton) for name, other in made.items()}
    assert not networks["image_network"].temporal and not networks["without_memory"].temporal
    assert networks["without_relation"].temporal and networks["without_relation"].relation is None
    assert networks["without_memory"].relation is not None


def test_steps_are_timed_without_moving_the_random_state(tmp_path):
    config = demo.demo_config(tmp_path)
    options = dict(config.model.options, width=8, channels=16)
    config = replace(
        config,
        data=replace(config.data, input_size=(64, 64)),
        model=replace(config.model, options=options),
    )
    small = replace(config, model=arms.ARMS["image_network"].model(config.model))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    whole, part = arms.step_seconds([config, small], penn_action.SKELETON)
    assert torch.equal(torch.get_rng_state(), before)
    assert whole > part > 0
