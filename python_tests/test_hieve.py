"""HiEve: videos decoded once, points placed by id, what their score means, and what a wrong file is told."""

import copy

import cv2
import numpy as np
import pytest
from label_files import HEIGHT, WIDTH, dump, expect_error, kinds, set_at

from rpstn_training.data.findings import Report
from rpstn_training.data.forms import videos
from rpstn_training.data.sets import hieve
from rpstn_training.errors import UserError

JOINTS = len(hieve.SKELETON.joints)


def person(track, x=30, points=None, **changes):
    """An entry of annorect; every leaf is a list of one element. `points` maps joints to scores."""
    points = {joint: 1 for joint in range(JOINTS)} if points is None else points
    entry = {
        "x1": [x],
        "y1": [10],
        "x2": [x + 40],
        "y2": [80],
        "score": [1],
        "track_id": [track],
        "annopoints": [
            {
                "point": [
                    {"id": [j], "x": [x + 2 * j], "y": [12 + 3 * j], "score": [s]} for j, s in points.items()
                ]
            }
        ],
    }
    return {k: v for k, v in (entry | changes).items() if v is not ...}


def label(frames):
    """`frames` maps frame numbers to lists of people."""
    return {
        "annolist": [
            {"image": [{"name": f"{frame:06d}.jpg"}], "ignore_regions": [], "annorect": people}
            for frame, people in frames.items()
        ]
    }


def write(root, number, values, frames=6, part="train", folder="labels/train/track2&3", suffix=".avi"):
    """The label file and a video of `frames` frames, of which frame t is of grey level 20 + 30 t."""
    path = root / "videos" / part / f"{number}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    for t in range(frames):
        writer.write(np.full((HEIGHT, WIDTH, 3), 20 + 30 * t, np.uint8))
    writer.release()
    return dump(root / folder / f"{number}.json", values)


def read(root, subset="train", **options):
    report = Report()
    return hieve.read(root, subset, report=report, **options), report


def test_videos_are_decoded_once_into_numbered_frames(tmp_path, monkeypatch):
    write(tmp_path, 1, label({t: [person(4, 30 + t)] for t in range(6)}))
    (track,), report = read(tmp_path)
    assert [path.name for path in track.frames] == [f"{t:06d}.jpg" for t in range(6)]
    levels = [cv2.imread(str(path))[0, 0, 0] for path in track.frames]
    assert np.abs(np.array(levels, float) - (20 + 30 * np.arange(6))).max() < 4
    assert track.joints[:, 0].tolist() == [[30 + t, 12] for t in range(6)]
    assert track.boxes[2].tolist() == [32, 10, 72, 80] and track.scored is None
    assert report.counts["poses"] == 6 and report.counts["joints"] == 84 and report.counts["videos"] == 1
    assert [path.name for path in (tmp_path / "frames").iterdir()] == ["1"]  # nothing half done beside it
    monkeypatch.setattr(videos, "_decode", lambda *_: pytest.fail("decoded a second time"))
    read(tmp_path)


def test_a_decoding_that_stops_leaves_nothing_behind(tmp_path, monkeypatch):
    write(tmp_path, 1, label({0: [person(4)]}))
    monkeypatch.setattr(videos.cv2, "imencode", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path)
    assert list((tmp_path / "frames").iterdir()) == []
    monkeypatch.undo()
    assert len(read(tmp_path)[0]) == 1


def test_split_by_video_in_order_of_numbers(tmp_path):
    for number in (10, 3, 2, 17):
        write(tmp_path, number, label({0: [person(0)]}), frames=1)
    assert [t.video for t in read(tmp_path)[0]] == ["2", "10"]
    assert [t.video for t in read(tmp_path, "test")[0]] == ["3", "17"]
    assert [t.video for t in read(tmp_path, "test", validation=(2,))[0]] == ["2"]


@pytest.mark.parametrize(
    ("point_score", "scores", "visible", "labelled"),
    [
        ("auto", (1, 0.4, 0), (True, True, False), (True, True, True)),
        ("auto", (-1, 1, 0), (False, False, True), (False, True, True)),  # -1 is only a flag
        ("flag", (1, 1, 0), (False, False, True), (True, True, True)),
        ("positive", (-1, 1, 0), (False, True, False), (True, True, True)),
    ],
)
def test_what_the_score_of_a_point_means(tmp_path, point_score, scores, visible, labelled):
    points = dict(zip((9, 2, 5), scores))  # by id, in any order, fewer than 14
    write(tmp_path, 1, label({0: [person(0, points=points)]}), frames=1)
    (track,), _ = read(tmp_path, point_score=point_score)
    assert track.visible[0, [9, 2, 5]].tolist() == list(visible)
    assert track.labelled[0, [9, 2, 5]].tolist() == list(labelled)
    assert track.labelled.sum() == sum(labelled)
    assert track.joints[0, 9].tolist() == [48, 39]


def test_boxes_without_points_and_without_size(tmp_path):
    people = [
        person(0, annopoints=[]),
        person(1, annopoints=...),
        person(2, x1=[90], x2=[20]),
        person(3, x1=...),
        person(4, annopoints=[{"point": []}]),
    ]
    write(tmp_path, 1, label({0: people}), frames=1)
    tracks, report = read(tmp_path)
    assert [track.labelled.any() for track in tracks] == [False, False, True, True, False]
    around = [30, 12, 30 + 26, 12 + 39]
    assert tracks[2].boxes[0].tolist() == tracks[3].boxes[0].tolist() == around
    assert report.counts["boxes without points"] == 3 and report.counts["poses"] == 2
    assert kinds(report) == {"a box outside the picture or of no size": 2}


def test_a_point_at_the_corner_is_a_placeholder(tmp_path):
    values = label({0: [person(0)]})
    values["annolist"][0]["annorect"][0]["annopoints"][0]["point"][3] |= {"x": [0], "y": [0]}
    write(tmp_path, 1, values, frames=1)
    (track,), report = read(tmp_path)
    assert not track.labelled[0, 3] and track.labelled.sum() == 13
    assert kinds(report) == {"a point at (0, 0)": 1}


def test_the_other_layout_and_boxes_of_a_detector(tmp_path):
    write(tmp_path, 3, label({t: [person(0)] for t in range(6)}), folder="labels/track2&3/track2")
    assert len(read(tmp_path, "test")[0]) == 1
    dump(tmp_path / "boxes" / "3.json", label({4: [person(0, score=[0.5]), person(1, score=[0.2])]}))
    (track,), report = read(tmp_path, "test", detections="boxes", detection_threshold=0.3, clip_length=3)
    assert [path.name for path in track.frames] == ["000002.jpg", "000003.jpg", "000004.jpg"]
    assert (
        track.box_score == 0.5 and track.scored.tolist() == [False, False, True] and not track.labelled.any()
    )
    assert report.counts["detected boxes"] == 2
    with pytest.raises(UserError, match=r"data\.options\.detections: expected a folder or a file with boxes"):
        read(tmp_path, "test", images="test")
    write(tmp_path, 20, label({1: [person(0)]}), part="test", folder="hidden")
    (track,), _ = read(tmp_path, "test", images="test", detections="hidden", clip_length=1)
    assert track.video == "20"


def test_videos_that_do_not_fit(tmp_path):
    path = write(tmp_path, 1, label({7: [person(0)]}), frames=3)
    expect_error(lambda: read(tmp_path), tmp_path / "frames" / "1", f"expected 8 frames as {path} has, got 3")
    (tmp_path / "frames" / "1" / "000001.jpg").unlink()
    expect_error(lambda: read(tmp_path), tmp_path / "frames" / "1" / "000001.jpg", "expected a frame here")
    write(tmp_path, 2, label({0: []}))
    video = tmp_path / "videos" / "train" / "2.avi"
    video.write_bytes(b"no video" * 99)
    (tmp_path / "labels/train/track2&3/1.json").unlink()
    expect_error(lambda: read(tmp_path), video, "expected a video, the file (792 bytes) does not open as one")
    video.unlink()
    expect_error(
        lambda: read(tmp_path), tmp_path / "videos" / "train" / "2.mp4", "expected a video, found none"
    )
    expect_error(
        lambda: read(tmp_path / "videos"), tmp_path / "videos/labels/train/track2&3", "expected label files"
    )


RECT = ("annolist", 0, "annorect", 0)
POINT = (*RECT, "annopoints", 0, "point", 1)
BAD = {
    "joint twice": ((*POINT, "id"), [0], "annopoints[0].point: expected each id 0..13 at most once"),
    "joint 14": ((*POINT, "id"), [14], "annopoints[0].point: expected each id 0..13 at most once"),
    "half a joint": ((*POINT, "id"), [1.5], "annopoints[0].point: expected each id 0..13 at most once"),
    "no x": (
        (*POINT, "x"),
        ...,
        "annolist[0].annorect[0].annopoints[0].point[1].x: expected a finite number",
    ),
    "NaN": (
        (*POINT, "y"),
        [float("nan")],
        "annolist[0].annorect[0].annopoints[0].point[1].y: expected 1 finite",
    ),
    "text": ((*POINT, "y"), ["3"], "point[1].y: expected 1 finite numbers"),
    "two values": ((*POINT, "score"), [1, "x"], "point[1].score"),
    "not an object": (POINT, 3, "point[1]: expected an object with named fields, got 3"),
    "no track": ((*RECT, "track_id"), ..., "annolist[0].annorect[0].track_id: expected a whole number"),
    "half a track": ((*RECT, "track_id"), [0.5], "annolist[0].annorect[0].track_id: expected a whole number"),
    "endless box": ((*RECT, "x2"), [float("inf")], "annolist[0].annorect[0].x2: expected 1 finite"),
    "frame name": (
        ("annolist", 0, "image", 0, "name"),
        "../a.jpg",
        "annolist[0].image[0].name: expected a frame's",
    ),
    "frame twice": (
        ("annolist", 1, "image", 0, "name"),
        "000000.jpg",
        "annolist[1].image[0].name: expected a frame after 0",
    ),
    "no image": (("annolist", 0, "image"), [], "annolist[0].image: expected one image, got []"),
    "no annolist": (("annolist",), ..., "annolist: expected a list, got no such field"),
}


@pytest.mark.parametrize(("place", "value", "text"), BAD.values(), ids=BAD)
def test_a_defective_file_is_named_with_its_field(tmp_path, place, value, text):
    values = label({0: [person(0)], 1: [person(0)]})
    assert hieve.read_label(dump(tmp_path / "1.json", copy.deepcopy(values))).frames == (0, 1)
    set_at(values, place, value)
    path = dump(tmp_path / "1.json", values)
    expect_error(lambda: hieve.read_label(path), path, text)
