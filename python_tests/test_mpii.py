"""MPII: 1-based numbers, SimpleBaselines' boxes, placeholders, and what a wrong file is told."""

import copy

import numpy as np
import pytest
from label_files import HEIGHT, WIDTH, dump, expect_error, kinds, picture, set_at

from rpstn_training.data.findings import Report
from rpstn_training.data.sets import mpii
from rpstn_training.errors import UserError


def entry(**changes):
    values = {
        "image": "a.jpg",
        "center": [60.0, 45.0],
        "scale": 0.25,
        "joints": [[41.0 + 2 * joint, 21.0 + 3 * joint] for joint in range(16)],
        "joints_vis": [1] * 16,
    }
    return {k: v for k, v in (values | changes).items() if v is not ...}


def write(root, values, part="valid"):
    picture(root / "images" / "a.jpg")
    return dump(root / "annot" / f"{part}.json", values)


def read(root, subset="test", **options):
    report = Report()
    return mpii.read(root, subset, report=report, **options), report


def test_numbers_are_one_based_and_boxes_are_simple_baselines(tmp_path):
    write(tmp_path, [entry(), entry(center=[50.0, 45.0])])
    (track, second), report = read(tmp_path)
    assert track.joints[0, 0].tolist() == [40, 20]
    # Centre 15 * scale lower, minus 1; a square of 200 * scale.
    assert track.boxes[0].tolist() == [59 - 25, 44 + 3.75 - 25, 59 + 25, 44 + 3.75 + 25]
    assert (track.person, second.person, second.image_ids) == (0, 1, (1,))
    assert report.counts == {"people": 2, "joints": 32, "images with people": 1} and not report.defects


def test_joints_that_nobody_placed(tmp_path):
    joints, flags = entry()["joints"], [1] * 16
    joints[0], joints[5], joints[3] = [-1, -1], [0, 0], [0.0, 0.0]
    flags[0] = flags[5] = 0
    write(tmp_path, [entry(joints=joints, joints_vis=flags)])
    (track,), report = read(tmp_path)
    assert np.flatnonzero(~track.labelled[0]).tolist() == [0, 3, 5]
    assert kinds(report) == {"a visible joint on the placeholder": 1}


def test_a_person_without_centre_or_scale(tmp_path):
    write(tmp_path, [entry(center=[-1, -1]), entry(scale=-1, joints_vis=[0] * 16, joints=[[-1, -1]] * 16)])
    tracks, report = read(tmp_path)
    assert tracks[0].boxes[0].tolist() == [40, 20, 70, 65]
    assert tracks[1].boxes[0].tolist() == [0, 0, WIDTH - 1, HEIGHT - 1]
    assert kinds(report) == {"no box": 2}


def test_the_hidden_test_set_has_boxes_alone(tmp_path):
    write(tmp_path, [entry(joints=..., joints_vis=...)], "test")
    (track,), _ = read(tmp_path, test="test")
    assert not track.labelled.any() and track.boxes[0, 0] == 34
    path = write(tmp_path, [entry(joints=..., joints_vis=...)])
    expect_error(lambda: read(tmp_path), path, "[0].joints: expected a list, got no such field")


BAD = {
    "climbs out": ((0, "image"), "../a.jpg", "[0].image: expected a path inside"),
    "15 joints": ((0, "joints"), [[1, 2]] * 15, "[0].joints: expected 16 pairs"),
    "a joint of 3": ((0, "joints", 4), [1, 2, 3], "[0].joints.4: expected a list of 2 finite numbers"),
    "NaN": ((0, "joints", 4, 1), float("nan"), "[0].joints.4: expected 2 finite numbers"),
    "flags": ((0, "joints_vis", 3), 2, "[0].joints_vis: expected 16 flags 0 or 1"),
    "scale": ((0, "scale"), "1", "[0].scale: expected a finite number"),
    "centre": ((0, "center"), [1], "[0].center: expected a list of 2 finite numbers"),
    "no object": ((0,), [], "[0]: expected an object with named fields"),
}


@pytest.mark.parametrize(("place", "value", "text"), BAD.values(), ids=BAD)
def test_a_defective_file_is_named_with_its_field(tmp_path, place, value, text):
    values = [entry()]
    write(tmp_path, copy.deepcopy(values))
    read(tmp_path)
    set_at(values, place, value)
    path = dump(tmp_path / "annot" / "valid.json", values)
    expect_error(lambda: read(tmp_path), path, text)


def test_missing_files(tmp_path):
    path = write(tmp_path, [entry(image="b.jpg")])
    expect_error(
        lambda: read(tmp_path), tmp_path / "images" / "b.jpg", f"{path}: [0].image names, found none"
    )
    expect_error(lambda: read(tmp_path, "train"), tmp_path / "annot" / "train.json", "expected a JSON file")
    with pytest.raises(UserError, match="expected a list of people"):
        write(tmp_path, {"a": 1})
        read(tmp_path)


def test_real_samples(shared):
    tracks, report = read(shared / "samples" / "mpii")
    assert len(tracks) == 5 and report.counts["joints"] == 76 and not report.defects
    assert tracks[0].joints[0, 0].tolist() == [803, 710]
