"""People's own label files, as tools write them: what has a natural meaning is read and counted, the rest is said."""

import copy
import json
import unicodedata

import pytest
from label_files import HEIGHT, WIDTH, body, dump, expect_error, kinds, picture, set_at

from rpstn_training.config import DataConfig
from rpstn_training.data.findings import Report
from rpstn_training.data.sets import custom, load_skeleton, load_tracks, posetrack2018
from rpstn_training.errors import UserError
from rpstn_training.scores import sets as scores
from rpstn_training.scores.sets import custom as custom_score

NAMES = ("nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip")
OPTIONS = {"train": "train.json", "test": "val.json"}


def person(number, image=1, **changes):
    entry = {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "keypoints": body(len(NAMES)),
        "bbox": [35.0, 15.0, 20.0, 25.0],
        "area": 400.0,
    }
    return {key: value for key, value in (entry | changes).items() if value is not ...}


def labels(*people, names=NAMES, images=(1,), **category):
    return {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT}
            for number in images
        ],
        "annotations": list(people) or [person(1)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(names)} | category],
    }


def write(root, train=None, val=None):
    for name, values in (("train", train or labels()), ("val", val or labels())):
        for image in values["images"]:
            picture(root / "images" / str(image["file_name"]).rpartition("/")[2])
        dump(root / f"{name}.json", values)
    return root


def read(root, subset="train", **options):
    report = Report(keep_going=True)
    return custom.read(root, subset, **OPTIONS, **options, report=report), report


def data(root, **options):
    return DataConfig(name="custom", root=str(root), clip_length=1, options=OPTIONS | options)


# ---- train and test


def shuffled(names=NAMES):
    """The same joints in another order; each keeps its place in the picture."""
    order = [4, 2, 0, 1, 3]
    points = body(len(NAMES))
    keypoints = [value for joint in order for value in points[3 * joint : 3 * joint + 3]]
    return labels(person(1, keypoints=keypoints), names=[names[joint] for joint in order]), keypoints


def test_joints_of_the_test_are_matched_by_name(tmp_path):
    other, _ = shuffled()
    write(tmp_path, val=other)
    (train,), (test,) = (load_tracks(data(tmp_path), subset) for subset in ("train", "test"))
    assert load_skeleton(data(tmp_path)).joints == NAMES
    assert test.joints.tolist() == train.joints.tolist()
    renamed = data(tmp_path, joints=["a", "b", "c", "d", "e"], torso=[0, 1])
    assert load_tracks(renamed, "test")[0].joints.tolist() == train.joints.tolist()
    reordered = data(tmp_path, joints=list(NAMES[::-1]))
    for subset in ("train", "test"):
        assert load_tracks(reordered, subset)[0].joints[0].tolist() == train.joints[0, ::-1].tolist()


@pytest.mark.parametrize("names", [NAMES[:-1], (*NAMES[:-1], "tail")])
def test_other_joints_are_one_sentence_with_both_files(tmp_path, names):
    path = tmp_path / "val.json"
    write(tmp_path, val=labels(person(1, keypoints=body(len(names))), names=names))
    text = f"expected the 5 joints of {tmp_path / 'train.json'} ({', '.join(NAMES)}), in any order, got {len(names)}"
    expect_error(lambda: load_tracks(data(tmp_path), "test"), f"{path}: categories[0].keypoints", text)
    assert len(load_tracks(data(tmp_path), "train")) == 1


def test_what_is_handed_in_and_scored_has_the_order_of_the_label_file(tmp_path):
    """A wrong nose, whose tolerance alone is small, costs as much as the file's own order says."""
    other, keypoints = shuffled()
    write(tmp_path, val=other)
    order = custom.column_order(tmp_path, "test", **OPTIONS)
    assert order == (2, 3, 1, 4, 0)
    skeleton = load_skeleton(data(tmp_path, sigmas=[0.01, 0.1, 0.2, 0.3, 0.4]))
    given = custom_score.as_labelled(tmp_path, skeleton, **OPTIONS)
    assert given["joints"] == ["right_hip", "right_shoulder", "nose", "left_shoulder", "left_hip"]
    assert given["sigmas"] == [0.4, 0.2, 0.01, 0.1, 0.3]
    found = {"image_id": 1, "category_id": 1, "keypoints": keypoints, "score": 1.0}
    pred = dump(tmp_path / "pred.json", [found])
    assert scores.score("custom", tmp_path / "val.json", pred, given).main == pytest.approx(1)


# ---- one entry stops nothing


def test_a_person_without_key_points_is_left_out_and_counted(tmp_path):
    people = [person(1), person(2, keypoints=[], num_keypoints=0), person(3, keypoints=...)]
    write(tmp_path, labels(*people), labels(*people, person(4, keypoints=[], bbox=...)))
    tracks, report = read(tmp_path)
    assert len(tracks) == 1 and kinds(report) == {"a person without key points": 2}
    pred = dump(tmp_path / "pred.json", [])
    table = scores.score("custom", tmp_path / "val.json", pred, {})
    assert table.details["counts"]["people"] == 1 and table.details["counts"]["ignored"] == 2
    assert "people with neither key points nor a box, left out (1)" in table.text


@pytest.mark.parametrize("nothing", [[float("nan"), float("nan"), 0], [None, None, 0], [None, None, None]])
def test_a_joint_of_nothing_with_flag_0_is_not_labelled(tmp_path, nothing):
    keypoints = body(len(NAMES))
    keypoints[3:6] = nothing
    write(tmp_path, labels(person(1, keypoints=keypoints)), labels(person(1, keypoints=keypoints)))
    (track,), report = read(tmp_path)
    assert track.labelled[0].tolist() == [True, False, True, True, True] and not report.errors
    assert kinds(report) == {"NaN or null with flag 0 in keypoints": 1}
    score = scores.score("custom", tmp_path / "val.json", dump(tmp_path / "pred.json", []), {})
    assert score.details["counts"]["people"] == 1


def test_a_joint_of_nothing_with_a_flag_is_named(tmp_path):
    keypoints = body(len(NAMES))
    keypoints[6:9] = [None, 3, 2]
    path = write(tmp_path, labels(person(1, keypoints=keypoints))) / "train.json"
    expect_error(
        lambda: custom.read(tmp_path, "train", **OPTIONS), path, "joint right_shoulder, got [null, 3, 2]"
    )


@pytest.mark.parametrize("empty", [None, float("nan")])
def test_fields_of_nothing_are_not_given(tmp_path, empty):
    write(tmp_path, labels(person(1, area=empty, num_keypoints=empty, iscrowd=empty)))
    tracks, report = read(tmp_path)
    assert len(tracks) == 1 and not report.errors and not report.defects


@pytest.mark.parametrize("box", [[], None, ..., [None] * 4, [float("nan")] * 4])
def test_no_box_is_that_of_the_joints(tmp_path, box):
    write(tmp_path, labels(person(1, bbox=box), person(2)))
    tracks, report = read(tmp_path)
    assert kinds(report) == {"no box": 1} and tracks[0].boxes[0].tolist() == [40, 20, 48, 32]


def test_an_empty_list_of_key_points_is_no_category_with_key_points(tmp_path):
    values = labels()
    values["categories"].insert(0, {"id": 3, "name": "box", "keypoints": []})
    write(tmp_path, values, values)
    assert len(read(tmp_path)[0]) == 1
    values["categories"].append({"id": 4, "name": "hand", "keypoints": ["tip"]})
    write(tmp_path, values, values)
    text = "got 2 of person, hand; choose one with "
    expect_error(
        lambda: custom.read(tmp_path, "train", **OPTIONS), tmp_path / "train.json", text + "data.options.cat"
    )
    pred = dump(tmp_path / "pred.json", [])
    gt = tmp_path / "val.json"
    expect_error(lambda: scores.score("custom", gt, pred, {}), gt, text + "--set category=")
    assert scores.score("custom", gt, pred, {"category": "person", "sigmas": [0.1] * 5}).main == 0


@pytest.mark.parametrize(
    ("skeleton", "limbs", "what"),
    [
        ([[1, 2], [5, 1]], ((0, 1), (4, 0)), None),
        ([], (), None),
        ([[0, 1], [3, 4]], ((0, 1), (3, 4)), "a skeleton that is counted from 0 instead of 1"),
        ([[0, 1], [3, 5]], (), "a skeleton that is not pairs of joints in 1..5"),
        ([[1, 6]], (), "a skeleton that is not pairs of joints in 1..5"),
        ([[1, 2, 3]], (), "a skeleton that is not pairs of joints in 1..5"),
        ("1-2", (), "a skeleton that is not pairs of joints in 1..5"),
    ],
)
def test_a_skeleton_that_cannot_be_drawn_stops_nothing(tmp_path, skeleton, limbs, what):
    write(tmp_path, labels(skeleton=skeleton), labels(skeleton=skeleton))
    assert load_skeleton(data(tmp_path)).limbs == limbs
    found = [read(tmp_path, subset)[1] for subset in ("train", "test")]
    assert [kinds(report) for report in found] == [{} if what is None else {what: 1}, {}]
    assert all("data.options.limbs" in defect.done for report in found for defect in report.defects)


def test_all_faults_of_a_file_are_listed_and_a_training_stops_at_the_first(tmp_path):
    people = [
        person(1),
        person(2, iscrowd="0"),
        person(3, keypoints=body(4)),
        person(4, bbox=[1, 2]),
        person(5, image=999),
        5,
        person(1),
        person(7, area="large"),
    ]
    write(tmp_path, labels(*people))
    tracks, report = read(tmp_path)
    places = [
        error.removeprefix(f"{tmp_path / 'train.json'}: ").partition(": ")[0] for error in report.errors
    ]
    assert len(tracks) == 1 and sorted(places) == [
        "annotations[1].iscrowd",
        "annotations[2].keypoints",
        "annotations[3].bbox",
        "annotations[4].image_id",
        "annotations[5]",
        "annotations[6].id",
        "annotations[7].area",
    ]
    with pytest.raises(UserError):
        custom.read(tmp_path, "train", **OPTIONS)


def test_errors_are_counted_by_kind(tmp_path):
    people = [person(number, bbox=[number]) for number in range(1, 4)] + [person(9, image=7)]
    values = labels(*people, images=(1, 2, 3))
    write(tmp_path, values)
    for number in (2, 3):
        (tmp_path / "images" / f"{number}.png").unlink()
    assert read(tmp_path)[1].error_kinds() == {
        "expected the picture that images[].file_name names": 2,
        "annotations[].bbox: expected a list of 4 finite numbers": 3,
        "annotations[].image_id: expected the id of one of the images": 1,
    }


# ---- sense


def test_key_points_or_boxes_in_shares_are_refused(tmp_path):
    points = [value for joint in range(5) for value in (0.1 * joint, 0.5, 2)]
    write(tmp_path, labels(person(1, keypoints=points), person(2, keypoints=points)))
    _, report = read(tmp_path)
    assert len(report.errors) == 1 and "10 of 10 lie between 0 and 1.5; they are shares" in report.errors[0]
    write(tmp_path, labels(person(1, bbox=[0.1, 0.2, 0.5, 0.6])))
    assert "expected boxes in pixels, 1 of 1 lie between" in read(tmp_path)[1].errors[0]


def test_joints_outside_their_boxes_are_counted_and_nearly_all_are_an_error(tmp_path):
    away = person(2, bbox=[80, 60, 20, 20])
    write(tmp_path, labels(person(1), away, person(3), person(4, bbox=[35, 15, 20, 15])))
    _, report = read(tmp_path)
    assert report.counts["joints outside their box"] == 5 + 1 and not report.errors
    assert kinds(report) == {"all joints outside their box": 1}
    write(tmp_path, labels(away))
    assert "expected joints in their boxes, 5 of 5 lie outside" in read(tmp_path)[1].errors[0]


def test_boxes_given_by_two_corners_are_noticed(tmp_path):
    write(tmp_path, labels(person(1, bbox=[35, 15, 55, 40]), person(2, bbox=[38, 18, 50, 34])))
    _, report = read(tmp_path)
    assert kinds(report) == {"boxes that fit their joints as x1, y1, x2, y2": 1}
    assert report.defects[0].place == "2 of 2 boxes that can tell"
    write(tmp_path)
    assert not read(tmp_path)[1].defects


def test_num_keypoints_that_differs_from_the_flags_is_said(tmp_path):
    people = [person(1, num_keypoints=0), person(2, num_keypoints=5)]
    write(tmp_path, labels(*people), labels(people[0]))
    _, report = read(tmp_path)
    assert kinds(report) == {"num_keypoints differs from the flags": 1}
    table = scores.score("custom", tmp_path / "val.json", dump(tmp_path / "pred.json", []), {})
    reason = "(num_keypoints is 0 beside flagged key points: 1; crowds, no key points; so there is no AP)"
    assert reason in table.text


# ---- names, ids, advice


def test_a_name_in_another_unicode_form_is_matched(tmp_path):
    values = labels()
    values["images"][0]["file_name"] = unicodedata.normalize("NFC", "bébé.png")
    dump(tmp_path / "train.json", values)
    there = picture(tmp_path / "images" / unicodedata.normalize("NFD", "bébé.png"))
    (track,), report = read(tmp_path)
    assert track.frames == (there,) and not report.errors
    assert kinds(report) == {"a file name in another Unicode form than the label file's": 1}


@pytest.mark.parametrize("there", ["1.PNG", "1.jpg"])
def test_a_name_in_another_spelling_is_named_once(tmp_path, there):
    write(tmp_path)
    (tmp_path / "images" / "1.png").rename(tmp_path / "images" / there)
    (error,) = read(tmp_path)[1].errors
    assert (
        error.startswith(f"{tmp_path / 'images' / '1.png'}: ")
        and f"there is {there}; make the names" in error
    )


def test_a_folder_twice_in_a_name_is_seen(tmp_path):
    values = labels()
    values["images"][0]["file_name"] = "images/1.png"
    write(tmp_path, values)
    assert f"there is {tmp_path / 'images' / '1.png'}; make file_name relative" in read(tmp_path)[1].errors[0]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a\\1.png", "; use / between folders instead of \\"),
        ("/home/me/1.png", "; it is absolute, make it relative to data.options.train_images"),
        ("C:\\me\\1.png", "make it relative to data.options.train_images, with / between folders"),
        ("C:/me/1.png", "; it is absolute, make it relative to data.options.train_images"),
        ("a/../1.png", "; name it without .., relative to data.options.train_images"),
    ],
)
def test_a_path_that_cannot_be_meant_says_what_to_do(tmp_path, name, advice):
    values = labels()
    values["images"][0]["file_name"] = name
    dump(tmp_path / "train.json", values)
    (tmp_path / "images").mkdir()
    (error,) = read(tmp_path)[1].errors
    assert "images[0].file_name: expected a path inside" in error and error.endswith(advice)


def test_a_file_of_another_encoding_or_without_annotations_says_so(tmp_path):
    path = write(tmp_path) / "train.json"
    path.write_bytes(json.dumps(labels(name="人"), ensure_ascii=False).encode("gbk"))
    for load in (lambda: load_skeleton(data(tmp_path)), lambda: load_tracks(data(tmp_path), "train")):
        expect_error(load, path, "expected a JSON file, it is not UTF-8 text; save it as UTF-8")
    values = labels(images=(1, 2)) | {"annotations": []}
    write(tmp_path, values)
    text = "expected annotated people with key points, got 2 images and 0 annotations"
    expect_error(lambda: load_tracks(data(tmp_path), "train"), path, text)


@pytest.mark.parametrize("own", ["1", "7f3c-a1", 1.0])
def test_ids_are_only_found_again(tmp_path, own):
    values = labels(person("a-1", image=own), person("1", image=own))
    values["images"][0]["id"] = own
    values["categories"][0]["id"] = values["annotations"][0]["category_id"] = "person-1"
    values["annotations"][1]["category_id"] = "person-1"
    write(tmp_path, values, values)
    tracks, report = read(tmp_path)
    assert [track.image_ids for track in tracks] == [(own,)] * 2 and not report.errors
    pred = [{"image_id": own, "category_id": "person-1", "keypoints": body(len(NAMES)), "score": 1.0}]
    table = scores.score("custom", tmp_path / "val.json", dump(tmp_path / "pred.json", pred), {})
    assert table.details["counts"]["images_with_poses"] == 1 and table.main > 0.4


def test_quotes_around_one_of_two_ids_do_not_matter(tmp_path):
    values = labels(person(1, image="1"))
    write(tmp_path, values)
    assert len(read(tmp_path)[0]) == 1
    set_at(values, ("images", 0, "id"), [1])
    dump(tmp_path / "train.json", copy.deepcopy(values))
    assert "images[0].id: expected a whole number or text, got [1]" in read(tmp_path)[1].errors[0]


# ---- detections


def test_detections_are_of_the_labels_category(tmp_path):
    values = labels(id=2)
    values["annotations"][0]["category_id"] = 2
    write(tmp_path, values, values)
    boxes = [
        {"image_id": 1, "category_id": number, "bbox": [2, 2, 10 * number, 12], "score": 0.9}
        for number in (1, 2)
    ]
    dump(tmp_path / "det.json", boxes)
    (track,), report = read(tmp_path, "test", detections="det.json")
    assert track.boxes[0].tolist() == [2, 2, 21, 13]
    assert kinds(report) == {"boxes of category 1 instead of 2 or person": 1}
    (tmp_path / "det.csv").write_text("file_name,x1,y1,x2,y2,score\n1.png,2,2,21,13,0.7\n")
    (track,), _ = read(tmp_path, "test", detections="det.csv")
    assert track.boxes[0].tolist() == [2, 2, 21, 13] and track.box_score == 0.7
    dump(tmp_path / "det.json", boxes[:1])
    (error,) = read(tmp_path, "test", detections="det.json")[1].errors
    assert (
        f"expected boxes of category 2 or person as in {tmp_path / 'val.json'}, got 1 of category 1" in error
    )


# ---- files of a Mac


def test_files_that_begin_with_a_dot_are_no_label_files(tmp_path):
    category = {"id": 1, "name": "person", "keypoints": list(posetrack2018.SKELETON.joints)}
    image = {"id": 10000070000, "file_name": "images/val/000007_bonn/000000.jpg", "is_labeled": True}
    entry = {"id": 1, "image_id": 10000070000, "track_id": 0, "category_id": 1, "keypoints": body(17)}
    entry |= {"bbox": [35, 15, 50, 60], "bbox_head": [40, 20, 10, 12], "scores": []}
    picture(tmp_path / image["file_name"])
    values = {"images": [image], "annotations": [entry], "categories": [category]}
    path = dump(tmp_path / "annotations" / "val" / "000007_bonn.json", values)
    path.with_name("._000007_bonn.json").write_bytes(b"\0\5\x16\7")
    assert len(posetrack2018.read(tmp_path, "test", report=Report())) == 1
    pred = dump(tmp_path / "pred" / path.name, values)
    pred.with_name("._000007_bonn.json").write_bytes(b"\0\5\x16\7")
    assert scores.score("posetrack2018", path.parent, pred.parent, {}).main > 0
