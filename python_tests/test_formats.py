"""Poses in other programs' files: each is opened by a reader of somebody else and has the numbers of the recording."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_recordings import (
    FPS,
    SIZE,
    SKELETON,
    make,
    person,
    poses,
    read_again,
    recording,
    rewritten,
    two_persons,
    written,
)

from rpstn_training.data.sets import coco, sub_jhmdb
from rpstn_training.errors import UserError
from rpstn_training.video import formats
from rpstn_training.video.angles import angles, joint_speeds
from rpstn_training.video.filters import Butterworth, Filtering
from rpstn_training.video.formats import deeplabcut, openpose
from rpstn_training.video.recording import read_recording

NAMES = SKELETON.joints
FILTERING = Filtering(smooth=Butterworth(cutoff=5.0), fill_gaps=0.2)


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    return float(text) if text else np.nan


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_recording_comes_back_from_its_file(calibrated, tmp_path):
    made = two_persons(calibrated=calibrated)
    again = read_again(tmp_path, made)
    assert (again.frames, again.fps, again.info) == (made.frames, made.fps, made.info)
    assert again.skeleton.joints == NAMES and again.skeleton.limbs == SKELETON.limbs
    for one, other in zip(made.persons, again.persons):
        assert one.number == other.number
        for name in ("rows", "joints", "scores", "boxes", "probabilities"):
            if getattr(one, name) is None:
                assert getattr(other, name) is None
            else:
                np.testing.assert_allclose(getattr(other, name), getattr(one, name), atol=1e-9)
        assert np.array_equal(one.states, other.states)


WRONG = {
    "no JSON": (lambda path: path.write_text("hello"), "Expecting value"),
    "other JSON": (lambda path: path.write_text('{"images": []}'), "'categories'"),
    "a list": (lambda path: path.write_text("[]"), "list indices"),
    "a frame that is not there": (
        lambda path: rewritten(path, lambda content: content["annotations"][0].update(image_id=99)),
        "99",
    ),
    "nobody's": (
        lambda path: rewritten(path, lambda content: content["annotations"][0].pop("track_id")),
        "track_id",
    ),
    "twice": (
        lambda path: rewritten(path, lambda content: content["annotations"][2].update(image_id=0)),
        "person 0 is twice in a frame",
    ),
    "joints": (
        lambda path: rewritten(path, lambda content: content["annotations"][0].update(keypoints=[1])),
        "inhomogeneous",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_file_gets_one_sentence(name, tmp_path):
    spoil, sentence = WRONG[name]
    path = written(tmp_path, two_persons())
    spoil(path)
    with pytest.raises(
        UserError, match=rf"predictions\.json: expected the .* of rpstn predict, got .*{sentence}"
    ):
        read_recording(path)


def test_a_wide_row_has_a_person_in_a_frame(tmp_path):
    made = two_persons()
    rows = rows_of(make(tmp_path, made, "wide") / "predictions_wide.csv")
    expected = poses(made)
    assert [(int(row["frame"]), int(row["person"])) for row in rows] == list(expected)
    for row, pose in zip(rows, expected.values()):
        assert float(row["time"]) == pytest.approx(pose.frame / FPS)
        box = [float(row[f"box_{side}"]) for side in ("x1", "y1", "x2", "y2")]
        np.testing.assert_allclose(box, pose.box)
        found = [[number(row[f"{name}_{axis}"]) for axis in "xy"] for name in NAMES]
        np.testing.assert_array_equal(found, pose.joints)
        np.testing.assert_array_equal([number(row[f"{name}_score"]) for name in NAMES], pose.scores)
        np.testing.assert_array_equal(
            [number(row[f"{name}_probability"]) for name in NAMES], pose.probabilities
        )
        assert tuple(row[f"{name}_state"] for name in NAMES) == pose.states


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_tidy_table_by_pandas(kind, tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    else:
        monkeypatch.setattr("rpstn_training.video.formats.tidy.find_spec", lambda name: None)
    made = two_persons()
    smooth = FILTERING(made)
    make(tmp_path, made, "tidy", filtering=FILTERING)
    (path,) = tmp_path.iterdir()
    assert path.name == f"predictions_tidy.{kind}"
    table = pandas.read_parquet(path) if kind == "parquet" else pandas.read_csv(path)
    assert set(table["source"]) == {"clip.mp4"} and set(table["model"]) == {"rpstn"}
    assert set(table["weights"]) == {"best.pt"} and set(table["commit"]) == {"abc"}
    raw, soft = poses(made), poses(smooth)
    assert list(dict.fromkeys(zip(table["frame"], table["person"]))) == list(soft)
    assert len(table) == len(soft) * len(NAMES)
    for (frame, who), part in table.groupby(["frame", "person"]):
        assert list(part["joint"]) == list(NAMES)
        assert set(part["time_s"]) == {frame / FPS}
        np.testing.assert_allclose(
            part[["x_filtered_px", "y_filtered_px"]].to_numpy(dtype=float), soft[frame, who].joints, atol=6e-4
        )
        values = part[["x_px", "y_px", "score", "probability"]].to_numpy(dtype=float)
        if (frame, who) not in raw:
            assert np.isnan(values).all() and set(part["state"]) == {"filled"}
            continue
        pose = raw[frame, who]
        np.testing.assert_array_equal(values[:, :2], pose.joints)
        np.testing.assert_array_equal(values[:, 2], pose.scores)
        np.testing.assert_array_equal(values[:, 3], pose.probabilities)
    assert {(5, 3), (6, 3)} == set(soft) - set(raw)
    waves = table[table["person"].eq(0) & table["joint"].eq("head")]
    x, y, times = (waves[name].to_numpy() for name in ("x_px", "y_px", "time_s"))
    np.testing.assert_allclose(
        waves["speed_px_per_s"].to_numpy()[1:-1],
        np.hypot(x[2:] - x[:-2], y[2:] - y[:-2]) / (times[2:] - times[:-2]),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        waves["speed_filtered_px_per_s"], joint_speeds(smooth.persons[0], smooth)[:, 0], atol=1e-3
    )


def test_pycocotools_reads_the_filtered_file(tmp_path):
    module = pytest.importorskip("pycocotools.coco")
    made = two_persons()
    smooth = FILTERING(made)
    make(tmp_path, made, "coco", filtering=FILTERING)
    for name, there in (("predictions.json", made), ("predictions_filtered.json", smooth)):
        read = module.COCO(str(tmp_path / name))
        expected = poses(there)
        assert len(read.anns) == len(expected)
        for note in read.anns.values():
            pose = expected[note["image_id"], note["track_id"]]
            joints = np.nan_to_num(pose.joints)
            np.testing.assert_allclose(np.reshape(note["keypoints"], (-1, 3))[:, :2], joints, atol=6e-4)
    assert (tmp_path / "predictions.json").read_bytes() != (
        tmp_path / "predictions_filtered.json"
    ).read_bytes()


@pytest.mark.parametrize("kind", ["csv", "h5"])
@pytest.mark.parametrize("several", [False, True])
def test_movement_reads_the_deeplabcut_files(kind, several, tmp_path):
    load = pytest.importorskip("movement.io.load_poses")
    made = two_persons() if several else recording(person(0, [1, 2, 3, 7]), frames=9)
    make(tmp_path, made, "deeplabcut")
    read = load.from_dlc_file(tmp_path / f"deeplabcut.{kind}", fps=FPS)
    assert list(read.keypoints.values) == list(NAMES)
    who = ["person0", "person3"] if several else ["individual_0"]
    assert list(read.individuals.values) == who
    np.testing.assert_allclose(read.time.values, made.times)
    there = poses(made)
    for frame in range(len(made.frames)):
        for one, name in zip(made.persons, who):
            place = read.isel(time=frame).sel(individuals=name)
            pose = there.get((frame, one.number))
            if pose is None:
                assert np.isnan(place.position.values).all()
                continue
            np.testing.assert_array_equal(place.position.values.T, pose.joints)  # space, keypoints
            np.testing.assert_array_equal(place.confidence.values, pose.probabilities)


@pytest.mark.parametrize("several", [False, True])
def test_deeplabcut_as_its_own_programs_read_it(several, tmp_path):
    """By pandas, with as many heads as DeepLabCut's analysis expects, and without pandas."""
    made = (
        two_persons(calibrated=False) if several else recording(person(0, [1, 2], calibrated=False), frames=4)
    )
    make(tmp_path, made, "deeplabcut")
    with open(tmp_path / "deeplabcut.csv", newline="") as file:
        lines = list(csv.reader(file))
    heads = ["scorer", *(["individuals"] if several else []), "bodyparts", "coords"]
    assert [line[0] for line in lines[: len(heads)]] == heads
    columns = list(zip(*(line[1:] for line in lines[: len(heads)])))
    assert [int(line[0]) for line in lines[len(heads) :]] == list(range(len(made.frames)))
    for (frame, who), pose in poses(made).items():
        cells = dict(zip(columns, lines[len(heads) + frame][1:]))
        middle = (f"person{who}",) if several else ()
        for joint, (x, y), score in zip(NAMES, pose.joints, pose.scores):
            found = [cells[("DLC_rpstn", *middle, joint, coord)] for coord in ("x", "y", "likelihood")]
            np.testing.assert_array_equal([number(cell) for cell in found[:2]], [x, y])
            assert float(found[2]) == score or np.isnan(x)
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    stored = pandas.read_hdf(tmp_path / "deeplabcut.h5", "df_with_missing")
    from_csv = pandas.read_csv(tmp_path / "deeplabcut.csv", header=list(range(len(heads))), index_col=0)
    assert stored.columns.names == heads and list(stored.columns) == list(from_csv.columns)
    np.testing.assert_array_equal(stored.to_numpy(), from_csv.to_numpy(dtype=float))


def test_h5_files_hold_more_people_than_one_table_has_columns_for(tmp_path):
    """100 people of 13 joints are 3,900 columns, whose names do not fit into a header of HDF5."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    made = recording(*(person(number, [number % 5, 6]) for number in range(100)), frames=7)
    make(tmp_path, made, "deeplabcut")
    stored = pandas.read_hdf(tmp_path / "deeplabcut.h5", "df_with_missing")
    assert stored.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    values = stored.to_numpy().reshape(7, 100, 13, 3)
    for (frame, who), pose in poses(made).items():
        np.testing.assert_array_equal(values[frame, who, :, :2], pose.joints)
    assert stored.notna().to_numpy().sum() == 200 * 13 * 3


def test_h5_files_need_their_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "tables", None)
    monkeypatch.setattr(deeplabcut, "find_spec", lambda name: None if name == "tables" else object())
    assert deeplabcut.names() == ("deeplabcut.csv",)


# OpenPose's BODY_25, by numbers: which of Penn Action's joints, or the middle of which.
BODY_25 = {
    1: ("left_shoulder", "right_shoulder"),
    2: "right_shoulder",
    3: "right_elbow",
    4: "right_wrist",
    5: "left_shoulder",
    6: "left_elbow",
    7: "left_wrist",
    8: ("left_hip", "right_hip"),
    9: "right_hip",
    10: "right_knee",
    11: "right_ankle",
    12: "left_hip",
    13: "left_knee",
    14: "left_ankle",
}


def as_body_25(values: np.ndarray, combine) -> np.ndarray:
    result = np.zeros((25, *values.shape[1:]))
    for place, names in BODY_25.items():
        joints = [NAMES.index(name) for name in ([names] if isinstance(names, str) else names)]
        result[place] = combine(values[joints])
    return result


def test_the_openpose_files(tmp_path):
    made = two_persons()
    make(tmp_path, made, "openpose")
    files = sorted((tmp_path / "openpose").iterdir())
    assert [file.name for file in files] == [f"clip_{n:012d}_keypoints.json" for n in range(12)]
    there = poses(made)
    for frame, file in enumerate(files):
        content = json.loads(file.read_text())
        assert content["layout"] == "BODY_25" and content["joints"] == list(openpose.BODY_25)
        assert [one["person_id"] for one in content["people"]] == (
            [[who] for number, who in there if number == frame]
        )
        for one in content["people"]:
            pose = there[frame, one["person_id"][0]]
            found = np.reshape(one["pose_keypoints_2d"], (25, 3))
            np.testing.assert_allclose(found[:, :2], as_body_25(pose.joints, lambda v: v.mean(0)), atol=6e-4)
            np.testing.assert_array_equal(found[:, 2], as_body_25(pose.probabilities, lambda v: v.min(0)))
            assert one["states"][4] == pose.states[NAMES.index("right_wrist")]
            assert one["states"][0] is None and one["states"][1] is None


def test_pose_format_reads_the_openpose_files(tmp_path):
    module = pytest.importorskip("pose_format.utils.openpose")
    made = recording(person(0, [0, 1, 3], calibrated=False), frames=5)
    make(tmp_path, made, "openpose")
    read = module.load_openpose_directory(str(tmp_path / "openpose"), fps=FPS, width=SIZE[0], height=SIZE[1])
    assert read.body.data.shape[:2] == (5, 1)
    for (frame, _), pose in poses(made).items():
        joints = as_body_25(pose.joints, lambda v: v.mean(0))
        np.testing.assert_allclose(read.body.data.data[frame, 0, :25], joints, atol=1e-3)
        confidence = as_body_25(pose.scores, lambda v: v.min(0))
        np.testing.assert_allclose(read.body.confidence[frame, 0, :25], confidence, rtol=1e-5)
    assert not read.body.confidence[[2, 4]].any()


def test_openpose_of_skeletons_with_a_nose_and_of_other_ones(tmp_path):
    made = recording(person(0, [0], skeleton=coco.SKELETON), frames=1, skeleton=coco.SKELETON)
    (tmp_path / "a").mkdir()
    make(tmp_path / "a", made, "openpose")
    (file,) = (tmp_path / "a" / "openpose").iterdir()
    found = np.reshape(json.loads(file.read_text())["people"][0]["pose_keypoints_2d"], (25, 3))[:, :2]
    np.testing.assert_array_equal(found[[0, 15, 16, 17, 18]], made.persons[0].joints[0, [0, 2, 1, 4, 3]])

    part = ("left_eye", "tip_of_tail", "left_wrist")
    skeleton = replace(
        SKELETON, joints=part, limbs=((0, 1),), flip_pairs=(), groups={}, torso=(0, 1), torso_paper=(0, 1)
    )
    made = recording(person(0, [0], skeleton=skeleton, missing=((0, 1),)), frames=1, skeleton=skeleton)
    (tmp_path / "b").mkdir()
    make(tmp_path / "b", made, "openpose")
    (file,) = (tmp_path / "b" / "openpose").iterdir()
    content = json.loads(file.read_text())
    assert content["layout"] == "own" and content["joints"] == list(part)
    found = np.reshape(content["people"][0]["pose_keypoints_2d"], (3, 3))
    np.testing.assert_array_equal(found[[0, 2], :2], made.persons[0].joints[0, [0, 2]])
    np.testing.assert_array_equal(found[1], [0, 0, 0])


def test_the_angle_table(tmp_path):
    made = two_persons()
    rows = rows_of(make(tmp_path, made, "angles") / "angles.csv")
    assert [(int(row["frame"]), int(row["person"])) for row in rows] == list(poses(made))
    for one in made.persons:
        mine = [row for row in rows if int(row["person"]) == one.number]
        for name, values in angles(one, NAMES).items():
            np.testing.assert_allclose([number(row[f"{name}_deg"]) for row in mine], values, atol=6e-4)
    mine = [row for row in rows if row["person"] == "0"]
    bend = angles(made.persons[0], NAMES)["left_knee_flexion"]
    np.testing.assert_allclose(
        [float(row["left_knee_flexion_deg_per_s"]) for row in mine[1:-1]],
        (bend[2:] - bend[:-2]) * FPS / 2,
        atol=1e-3,
    )
    x, y = made.persons[0].joints[:, 0].T
    np.testing.assert_allclose(
        [float(row["head_px_per_s"]) for row in mine[1:-1]],
        np.hypot(x[2:] - x[:-2], y[2:] - y[:-2]) * FPS / 2,
        atol=1e-3,
    )


EVERY = tuple(formats.FORMATS)


@pytest.mark.parametrize(
    "made",
    [
        recording(frames=0),
        recording(frames=3),
        recording(person(4, [1]), frames=3),
        recording(person(4, [1], calibrated=False, missing=((0, 2),)), frames=3, skeleton=SKELETON),
        recording(
            person(0, [0, 1], skeleton=sub_jhmdb.SKELETON),
            frames=2,
            skeleton=sub_jhmdb.SKELETON,
            source="3 pictures",
        ),
    ],
    ids=["no frame", "nobody", "one frame", "one joint less", "other joints"],
)
def test_every_format_takes_little(made, tmp_path):
    make(tmp_path, made, *EVERY, filtering=FILTERING)
    names = formats.file_names(EVERY, filtered=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert len(names) == len(set(names))
    again = read_recording(tmp_path / "predictions.json")
    assert list(poses(again)) == list(poses(made))
    rows = rows_of(tmp_path / "predictions_wide.csv")
    assert len(rows) == len(poses(made))
    assert len(list((tmp_path / "openpose").iterdir())) == len(made.frames)
    assert len(list((tmp_path / "trc_filtered").iterdir())) == len(made.persons)


@pytest.mark.parametrize("name", ["tidy", "trc", "mot", "angles"])
def test_times_that_do_not_rise_are_refused(name, tmp_path):
    made = recording(person(0, [0, 1, 2]), times=np.array([0, 0.04, 0.04]))
    sentence = r"predictions\.json: expected times that rise .* frame 2 has 0\.04 s after 0\.04 s; .*--fps"
    with pytest.raises(UserError, match=sentence):
        make(tmp_path, made, name)


def test_an_unknown_format_is_told():
    assert formats.check_formats(["trc", "coco", "trc"]) == ("trc", "coco")
    with pytest.raises(
        UserError, match=r"--formats: expected some of coco csv .* got openpse, did you mean openpose\?"
    ):
        formats.check_formats(["coco", "openpse"])


def test_joints_without_numbers_are_missing(tmp_path):
    """What a network that has lost itself gives: NaN, or no finite score."""
    one = person(0, [0, 1])
    one.joints[0, 3], one.scores[0, 4], one.scores[1, 5] = np.nan, np.inf, np.nan
    again = read_again(tmp_path, recording(one, frames=2)).persons[0]
    assert np.argwhere(np.isnan(again.joints[..., 0])).tolist() == [[0, 3], [0, 4], [1, 5]]
    notes = json.loads((tmp_path / "predictions.json").read_text())["annotations"]
    assert [note["num_keypoints"] for note in notes] == [11, 12]
    assert notes[1]["score"] == pytest.approx(np.nanmean(one.scores[1]), abs=1e-5)
