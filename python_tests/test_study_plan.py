"""What a study's configuration says: arms, trainings, faults."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from small_study import tiny_study
from tiny_clips import write_penn

from rpstn_training.commands import study as command
from rpstn_training.errors import UserError
from rpstn_training.study.arms import Arm, Runner, arms
from rpstn_training.study.plan import StudyConfig, growing, load_study, network, training

ROOT = Path(__file__).resolve().parents[1]
STUDIES = sorted((ROOT / "training" / "configs" / "studies").glob("*.yaml"))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_penn(tmp_path_factory.mktemp("study") / "clips", train=5, test=2, frames=4)


def test_an_arm_waits_for_the_network_that_it_begins_with(root, tmp_path):
    study = tiny_study(root, tmp_path / "a", **{"memory.budgets": [1, 2], "memory.seeds": 2})
    runner = Runner(study)

    def needs(*arm) -> str | None:
        needed = runner.needs(Arm(*arm))
        return needed and needed.key

    assert needs("memory", "video", "2", 0) is needs("heads", "jre", "given", 0) is None
    assert needs("memory", "video_growing", "2", 0) is None
    assert needs("memory", "video_pretrained", "2", 1) == "memory-1-image-1"
    assert (
        needs("heads", "jre", "image_visible", 3)
        == needs("fine-tuning", "jre", "image", 1)
        == "memory-2-image-1"
    )
    assert needs("heads", "jre", "video", 2) == "memory-2-video-0"


def test_heads_are_fitted_on_videos_that_their_network_has_not_seen(root, tmp_path):
    study = tiny_study(root, tmp_path / "a", **{"memory.seeds": 2, "heads.seeds": 4})
    runner = Runner(study)
    clips = [runner._clips(Arm("heads", "control", "image", seed))[0] for seed in range(4)]
    assert torch.equal(clips[0], clips[2]) and torch.equal(clips[1], clips[3])
    assert not torch.equal(clips[0], clips[1])


def test_clips_that_become_longer_make_one_training(root, tmp_path):
    """Six epochs with a rate that falls after the fifth: of 2, 4 and 6 frames, as many frames in each epoch."""
    study = tiny_study(
        root,
        tmp_path / "a",
        **{"memory.budgets": [2, 6], "memory.growing": ["video"], "memory.lengths": [2, 4, 6]},
        **{"data.clips_per_epoch": 9},
    )
    configs = growing(study, tmp_path / "run", network(study, "video"), seed=3)
    assert [config.data.clip_length for config in configs] == [2, 4, 6]
    assert [config.data.clips_per_epoch for config in configs] == [14, 6, 4]
    assert [config.train.epochs for config in configs] == [2, 2, 2]
    assert [config.train.milestones for config in configs] == [(), (), (1,)]
    assert len({config.output for config in configs}) == 3 and {config.seed for config in configs} == {3}
    late = growing(
        tiny_study(
            root,
            tmp_path / "a",
            **{"memory.budgets": [4], "memory.growing": ["video"], "memory.lengths": [2, 3, 4, 5]},
        ),
        *(tmp_path / "run", network(study, "video")),
        seed=0,
    )
    assert [(config.train.epochs, config.train.milestones) for config in late] == [(1, ())] * 4
    rates = [config.train.learning_rate / study.train.learning_rate for config in late]
    np.testing.assert_allclose(rates, [1, 1, 1, 0.1])


def test_every_key_of_a_study(root, tmp_path):
    """What each key changes; those of data, augmentation, heatmap and train are the trainings' own."""
    study = tiny_study(root, tmp_path / "a")

    def changed(**keys) -> StudyConfig:
        return tiny_study(
            root, tmp_path / "a", **{key.replace("__", "."): value for key, value in keys.items()}
        )

    def of(part: str, study: StudyConfig) -> list[Arm]:
        return [arm for arm in arms(study) if arm.part == part]

    assert len(of("memory", changed(memory__budgets=[1, 2]))) == 2 * len(of("memory", study))
    assert len(of("memory", changed(memory__seeds=2))) == 2 * len(of("memory", study))
    assert (
        of("memory", changed(memory__budgets=[1, 2], memory__pretrained=["video"]))[-1].name
        == "video_pretrained"
    )
    assert of("memory", changed(memory__growing=["video"], memory__lengths=[2]))[-1].name == "video_growing"
    assert len(of("heads", changed(heads__seeds=3))) == 3 * len(of("heads", study))
    assert len(of("heads", changed(heads__arms=["control", "jre", "displacement", "static"]))) == 10
    assert len(of("heads", changed(heads__few=["control"]))) == len(of("heads", study)) - 3
    assert len(of("fine-tuning", changed(fine_tuning__seeds=2))) == 2 * len(of("fine-tuning", study))
    assert len(of("fine-tuning", changed(fine_tuning__arms=["control"]))) == 1
    from_nothing = training(study, tmp_path, network(study, "image"), seed=4, epochs=8)
    assert (from_nothing.train.epochs, from_nothing.train.milestones, from_nothing.seed) == (8, (6,), 4)
    assert from_nothing.loss.visibility and from_nothing.eval.held_out == 0.4
    assert training(study, tmp_path, network(study, "image"), seed=0, epochs=2).train.milestones == (1,)
    on = training(study, tmp_path, network(study, "image"), seed=0, epochs=2, learning_rate=1e-4)
    assert (on.train.learning_rate, on.train.milestones, on.loss.visibility) == (1e-4, (), False)
    for key, value, part in (
        ("fine_tuning__epochs", 2, "fine_tuning"),
        ("fine_tuning__learning_rate", 1e-2, "fine_tuning"),
    ):
        assert getattr(changed(**{key: value}), part) != getattr(study, part)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("heads.arms", ["jer"], "heads.arms: expected some of control"),
        ("score.primary", ["jre control"], "score.primary: expected two of"),
        ("score.primary", ["jre - static"], "score.primary: expected arms among heads.arms"),
        ("memory.budgets", [4, 2], "memory.budgets: expected rising numbers of epochs"),
        ("memory.pretrained", ["video"], "memory.pretrained: expected none with a single budget"),
        (
            "memory",
            {"growing": ["image"], "lengths": [1]},
            "memory.growing: expected some of networks but image",
        ),
        ("memory.lengths", [0], "memory.lengths: expected frames of clips"),
        ("memory", {"growing": ["video"], "budgets": [1]}, "memory.lengths: expected at most 1 of them"),
        ("networks", {"image": {"model": "sbl"}}, "networks: expected image and video among them"),
        ("networks.image", "sbl", "networks.image: expected a section with model"),
        ("drawn.frames", 1, "drawn.frames: expected at least 2"),
        ("fine_tuning.arms", ["control_twice"], "fine_tuning.arms: expected"),
        ("score.resampels", 3, "did you mean resamples|unknown key score.resampels"),
    ],
)
def test_faults_in_a_study_are_named(root, tmp_path, key, value, message):
    with pytest.raises(UserError, match=message):
        tiny_study(root, tmp_path / "a", **{key: value})


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_of_the_project(path):
    study = load_study(path)
    assert study.score.primary == ("displacement - control", "jre - control")
    assert {Arm("heads", name, "image", 2) for name in ("control_twice", "static", "jre_random")} <= set(
        arms(study)
    )
    text = path.read_text()
    assert "rpstn study relation" in text


def test_options_that_do_not_go_together_are_refused(tmp_path):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    config = f"--config={ROOT / 'training/configs/studies/relation_reduced.yaml'}"
    for given, message in (
        (["--at-once", "0"], "--at-once: expected a number of arms of at least 1, got 0"),
        (["--so-far", "--sub-jhmdb", "clips"], "--so-far: expected no data set beside it, got clips"),
    ):
        with pytest.raises(UserError, match=message):
            command.run(parser.parse_args(["relation", config, *given]))


def test_the_study_comes_with_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rpstn_training.study.run.run_study", lambda study, **options: repr(study))
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    monkeypatch.setattr("builtins.print", (printed := []).append)
    assert command.run(parser.parse_args(["relation"])) == 0
    assert printed == [repr(load_study(ROOT / "training/configs/studies/relation_reduced.yaml"))]
