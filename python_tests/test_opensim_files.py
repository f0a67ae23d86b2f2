"""OpenSim's TRC and MOT: by its own readers, by another one, and by the formats' descriptions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_recordings import FPS, SIZE, SKELETON, make, person, poses, recording, two_persons

from rpstn_training.video.angles import angles
from rpstn_training.video.formats import trc

NAMES = SKELETON.joints


def upright(pose) -> np.ndarray:
    """x right, y up, z = 0; NaN where a joint is missing."""
    place = np.column_stack([pose.joints[:, 0], SIZE[1] - 1 - pose.joints[:, 1], np.zeros(len(NAMES))])
    place[np.isnan(pose.joints[:, 0])] = np.nan
    return place


def read_trc(path: Path) -> tuple[list[str], list[list[float]]]:
    """Heads, and Frame#, Time and the numbers of each row, by the format's description alone."""
    lines = path.read_text().splitlines()
    names = lines[3].split("\t")
    assert names[:2] == ["Frame#", "Time"] and lines[5] == ""
    return names[2::3], [[float(cell) for cell in line.split("\t")] for line in lines[6:]]


def test_the_trc_files(tmp_path):
    times = np.arange(12) / FPS + np.array([0, 0, 0.01] * 4)  # not evenly spaced
    made = recording(*two_persons().persons, times=times)
    make(tmp_path, made, "trc")
    assert sorted(file.name for file in (tmp_path / "trc").iterdir()) == ["person0.trc", "person3.trc"]
    lines = (tmp_path / "trc" / "person3.trc").read_text().splitlines()
    assert lines[0] == f"PathFileType\t4\t(X/Y/Z)\tperson3.trc, {trc.SPACE}"
    assert dict(zip(lines[1].split("\t"), lines[2].split("\t"))) == {
        "DataRate": "25.0",
        "CameraRate": "25.0",
        "NumFrames": "8",
        "NumMarkers": "13",
        "Units": "mm",
        "OrigDataRate": "25.0",
        "OrigDataStartFrame": "3",
        "OrigNumFrames": "8",
    }
    names, rows = read_trc(tmp_path / "trc" / "person3.trc")
    assert names == list(NAMES)
    there = poses(made)
    assert [row[0] for row in rows] == list(range(3, 11))
    for row in rows:
        frame = int(row[0]) - 1
        assert row[1] == pytest.approx(times[frame], abs=1e-6)
        pose = there.get((frame, 3))
        expected = np.full((13, 3), np.nan) if pose is None else upright(pose)
        np.testing.assert_allclose(np.reshape(row[2:], (13, 3)), expected, atol=6e-4)


def test_trc_data_reader_reads_them(tmp_path):
    module = pytest.importorskip("trc")
    made = two_persons()
    make(tmp_path, made, "trc")
    read = module.TRCData()
    read.load(str(tmp_path / "trc" / "person3.trc"))
    assert read["Markers"] == list(NAMES) and read["Units"] == "mm" and read["DataRate"] == FPS
    there = poses(made)
    for frame in read["Frame#"]:
        time, places = read[frame]
        assert time == (frame - 1) / FPS
        pose = there.get((frame - 1, 3))
        expected = np.full((13, 3), np.nan) if pose is None else upright(pose)
        np.testing.assert_allclose(places, expected, atol=6e-4)


def test_opensim_reads_trc_and_mot(tmp_path):
    """OpenSim itself: the tables of today and the older MarkerData and Storage, which its tools use too."""
    opensim = pytest.importorskip("opensim")
    made = two_persons()
    make(tmp_path, made, "trc", "mot")
    there = poses(made)
    path = str(tmp_path / "trc" / "person3.trc")
    table = opensim.TimeSeriesTableVec3(path)
    assert list(table.getColumnLabels()) == list(NAMES)
    assert table.getTableMetaDataString("Units") == "mm"
    assert float(table.getTableMetaDataString("DataRate")) == FPS
    markers = opensim.MarkerData(path)
    assert (markers.getNumFrames(), markers.getDataRate()) == (8, FPS)
    for row, time in enumerate(table.getIndependentColumn()):
        frame = round(time * FPS)
        pose = there.get((frame, 3))
        expected = np.full((13, 3), np.nan) if pose is None else upright(pose)
        values = table.getRowAtIndex(row)
        found = [[values[joint][axis] for axis in range(3)] for joint in range(13)]
        np.testing.assert_allclose(found, expected, atol=6e-4)
        older = markers.getFrame(row)
        assert older.getFrameTime() == pytest.approx(time)
        found = [[older.getMarker(joint)[axis] for axis in range(3)] for joint in range(13)]
        np.testing.assert_allclose(found, expected, atol=6e-4)
    path = str(tmp_path / "mot" / "person3.mot")
    table, storage = opensim.TimeSeriesTable(path), opensim.Storage(path)
    expected = angles(made.persons[1], NAMES)
    assert list(table.getColumnLabels()) == list(expected)
    assert table.getTableMetaDataString("inDegrees") == "yes" and storage.isInDegrees()
    assert storage.getSize() == len(made.persons[1].rows)
    for column, (name, values) in enumerate(expected.items()):
        np.testing.assert_allclose(table.getDependentColumn(name).to_numpy(), values, atol=6e-4)
        older = [storage.getStateVector(row).getData().get(column) for row in range(storage.getSize())]
        np.testing.assert_allclose(older, values, atol=6e-4)


def test_the_mot_files(tmp_path):
    elbow = NAMES.index("left_elbow")
    made = recording(person(0, list(range(6)), missing=((2, elbow),)), frames=6)
    alone = person(1, [4, 5], missing=tuple((place, joint) for place in (0, 1) for joint in range(13)))
    made = recording(*made.persons, alone, frames=6)
    make(tmp_path, made, "mot")
    head, _, body = (tmp_path / "mot" / "person0.mot").read_text().partition("endheader\n")
    assert head.startswith("person0\nversion=1\nnRows=5\nnColumns=10\ninDegrees=yes\n")
    names, *rows = [line.split("\t") for line in body.splitlines()]
    expected = angles(made.persons[0], NAMES)
    assert names == ["time", *expected] and len(names) == 10
    assert [float(row[0]) for row in rows] == [n / FPS for n in (0, 1, 3, 4, 5)]
    for column, values in enumerate(expected.values(), start=1):
        np.testing.assert_allclose([float(row[column]) for row in rows], values[[0, 1, 3, 4, 5]], atol=6e-4)
    assert "nRows=2\nnColumns=1\n" in (tmp_path / "mot" / "person1.mot").read_text()


ODD = ("left hip", "top of head, middle", 'the "tip"', "a\ttab", "n\u00e4se", "back\\slash")


def test_names_of_joints_may_be_odd(tmp_path):
    """White space alone is replaced: a name with quotes or a backslash has no more of them than before."""
    torso = {"limbs": (), "flip_pairs": (), "groups": {}, "torso": (0, 1), "torso_paper": (0, 1)}
    skeleton = replace(SKELETON, joints=ODD, **torso)
    made = recording(person(0, [0, 1], skeleton=skeleton), frames=2, skeleton=skeleton)
    make(tmp_path, made, "trc")
    names, rows = read_trc(tmp_path / "trc" / "person0.trc")
    assert names == ["left_hip", "top_of_head,_middle", 'the_"tip"', "a_tab", "n\u00e4se", "back\\slash"]
    assert [len(row) for row in rows] == [2 + 3 * len(ODD)] * 2
    opensim = pytest.importorskip("opensim")
    assert list(opensim.TimeSeriesTableVec3(str(tmp_path / "trc" / "person0.trc")).getColumnLabels()) == names
