"""COCO's AP: the reference tool's numbers, rescoring and NMS by hand, files as they come."""

import copy
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from label_files import dump, expect_error, set_at

from rpstn_training.cli import main
from rpstn_training.data.records import Track
from rpstn_training.data.sets import coco as dataset
from rpstn_training.data.similarity import pose_similarity
from rpstn_training.errors import UserError
from rpstn_training.predictions import Prediction
from rpstn_training.scores import coco_ap
from rpstn_training.scores.sets import coco, custom

JOINTS = dataset.SKELETON.joints
SIGMAS = np.array(dataset.SKELETON.sigmas)


def person(number: int, image: int, x: float = 40.0, **fields) -> dict:
    """An annotated person of 100 x 120 pixels, every joint labelled, at 3 joints a row."""
    points = [v for j in range(17) for v in (x + 30 * (j % 3), 20.0 + 18 * (j // 3), 2)]
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "keypoints": points,
        "num_keypoints": 17,
        "bbox": [x - 10, 10, 100, 120],
        "area": 12000.0,
        "iscrowd": 0,
        **fields,
    }


def labels(*people: dict, images: int = 3) -> dict:
    return {
        "images": [
            {"id": n, "file_name": f"{n}.jpg", "width": 400, "height": 200} for n in range(1, images + 1)
        ],
        "annotations": list(people),
        "categories": [{"id": 1, "name": "person", "keypoints": list(JOINTS), "skeleton": []}],
    }


def result(of: dict, score: float = 0.9, dx: float = 0.0, **fields) -> dict:
    points = np.array(of["keypoints"], dtype=float).reshape(-1, 3)
    points[:, 0] += dx
    points[:, 2] = 0.5
    return {
        "image_id": of["image_id"],
        "category_id": 1,
        "keypoints": points.ravel().tolist(),
        "score": score,
        **fields,
    }


def table(tmp_path: Path, gt, results, score=coco.score, **options):
    return score(dump(tmp_path / "gt.json", gt), dump(tmp_path / "dt.json", results), **options)


def shift_for(oks: float, area: float = 12000.0) -> float:
    """A shift of all joints whose OKS is `oks`, by bisection on the definition."""
    low, high = 0.0, 200.0
    for _ in range(80):
        middle = (low + high) / 2
        value = np.mean(np.exp(-(middle**2) / (2 * area * (2 * SIGMAS) ** 2)))
        low, high = (middle, high) if value > oks else (low, middle)
    return low


# Against the reference tool.


def golden(shared: Path, case: str):
    folder = shared / "goldens/coco"
    expected = json.loads((folder / "expected.json").read_text())[case]
    return expected, folder / f"gt_{case[0]}.json", folder / f"dt_{case}.json"


def largest_difference(expected: dict, found) -> float:
    ours = {
        "stats": {name: value / 100 for name, value in found.rows["key points"].items()},
        "AP_per_threshold": found.details["AP_per_threshold"],
        "AR_per_threshold": found.details["AR_per_threshold"],
    }
    return max(abs(ours[part][key] - value) for part in expected for key, value in expected[part].items())


@pytest.mark.parametrize("case", ["A_jitter", "B_easy"])
def test_equals_the_reference(shared, tmp_path, case):
    expected, gt, dt = golden(shared, case)
    assert set(expected) == {"stats", "AP_per_threshold", "AR_per_threshold"}
    assert largest_difference(expected, coco.score(gt, dt)) <= 1e-9
    # In another order the same; with one wrong joint of one pose not.
    results = json.loads(dt.read_text())
    assert largest_difference(expected, coco.score(gt, dump(tmp_path / "a.json", results[::-1]))) <= 1e-9
    best = max(range(len(results)), key=lambda n: results[n]["score"])
    results[best]["keypoints"][0] += 500
    results[best]["keypoints"][15] += 500
    results[best]["keypoints"][30] += 500
    assert largest_difference(expected, coco.score(gt, dump(tmp_path / "b.json", results))) > 1e-4


# By hand.


def test_perfect_results_score_one(tmp_path):
    people = [person(1, 1), person(2, 1, 200), person(3, 2)]
    found = table(tmp_path, labels(*people), [result(one) for one in people])
    assert found.main == pytest.approx(1) and found.rows["key points"]["AP"] == pytest.approx(100)
    assert np.isnan(found.rows["key points"]["APM"])  # nobody of medium size
    assert found.to_dict()["rows"]["key points"]["APM"] is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_each_threshold_counts_what_is_similar_enough(tmp_path):
    one = person(1, 1)
    found = table(tmp_path, labels(one), [result(one, dx=shift_for(0.77))])
    assert [name for name, value in found.details["AP_per_threshold"].items() if value > 0.99] == [
        *("0.50", "0.55", "0.60", "0.65", "0.70", "0.75")
    ]
    assert found.main == pytest.approx(0.6)


def test_a_better_scored_mistake_halves_the_precision(tmp_path):
    one = person(1, 1)
    wrong = result(one, score=0.95, dx=150)
    found = table(tmp_path, labels(one), [result(one), wrong])
    assert found.main == pytest.approx(0.5)
    assert table(tmp_path, labels(one), [result(one), result(one, score=0.1, dx=150)]).main == pytest.approx(
        1
    )


def test_crowds_and_people_without_key_points_are_ignored(tmp_path):
    one = person(1, 1)
    nothing = person(2, 2, num_keypoints=0, keypoints=[0] * 51)
    crowd = person(3, 3, iscrowd=1)
    found = table(tmp_path, labels(one, nothing, crowd), [result(one), result(person(0, 2), 0.99)])
    assert found.main == pytest.approx(1)
    assert "1 people and 2 that are ignored" in found.text


def test_missing_pictures_lower_the_recall_and_are_counted(tmp_path):
    people = [person(1, 1), person(2, 2)]
    found = table(tmp_path, labels(*people), [result(people[0])])
    assert found.rows["key points"]["AR"] == pytest.approx(50)
    assert "pictures with people but without results (1)" in found.text


def test_no_results_score_nothing(tmp_path):
    found = table(tmp_path, labels(person(1, 1)), [])
    assert found.main == 0 and "0 poses in 0 pictures" in found.text


def test_only_the_twenty_best_of_a_picture_count(tmp_path):
    one = person(1, 1)
    crowd = [result(one, score=0.5 + n / 100, dx=150) for n in range(20)]
    found = table(tmp_path, labels(one), [*crowd, result(one, score=0.4)])
    assert found.main == 0 and "beyond the best 20 of a picture do not count (1)" in found.text
    assert table(tmp_path, labels(one), [*crowd[1:], result(one, score=0.4)]).main > 0


def test_the_id_zero_is_matched_like_others(tmp_path):
    one = person(0, 1)
    assert table(tmp_path, labels(one), [result(one)]).main == pytest.approx(1)


def test_what_a_file_does_not_give_follows_from_its_key_points(tmp_path):
    one = person(1, 1)
    bare = {key: one[key] for key in ("id", "image_id", "category_id", "keypoints")}
    found = table(tmp_path, labels(bare), [result(one)])
    assert found.main == pytest.approx(1)
    for text in (
        "num_keypoints counted from the flags (1)",
        "bbox taken around",
        "area taken from the box (1)",
    ):
        assert text in found.text


def test_areas_of_unmatched_results_follow_the_reference_tool(tmp_path):
    """A wrong pose of small extent is outside the large range; with a large bbox in the file it is inside."""
    one = person(1, 1)
    small = result(one, score=0.95)
    small["keypoints"] = [v for _ in range(17) for v in (390.0, 190.0, 0.5)]
    large = {**small, "bbox": [0, 0, 300, 150]}
    by_points = table(tmp_path, labels(one), [small, result(one)])
    by_boxes = table(tmp_path, labels(one), [large, result(one, bbox=[30, 10, 100, 120])])
    assert by_points.rows["key points"]["APL"] == pytest.approx(100)
    assert by_boxes.rows["key points"]["APL"] == pytest.approx(50)
    assert "areas are those of the results' boxes" in by_boxes.text


# Files that are not as they should be.

BROKEN_RESULTS = [
    (lambda r: set_at(r, (0, "image_id"), 77), "[0].image_id: expected a picture of gt.json, got 77"),
    (lambda r: set_at(r, (1, "image_id"), "x"), "[1].image_id: expected a picture of gt.json, got "),
    (lambda r: set_at(r, (0, "keypoints"), [1, 2, 3]), "[0].keypoints: expected a list of 51 finite numbers"),
    (lambda r: set_at(r, (1, "keypoints", 4), float("nan")), "[1].keypoints: expected 51 finite numbers"),
    (lambda r: set_at(r, (1, "keypoints", 4), "7"), "[1].keypoints: expected 51 finite numbers"),
    (lambda r: set_at(r, (0, "score"), ...), "[0].score: expected a finite number, got no such field"),
    (lambda r: set_at(r, (0, "score"), float("inf")), "[0].score: expected a finite number"),
    (lambda r: set_at(r, (0, "category_id"), ...), "[0].category_id: expected a whole number"),
    (lambda r: set_at(r, (0, "bbox"), [1, 2, 3, 4]), "[1].bbox: expected a list of 4 finite numbers"),
    (lambda r: set_at(r, (1,), 5), "[1]: expected an object"),
]


@pytest.mark.parametrize(("breaking", "text"), BROKEN_RESULTS)
def test_broken_results_are_one_sentence(tmp_path, breaking, text):
    people = [person(1, 1), person(2, 2)]
    results = [result(one) for one in people]
    breaking(results)
    gt, dt = dump(tmp_path / "gt.json", labels(*people)), dump(tmp_path / "dt.json", results)
    expect_error(lambda: coco.score(gt, dt), dt, text)


BROKEN_LABELS = [
    (("annotations", 1, "id"), 1, "annotations[1].id: expected an id of its own, got 1 a second time"),
    (("images", 1, "id"), 1, "images[1].id: expected an id of its own"),
    (("annotations", 0, "keypoints"), [0] * 50, "annotations[0].keypoints"),
    (("annotations", 0, "area"), "large", "annotations[0].area: expected a finite number"),
    (("annotations", 0, "iscrowd"), "no", "annotations[0].iscrowd: expected true or false"),
    (("annotations",), ..., "annotations: expected a list, got no such field"),
    (
        ("categories",),
        [{"id": 1, "name": "person"}],
        "categories: expected a category with keypoints, got none",
    ),
    (("categories", 0, "keypoints"), ["nose"], "categories[0].keypoints: expected the 17 joints of coco"),
]


@pytest.mark.parametrize(("place", "value", "text"), BROKEN_LABELS)
def test_broken_labels_are_one_sentence(tmp_path, place, value, text):
    plain = labels(person(1, 1), person(2, 2))
    results = [result(one) for one in copy.deepcopy(plain["annotations"])]
    set_at(plain, place, value)
    gt, dt = dump(tmp_path / "gt.json", plain), dump(tmp_path / "dt.json", results)
    expect_error(lambda: coco.score(gt, dt), gt, text)


@pytest.mark.parametrize("which", ["gt.json", "dt.json"])
def test_files_that_are_cut_off_are_one_sentence(tmp_path, which):
    paths = [
        dump(tmp_path / "gt.json", labels(person(1, 1))),
        dump(tmp_path / "dt.json", [result(person(1, 1))]),
    ]
    broken = tmp_path / which
    broken.write_bytes(broken.read_bytes()[:-20])
    expect_error(lambda: coco.score(*paths), broken, "expected a whole JSON file")


def test_other_categories_and_pictures_are_left_out_and_counted(tmp_path):
    one, elsewhere = person(1, 1), person(2, 99)
    dog = person(3, 1, category_id=18)
    found = table(tmp_path, labels(one, elsewhere, dog), [result(one), result(one, category_id=18)])
    assert found.main == pytest.approx(1)
    for text in (
        "annotations of pictures that are not listed, left out (1)",
        "annotations of other categories, left out (1)",
        "results of other categories, left out (1)",
    ):
        assert text in found.text


# Rescoring and NMS.


def test_rescoring_takes_joints_above_the_threshold():
    joints = np.array([[0.9, 0.5, 0.2, 0.1], [0.2, 0.1, 0.0, 0.19]])
    assert coco_ap.rescore(np.array([0.5, 1.0]), joints).tolist() == [0.5 * 0.7, 0.0]


def two_like(oks: float, area: float = 900.0):
    """A pose, one as similar to it as `oks`, and one far away; areas of 900 and 2700, mean 1800 of the first two."""
    base = np.tile(np.arange(17.0)[:, None] * 5, (1, 2))
    near, far = base.copy(), base + 1000
    near[:, 0] += shift_for(oks, 2 * area)
    return np.stack([base, near, far]), np.array([area, 3 * area, area])


@pytest.mark.parametrize(("oks", "kept"), [(0.91, [1, 2]), (0.89, [1, 0, 2])])
def test_similar_poses_go_and_the_best_stays(oks, kept):
    poses, areas = two_like(oks)
    assert coco_ap.oks_nms(poses, np.array([0.5, 0.9, 0.3]), areas, SIGMAS) == kept
    similarity = pose_similarity(poses[0], poses[1:], areas[0], areas[1:], SIGMAS)
    np.testing.assert_allclose(similarity, [oks, 0], atol=1e-9)


def test_soft_nms_sinks_similar_poses_and_keeps_twenty():
    poses, areas = two_like(0.95)
    # 0.5 * exp(-0.95^2 / 0.9) = 0.18 comes after 0.3.
    assert coco_ap.soft_oks_nms(poses, np.array([0.5, 0.9, 0.3]), areas, SIGMAS) == [1, 2, 0]
    assert coco_ap.soft_oks_nms(poses, np.array([0.5, 0.9, 0.1]), areas, SIGMAS) == [1, 0, 2]
    many = np.arange(30.0)[:, None, None] * 1000 + poses[0]
    scores = np.linspace(0, 1, 30)
    kept = coco_ap.soft_oks_nms(many, scores, np.full(30, 900.0), SIGMAS)
    assert kept == list(range(29, 9, -1))
    assert len(coco_ap.oks_nms(many, scores, np.full(30, 900.0), SIGMAS)) == 30


def test_areas_are_those_of_the_enlarged_crops():
    boxes = np.array([[0, 0, 30, 80], [0, 0, 90, 80]], dtype=float)
    expected = [60 * 80 * 1.25**2, 90 * 120 * 1.25**2]
    np.testing.assert_allclose(coco.crop_areas(boxes, (192, 256), 1.25), expected)


# Writing.


def found_people(*people: dict, peaks: float = 0.5, box_scores=None) -> tuple[list[Prediction], list[Track]]:
    predictions, tracks = [], []
    for number, one in enumerate(people):
        joints = np.array(one["keypoints"], dtype=float).reshape(1, -1, 3)[..., :2]
        x, y, w, h = one["bbox"]
        box = np.array([[x, y, x + w - 1, y + h - 1]])
        known = np.ones(joints.shape[:2], dtype=bool)
        tracks.append(
            Track(
                name=str(number),
                split="test",
                action="",
                frames=(Path(f"{one['image_id']}.jpg"),),
                joints=joints,
                visible=known,
                labelled=known,
                boxes=box,
                score_boxes=box,
                image_ids=(one["image_id"],),
                person=one["id"],
                box_score=1.0 if box_scores is None else box_scores[number],
            )
        )
        predictions.append(
            Prediction(
                name=str(number),
                joints=joints,
                scores=np.full(joints.shape[:2], peaks),
                predicted=np.ones(1, dtype=bool),
            )
        )
    return predictions, tracks


def test_written_results_are_scored_like_the_predictions(tmp_path):
    people = [person(1, 1), person(2, 1, 200), person(3, 2)]
    predictions, tracks = found_people(*people)
    path = coco.write(predictions, tracks, dataset.SKELETON, tmp_path / "out", root=tmp_path, algorithm="sbl")
    assert path.name == "person_keypoints_val2017_sbl_results.json"
    gt = dump(tmp_path / "gt.json", labels(*people))
    assert coco.score(gt, path).main == pytest.approx(1)
    predictions[2].joints[0, :, 0] += 300
    coco.write(predictions, tracks, dataset.SKELETON, tmp_path / "out", root=tmp_path, algorithm="sbl")
    assert coco.score(gt, path).main < 0.9


def test_several_boxes_of_one_person_are_written_once(tmp_path):
    one = person(1, 1)
    predictions, tracks = found_people(one, one, person(2, 1, 200), box_scores=[0.6, 0.8, 0.7])
    scores = {}
    for nms in ("oks", "none", "soft"):
        path = coco.write(predictions, tracks, dataset.SKELETON, tmp_path, root=tmp_path, nms=nms)
        scores[nms] = [entry["score"] for entry in json.loads(path.read_text())]
    assert scores["oks"] == [0.4, 0.35]
    assert scores["none"] == [0.4, 0.35, 0.3]
    assert scores["soft"] == [0.4, 0.35, 0.3]


def test_test_dev_is_a_zip_under_the_servers_name(tmp_path):
    predictions, tracks = found_people(person(1, 1))
    path = coco.write(predictions, tracks, dataset.SKELETON, tmp_path, root=tmp_path, images="test-dev")
    assert path.name == "person_keypoints_test-dev2017_rpstn_results.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["person_keypoints_test-dev2017_rpstn_results.json"]
        (entry,) = json.loads(archive.read(archive.namelist()[0]))
    assert set(entry) == {"image_id", "category_id", "keypoints", "score"} and len(entry["keypoints"]) == 51
    assert coco.labels(tmp_path, subset="test", images="test-dev") is None
    with pytest.raises(UserError, match="expected letters, digits, dots and dashes"):
        coco.write(predictions, tracks, dataset.SKELETON, tmp_path, root=tmp_path, algorithm="../x")


# Key points of one's own.


def hands(**category) -> tuple[dict, list[dict]]:
    names = ["wrist", "thumb", "index"]
    points = [50.0, 50.0, 2, 80.0, 50.0, 2, 50.0, 90.0, 2]
    hand = {
        "id": 5,
        "image_id": 1,
        "category_id": 7,
        "keypoints": points,
        "bbox": [40, 40, 60, 60],
        "area": 3600,
    }
    plain = {
        "images": [{"id": 1}],
        "annotations": [hand],
        "categories": [{"id": 7, "name": "hand", "keypoints": names, **category}],
    }
    moved = [points[0] + 6, *points[1:]]
    return plain, [{"image_id": 1, "category_id": 7, "keypoints": moved, "score": 1.0}]


def test_tolerances_of_ones_own_joints(tmp_path):
    """The wrist is 6 pixels off: OKS = (exp(-36 / (2 * 3600 * (2 sigma)^2)) + 2) / 3."""
    for sigmas in ([0.02, 0.02, 0.02], [0.05, 0.02, 0.02], [0.2, 0.02, 0.02]):
        oks = (np.exp(-36 / (2 * 3600 * (2 * sigmas[0]) ** 2)) + 2) / 3
        expected = sum(oks >= threshold for threshold in np.linspace(0.5, 0.95, 10)) / 10
        assert table(tmp_path, *hands(sigmas=sigmas), score=custom.score).main == pytest.approx(expected)
        given = table(tmp_path, *hands(), score=custom.score, sigmas=tuple(sigmas))
        assert given.main == pytest.approx(expected)


def test_joints_without_tolerances_are_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"categories\[0\].sigmas: expected a tolerance for each of the 3 joints"
    ):
        table(tmp_path, *hands(), score=custom.score)
    with pytest.raises(UserError, match="sigmas: expected 3 numbers above 0"):
        table(tmp_path, *hands(), score=custom.score, sigmas=(0.1, 0.1))


def test_ones_own_files_of_coco_joints_score_as_coco(tmp_path):
    people = [person(1, 1), person(2, 2)]
    results = [result(people[0], dx=8), result(people[1], dx=20)]
    both = [table(tmp_path, labels(*people), results, score=module.score) for module in (coco, custom)]
    assert both[0].rows["key points"] == pytest.approx(both[1].rows["key points"], abs=0, nan_ok=True)


def test_the_command_prints_the_table_and_writes_json(tmp_path, capsys):
    one = person(1, 1)
    gt, dt = dump(tmp_path / "gt.json", labels(one)), dump(tmp_path / "dt.json", [result(one)])
    out = tmp_path / "score.json"
    command = ["score", "--dataset", "coco", "--gt", str(gt), "--pred", str(dt), "--out", str(out)]
    assert main(command) == 0
    assert "COCO key points" in capsys.readouterr().out
    assert json.loads(out.read_text())["main"] == pytest.approx(1)
    dt.write_text("{}")
    assert main(command) == 1
    assert f"{dt}: expected a list of results" in capsys.readouterr().err
