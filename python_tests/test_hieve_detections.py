"""HiEve with boxes of a detector: as single clips or linked into tracks, from a folder or a file, and wrong ones."""

import json
import zipfile

import numpy as np
import pytest
from label_files import HEIGHT, WIDTH, dump, expect_error, kinds, picture
from test_hieve import JOINTS, label, person, read, write

from rpstn_training.config import Config, DataConfig
from rpstn_training.data.clips import tiled_starts
from rpstn_training.data.records import Picture
from rpstn_training.data.sets import hieve, load_pictures, load_tracks
from rpstn_training.errors import UserError
from rpstn_training.evaluation import _boxes
from rpstn_training.predictions import Prediction
from rpstn_training.scores.sets import hieve as scorer

FRAMES = 8


def box(image_id, x=10.0, score=0.9, **more):
    return {"image_id": image_id, "category_id": 1, "bbox": [x, 5, 30, 60], "score": score, **more}


@pytest.fixture
def root(tmp_path):
    for number in (1, 3):
        write(tmp_path, number, label({t: [person(0)] for t in range(FRAMES)}), frames=FRAMES)
    return tmp_path


def boxes_of_two(frames=range(FRAMES), video=3):
    """One person walks, a second one stands and is missed in frame 4."""
    rows = []
    for t in frames:
        rows += [box(f"{video}/{t:06d}.jpg", 70.0, 0.5)] if t != 4 else []
        rows += [box(f"{video}/{t:06d}.jpg", 2.0 * t, 0.9 - 0.1 * (t % 2))]
    return rows


def test_a_file_of_boxes_as_clips_and_as_tracks(root):
    dump(root / "boxes.json", boxes_of_two())
    single, report = read(root, "test", detections="boxes.json", clip_length=3)
    assert len(single) == 15 and all(len(track) == 3 for track in single)
    assert report.counts["detected boxes"] == 15
    tracks, report = read(root, "test", detections="boxes.json", clip_length=3, link="iou")
    assert [(track.name, len(track), track.person) for track in tracks] == [("3/0", 8, 0), ("3/1", 8, 1)]
    walker, other = tracks  # the surest of a frame's new people comes first
    assert walker.boxes[:, 0].tolist() == [2 * t for t in range(FRAMES)]
    assert walker.box_score == pytest.approx([0.9, 0.8] * 4) and walker.box_score_at(3) == pytest.approx(0.8)
    assert other.boxes[4].tolist() == [70, 5, 99, 64]  # between its neighbours, and counted like the others
    assert other.scored is None and report.counts["boxes between detected ones"] == 1
    assert walker.video == "3" and walker.image_ids == tuple(range(FRAMES)) and not walker.labelled.any()
    assert tiled_starts(len(walker), 3) == [0, 3, 5]  # a video model gets clips of it


def test_each_option_of_the_links_has_its_effect(root):
    dump(root / "boxes.json", boxes_of_two())
    lengths = {
        str(options): [
            len(track) for track in read(root, "test", detections="boxes.json", link="iou", **options)[0]
        ]
        for options in ({}, {"link_gap": 0}, {"link_likeness": 1.0}, {"detection_threshold": 0.6})
    }
    assert lengths == {
        "{}": [8, 8],
        "{'link_gap': 0}": [8, 4, 3],
        "{'link_likeness': 1.0}": [1, 8, *[1] * 7],  # who walks is nowhere quite where expected
        "{'detection_threshold': 0.6}": [8],
    }


def test_numbers_of_the_file(root):
    rows = [
        box("3/000000.jpg", 0, track_id=7),
        box("3/000001.jpg", 60, track_id=7),
        box("3/000006.jpg", 0, track_id=7),
    ]
    path = dump(root / "boxes.json", rows)
    tracks, _ = read(root, "test", detections="boxes.json", link="file", link_gap=3)
    assert [(track.name, len(track), track.person) for track in tracks] == [("3/7.1", 2, 7), ("3/7.2", 1, 7)]
    assert len(read(root, "test", detections="boxes.json", link="file", link_gap=4)[0]) == 1
    rows[1]["image_id"] = "3/000000.jpg"
    dump(path, rows)
    expect_error(
        lambda: read(root, "test", detections="boxes.json", link="file"),
        path,
        "entry 1: expected each track_id once in a frame, got 7 a second time in frame 0 (first: entry 0)",
    )
    del rows[1]["track_id"]
    dump(path, rows)
    expect_error(
        lambda: read(root, "test", detections="boxes.json", link="file"),
        f"{path}, entry 1",
        "expected a track_id for data.options.link=file, got none",
    )


def test_points_of_an_earlier_result_tell_people_apart(root):
    """Two people in nearly one box, of whom one stands on his head; the file's order changes."""

    def rect(x, turned):
        points = [
            {"id": [j], "x": [x + 20], "y": [12 + 5 * (JOINTS - j if turned else j)], "score": [0.5]}
            for j in range(JOINTS)
        ]
        return person(0, x, annopoints=[{"point": points}])

    frames = {0: [rect(30, False), rect(32, True)], 1: [rect(30, True), rect(32, False)]}
    dump(root / "boxes" / "3.json", label(frames))
    first_x = {
        link: [track.boxes[:, 0].tolist() for track in read(root, "test", detections="boxes", link=link)[0]]
        for link in ("iou", "oks")
    }
    assert first_x == {"iou": [[30, 30], [32, 32]], "oks": [[30, 32], [32, 30]]}
    del frames[1][0]["annopoints"][0]["point"][3]
    dump(root / "boxes" / "3.json", label(frames))
    expect_error(
        lambda: read(root, "test", detections="boxes", link="oks"),
        root / "boxes",
        "3.json, annolist[1].annorect[0], frame 1: expected all 14 points of each person for data.options.link=oks",
    )
    path = dump(root / "boxes.json", boxes_of_two())
    expect_error(
        lambda: read(root, "test", detections="boxes.json", link="oks"),
        path,
        "expected a folder of files <n>.json with points",
    )


def test_boxes_that_belong_nowhere(root):
    rows = [*boxes_of_two(), box("3/000008.jpg"), box("1/000000.jpg"), box("20/000000.jpg")]
    path = dump(root / "boxes.json", rows)
    tracks, report = read(root, "test", detections="boxes.json", link="iou")
    assert len(tracks) == 2 and kinds(report) == {"a box in a frame that the video does not have": 1}
    assert report.counts["detected boxes in other videos"] == 2
    for image in ("000003.jpg", 12, "3/frame.jpg"):
        dump(path, [box(image)])
        expect_error(
            lambda: read(root, "test", detections="boxes.json"),
            f"{path}, entry 0",
            f"expected an image_id of video and frame like 3/000012.jpg, got {image!r}",
        )
    dump(root / "boxes" / "3.json", label({0: [person(0, score=[0.4])]}))
    expect_error(
        lambda: read(root, "test", detections="boxes", detection_threshold=0.5),
        root / "boxes",
        "expected boxes with a score of 0.5 or more (data.options.detection_threshold), found none among 1",
    )
    for options in ({"link_likeness": 0.0}, {"link_likeness": 1.5}, {"link_gap": -1}):
        with pytest.raises(
            UserError, match="expected a link_likeness above 0 and at most 1 and a link_gap of at"
        ):
            read(root, "test", detections="boxes", link="iou", **options)
    data = DataConfig(name="hieve", root=str(root), options={"detections": "boxes", "link": "nearest"})
    with pytest.raises(
        UserError, match=r"data\.options\.link: expected one of none, file, iou, oks, got 'nearest'"
    ):
        load_tracks(data, "test")


def test_hidden_videos_and_the_submission_of_tracks(root):
    write(root, 20, label({}), frames=FRAMES, part="test", folder="unused")
    dump(root / "boxes.json", [*boxes_of_two(video=20), *boxes_of_two(video=3)])
    options = {"images": "test", "detections": "boxes.json", "link": "iou"}
    tracks = load_tracks(DataConfig(name="hieve", root=str(root), options=options), "test")
    assert {track.video for track in tracks} == {"20"}
    predictions = []
    for track in tracks:
        shape = (len(track), JOINTS)
        joints, scores = np.zeros((*shape, 2)), np.full(shape, 0.5)
        predictions.append(
            Prediction(
                name=track.name, joints=joints, scores=scores, predicted=np.ones(len(track), dtype=bool)
            )
        )
    out = scorer.write(predictions, tracks, hieve.SKELETON, root / "out", root=root)
    with zipfile.ZipFile(out) as archive:
        frames = json.loads(archive.read("20.json"))["annolist"]
    assert [len(frame["annorect"]) for frame in frames] == [2] * FRAMES
    assert [frame["annorect"][0]["track_id"] for frame in frames] == [[0]] * FRAMES
    assert [frame["annorect"][0]["score"][0] for frame in frames] == pytest.approx([0.45, 0.4] * 4)


def test_the_pictures_that_boxes_are_looked_for_in(root):
    write(root, 20, label({}), frames=2, part="test", folder="unused")

    def names(subset, **options):
        data = DataConfig(name="hieve", root=str(root), options=options)
        return [one.id for one in load_pictures(data, subset)]

    assert names("test") == [f"3/{t:06d}.jpg" for t in range(FRAMES)]
    assert names("train", detections="absent.json") == [f"1/{t:06d}.jpg" for t in range(FRAMES)]
    assert names("test", validation=[1]) == [f"1/{t:06d}.jpg" for t in range(FRAMES)]
    assert names("test", images="test") == ["20/000000.jpg", "20/000001.jpg"]
    (first, *_) = load_pictures(DataConfig(name="hieve", root=str(root), options={}), "test")
    assert first.path == root / "frames" / "3" / "000000.jpg" and first.size == (WIDTH, HEIGHT)
    expect_error(
        lambda: names("test", validation=[5]), root, "expected videos 5.mp4 ... in videos/train, found none"
    )
    with pytest.raises(UserError, match=r"data\.options\.imges: expected an option of hieve"):
        names("test", imges="test")
    with pytest.raises(
        UserError, match="expected a set that takes detected boxes, coco, hieve, posetrack2018, got penn"
    ):
        load_pictures(DataConfig(name="penn_action", root=str(root)), "test")


def test_the_protocol_says_how_boxes_were_linked():
    def words(**options):
        return _boxes(Config(output="run", data=DataConfig(name="hieve", root="x", options=options)))

    assert words(link="iou") == "ground-truth boxes"
    assert words(detections="b.json") == words(detections="b.json", link="none") == "detected boxes of b.json"
    assert words(detections="b", link="iou") == "detected boxes of b linked into tracks by overlap"
    assert words(detections="b", link="oks") == (
        "detected boxes of b linked into tracks by overlap and the OKS of their points"
    )
    assert words(detections="b", link="file") == "detected boxes of b in tracks by the file's track_ids"


def test_the_pictures_of_other_sets(tmp_path):
    images = [{"id": 4, "file_name": "4.jpg", "width": WIDTH, "height": HEIGHT}]
    dump(tmp_path / "annotations" / "image_info_test-dev2017.json", {"images": images})
    path = picture(tmp_path / "test2017" / "4.jpg")
    data = DataConfig(
        name="coco",
        root=str(tmp_path),
        clip_length=1,
        options={"images": "test-dev", "detections": "boxes.json"},
    )
    (found,) = load_pictures(data, "test")
    assert found == Picture(id=4, path=path, size=(WIDTH, HEIGHT))
    path = picture(tmp_path / "images" / "test" / "000522_mpii" / "000000.jpg")
    data = DataConfig(name="posetrack2018", root=str(tmp_path), options={"images": "test"})
    (found,) = load_pictures(data, "test")
    assert found == Picture(id=10005220000, path=path, size=(WIDTH, HEIGHT))
