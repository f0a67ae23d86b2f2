"""COCO, people's own sets in its form, and MPII: who is chosen, where boxes lie, what a wrong file is told."""

import copy

import numpy as np
import pytest
from label_files import HEIGHT, WIDTH, body, dump, expect_error, kinds, picture, set_at
from tiny_clips import codec_for

from rpstn_training.config import AugmentationConfig, Config, DataConfig
from rpstn_training.data.clips import TrainClips
from rpstn_training.data.findings import Report
from rpstn_training.data.sets import coco, custom, load_skeleton, load_tracks
from rpstn_training.errors import UserError

JOINTS = len(coco.SKELETON.joints)


def annotation(number, image=1, **changes):
    entry = {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "area": 900.0,
        "num_keypoints": JOINTS,
        "keypoints": body(JOINTS),
        "bbox": [30.5, 10.25, 50.0, 70.0],
    }
    return {k: v for k, v in (entry | changes).items() if v is not ...}


def labels(*annotations, images=(1,)):
    return {
        "images": [
            {"id": number, "file_name": f"{number:012d}.jpg", "width": WIDTH, "height": HEIGHT}
            for number in images
        ],
        "annotations": list(annotations),
        "categories": [
            {
                "id": 1,
                "name": "person",
                "keypoints": list(coco.SKELETON.joints),
                "skeleton": [[a + 1, b + 1] for a, b in coco.SKELETON.limbs],
            }
        ],
    }


def write(root, values, part="val", folder=None):
    for image in values["images"]:
        picture(root / (folder or f"{part}2017") / image["file_name"])
    return dump(root / "annotations" / f"person_keypoints_{part}2017.json", values)


def read(root, subset="test", **options):
    report = Report()
    return coco.read(root, subset, report=report, **options), report


def test_people_as_simple_baselines_chooses_them(tmp_path):
    """Hidden joints are trained; crowds, people without key points or without an area are left out."""
    hidden = body(JOINTS)
    hidden[2], hidden[3:6] = 1, [0, 0, 0]
    values = labels(
        annotation(1, keypoints=hidden, num_keypoints=16),
        annotation(2, iscrowd=1, segmentation={"counts": [1, 2], "size": [3, 4]}),
        annotation(3, keypoints=[0] * 51, num_keypoints=0),
        annotation(4, area=0),
        annotation(5, image=2, category_id=18, keypoints=...),
        images=(1, 2),
    )
    write(tmp_path, values)
    (track,), report = read(tmp_path)
    assert (track.person, track.image_ids, len(track)) == (1, (1,), 1)
    assert track.visible[0].tolist() == [True, False] + [True] * 15
    assert track.joints[0, 0].tolist() == [40, 20]
    assert track.boxes[0].tolist() == [30.5, 10.25, 79.5, 79.25]  # x + w - 1, as SimpleBaselines
    assert kinds(report) == {
        "a crowd instead of one person": 1,
        "a person without key points": 1,
        "a person of no area": 1,
    }
    assert report.counts == {"images": 2, "people": 1, "joints": 16, "images with people": 1}


def test_the_crop_is_that_of_simple_baselines(tmp_path):
    """Its centre and scale for 192 x 256: the box widened to 3:4, 1.25 times as large."""
    write(tmp_path, labels(annotation(1)))
    data = DataConfig(name="coco", root=str(tmp_path), clip_length=1, input_size=(192, 256), box="frame")
    plain = AugmentationConfig(rotation=0, scale=(1, 1), flip=0)
    (clip,) = TrainClips(
        load_tracks(data, "test"),
        load_skeleton(data),
        data,
        codec_for(Config(output="unused", data=data)),
        plain,
        seed=0,
    )
    height = 69.0 * 1.25  # w, h = 49, 69; 49 < 69 * 3 / 4
    factor = 256 / height
    centre = np.array([30.5 + 49 / 2, 10.25 + 69 / 2])
    expected = (np.array([40, 20]) - centre) * factor + [95.5, 127.5]
    np.testing.assert_allclose(clip["joints"][0, 0].numpy(), expected, atol=1e-4)


def test_odd_key_points(tmp_path):
    keypoints = body(JOINTS)
    keypoints[:6] = [0, 0, 2, 33, 44, 0]
    write(tmp_path, labels(annotation(1, keypoints=keypoints, num_keypoints=16)))
    (track,), report = read(tmp_path)
    assert track.labelled[0].tolist() == [False, False] + [True] * 15
    assert kinds(report) == {"a labelled key point at (0, 0)": 1, "a position with flag 0": 1}


def test_boxes_half_a_pixel_outside_are_cut_and_others_reported(tmp_path):
    values = labels(
        annotation(1, bbox=[-0.5, 10, 60, HEIGHT - 10 + 0.5]),
        annotation(2, bbox=[-40, 10, 80, 20]),
        annotation(3, bbox=...),
    )
    write(tmp_path, values)
    tracks, report = read(tmp_path)
    assert tracks[0].boxes[0].tolist() == [0, 10, 58.5, HEIGHT - 1]
    assert tracks[1].boxes[0].tolist() == [0, 10, 39, 29]
    assert tracks[2].boxes[0].tolist() == [40, 20, 72, 68]
    assert kinds(report) == {"a box partly outside the picture": 1, "no box": 1}


def test_subsets_folders_and_detected_boxes(tmp_path):
    write(tmp_path, labels(annotation(1), annotation(2)), "train", folder="images/train2017")
    write(tmp_path, labels(annotation(7), images=(1, 2)))
    assert [t.split for t in read(tmp_path, "train")[0]] == ["train", "train"]
    boxes = [
        {"image_id": 2, "category_id": 1, "bbox": [10, 10, 40, 60], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 60], "score": 0.1},
        {"image_id": 1, "category_id": 18, "bbox": [10, 10, 40, 60], "score": 0.9},
        {"image_id": 9, "category_id": 1, "bbox": [10, 10, 40, 60], "score": 0.9},
    ]
    path = dump(tmp_path / "boxes.json", boxes)
    (track,), report = read(tmp_path, detections="boxes.json", detection_threshold=0.5)
    assert track.image_ids == (2,) and track.box_score == 0.9 and not track.labelled.any()
    assert kinds(report) == {
        "a box in a picture that is not in the label file": 1,
        "boxes of category 18 instead of 1 or person": 1,
    }
    assert report.counts["detected boxes"] == 3
    assert len(read(tmp_path, "train", detections="boxes.json")[0]) == 2  # trained on annotated people
    picture(tmp_path / "test2017" / "000000000003.jpg")
    info = {
        "images": [{"id": 3, "file_name": "000000000003.jpg", "width": WIDTH, "height": HEIGHT}],
        "categories": [],
    }
    dump(tmp_path / "annotations" / "image_info_test-dev2017.json", info)
    boxes[0]["image_id"] = 3
    dump(path, boxes[:1])
    (track,), _ = read(tmp_path, images="test-dev", detections="boxes.json")
    assert track.frames[0].parent.name == "test2017"
    with pytest.raises(UserError, match="hidden; got none"):
        read(tmp_path, images="test-dev")
    boxes[0]["score"] = None
    dump(path, boxes)
    expect_error(
        lambda: read(tmp_path, detections="boxes.json"),
        f"{path}, entry 0",
        "score: expected a finite number, got nothing",
    )


def test_single_pictures_make_clips_of_one_frame(tmp_path):
    write(tmp_path, labels(annotation(1)))
    with pytest.raises(
        UserError, match=r"data\.clip_length: expected 1, because coco has single pictures, got 5"
    ):
        load_tracks(DataConfig(name="coco", root=str(tmp_path), clip_length=5), "test")


BAD = {
    "climbs out": (
        ("images", 0, "file_name"),
        "a/../../b.jpg",
        "images[0].file_name: expected a path inside",
    ),
    "backslash": (("images", 0, "file_name"), "..\\b.jpg", "images[0].file_name: expected a path inside"),
    "an annotation twice": (
        ("annotations", 1, "id"),
        1,
        "annotations[1].id: expected an id of its own, got 1",
    ),
    "crowd": (("annotations", 0, "iscrowd"), "no", "annotations[0].iscrowd: expected true or false"),
    "area": (("annotations", 0, "area"), "large", "annotations[0].area: expected a finite number"),
    "NaN": (("annotations", 1, "keypoints", 0), float("nan"), "joint nose, got [NaN, 20.0, 2]"),
    "no category": (("categories",), [], "categories: expected a category with keypoints, got none"),
    "PoseTrack's joints": (
        ("categories", 0, "keypoints", 1),
        "head_bottom",
        "categories[0].keypoints: expected the 17",
    ),
    "huge": (("images", 0, "width"), 10**30, "images[0].width: expected a whole number"),
}


@pytest.mark.parametrize(("place", "value", "text"), BAD.values(), ids=BAD)
def test_a_defective_file_is_named_with_its_field(tmp_path, place, value, text):
    values = labels(annotation(1), annotation(2))
    write(tmp_path, copy.deepcopy(values))
    read(tmp_path)
    set_at(values, place, value)
    path = dump(tmp_path / "annotations" / "person_keypoints_val2017.json", values)
    expect_error(lambda: read(tmp_path), path, text)


def test_missing_pictures_are_named_one_by_one(tmp_path):
    path = write(tmp_path, labels(annotation(1), images=(1, 2, 3)))
    for number in (2, 3):
        (tmp_path / "val2017" / f"{number:012d}.jpg").unlink()
    report = Report(keep_going=True)
    coco.read(tmp_path, "test", report=report)
    assert [f"images[{i}].file_name names" in error for i, error in zip((1, 2), report.errors)] == [
        True,
        True,
    ]
    expect_error(
        lambda: read(tmp_path), tmp_path / "val2017" / "000000000002.jpg", f"{path}: images[1].file_name"
    )


def own_labels(**category):
    """A set of hands: three joints, other category first."""
    names = ["root", "L-tip", "R-tip"]
    hand = {"id": 7, "name": "hand", "keypoints": names, "skeleton": [[1, 2], [1, 3]]} | category
    return {
        "images": [{"id": 1, "file_name": "a/b.png"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 7,
                "keypoints": [10, 11, 2, 20, 21, 1, 0, 0, 0],
                "bbox": [5, 5, 30, 30],
            },
            {"id": 2, "image_id": 1, "category_id": 3, "bbox": [5, 5, 30, 30]},
        ],
        "categories": [{"id": 3, "name": "cat"}, {k: v for k, v in hand.items() if v is not ...}],
    }


def own(root, values=None, **options):
    path = dump(root / "labels.json", own_labels() if values is None else values)
    picture(root / "images" / "a" / "b.png")
    options = {"train": "labels.json", "torso": [0, 1]} | options
    return DataConfig(name="custom", root=str(root), clip_length=1, options=options), path


def test_joints_of_ones_own_come_from_the_category(tmp_path):
    data, _ = own(tmp_path)
    (track,) = load_tracks(data, "train")
    assert track.joints[0, :2].tolist() == [[10, 11], [20, 21]] and track.visible[0].tolist() == [
        True,
        True,
        False,
    ]
    found = load_skeleton(data)
    assert found.joints == ("root", "L-tip", "R-tip") and found.limbs == ((0, 1), (0, 2))
    assert found.flip_pairs == ((1, 2),) and found.sigmas == ()
    data, _ = own(tmp_path, own_labels(sigmas=[0.1, 0.2, 0.2], flip_pairs=[[0, 1]]))
    assert load_skeleton(data).sigmas == (0.1, 0.2, 0.2) and load_skeleton(data).flip_pairs == ((0, 1),)


def test_the_configuration_goes_before_the_category(tmp_path):
    given = {"joints": ["a", "b", "c"], "limbs": [[0, 1]], "flip_pairs": [[0, 2]], "sigmas": [0.1, 0.1, 0.3]}
    data, _ = own(tmp_path, **given)
    found = load_skeleton(data)
    assert found.joints == ("a", "b", "c") and found.limbs == ((0, 1),) and found.flip_pairs == ((0, 2),)
    assert found.sigmas == (0.1, 0.1, 0.3)
    values = own_labels()
    del values["categories"]
    del values["annotations"][1]
    data, _ = own(tmp_path, values, **given)
    assert len(load_tracks(data, "train")) == 1 and load_skeleton(data).joints == ("a", "b", "c")


def test_cocos_own_file_read_as_ones_own_gives_cocos_skeleton(tmp_path):
    picture(tmp_path / "images" / "000000000001.jpg")
    dump(tmp_path / "labels.json", labels(annotation(1)))
    found = load_skeleton(
        DataConfig(name="custom", root=str(tmp_path), clip_length=1, options={"train": "labels.json"})
    )
    assert (found.flip_pairs, found.limbs, found.sigmas) == (
        coco.SKELETON.flip_pairs,
        coco.SKELETON.limbs,
        coco.SKELETON.sigmas,
    )
    assert found.torso == coco.SKELETON.torso and found.groups == coco.SKELETON.groups


@pytest.mark.parametrize(
    ("category", "options", "text"),
    [
        ({"keypoints": ...}, {}, "categories: expected a category with keypoints, got 0"),
        ({}, {"category": "paw"}, "categories: expected a category paw with keypoints, got 0"),
        ({"flip_pairs": [[1, 3]]}, {}, "categories[1].flip_pairs.0: expected two joints in 0..2, got [1, 3]"),
        ({"sigmas": [0.1]}, {}, "categories[1].sigmas: expected a list of 3 finite numbers"),
        ({"keypoints": ["a", "a", "b"]}, {}, "expected joints of different names, got a, a, b"),
        ({"keypoints": ["a", 3]}, {}, "categories[1].keypoints: expected a list of names"),
    ],
)
def test_a_defective_category_is_named(tmp_path, category, options, text):
    data, path = own(tmp_path, own_labels(**category), **options)
    expect_error(lambda: load_skeleton(data), path, text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"train": None}, "data.options.train: expected a label file"),
        ({"train": "../x.json"}, "data.options.train: expected a path inside"),
        ({"torso": None}, "data.options.torso: expected two joints"),
        ({"torso": [0, 9]}, "data.options.torso: expected joints 0..2"),
        ({"limbs": [[0, 9]]}, "data.options.limbs: expected joints 0..2"),
        ({"limbs": 3}, "data.options.limbs: expected a list of"),
        ({"sigmas": [1]}, "data.options.sigmas: expected 3 numbers"),
        ({"sigmas": "x"}, "data.options.sigmas: expected a list of numbers or null, got 'x'"),
        ({"joints": [1, 2]}, "data.options.joints: expected a list of names or null"),
        ({"jonits": ["a"]}, "data.options.jonits: expected an option of custom, it has train, test,"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(tmp_path, options, text):
    data, _ = own(tmp_path, **options)
    with pytest.raises(UserError) as caught:
        load_skeleton(data)
    assert str(caught.value).startswith(text)


def test_two_categories_with_key_points_need_a_choice(tmp_path):
    values = own_labels()
    values["categories"][0]["keypoints"] = ["x", "y"]
    data, path = own(tmp_path, values)
    expect_error(
        lambda: load_skeleton(data), path, "got 2 of cat, hand; choose one with data.options.category"
    )
    data, _ = own(tmp_path, values, category="hand")
    assert len(load_skeleton(data).joints) == 3 and len(load_tracks(data, "train")) == 1


def test_real_samples(shared):
    tracks, report = read(shared / "samples" / "coco")
    assert len(tracks) == 12 and report.counts["joints"] == 181
    assert kinds(report) == {"a person without key points": 2}
    name = "person_detection_results/COCO_val2017_detections_AP_H_56_person.json"
    assert len(read(shared / "samples" / "coco", detections=name)[0]) == 118
    options = {"test": "annotations/Sub1_test.json", "test_images": "Rename_Images/catch"}
    root = shared / "samples" / "jhmdb_mmpose_1frame"
    assert len(custom.read(root, "test", **options)) == 3
    data = DataConfig(name="custom", root=str(root), clip_length=1, options=options)
    assert len(load_skeleton(data).flip_pairs) == 6
