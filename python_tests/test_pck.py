"""PCK: small cases by hand, and the reference values of the LSTM Pose Machines rules."""

import json
from pathlib import Path

import numpy as np
import pytest

from rpstn_training.data.records import Track
from rpstn_training.data.sets import penn_action, sub_jhmdb
from rpstn_training.scores.pck import mean_over_splits, pck, pck_table, sweep

PENN, JHMDB = penn_action.SKELETON, sub_jhmdb.SKELETON


def track(joints, *, visible=None, labelled=None, boxes=None):
    joints = np.asarray(joints, dtype=np.float64)
    everything = np.ones(joints.shape[:2], dtype=bool)
    visible = everything if visible is None else visible
    if boxes is None:
        boxes = np.tile([0.0, 0.0, 50.0, 100.0], (len(joints), 1))
    return Track(
        name="0001",
        split="test",
        action="bowl",
        frames=tuple(Path(f"{t}.jpg") for t in range(len(joints))),
        joints=joints,
        visible=visible,
        labelled=everything if labelled is None else labelled,
        boxes=boxes,
        score_boxes=boxes,
    )


def standing(frames=1):
    """Right shoulder to left hip (2, 7) is 50 pixels, left shoulder to right hip (1, 8) is 40."""
    joints = np.tile(np.arange(13.0)[:, None] * 10, (frames, 1, 2))
    joints[:, 2], joints[:, 7] = (0, 0), (30, 40)
    joints[:, 1], joints[:, 8] = (0, 0), (0, 40)
    return joints


def shifted(joints, joint, by):
    moved = joints.copy()
    moved[:, joint] += by
    return moved


def test_the_threshold_itself_is_a_hit():
    truth = standing()
    for distance, share in ((20.0, 1.0), (20.0001, 0.0)):  # 0.2 of the box's longer side
        result = pck([shifted(truth, 5, (0, distance))], [track(truth)], PENN)
        assert result.per_joint[5] == share and result.per_joint[4] == 1


def test_groups_and_the_three_means():
    truth = np.concatenate([standing(), standing()])
    predicted = truth.copy()
    predicted[0, 0] += 1000  # head: half of 2
    predicted[:, 3] += 1000  # left elbow: none
    visible = np.ones((2, 13), dtype=bool)
    visible[0, 12] = False  # one joint fewer counted
    result = pck([predicted], [track(truth, visible=visible)], PENN)
    assert result.groups == {"Head": 0.5, "Sho": 1, "Elb": 0.5, "Wri": 1, "Hip": 1, "Knee": 1, "Ank": 1}
    assert result.mean_of_joints == pytest.approx(11.5 / 13)
    assert result.mean_of_7_groups == pytest.approx(6 / 7)
    assert result.micro == pytest.approx(22 / 25)
    assert result.counted.sum() == 25


def test_sums_over_videos_are_divided_once():
    """A video of 9 hits in 9 and one of 0 in 1: 0.9, not the mean 0.5 of the two videos."""
    long, short = standing(9), standing(1)
    result = pck([long, short + 1000], [track(long), track(short)], PENN)
    assert np.allclose(result.per_joint, 0.9)


@pytest.mark.parametrize(("pair", "length"), [("code", 50.0), ("paper", 40.0)])
def test_both_torso_pairs_of_penn_action(pair, length):
    truth = standing()
    for distance, share in ((0.2 * length - 1e-9, 1.0), (0.2 * length + 1e-9, 0.0)):
        result = pck([shifted(truth, 5, (distance, 0))], [track(truth)], PENN, normaliser="torso", torso=pair)
        assert result.per_joint[5] == share
    assert ("right shoulder to left hip" in result.protocol) == (pair == "code")


def test_a_torso_under_one_pixel_is_taken_from_the_prediction():
    truth = standing()
    truth[:, [2, 7]] = 0.0  # both ends on the placeholder
    predicted = shifted(truth, 5, (9, 0))
    predicted[:, 7] = (30, 40)
    visible = np.ones((1, 13), dtype=bool)
    visible[:, [2, 7]] = False
    result = pck([predicted], [track(truth, visible=visible)], PENN, normaliser="torso")
    assert result.per_joint[5] == 1  # 9 <= 0.2 * 50
    predicted[:, 7] = (3, 4)
    assert pck([predicted], [track(truth, visible=visible)], PENN, normaliser="torso").per_joint[5] == 0


def test_strict_leaves_out_frames_with_an_invisible_torso_end():
    truth = standing(3)
    visible = np.ones((3, 13), dtype=bool)
    visible[1, 7] = False
    one = track(truth, visible=visible)
    assert pck([truth], [one], PENN, normaliser="torso").counted[0] == 3
    assert pck([truth], [one], PENN, normaliser="torso", strict=True).counted[0] == 2
    assert pck([truth], [one], PENN, normaliser="torso", strict=True, torso="paper").counted[0] == 3


def test_occluded_joints_are_scored_apart_and_placeholders_never():
    truth = standing()
    visible, labelled = np.ones((2, 1, 13), dtype=bool)
    visible[0, [5, 6]] = False
    labelled[0, 6] = False
    one = track(truth, visible=visible, labelled=labelled)
    result = pck([shifted(truth, 5, (500, 0))], [one], PENN, joints="occluded")
    assert result.counted.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert result.per_joint[5] == 0 and np.isnan(result.per_joint[4])
    assert result.groups["Wri"] == 0 and np.isnan(result.groups["Ank"])
    assert pck([truth], [one], PENN, joints="labelled").counted.sum() == 12
    json.dumps(result.to_dict(), allow_nan=False)


def test_only_the_chosen_frames_are_scored():
    truth = standing(4)
    predicted = truth.copy()
    predicted[2:] = 1e6
    chosen = np.array([True, True, False, False])
    result = pck([predicted], [track(truth)], PENN, frames=[chosen])
    assert result.micro == 1 and result.counted[0] == 2


def test_mean_over_splits_is_per_joint():
    truth = np.arange(30.0).reshape(1, 15, 2)
    splits = [pck([shifted(truth, 2, (by, 0))], [track(truth)], JHMDB) for by in (0, 0, 1000)]
    mean = mean_over_splits(splits)
    assert mean.per_joint[2] == pytest.approx(2 / 3) and mean.groups["Head"] == pytest.approx(2 / 3)
    assert mean.mean_of_joints == pytest.approx((14 + 2 / 3) / 15)
    assert mean.mean_of_grouped_joints == pytest.approx((12 + 2 / 3) / 13)
    assert "mean of 3 splits" in mean.protocol


def test_the_table_names_groups_means_and_protocol():
    truth = np.arange(30.0).reshape(1, 15, 2)
    rows = {
        "person": pck([truth], [track(truth)], JHMDB),
        "torso": pck([truth], [track(truth)], JHMDB, normaliser="torso"),
    }
    table = pck_table("Sub-JHMDB", {**rows, "again": rows["torso"]}, main="torso", protocol=("Data",))
    lines = table.text.splitlines()
    assert lines[0] == "Sub-JHMDB"
    assert lines[1].split() == [*JHMDB.groups, "Mean", "13", "j.", "7", "gr.", "Micro", "Joints"]
    assert lines[2].split() == ["person", *["100.0"] * 11, "15"]
    assert lines[5:] == [
        "Data",
        "person: person size (longer side of the annotated box), visible joints",
        "torso: torso size (left shoulder to right hip), visible joints",
    ]
    assert table.main == 1 and table.main_name == "PCK@0.2 torso"


def test_predictions_that_cannot_be_scored_are_refused():
    truth = standing()
    with pytest.raises(ValueError, match="finite"):
        pck([shifted(truth, 5, (np.nan, 0))], [track(truth)], PENN)
    with pytest.raises(ValueError, match=r"expected predicted \[1, 13, 2\] like truth, got \[13, 2\]"):
        pck([truth[0]], [track(truth)], PENN)
    with pytest.raises(ValueError, match="1 tracks, got 2"):
        pck([truth, truth], [track(truth)], PENN)
    with pytest.raises(ValueError, match="'person' or 'torso'"):
        pck([truth], [track(truth)], PENN, normaliser="head")


def reference(shared):
    expected = json.loads((shared / "goldens/pck/expected.json").read_text())["jhmdb"]
    arrays = np.load(shared / "goldens/pck/arrays.npz")
    truth, predicted, boxes = (arrays[f"jhmdb_{name}"].astype(np.float64) for name in ("gt", "pred", "box"))
    return expected, [track(j, boxes=b) for j, b in zip(truth, boxes)], list(predicted)


def largest_difference(expected, results):
    """Over every number of the reference file, which must all be there."""
    worst = 0.0
    for result in results:
        ours = result.to_dict()
        for key, theirs in expected[f"{result.gamma}"].items():
            mine = ours[key]
            if isinstance(mine, dict):
                mine = [mine[name] for name in (theirs if isinstance(theirs, dict) else JHMDB.joints)]
            theirs = list(theirs.values()) if isinstance(theirs, dict) else theirs
            worst = max(worst, float(np.abs(np.subtract(mine, theirs)).max()))
    return worst


@pytest.mark.parametrize(("key", "normaliser"), [("bbox", "person"), ("torso_Lsho4_Rhip5", "torso")])
def test_equals_the_reference(shared, key, normaliser):
    expected, tracks, predicted = reference(shared)
    results = sweep(predicted, tracks, JHMDB, normaliser=normaliser)
    assert [f"{result.gamma}" for result in results] == list(expected[key])
    assert largest_difference(expected[key], results) <= 1e-12
    # The comparison sees one joint of one frame.
    wrong = predicted[0].copy()
    wrong[0, 4] += 1000
    assert (
        largest_difference(
            expected[key], sweep([wrong, *predicted[1:]], tracks, JHMDB, normaliser=normaliser)
        )
        > 1e-3
    )


def test_missing_predictions_are_misses_where_asked():
    truth = standing(2)
    predicted = truth.copy()
    predicted[1] = np.nan
    for normaliser in ("person", "torso"):
        result = pck([predicted], [track(truth)], PENN, normaliser=normaliser, missing_misses=True)
        assert (result.per_joint == 0.5).all() and (result.counted == 2).all()
    predicted[1] = np.inf
    with pytest.raises(ValueError, match="finite"):
        pck([predicted], [track(truth)], PENN, missing_misses=True)
    # A torso of no length would be the prediction's, which is not there: a miss, too.
    truth[:, [2, 7]] = 0.0
    predicted[1] = np.nan
    assert pck([predicted], [track(truth)], PENN, normaliser="torso", missing_misses=True).hits.max() <= 1
