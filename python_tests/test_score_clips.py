"""Pose files of Penn Action and Sub-JHMDB: their PCK is that of `rpstn eval`, whatever the order of the file."""

import json

import numpy as np
import pytest
from label_files import JHMDB_CLIPS, dump, expect_error, set_at, write_jhmdb
from tiny_clips import write_penn

from rpstn_training.data.findings import Report
from rpstn_training.data.sets import penn_action, sub_jhmdb
from rpstn_training.errors import UserError
from rpstn_training.predictions import Prediction
from rpstn_training.scores.pck import every_rule, pck
from rpstn_training.scores.sets import penn_action as penn
from rpstn_training.scores.sets import sub_jhmdb as jhmdb

GROUPS = ("Head", "Sho", "Elb", "Wri", "Hip", "Knee", "Ank")


def noisy(tracks, noise=4.0, seed=0) -> list[Prediction]:
    rng = np.random.default_rng(seed)
    return [
        Prediction(
            name=track.name,
            joints=track.joints + rng.normal(0, noise, track.joints.shape),
            scores=rng.uniform(0.2, 1, track.joints.shape[:2]),
            predicted=np.ones(len(track), dtype=bool),
        )
        for track in tracks
    ]


@pytest.fixture
def penn_files(tmp_path):
    root = write_penn(tmp_path / "penn", train=1, test=2, frames=6)
    tracks = penn_action.read(root, "test")
    predictions = noisy(tracks)
    path = penn.write(predictions, tracks, penn_action.SKELETON, tmp_path / "out", root=root)
    return root, tracks, predictions, path


def test_the_file_scores_as_the_predictions_to_the_last_bit(penn_files):
    root, tracks, predictions, path = penn_files
    results = every_rule([one.joints for one in predictions], tracks, penn_action.SKELETON, gamma=0.2)
    table = penn.score(root, path, gamma=0.2)
    assert list(table.rows) == list(results) and "occluded, torso" in results
    for name, result in results.items():
        assert table.details[name] == result.to_dict()
    assert table.main == results["person"].mean_of_joints and 0.1 < table.main < 0.99
    assert table.main_name == "PCK@0.2 person"
    assert table.columns == (*GROUPS, "Mean", "7 gr.", "Micro", "Joints")
    assert table.rows["person"]["Mean"] == 100 * results["person"].mean_of_joints


def test_no_picture_is_needed(penn_files):
    root, _, _, path = penn_files
    before = penn.score(root, path)
    for picture in (root / "frames").rglob("*.jpg"):
        picture.unlink()
    after = penn.score(root, path)
    assert after.details == before.details


def test_the_order_of_the_file_does_not_matter(penn_files, tmp_path):
    root, _, _, path = penn_files
    plain = json.loads(path.read_text())
    expected = penn.score(root, path).details
    plain["images"] = plain["images"][::-1]
    plain["annotations"] = plain["annotations"][3:] + plain["annotations"][:3]
    assert penn.score(root, dump(tmp_path / "other.json", plain)).details == expected
    # One wrong joint is seen.
    plain["annotations"][0]["keypoints"][0] += 500
    wrong = penn.score(root, dump(tmp_path / "wrong.json", plain)).details
    assert wrong["person"]["detected"].pop("head") == expected["person"]["detected"].pop("head") - 1
    assert wrong["person"]["detected"] == expected["person"]["detected"]


def test_frames_without_a_pose_are_misses_or_left_out(penn_files, tmp_path):
    root, tracks, _, path = penn_files
    plain = json.loads(path.read_text())
    gone = plain["annotations"].pop(2)
    less = dump(tmp_path / "less.json", plain)
    misses, skipped = penn.score(root, less), penn.score(root, less, missing="skip")
    everything = penn.score(root, path)
    assert "frames without a pose, counted as misses (1 of 12)" in misses.text
    assert "frames without a pose, left out (1 of 12)" in skipped.text
    counted = [sum(table.details["person"]["counted"].values()) for table in (everything, misses, skipped)]
    visible = int(tracks[0].visible[2].sum())
    assert counted == [counted[0], counted[0], counted[0] - visible]
    assert misses.details["person"]["detected"] == skipped.details["person"]["detected"]
    assert gone["image_id"] == 3
    # The torso of a frame without a pose is not asked for either.
    assert misses.details["torso"]["counted"] == everything.details["torso"]["counted"]


def test_frames_that_are_not_labelled_are_counted(penn_files, tmp_path):
    root, _, _, path = penn_files
    plain = json.loads(path.read_text())
    plain["images"].append({"id": 99, "file_name": "frames/0077/000001.jpg"})
    plain["annotations"].append({**plain["annotations"][0], "id": 99, "image_id": 99})
    table = penn.score(root, dump(tmp_path / "more.json", plain))
    assert "poses of frames that are not labelled, left out (1)" in table.text
    assert table.details == penn.score(root, path).details
    with pytest.raises(UserError, match="expected poses of the 1 labelled clips"):
        penn.score(root, path, subset="train")


def test_the_sweep_and_the_released_figure_come_on_demand(penn_files):
    root, _, _, path = penn_files
    table = penn.score(root, path, sweep=True, released=True)
    for normaliser in ("person", "torso"):
        values = [table.rows[f"{normaliser}, {gamma / 10:g}"]["Mean"] for gamma in range(1, 11)]
        assert values == sorted(values) and values[1] == table.rows[normaliser]["Mean"]
    assert {"pck_released, person", "pck_released, torso"} <= set(table.rows)
    assert "not a PCK" in table.text
    assert not any("released" in name for name in penn.score(root, path).rows)
    json.dumps(table.to_dict(), allow_nan=False)


def test_videos_may_weigh_alike(tmp_path):
    """Two videos, of 9 frames all right and of 1 frame all wrong: 0.9 by frames, 0.5 by videos."""
    root = write_penn(tmp_path / "penn", train=0, test=1, frames=9)
    write_penn(tmp_path / "short", train=1, test=1, frames=1)
    (tmp_path / "short/labels/0002.mat").rename(root / "labels/0002.mat")
    (tmp_path / "short/frames/0002").rename(root / "frames/0002")
    tracks = penn_action.read(root, "test")
    assert [len(track) for track in tracks] == [9, 1]
    predictions = noisy(tracks, noise=0.0)
    predictions[1].joints[:] += 500
    path = penn.write(predictions, tracks, penn_action.SKELETON, tmp_path / "out", root=root)
    assert penn.score(root, path).details["person"]["per_joint"]["head"] == 0.9
    table = penn.score(root, path, average="videos", sweep=True)
    assert table.details["person"]["per_joint"]["head"] == 0.5
    assert "mean over the videos" in table.text
    assert table.rows["person, 0.2"] == table.rows["person"]


BROKEN = [
    (("images", 1, "id"), 1, "images[1].id: expected a frame of its own, got 1 a second time"),
    (
        ("images", 1, "file_name"),
        "frames/0002/000001.jpg",
        "images[1].file_name: expected a frame of its own",
    ),
    (("images", 1, "file_name"), "nowhere.jpg", "images[1].file_name: expected <folder>/<frame number>"),
    (("annotations", 1, "image_id"), 1, "annotations[1].image_id: expected one person per frame"),
    (("annotations", 1, "image_id"), 500, "annotations[1].image_id: expected the id of one of the images"),
    (("annotations", 1, "keypoints", 7), None, "annotations[1].keypoints: expected 39 finite numbers"),
    (
        ("annotations", 1, "keypoints", 7),
        float("nan"),
        "annotations[1].keypoints: expected 39 finite numbers",
    ),
    (("annotations", 1, "keypoints"), [1.0] * 38, "annotations[1].keypoints: expected a list of 39"),
    (
        ("categories", 0, "keypoints", 0),
        "nose",
        "categories[0].keypoints: expected the 13 joints of penn_action",
    ),
    (("categories", 0, "keypoints"), ..., "categories: expected a category with keypoints, got none"),
    (("annotations",), ..., "annotations: expected a list, got no such field"),
]


@pytest.mark.parametrize(("place", "value", "text"), BROKEN)
def test_broken_files_are_one_sentence(penn_files, tmp_path, place, value, text):
    root, _, _, path = penn_files
    plain = json.loads(path.read_text())
    set_at(plain, place, value)
    broken = dump(tmp_path / "broken.json", plain)
    expect_error(lambda: penn.score(root, broken), broken, text)


def test_a_file_that_is_cut_off_is_one_sentence(penn_files):
    root, _, _, path = penn_files
    path.write_bytes(path.read_bytes()[:-300])
    expect_error(lambda: penn.score(root, path), path, "expected a whole JSON file")


def test_real_labels_without_pictures(shared):
    """All test labels of Penn Action, of which no picture is there."""
    tracks = penn_action.read_without_pictures(shared / "samples/penn_action", "test", Report())
    assert tracks and all(np.isfinite(track.boxes).all() for track in tracks)


# Sub-JHMDB.


@pytest.fixture
def jhmdb_files(tmp_path):
    root = write_jhmdb(tmp_path / "jhmdb")
    scores = []
    for split in (1, 2, 3):
        tracks = sub_jhmdb.read_without_pictures(root, "test", split, Report())
        assert [track.name for track in tracks] == [
            clip for clip, flags in JHMDB_CLIPS.items() if flags[split - 1] == 2
        ]
        predictions = noisy(tracks, noise=10.0 * split, seed=split)
        jhmdb.write(predictions, tracks, sub_jhmdb.SKELETON, tmp_path / "out", root=root, split=split)
        scores.append(pck([one.joints for one in predictions], tracks, sub_jhmdb.SKELETON))
    return root, tmp_path / "out", scores


def test_three_splits_are_averaged_and_never_pooled(jhmdb_files):
    root, folder, scores = jhmdb_files
    table = jhmdb.score(root, folder)
    assert table.main == pytest.approx(np.mean([one.mean_of_joints for one in scores]), abs=1e-12)
    for split, result in enumerate(scores, 1):
        assert table.details[f"split {split}, person"] == result.to_dict()
    expected = np.mean([one.per_joint for one in scores], axis=0)
    np.testing.assert_allclose(
        list(table.details["mean, person"]["per_joint"].values()), expected, atol=1e-15
    )
    assert table.columns == (*GROUPS, "Mean", "13 j.", "7 gr.", "Micro", "Joints")
    assert next(iter(table.rows)) == "mean, person" and "mean of 3 splits" in table.text


def test_a_file_is_scored_by_its_own_split(jhmdb_files):
    root, folder, scores = jhmdb_files
    table = jhmdb.score(root, folder / "split_2.json")
    assert table.main == scores[1].mean_of_joints and "split 2" in table.title
    expect_error(
        lambda: jhmdb.score(root, folder / "poses.json"), folder / "poses.json", "expected split_1.json"
    )
    (folder / "mine.json").write_bytes((folder / "split_2.json").read_bytes())
    assert jhmdb.score(root, folder / "mine.json", split=2).main == table.main
    assert jhmdb.score(root, folder, split=2).main == table.main
    # By another split one clip of two is missing and one is too much.
    (folder / "split_2.json").replace(folder / "split_3.json")
    other = jhmdb.score(root, folder / "split_3.json")
    assert "frames without a pose, counted as misses (4 of 8)" in other.text
    assert "poses of frames that are not labelled, left out (4)" in other.text
    expect_error(lambda: jhmdb.score(root, folder), folder / "split_2.json", "cannot be read")
