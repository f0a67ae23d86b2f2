"""PoseTrack's AP and MOTA: cases worked out by hand, poseval's reference values, both file forms, and bad files."""

import copy
import json

import numpy as np
import pytest
from label_files import dump, expect_error, picture, set_at
from test_posetrack import sequence, write

from rpstn_training.data.findings import Report
from rpstn_training.data.sets import posetrack2018
from rpstn_training.errors import UserError
from rpstn_training.predictions import Prediction
from rpstn_training.scores.posetrack_ap import People, average_precision, inside, one_to_one, pair
from rpstn_training.scores.posetrack_files import JOINTS
from rpstn_training.scores.posetrack_mota import tracking
from rpstn_training.scores.sets import posetrack2018 as official

NAME = "000007_bonn_train"
NAMES = posetrack2018.SKELETON.joints
COLUMN = [NAMES.index(name) for name in JOINTS]
POSE = np.array([[40.0 + 20 * joint, 60.0 + 7 * joint] for joint in range(15)])  # head size 30, tolerance 15


def person(track=0, pose=POSE, score=0.5, **changes):
    return {"track": track, "pose": pose, "score": score, "head": (30, 40), **changes}


def form18(frames, regions=()):
    """The PoseTrack18 form of a list of lists of people."""
    images, annotations = [], []
    for number, people in enumerate(frames):
        image = {"id": 10000070000 + number, "file_name": f"images/val/{NAME}/{number:06d}.jpg"}
        if regions:
            image["ignore_regions_x"] = [[x for x, _ in region] for region in regions]
            image["ignore_regions_y"] = [[y for _, y in region] for region in regions]
        images.append(image)
        for one in people:
            keypoints, scores = np.zeros((17, 3)), np.zeros(17)
            keypoints[COLUMN, :2], keypoints[COLUMN, 2], scores[COLUMN] = one["pose"], 1, one["score"]
            annotations.append(
                {
                    "image_id": image["id"],
                    "track_id": one["track"],
                    "keypoints": keypoints.ravel().tolist(),
                    "scores": scores.tolist(),
                    "bbox_head": [5, 6, *one["head"]],
                }
            )
    category = {"id": 1, "name": "person", "keypoints": list(NAMES)}
    return {"images": images, "annotations": annotations, "categories": [category]}


def form17(frames, regions=()):
    """The PoseTrack17 form."""

    def rect(one):
        scores = np.broadcast_to(one["score"], 15)
        points = [
            {"id": [j], "x": [float(x)], "y": [float(y)], "score": [float(scores[j])]}
            for j, (x, y) in enumerate(one["pose"])
        ]
        box = {"x1": [5], "y1": [6], "x2": [5 + one["head"][0]], "y2": [6 + one["head"][1]]}
        return {**box, "track_id": [one["track"]], "annopoints": [{"point": points}]}

    return {
        "annolist": [
            {
                "image": [{"name": f"images/val/{NAME}/{number:06d}.jpg"}],
                "ignore_regions": [{"point": [{"x": [x], "y": [y]} for x, y in part]} for part in regions],
                "annorect": [rect(one) for one in people],
            }
            for number, people in enumerate(frames)
        ]
    }


def scored(tmp_path, truth, found, regions=(), form=form18, **options):
    dump(tmp_path / "gt" / f"{NAME}.json", form18(truth, regions))
    dump(tmp_path / "pred" / f"{NAME}.json", form(found))
    return official.score(tmp_path / "gt", tmp_path / "pred", **options)


@pytest.mark.parametrize("form", ["pt18", "pt17"])
def test_equals_poseval(shared, form):
    folder = shared / "goldens" / "posetrack"
    table = official.score(folder / "gt", folder / f"pred_easy_{form}")
    expected = json.loads((folder / "expected.json").read_text())["easy"]
    names = {
        "precision": "Precision",
        "recall": "Recall",
        "MOT_pre": "MOT precision",
        "MOT_rec": "MOT recall",
    }
    for key in ("AP", "precision", "recall", "MOTA", "MOTP", "MOT_pre", "MOT_rec"):
        assert table.details[names.get(key, key)] == pytest.approx(expected[key], abs=1e-6), key
    assert table.rows["AP"] == pytest.approx(expected["AP_table"], abs=1e-6)
    assert table.main == pytest.approx(expected["AP"]["total"] / 100)


@pytest.mark.parametrize("form", [form18, form17])
def test_perfect_predictions_and_one_wrong_joint(tmp_path, form):
    truth = [[person()], [person()], [person()]]
    table = scored(tmp_path, truth, truth, form=form)
    assert table.main == 1
    assert all(
        list(table.rows[row].values()) == [100] * 8 for row in ("AP", "MOTA", "MOTP", "Precision", "Recall")
    )
    edge, wrong = POSE.copy(), POSE.copy()
    edge[13, 0] += 15  # the nose, just within half a head
    wrong[13, 0] += 15.01
    assert scored(tmp_path, truth, [[person(pose=edge)], *truth[1:]], form=form).main == 1
    found = [[person(pose=wrong, score=0.9)], [person(score=0.6)], [person(score=0.3)]]
    table = scored(tmp_path, truth, found, form=form)
    # Precision 0, 1/2, 2/3 at recall 0, 1/3, 2/3: the envelope is 2/3 throughout.
    assert table.details["AP"]["nose"] == pytest.approx(100 * 2 / 3 * 2 / 3)
    assert table.details["AP"]["neck"] == 100
    assert table.main == pytest.approx((14 + 4 / 9) / 15)
    assert table.details["MOTA"]["nose"] == pytest.approx(0)  # two frames: a match, a miss and a false alarm
    assert table.details["MOTA"]["total"] == pytest.approx(100 * 14 / 15)


def test_a_second_prediction_of_a_person_is_a_false_positive(tmp_path):
    near = POSE + 1
    found = [[person(8, near, 0.9), person(3, POSE, 0.8)]]
    table = scored(tmp_path, [[person()]], found)
    assert table.main == 1  # on a tie of PCKh the first prediction has the person
    table = scored(tmp_path, [[person()]], [found[0][::-1]])
    assert table.main == pytest.approx(0.5)  # now the surer one is the false alarm
    assert table.rows["MOTA"]["Total"] != table.rows["MOTA"]["Total"]  # nan: one frame, which is the last


def test_frames_without_people_are_dropped_and_one_without_predictions_is_a_dummy(tmp_path):
    two = [person(0), person(1, POSE + [0, 200])]
    truth = [two, [], two, two]
    table = scored(tmp_path, truth, [two, two, [], two])
    assert table.details["Recall"]["total"] == pytest.approx(100 * 4 / 6)
    assert table.rows["Precision"]["Total"] == 100  # predictions in the frame without labels are not scored
    # Two frames are tracked: two objects found, and one dummy missed and falsely found.
    assert table.details["MOTA"]["nose"] == pytest.approx(100 * (1 - 2 / 3))
    assert any("2 predictions in frames without labels" in line for line in table.protocol)


def test_ignored_regions(tmp_path):
    region = [(POSE[3, 0] - 1, 0), (POSE[3, 0] + 1, 0), (POSE[3, 0] + 1, 500), (POSE[3, 0] - 1, 500)]
    wrong = POSE.copy()
    wrong[3, 1] += 100  # still in the region: the joint is in neither
    found = [[person(pose=wrong)]] * 2
    assert scored(tmp_path, [[person()]] * 2, found).main == pytest.approx(14 / 15)
    table = scored(tmp_path, [[person()]] * 2, found, regions=[region])
    assert table.details["AP"]["left_hip"] == 0  # nowhere annotated, nowhere predicted: poseval says 0
    assert table.details["AP"]["right_hip"] == 100
    assert any("2 annotated and 2 predicted joints" in line for line in table.protocol)
    everything = [(-1, -1), (1000, -1), (1000, 1000), (-1, 1000)]
    elsewhere = [[person(), person(1, POSE + 2000)]] * 2
    table = scored(tmp_path, [[person(), person(1, POSE + 2000)]] * 2, elsewhere, regions=[everything])
    assert table.main == 1 and table.details["counts"]["annotated"]["nose"] == 2


def test_what_is_annotated_and_what_has_a_score(tmp_path):
    truth, found = form18([[person()], [person()]]), form18([[person()], [person()]])
    truth["annotations"][0]["keypoints"][2] = 0  # the nose: a position with flag 0 counts
    truth["annotations"][1]["keypoints"][0:3] = [0, 0, 0]
    found["annotations"][0]["scores"] = []
    dump(tmp_path / "gt" / "a.json", truth)
    dump(tmp_path / "pred" / "a.json", found)
    table = official.score(tmp_path / "gt", tmp_path / "pred")
    assert table.details["counts"]["annotated"]["nose"] == 1
    # The nose of frame 1 is a false positive; that of frame 0, without a score, comes after it.
    assert table.details["AP"]["nose"] == 50 and table.details["Precision"]["nose"] == 50
    assert any("15 predicted joints without a score" in line for line in table.protocol)


def test_frames_are_matched_by_name_whatever_their_order(tmp_path):
    truth = [[person(pose=POSE + 40 * frame)] for frame in range(3)]
    dump(tmp_path / "gt" / "a.json", form18(truth))
    shuffled = form17(truth)
    shuffled["annolist"].reverse()
    dump(tmp_path / "pred" / "a.json", shuffled)
    dump(tmp_path / "pred" / "b.json", {})
    table = official.score(tmp_path / "gt", tmp_path / "pred")
    assert table.main == 1
    noted = table.protocol[-1]
    assert (
        "1 prediction files without labels" in noted
        and "1 prediction files with the frames in another" in noted
    )
    renamed = form17(truth)
    for number, entry in enumerate(renamed["annolist"]):
        entry["image"][0]["name"] = f"bonn/{number + 1:08d}.jpg"
    dump(tmp_path / "pred" / "a.json", renamed)
    table = official.score(tmp_path / "gt", tmp_path / "pred")
    assert table.main == 1 and "1 prediction files with other picture names" in table.protocol[-1]


def test_track_ids_are_asked_for_only_where_they_count(tmp_path):
    twins = [[person(4), person(4, POSE + 300)]] * 2
    with pytest.raises(UserError, match="each track once in a frame"):
        scored(tmp_path, twins, twins)
    table = scored(tmp_path, twins, twins, tracking_scores=False)
    assert table.main == 1 and list(table.rows) == ["AP", "Precision", "Recall"]
    with pytest.raises(UserError, match="whole number below 10000"):
        scored(tmp_path, [[person()]], [[person(10000)]])


BAD = {
    "nan": (("annotations", 0, "keypoints", 4), float("nan"), "annotations[0].keypoints: expected 51 finite"),
    "short": (("annotations", 0, "keypoints"), [1, 2, 1], "annotations[0].keypoints: expected a list of 51"),
    "scores": (("annotations", 0, "scores"), [0.5], "annotations[0].scores: expected a list of 17"),
    "text": (("annotations", 0, "track_id"), "a", "annotations[0].track_id: expected a whole number"),
    "no track": (
        ("annotations", 0, "track_id"),
        ...,
        "annotations[0].track_id: expected a whole number below",
    ),
    "image": (("annotations", 0, "image_id"), 5, "annotations[0].image_id: expected the id of one of"),
    "twice": (("images", 1, "id"), 10000070000, "images[1].id: expected an id of its own"),
    "name": (("images", 1, "file_name"), f"images/val/{NAME}/000000.jpg", "file_name: expected a picture"),
    "folder": (("images", 1, "file_name"), "images/val/b/000001.jpg", "images: expected the frames of one"),
    "joints": (("categories", 0, "keypoints", 0), "left_eye", "names of PoseTrack's 15 joints (nose"),
    "category": (("categories",), [], "categories: expected one category"),
    "missing": (("images", 1), ..., "annotations[1].image_id: expected the id"),
    "list": (("annotations",), {}, "annotations: expected a list"),
}


@pytest.mark.parametrize(("place", "value", "text"), BAD.values(), ids=BAD)
def test_a_defective_file_is_named_with_its_field(tmp_path, place, value, text):
    good = form18([[person()], [person()]])
    dump(tmp_path / "gt" / "a.json", good)
    bad = copy.deepcopy(good)
    set_at(bad, place, value)
    path = dump(tmp_path / "pred" / "a.json", bad)
    expect_error(lambda: official.score(tmp_path / "gt", tmp_path / "pred"), path, text)


def test_missing_frames_files_people_and_heads(tmp_path):
    good = form17([[person()], [person()]])
    gt = dump(tmp_path / "gt" / "a.json", form18([[person()], [person()]]))
    pred = tmp_path / "pred" / "a.json"
    run = lambda: official.score(tmp_path / "gt", tmp_path / "pred")  # noqa: E731
    (tmp_path / "pred").mkdir()
    expect_error(run, pred, "expected the predictions of sequence a")
    dump(pred, {"annolist": good["annolist"][:1]})
    expect_error(run, pred, "exactly the 2 frames")
    dump(pred, form17([[person()]] * 3))
    expect_error(run, pred, "000002.jpg (annolist[2].image[0]) is not in the labels")
    pred.write_text(json.dumps(good)[:-40])
    expect_error(run, pred, "expected a whole JSON file")
    dump(pred, good)
    headless = form18([[person()], [person()]])
    del headless["annotations"][1]["bbox_head"]
    dump(gt, headless)
    expect_error(run, gt, "annotations[1].bbox_head: expected a list of 4")
    dump(gt, form18([[], []]))
    expect_error(run, tmp_path / "gt", "expected people in the labels")


def people(places, tracks, size=10.0):
    """People of a single joint at `places` on a line; a head of 10, so that 5 is half of it."""
    count = len(places)
    joints = np.zeros((count, 1, 2))
    joints[:, 0, 0] = places
    return People(
        joints=joints,
        present=np.ones((count, 1), dtype=bool),
        scores=np.linspace(1, 0, count)[:, None],
        heads=np.full(count, size),
        tracks=np.array(tracks, dtype=int),
    )


def track(*frames):
    """MOT of frames (places and ids of people, places and ids of predictions), with a last one that is left out."""
    rows = [(people(*truth), people(*found)) for truth, found in frames]
    return tracking([[(t, f, pair(t, f)) for t, f in [*rows, rows[-1]]]], 1)


def test_a_switch_is_counted_and_motp_sums_more_than_matches():
    result = track((([0], [7]), ([1], [1])), (([0], [7]), ([2], [2])))
    assert result.mota[0] == pytest.approx(1 - 1 / 2)
    # 0.1 possible and matched; 0.2 possible, switched, and gone to a new track.
    assert result.motp[0] == pytest.approx(1 - (2 * 0.1 + 3 * 0.2) / 2)
    assert result.counts[0].switches == 1 and result.counts[0].detections == 2


def test_a_track_is_kept_although_another_is_nearer():
    kept = track((([0], [7]), ([1], [1])), (([0], [7]), ([4, 0], [1, 2])))
    assert kept.counts[0].switches == 0 and kept.counts[0].false_positives == 1
    assert kept.motp[0] == pytest.approx(1 - (2 * 0.1 + 2 * 0.4 + 0) / 2)


def test_as_many_as_possible_are_matched_before_the_distance_counts():
    result = track((([0, 5], [1, 2]), ([4, 9], [5, 6])))  # 1 is nearest to 5, but then 2 has nobody but 5
    assert result.counts[0].misses == 0 and result.counts[0].detections == 2


def test_two_people_who_swap_tracks():
    result = track((([0, 100], [1, 2]), ([0, 100], [5, 6])), (([0, 100], [1, 2]), ([0, 100], [6, 5])))
    assert result.counts[0].switches == 2 and result.mota[0] == pytest.approx(1 - 2 / 4)


def test_one_to_one_takes_the_first_of_equals_and_nothing_at_zero():
    assert one_to_one(np.array([[0.5, 0.5], [0.5, 0.2], [0.0, 0.0]])).tolist() == [0, -1, -1]
    assert one_to_one(np.array([[0.1, 0.4], [0.3, 0.2]])).tolist() == [1, 0]
    assert one_to_one(np.zeros((0, 3))).tolist() == [] and one_to_one(np.zeros((2, 0))).tolist() == [-1, -1]


def test_average_precision_without_anything_to_find_is_not_defined():
    truth, found = people([], []), people([1.0], [0])
    result = average_precision([(truth, found, pair(truth, found))], 1)
    assert np.isnan(result.ap[0]) and np.isnan(result.recall[0]) and result.precision[0] == 0
    empty = average_precision([(truth, truth, pair(truth, truth))], 1)
    assert (empty.ap[0], empty.precision[0], empty.recall[0]) == (0, 0, 0)


def test_inside_a_polygon_its_border_not_included():
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], dtype=float)
    for turned in (square, square[::-1]):
        points = np.array([[2, 2], [0, 2], [4, 4], [2, 4], [5, 2], [1e-9, 2]])
        assert inside(points, turned).tolist() == [True, False, False, False, False, True]
    bow = np.array([[0, 0], [4, 4], [4, 0], [0, 4]], dtype=float)
    assert inside(np.array([[3, 2], [2, 3], [2, 2], [1, 2]]), bow).tolist() == [True, False, False, True]
    notch = np.array([[0, 0], [6, 0], [6, 6], [3, 3], [0, 6]], dtype=float)  # a ray through the notch's tip
    assert inside(np.array([[1, 3], [3, 3], [5, 3], [3, 2.9]]), notch).tolist() == [True, False, True, True]
    slope = np.array([[0, 0], [0.3, 0.1], [0, 1]])  # (0.15, 0.05) is on the edge, 0.1 * 3 is not
    assert inside(np.array([[0.15, 0.05], [0.15, np.nextafter(0.05, 1)]]), slope).tolist() == [False, True]
    assert not inside(np.zeros((3, 2)), square[:2]).any()


def predictions_of(tracks, shift=0.0):
    rng = np.random.default_rng(0)
    found = []
    for one in tracks:
        seen = np.ones(len(one), dtype=bool) if one.scored is None else one.scored
        joints = np.where(seen[:, None, None], one.joints + shift, np.nan)
        scores = np.where(seen[:, None], rng.random(one.joints.shape[:2]), np.nan)
        found.append(Prediction(name=one.name, joints=joints, scores=scores, predicted=seen))
    return found


def test_what_is_written_is_read_again(tmp_path):
    root = tmp_path / "root"
    write(root, sequence({(0, 0): {}, (0, 4): {}, (3, 5): {}, (0, 6): {}}, labelled=(0, 4, 5, 6, 7)))
    other = "000008_bonn_train"
    write(root, sequence({}, frames=2, name=other), name=other)  # a sequence in which nobody is
    tracks = posetrack2018.read(root, "test", report=Report())
    predictions = predictions_of(tracks)
    out = official.write(predictions, tracks, posetrack2018.SKELETON, tmp_path / "out", root=root)
    assert sorted(path.name for path in out.iterdir()) == [f"{NAME}.json", f"{other}.json"]
    content = json.loads((out / f"{NAME}.json").read_text())
    assert len(content["images"]) == 8 and content["images"][3]["id"] == 10000070003
    assert [(one["image_id"] % 10000, one["track_id"]) for one in content["annotations"]] == [
        (0, 0),
        (4, 0),
        (5, 3),
        (6, 0),
    ]
    assert content["annotations"][0]["keypoints"][9:15] == [0] * 6  # the ears
    table = official.score(root / "annotations" / "val", out)
    assert table.main == 1
    predictions[0].joints[0, 0] += 40
    official.write(predictions, tracks, posetrack2018.SKELETON, out, root=root)
    assert official.score(root / "annotations" / "val", out).main < 1
    assert not list(tmp_path.glob(".*"))  # nothing half done beside it


def test_frames_of_the_hidden_test_set_come_from_the_pictures(tmp_path):
    for frame in range(3):
        picture(tmp_path / "images" / "test" / NAME / f"{frame:06d}.jpg")
    boxes = [
        {"image_name": f"images/test/{NAME}/00000{frame}.jpg", "bbox": [10, 10, 30, 40], "score": 0.5}
        for frame in (1, 1, 2)
    ]
    dump(tmp_path / "boxes.json", boxes)
    tracks = posetrack2018.read(tmp_path, "test", images="test", detections="boxes.json", report=Report())
    out = official.write(
        predictions_of(tracks), tracks, posetrack2018.SKELETON, tmp_path / "out", root=tmp_path
    )
    content = json.loads((out / f"{NAME}.json").read_text())
    assert [image["id"] for image in content["images"]] == [10000070000, 10000070001, 10000070002]
    assert [one["track_id"] for one in content["annotations"]] == [0, 1, 2]
    last = [row.scores[-1][0] for row in predictions_of(tracks)]
    assert content["annotations"][0]["scores"][0] == pytest.approx(0.5 * last[0])  # times the box's score


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    root = tmp_path / "root"
    write(root, sequence({(0, 0): {}}, frames=2))
    tracks = posetrack2018.read(root, "test", report=Report())
    with pytest.raises(UserError, match="a new folder or one with predictions alone"):
        official.write(predictions_of(tracks), tracks, posetrack2018.SKELETON, root, root=root)
    with pytest.raises(UserError, match="got none"):
        official.write([], [], posetrack2018.SKELETON, tmp_path / "out", root=root)


# ---- IDF1


def idf1(*frames):
    """IDF1 of frames as in `track`; every one of them counts."""
    rows = [(people(*truth), people(*found)) for truth, found in frames]
    return tracking([[(t, f, pair(t, f)) for t, f in rows]], 1)


def test_a_track_that_ends_halfway_identifies_the_longer_half():
    """Four frames of one person, three by track 1 and one by track 2: IDTP 3, four objects, four predictions."""
    found = [([0], [1])] * 3 + [([0], [2])]
    result = idf1(*((([0], [7]), one) for one in found))
    assert result.idf1[0] == pytest.approx(2 * 3 / (4 + 4))
    assert result.counts[0].switches == 0  # the change is in the last frame, which CLEAR MOT leaves out


def test_a_track_belongs_to_one_person_only():
    """Two people, one after the other, under one track; the whole sequence decides, not the first frames."""
    result = idf1(*[(([0], [7]), ([0], [1]))] * 2, *[(([0], [8]), ([0], [1]))] * 3)
    assert result.idf1[0] == pytest.approx(2 * 3 / (5 + 5))
    # Two people whose tracks are swapped for one frame of three: 4 of 6.
    right, wrong = (([0, 99], [7, 8]), ([0, 99], [1, 2])), (([0, 99], [7, 8]), ([0, 99], [2, 1]))
    assert idf1(right, wrong, right).idf1[0] == pytest.approx(2 * 4 / (6 + 6))


def test_idf1_counts_misses_false_alarms_and_empty_frames():
    nobody = ([], [])
    result = idf1((([0], [7]), ([0], [1])), (([0], [7]), nobody), (([0], [7]), ([0, 50], [1, 2])))
    assert result.idf1[0] == pytest.approx(2 * 2 / (3 + 3))
    assert idf1((([0], [7]), ([6], [1]))).idf1[0] == 0  # beyond half a head
    sequences = [
        [(people(*p), people(*f), pair(people(*p), people(*f)))] for p, f in [(([0], [7]), ([0], [1]))] * 2
    ]
    assert tracking(sequences, 1).idf1[0] == 1  # a track of another sequence is another one
    assert np.isnan(tracking([], 1).idf1[0])


def test_switches_and_idf1_are_in_the_table(tmp_path):
    truth = [[person(1)]] * 4
    table = scored(tmp_path, truth, [[person(1)], [person(2)], [person(2)], [person(2)]])
    assert table.rows["Switches"]["Total"] == 15 and table.rows["Switches"]["Head"] == 3
    assert table.rows["IDF1"]["Total"] == pytest.approx(75)
    assert table.rows["MOTA"]["Total"] == pytest.approx(100 * (1 - 1 / 3))
