"""Synthetic clips: truthful labels, bodies that stay whole, files a reader takes, nothing half-written."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from rpstn_synth import synthesis, synthesise
from rpstn_synth.actions import Style
from rpstn_synth.body import sample_proportions, solve
from rpstn_synth.clip import _action_of, make_clip, render
from rpstn_synth.crowd import make_company
from rpstn_synth.draw import rasterise
from rpstn_synth.layout import TEST_EVERY, is_test
from rpstn_synth.points import JOINTS, POINTS
from rpstn_synth.programs import ACTIONS, PENN_ACTIONS
from rpstn_training.cli import main
from rpstn_training.data.sets import penn_action
from rpstn_training.errors import UserError

SIZE = (160, 120)
STYLE = Style(amplitude=1.0, stance=1.0, lean=0.0, quirk=(0.2, 0.5, 0.8))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_every_action_moves_a_body_whose_bones_keep_their_length(name: str) -> None:
    body = sample_proportions(np.random.default_rng(1))
    phase = np.linspace(0, 0.99 if ACTIONS[name].once else 2, 61)
    figure = solve(ACTIONS[name].program(phase, body, STYLE), body)
    for ends, length in (
        ((figure.hips, figure.knees), body.thigh),
        ((figure.knees, figure.ankles), body.shank),
        ((figure.shoulders, figure.elbows), body.upper_arm),
        ((figure.elbows, figure.wrists), body.forearm),
    ):
        np.testing.assert_allclose(np.linalg.norm(ends[1] - ends[0], axis=-1), length, rtol=1e-9)
    points = np.concatenate([figure.elbows, figure.wrists, figure.hips, figure.knees, figure.ankles], axis=1)
    assert np.isfinite(points).all()
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    assert steps.max() < 0.75, "a joint jumps between frames"
    assert np.ptp(points, axis=0).max() > 0.03, "nobody moves"
    assert figure.ankles[..., 1].min() > 0, "a foot is under the floor"


def test_joints_lie_on_the_person_and_sides_are_the_persons_own() -> None:
    hits, visible = 0, 0
    for number, view in enumerate(("front", "back")):
        clip = make_clip(3, number, frames=4, size=SIZE, action="jumping_jacks", view=view, occluders=0)
        joints = clip.people[0].joints
        for frame, picture in enumerate(clip.frames()):
            drawing, seen = rasterise(clip.shown(frame), SIZE), picture.visible[0]
            large = np.round((joints[frame] - drawing.corner + 0.5) * 2 - 0.5).astype(int)
            inside = ((large >= 0) & (large < drawing.index.shape[::-1])).all(1) & seen
            hits += (drawing.index[large[inside, 1], large[inside, 0]] >= 0).sum()
            visible += seen.sum()
        left, right = (joints[:, POINTS.index(f"{side}_shoulder"), 0].mean() for side in ("left", "right"))
        assert (left > right) == (view == "front")  # who faces us has the left arm on our right
    assert visible > 60
    assert hits >= 0.97 * visible


def test_visibility_says_what_an_occluder_hides() -> None:
    """The picture changes about a joint that an occluder hides, and does not about one that it leaves visible."""
    hidden, kept = [], []
    for number in range(12):
        clip = make_clip(5, number, frames=3, size=SIZE, occluders=2)
        pairs = zip(clip.frames(), replace(clip, occluders=()).frames())
        for joints, (with_cover, without) in zip(clip.people[0].joints, pairs):
            covered, bare = with_cover.image, without.image
            seen, seen_bare = with_cover.visible[0], without.visible[0]
            assert not (seen & ~seen_bare).any()
            difference = cv2.blur(np.abs(covered.astype(float) - bare).max(axis=2), (3, 3))
            x, y = np.clip(np.round(joints).astype(int), 0, np.array(SIZE) - 1).T
            hidden.extend(difference[y, x][seen_bare & ~seen])
            kept.extend(difference[y, x][seen])
    assert len(hidden) > 10
    assert len(kept) > 100
    assert np.mean(np.array(hidden) > 8) > 0.9
    assert np.mean(np.array(kept) > 8) < 0.1


def test_positions_of_hidden_joints_do_not_depend_on_what_hides_them() -> None:
    covered = make_clip(7, 2, frames=6, size=SIZE, occluders=2)
    _, truth = render(covered)
    _, bare = render(replace(covered, occluders=()))
    np.testing.assert_array_equal(truth.joints, bare.joints)
    assert truth.visible.sum() < bare.visible.sum()


def test_same_arguments_give_the_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    for name, workers, seed in (("one", 1, 4), ("two", 2, 4), ("other", 1, 5)):
        synthesise(tmp_path / name, clips=3, frames=2, size=(96, 64), seed=seed, workers=workers)
    one, two, other = (files_of(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one["frames/0001/000001.jpg"] != other["frames/0001/000001.jpg"]


def test_reads_as_penn_action(tmp_path: Path) -> None:
    out = tmp_path / "clips"
    synthesise(out, clips=8, frames=3, size=SIZE, seed=0, workers=1)
    tracks = {subset: penn_action.read(out, subset) for subset in ("train", "test")}
    assert [len(tracks["train"]), len(tracks["test"])] == [6, 2]
    clip = make_clip(0, 0, frames=3, size=SIZE)
    _, truth = render(clip)
    first = tracks["train"][0]
    assert first.action == truth.action
    joints, visible = truth.joints[:, : len(JOINTS)], truth.visible[:, : len(JOINTS)]
    assert penn_action.SKELETON.joints == JOINTS
    np.testing.assert_allclose(first.joints, joints, atol=1e-9)
    np.testing.assert_array_equal(first.visible, visible)
    inside = truth.boxes[:, None, :2] - 1 <= joints
    inside &= joints <= truth.boxes[:, None, 2:] + 1
    assert inside.all(-1)[visible].mean() > 0.99


def test_every_action_is_trained_on_and_held_out() -> None:
    numbers = range(TEST_EVERY * len(PENN_ACTIONS))
    names = [
        make_clip(0, number, frames=1, size=(64, 64)).people[0].action
        for number in numbers[: len(PENN_ACTIONS)]
    ]
    assert sorted(names) == sorted(PENN_ACTIONS)
    held_out = {names[n % len(names)] for n in numbers if is_test(n, len(numbers))}
    trained = {names[n % len(names)] for n in numbers if not is_test(n, len(numbers))}
    assert held_out == trained == set(PENN_ACTIONS)


def test_everyday_clips_have_the_actions_of_every_day_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"clips": len(ACTIONS), "frames": 1, "size": (64, 64), "workers": 1}
    synthesise(tmp_path / "clips", kind="everyday", **options)
    names = [str(scipy.io.loadmat(path)["action"][0]) for path in (tmp_path / "clips/labels").glob("*.mat")]
    assert sorted(names) == sorted(ACTIONS)
    actions = [_action_of(5, number, ACTIONS) for number in range(100)]
    held_out = {action for number, action in enumerate(actions) if is_test(number, TEST_EVERY)}
    shown = {action for number, action in enumerate(actions) if not is_test(number, TEST_EVERY)}
    assert len(held_out) == 5 and held_out | shown == set(ACTIONS) and not held_out & shown
    synthesise(tmp_path / "clips", kind="everyday", **options)
    assert "kept" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"clips of other options \(everyday\)"):
        synthesise(tmp_path / "clips", **options)
    with pytest.raises(UserError, match=r"--everyday: expected dataset penn_action, .*, got coco"):
        synthesise(tmp_path / "others", dataset="coco", kind="everyday")


def test_half_of_the_clips_in_company_show_others_and_the_truth_is_about_one_who_is_seen(
    tmp_path: Path,
) -> None:
    synthesise(tmp_path / "clips", kind="company", clips=16, frames=2, seed=2)
    labels = [scipy.io.loadmat(tmp_path / f"clips/labels/{number + 1:04d}.mat") for number in range(16)]
    crowds = [make_company(2, number, frames=2, size=(320, 240)) for number in range(16)]
    assert [len(clip.people) > 1 for clip in crowds] == [number // 4 % 2 == 1 for number in range(16)]
    for clip, label in zip(crowds, labels):
        joints = np.stack([label["x"], label["y"]], -1) - 1
        (subject,) = [
            number
            for number, person in enumerate(clip.people)
            if np.allclose(person.joints[:, : joints.shape[1]], joints)
        ]
        assert np.allclose(label["bbox"] - 1, clip.people[subject].boxes)
        frames = list(clip.frames())
        assert np.array_equal(
            label["visibility"], [frame.visible[subject, : joints.shape[1]] for frame in frames]
        )
    crowded = [number for number in range(16) if number // 4 % 2]
    assert np.mean([labels[number]["visibility"].mean() for number in crowded]) > 0.5
    assert {is_test(number, 16) for number in crowded} == {False, True}


def test_a_second_call_keeps_the_clips_and_other_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clips"
    options = {"clips": 1, "frames": 2, "size": (64, 64), "workers": 1}
    synthesise(out, **options)
    stamp = (out / "labels" / "0001.mat").stat().st_mtime_ns
    synthesise(out, **options)
    assert "kept" in capsys.readouterr().out
    assert (out / "labels" / "0001.mat").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match=r"other options \(seed\)"):
        synthesise(out, seed=1, **options)
    (out / "synth.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match=r"other options"):
        synthesise(out, **options)


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(
        synthesis.LAYOUTS, "penn_action", replace(synthesis.LAYOUTS["penn_action"], write=full)
    )
    with pytest.raises(UserError, match=r"could not be written \(No space left on device\)"):
        synthesise(tmp_path / "clips", clips=2, frames=1, size=(64, 64), workers=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "320"], "--size: expected WIDTHxHEIGHT"),
        (["--size", "10x240"], "--size, width: expected 64 to 4096, got 10"),
        (["--clips", "0"], "--clips: expected 1 to 9999, got 0"),
        (["--frames", "-3"], "--frames: expected 1 to 9999, got -3"),
        (["--seed", "-1"], "--seed: expected 0 to"),
        (
            ["--dataset", "imagenet"],
            "--dataset: expected one of penn_action, sub_jhmdb, posetrack2018, hieve,",
        ),
        (["--dataset", "coco", "--clips", "1"], "--clips: expected 2 to 9999, got 1"),
        (
            ["--dataset", "hieve", "--size", "65x64"],
            "--size: expected even numbers for hieve's videos, got 65x64",
        ),
    ],
)
def test_bad_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["synth", "--out", str(tmp_path / "clips"), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["synth", "--out", str(tmp_path), "--clips", "1"]) == 1
    assert "expected a new or empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
