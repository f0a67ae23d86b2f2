"""The benchmark on a real clip: what it counts, by answers that are known; the clip itself where somebody has it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rpstn_training.data.records import Track
from rpstn_training.data.sets import penn_action, sub_jhmdb
from rpstn_training.video.streams import Pose

real_clip = pytest.importorskip("benchmarks.real_clip", reason="started outside the repository root")
F, K = 5, len(sub_jhmdb.SKELETON.joints)
NAMES = penn_action.SKELETON.joints
OF_CLIP = [sub_jhmdb.SKELETON.joints.index(name) for name in NAMES]


@pytest.fixture
def track() -> Track:
    """A person of 100 pixels whose torso has 40."""
    joints = np.random.default_rng(0).uniform(20, 100, (F, K, 2))
    left, right = (sub_jhmdb.SKELETON.joints.index(name) for name in ("left_shoulder", "right_hip"))
    joints[:, right] = joints[:, left] + [0, 40]
    all_there = np.ones((F, K), dtype=bool)
    boxes = np.tile([10.0, 10, 70, 110], (F, 1))
    return Track(
        name="clip", split="test", action="catch", frames=tuple(Path(f"{n}.png") for n in range(F)), joints=joints,
        visible=all_there, labelled=all_there, boxes=boxes, score_boxes=boxes,
    )  # fmt: skip


def measured(track, monkeypatch, answer):
    """What is measured where `answer(frame, joints, options)` are the poses found in a frame."""
    monkeypatch.setattr(real_clip, "open_weights", lambda _: SimpleNamespace(skeleton=penn_action.SKELETON))

    def stream(frames, weights, **options):
        for number in range(len(frames)):
            yield SimpleNamespace(number=number), answer(number, track.joints[number][OF_CLIP], options)

    monkeypatch.setattr(real_clip, "stream", stream)
    return real_clip.measure(track, Path("w.pt"))


def pose(joints, probability=None):
    said = None if probability is None else np.full(len(joints), probability)
    return Pose(joints=joints, scores=np.ones(len(joints)), probabilities=said)


def test_each_way_is_counted_with_its_own_boxes(track, monkeypatch):
    def answer(number, joints, options):
        if options.get("whole_picture"):
            return [pose(joints + [0, 21])]  # beyond 0.2 of the person's 100
        if "boxes" not in options:
            return [] if number == 0 else [pose(joints)]  # a frame without a pose is missed
        rows = options["boxes"].read_text().splitlines()[1:]
        assert len(rows) == (F if options.get("follow") is False else 1)
        return [pose(joints + [0, 9])] if len(rows) == 1 else [pose(joints + [0, 7.9])]

    result = measured(track, monkeypatch, answer)
    assert (
        result["joints"] == [name for name in sub_jhmdb.SKELETON.joints if name in NAMES]
        and len(result["joints"]) == 13
    )
    rows = [
        (way, result[way]["person"], result[way]["torso"], result[way]["frames"]) for way in real_clip.WAYS
    ]
    assert rows == [
        ("a box for every frame", 100, 100, 5),  # 7.9 of 0.2 * 40
        ("a box for the first frame", 100, 0, 5),
        ("no box", pytest.approx(80), pytest.approx(80), 4),
        ("the whole picture", 0, 0, 5),
    ]
    assert result["calibration_error"] is None


def test_the_calibration_error_is_of_boxes_for_every_frame(track, monkeypatch):
    def answer(number, joints, options):
        given = options.get("follow") is False
        away = 9.9 if number < 2 else 10.1  # of 0.1 of 100: right in two frames of five
        return [pose(joints + [0, away], 0.9 if given else 0.0)]

    assert measured(track, monkeypatch, answer)["calibration_error"] == pytest.approx(0.5)


def test_where_the_clip_is_not_one_sentence_says_so(tmp_path, capsys):
    assert real_clip.main(["--shared", str(tmp_path), "--weights", "none.pt"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 and "expected the real clip of JHMDB there, found no folder" in printed[0]


def test_the_clip_is_read_where_it_is(shared):
    track = real_clip.clip(shared / "samples" / "jhmdb")
    assert len(track.frames) == 40 and track.joints.shape == (40, 15, 2)
