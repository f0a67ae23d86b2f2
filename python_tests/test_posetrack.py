"""PoseTrack2018: tracks over unlabelled frames, official ids, known defects, and what a wrong file is told."""

import copy

import numpy as np
import pytest
from label_files import HEIGHT, WIDTH, body, dump, expect_error, kinds, picture, set_at
from tiny_clips import codec_for

from rpstn_training.config import Config, DataConfig
from rpstn_training.data.clips import EvalClips
from rpstn_training.data.findings import Report
from rpstn_training.data.records import Skeleton
from rpstn_training.data.sets import load_tracks, posetrack2018
from rpstn_training.errors import UserError

JOINTS = len(posetrack2018.SKELETON.joints)
NAME = "000007_bonn_train"


def points(x=40.0, y=20.0):
    """17 key points of which the ears, and only they, are not annotated."""
    keypoints = body(JOINTS, x, y)
    keypoints[9:15] = [0] * 6
    for joint in range(JOINTS):
        keypoints[3 * joint + 2] = min(keypoints[3 * joint + 2], 1)
    return keypoints


def sequence(people, frames=8, labelled=None, name=NAME, part="val"):
    """A label file. `people` maps (track id, frame) to changes of the annotation."""
    labelled = range(frames) if labelled is None else labelled
    annotations = []
    for (person, frame), changes in people.items():
        annotation = {
            "id": 1000 * frame + person,
            "image_id": 10000070000 + frame,
            "track_id": person,
            "category_id": 1,
            "keypoints": points(40 + frame),
            "bbox": [30 + frame, 10, 50, 70],
            "bbox_head": [40, 20, 10, 12],
            "scores": [],
        }
        annotations.append({k: v for k, v in (annotation | changes).items() if v is not ...})
    images = [
        {
            "file_name": f"images/{part}/{name}/{frame:06d}.jpg",
            "id": 10000070000 + frame,
            "frame_id": 10000070000 + frame,
            "vid_id": "000007",
            "nframes": frames,
            "is_labeled": frame in labelled,
            "has_no_densepose": True,
        }
        for frame in range(frames)
    ]
    category = {"id": 1, "name": "person", "keypoints": list(posetrack2018.SKELETON.joints)}
    return {"categories": [category], "images": images, "annotations": annotations}


def write(root, values, name=NAME, part="val"):
    for image in values["images"]:
        if "file_name" in image:
            picture(root / image["file_name"])
    return dump(root / "annotations" / part / f"{name}.json", values)


def read(root, **options):
    report = Report()
    return posetrack2018.read(root, options.pop("subset", "test"), report=report, **options), report


def test_tracks_run_over_unlabelled_frames_and_end_where_the_person_is_gone(tmp_path):
    """Labelled: 0, 4, 5, 6, 7. Person 0 is in 0, 4, 6, 7, so gone in 5; person 3 in 5 alone."""
    write(
        tmp_path,
        sequence({(0, 0): {}, (0, 4): {}, (3, 5): {}, (0, 6): {}, (0, 7): {}}, labelled=(0, 4, 5, 6, 7)),
    )
    tracks, report = read(tmp_path)
    assert [(t.name, len(t), t.image_ids[0]) for t in tracks] == [
        (f"{NAME}/0.1", 5, 10000070000),
        (f"{NAME}/0.2", 2, 10000070006),
        (f"{NAME}/3", 1, 10000070005),
    ]
    first = tracks[0]
    assert (first.video, first.person) == (NAME, 0)
    assert first.scored.tolist() == [True, False, False, False, True] and tracks[1].scored is None
    assert not first.visible[1:4].any() and first.visible[[0, 4]].sum() == 30  # 15 of 17, without the ears
    assert not first.labelled[:, 3:5].any()
    assert first.joints[4, 0].tolist() == [44, 20]  # 0-based in the file
    assert first.boxes[0].tolist() == [30, 10, 79, 79]
    assert first.boxes[2].tolist() == [32, 10, 81, 79]  # between its neighbours
    assert report.counts["labelled frames"] == 5 and report.counts["frames"] == 8
    assert (report.counts["people"], report.counts["poses"], report.counts["joints"]) == (2, 5, 75)
    assert kinds(report) == {}


def test_unlabelled_frames_are_seen_but_not_scored(tmp_path):
    write(tmp_path, sequence({(0, 0): {}, (0, 4): {}}, labelled=(0, 4)))
    data = DataConfig(name="posetrack2018", root=str(tmp_path), input_size=(96, 128))
    (clip,) = EvalClips(
        load_tracks(data, "test"), posetrack2018.SKELETON, data, codec_for(Config(output="unused", data=data))
    )
    assert clip["scored"].tolist() == [True, False, False, False, True]
    assert clip["weights"].sum(dim=1).tolist() == [15, 0, 0, 0, 15]
    assert clip["frames"][2].float().mean() > 30  # the picture is there


def test_flags_and_placeholders(tmp_path):
    keypoints = points()
    keypoints[0:3] = [0, 0, 1]  # a placeholder that claims to be annotated
    keypoints[3:6] = [50, 60, 0]  # flag 0 at a position counts for poseval
    keypoints[9:12] = [30, 31, 1]  # an ear
    write(tmp_path, sequence({(0, 0): {"keypoints": keypoints}}))
    (track,), report = read(tmp_path)
    assert track.labelled[0].tolist() == [False, True, True, False, False] + [True] * 12
    assert np.array_equal(track.visible, track.labelled)
    assert kinds(report) == {
        "a position with flag 0": 1,
        "a labelled key point at (0, 0)": 1,
        "an annotated ear, which the set does not have": 1,
    }


def test_boxes_and_head_boxes_that_are_not_as_they_should_be(tmp_path):
    changes = {
        (0, 0): {"bbox": ..., "bbox_head": ...},
        (1, 0): {"bbox": [-30, 10, 60, 200]},
        (2, 0): {"bbox": [500, 500, 20, 20]},
        (3, 0): {"bbox": [30, 10, 0, 40], "keypoints": [0] * 51},
        (10001, 0): {},
    }
    write(tmp_path, sequence(changes, frames=1))
    tracks, report = read(tmp_path)
    around = [40, 20, 40 + 2 * 16, 20 + 3 * 16]
    assert tracks[0].boxes[0].tolist() == tracks[2].boxes[0].tolist() == around
    assert tracks[1].boxes[0].tolist() == [0, 10, 29, HEIGHT - 1]
    assert tracks[1].score_boxes[0].tolist() == [-30, 10, 29, 209]  # as annotated
    assert tracks[3].boxes[0].tolist() == [0, 0, WIDTH - 1, HEIGHT - 1]
    assert kinds(report) == {
        "no bbox_head": 1,
        "no box": 1,
        "a box partly outside the picture": 1,
        "a box outside the picture or of no size": 2,
        "all joints outside their box": 2,
        "a track_id of 10000 or more": 1,
    }
    done = {defect.done for defect in report.defects if "box" in defect.what}
    assert {"the box of its joints", "the whole picture", "cut at the border"} <= done


def test_a_person_twice_in_one_frame_is_a_track_of_its_own(tmp_path):
    values = sequence({(0, 0): {}, (0, 1): {}}, frames=2)
    values["annotations"].append({**values["annotations"][1], "id": 77, "bbox": [1, 2, 30, 40]})
    write(tmp_path, values)
    tracks, report = read(tmp_path)
    assert [(t.name, len(t)) for t in tracks] == [(f"{NAME}/0.1", 2), (f"{NAME}/0.2", 1)]
    assert kinds(report) == {
        "a person a second time in one frame": 1,
        "all joints outside their box": 1,  # the second box was drawn so
    }


def test_frames_and_their_labels_hold_together_in_any_order(tmp_path):
    values = sequence({(0, frame): {"keypoints": points(30 + frame)} for frame in range(8)})
    rng = np.random.default_rng(0)
    for key in ("images", "annotations"):
        values[key] = [values[key][i] for i in rng.permutation(8)]
    write(tmp_path, values)
    (track,), _ = read(tmp_path)
    assert [int(path.stem) for path in track.frames] == list(range(8))
    assert [number - 10000070000 for number in track.image_ids] == list(range(8))
    assert track.joints[:, 0, 0].tolist() == [30 + frame for frame in range(8)]


def test_ignore_regions_and_frames_without_people(tmp_path):
    values = sequence({(0, 0): {}}, frames=3)
    values["images"][1] |= {
        "ignore_regions_x": [[0, 10, 10], [5, 6, 7, 8]],
        "ignore_regions_y": [[0, 0, 9], [1, 2, 3, 4]],
    }
    path = write(tmp_path, values)
    report = Report()
    (found,) = posetrack2018.read_sequences(tmp_path, "val", "test", None, report)
    assert found.ignore_regions[1][0].tolist() == [[0, 0], [10, 0], [10, 9]]
    assert report.counts["ignore regions"] == 2 and report.counts["labelled frames without people"] == 2
    values["images"][1]["ignore_regions_y"][0].append(3)
    dump(path, values)
    expect_error(lambda: read(tmp_path), path, "images[1].ignore_regions_y")


def test_people_in_a_frame_called_unlabelled(tmp_path):
    write(tmp_path, sequence({(0, 0): {}, (0, 1): {}}, frames=2, labelled=(0,)))
    (track,), report = read(tmp_path)
    assert track.visible[1].any() and track.scored is None
    assert kinds(report) == {"people in a frame called unlabelled": 1}


def test_merged_files_and_their_own_option_for_each_subset(tmp_path):
    merged = {}
    for part, name in (("val", "000007_a"), ("val", "000008_b"), ("train", "000009_c")):
        values = sequence({(0, 0): {}, (1, 0): {}}, frames=1, name=name, part=part)
        shift = 10000 * int(name[:6])
        for image in values["images"]:
            image["id"] += shift
        for annotation in values["annotations"]:
            annotation["image_id"] += shift
            annotation["id"] += shift
        write(tmp_path, values, name, part)
        merged.setdefault(part, {"categories": values["categories"], "images": [], "annotations": []})
        for key in ("images", "annotations"):
            merged[part][key] += values[key]
    single, _ = read(tmp_path)
    dump(tmp_path / "all_val.json", merged["val"])
    together, report = read(tmp_path, test_labels="all_val.json")
    assert (
        [t.name for t in together]
        == [t.name for t in single]
        == [f"{n}/{p}" for n in ("000007_a", "000008_b") for p in (0, 1)]
    )
    assert report.counts["videos"] == 2
    train, _ = read(tmp_path, subset="train", test_labels="all_val.json")
    assert {t.video for t in train} == {"000009_c"}
    with pytest.raises(UserError, match=r"data\.options\.test_labels: expected a path inside"):
        read(tmp_path, test_labels="../all_val.json")


def test_boxes_of_a_detector_are_clips_that_end_with_their_frame(tmp_path):
    write(tmp_path, sequence({(0, frame): {} for frame in range(8)}))
    boxes = [
        {"image_id": 10000070006, "category_id": 1, "bbox": [10, 10, 40, 60], "score": 0.9},
        {"image_name": f"images/val/{NAME}/000001.jpg", "bbox": [20, 10, 40, 60], "score": 0.4},
        {"image_id": 10000070006, "category_id": 1, "bbox": [10, 10, 40, 60], "score": 0.1},
        {"image_id": 555, "category_id": 1, "bbox": [10, 10, 40, 60], "score": 0.9},
        {"image_id": 10000070002, "category_id": 1, "bbox": [900, 10, 40, 60], "score": 0.8},
    ]
    dump(tmp_path / "boxes.json", boxes)
    tracks, report = read(tmp_path, detections="boxes.json", clip_length=3)
    assert [[int(path.stem) for path in t.frames] for t in tracks] == [[4, 5, 6], [0, 0, 1], [0, 1, 2]]
    assert [t.box_score for t in tracks] == [0.9, 0.4, 0.8]
    assert all(t.scored.tolist() == [False, False, True] and not t.labelled.any() for t in tracks)
    assert tracks[0].boxes[0].tolist() == [10, 10, 49, 69] and tracks[0].image_ids[-1] == 10000070006
    assert tracks[2].boxes[0].tolist() == [0, 0, WIDTH - 1, HEIGHT - 1]
    assert kinds(report) == {
        "a box in a frame that is not in the label files": 1,
        "a detected box outside the picture or of no size": 1,
    }
    assert report.counts["detected boxes"] == 5
    train, _ = read(tmp_path / ".", detections="boxes.json", subset="test", detection_threshold=0.85)
    assert len(train) == 1


def test_the_hidden_test_set_needs_boxes(tmp_path):
    for frame in range(3):
        picture(tmp_path / "images" / "test" / "000001_mpiinew_test" / f"{frame:06d}.jpg")
    with pytest.raises(UserError, match=r"data\.options\.detections: expected a file with boxes"):
        read(tmp_path, images="test")
    dump(tmp_path / "boxes.json", [{"image_id": 10000010002, "bbox": [1, 1, 30, 30], "score": 1}])
    (track,), _ = read(tmp_path, images="test", detections="boxes.json")
    assert track.frames[-1].name == "000002.jpg" and track.image_ids[-1] == 10000010002


BAD = {
    "no such folder up": (
        ("images", 0, "file_name"),
        "../../etc/passwd",
        "images[0].file_name: expected a path inside",
    ),
    "absolute": (("images", 0, "file_name"), "/etc/passwd", "images[0].file_name: expected a path inside"),
    "no text": (("images", 0, "file_name"), 7, "images[0].file_name: expected text, got 7"),
    "no image id": (
        ("images", 0, "id"),
        ...,
        "images[0].id: expected a whole number or text, got no such field",
    ),
    "an image twice": (
        ("images", 1, "id"),
        10000070000,
        "images[1].id: expected an id of its own, got 10000070000",
    ),
    "an annotation twice": (
        ("annotations", 1, "id"),
        0,
        "annotations[1].id: expected an id of its own, got 0",
    ),
    "unknown image": (
        ("annotations", 0, "image_id"),
        5,
        "annotations[0].image_id: expected the id of one of the images",
    ),
    "true is no id": (
        ("annotations", 0, "image_id"),
        True,
        "annotations[0].image_id: expected a whole number or text, got true",
    ),
    "NaN": (
        ("annotations", 1, "keypoints", 3),
        float("nan"),
        "annotations[1].keypoints: expected finite numbers x, y and flag for joint head_bottom, got [",
    ),
    "text in numbers": (
        ("annotations", 1, "keypoints", 3),
        "4",
        "annotations[1].keypoints: expected finite numbers x, y and flag for joint head_bottom, got [",
    ),
    "null in numbers": (
        ("annotations", 1, "keypoints", 3),
        None,
        "annotations[1].keypoints: expected finite numbers x, y and flag for joint head_bottom, got [",
    ),
    "true in numbers": (
        ("annotations", 1, "keypoints", 3),
        True,
        "annotations[1].keypoints: expected finite numbers x, y and flag for joint head_bottom, got [",
    ),
    "too few": (
        ("annotations", 0, "keypoints"),
        [1, 2, 1] * 16,
        "annotations[0].keypoints: expected 51 numbers, x, y and flag of 17 joints, got 48",
    ),
    "flag": (("annotations", 0, "keypoints", 2), 3, "annotations[0].keypoints: expected flags 0, 1 or 2"),
    "infinite box": (
        ("annotations", 0, "bbox", 2),
        float("inf"),
        "annotations[0].bbox: expected 4 finite numbers",
    ),
    "three sides": (
        ("annotations", 0, "bbox"),
        [1, 2, 3],
        "annotations[0].bbox: expected a list of 4 finite",
    ),
    "head box": (("annotations", 0, "bbox_head"), "big", "annotations[0].bbox_head: expected a list of 4"),
    "no track": (("annotations", 0, "track_id"), ..., "annotations[0].track_id: expected a whole number"),
    "half a track": (
        ("annotations", 0, "track_id"),
        1.5,
        "annotations[0].track_id: expected a whole number, got 1.5",
    ),
    "COCO's joints": (
        ("categories", 0, "keypoints", 1),
        "left_eye",
        "categories[0].keypoints: expected the 17 joints",
    ),
    "no category": (
        ("categories", 0, "keypoints"),
        ...,
        "categories: expected a category with keypoints, got none",
    ),
    "label flag": (("images", 0, "is_labeled"), "yes", "images[0].is_labeled: expected true or false"),
    "not a list": (("annotations",), {}, "annotations: expected a list, got {}"),
    "not objects": (("annotations", 0), 3, "annotations[0]: expected an object with named fields, got 3"),
    "no images": (("images",), ..., "images: expected a list, got no such field"),
    "size 0": (("images", 0, "width"), 0, "images[0].width: expected a size above 0"),
}


@pytest.mark.parametrize(("place", "value", "text"), BAD.values(), ids=BAD)
def test_a_defective_file_is_named_with_its_field(tmp_path, place, value, text):
    values = sequence({(0, 0): {}, (0, 1): {}}, frames=2)
    for image in values["images"]:
        image |= {"width": WIDTH, "height": HEIGHT}
    write(tmp_path, copy.deepcopy(values))
    read(tmp_path)  # sound before
    set_at(values, place, value)
    path = dump(tmp_path / "annotations" / "val" / f"{NAME}.json", values)
    expect_error(lambda: read(tmp_path), path, text)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_off_anywhere_is_one_sentence(tmp_path, share):
    path = write(tmp_path, sequence({(0, 0): {}}))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    expect_error(lambda: read(tmp_path), path, "expected a whole JSON file")


@pytest.mark.parametrize("data", [b"[" * 200_000, b"\xff\xfe\x00x", b"\x89PNG" + bytes(range(256))])
def test_something_else_named_json(tmp_path, data):
    path = write(tmp_path, sequence({(0, 0): {}}))
    path.write_bytes(data)
    expect_error(lambda: read(tmp_path), path, "expected a whole JSON file")


def test_pictures_that_are_missing_or_of_another_size(tmp_path):
    values = sequence({(0, 0): {}, (0, 1): {}}, frames=2)
    path = write(tmp_path, values)
    missing = tmp_path / values["images"][1]["file_name"]
    missing.unlink()
    expect_error(lambda: read(tmp_path), missing, f"{path}: images[1].file_name names, found none")
    picture(missing)
    for image in values["images"]:
        image |= {"width": WIDTH + 1, "height": HEIGHT}
    dump(path, values)
    first = tmp_path / values["images"][0]["file_name"]
    expect_error(
        lambda: read(tmp_path), first, f"expected 121x90 pixels as {path}: images[0].width says, got 120x90"
    )
    picture(first, (WIDTH + 1, HEIGHT))  # the first fits, the second is found when it is cut
    data = DataConfig(name="posetrack2018", root=str(tmp_path), input_size=(96, 128), clip_length=2)
    clips = EvalClips(
        load_tracks(data, "test"), posetrack2018.SKELETON, data, codec_for(Config(output="unused", data=data))
    )
    expect_error(
        lambda: clips[0], missing, "expected 121x90 pixels as width and height in the label file say"
    )


def test_errors_are_collected_where_all_are_wanted(tmp_path):
    write(tmp_path, sequence({(0, 0): {}}, frames=1))
    for number in (1, 2):
        bad = sequence({(0, 0): {"track_id": "x"}}, frames=1, name=f"00000{number}_bad")
        write(tmp_path, bad, f"00000{number}_bad")
    report = Report(keep_going=True)
    tracks = posetrack2018.read(tmp_path, "test", report=report)
    assert [t.video for t in tracks] == [NAME] and len(report.errors) == 2


def test_the_skeleton_survives_a_checkpoint():
    assert Skeleton.from_dict(posetrack2018.SKELETON.to_dict()) == posetrack2018.SKELETON


def test_real_samples(shared):
    root = shared / "samples" / "posetrack18"
    tracks, report = read(root)
    assert report.counts["videos"] == 3 and report.counts["ignore regions"] == 15
    assert len(tracks) == 14 and sum(int(track.visible.sum()) for track in tracks) == 182
    assert kinds(report) == {"a box partly outside the picture": 2}
    merged, _ = read(root, test_labels="annotations/posetrack18_val.json")
    assert sorted(t.name for t in merged) == sorted(t.name for t in tracks)
    detected, report = read(
        root, detections="annotations/posetrack18_val_human_detections.json", detection_threshold=0.0
    )
    assert len(detected) == report.counts["detected boxes"] == 278
    sequences = posetrack2018._unlabelled(root / "images" / "test", "test")
    assert [len(found.video.frames) for found in sequences] == [5]
