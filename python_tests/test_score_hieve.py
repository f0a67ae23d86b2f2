"""HiEve's unofficial AP and w-AP: the crowd index and weights by hand, each criterion, prediction files and the zip."""

import copy
import json
import zipfile

import numpy as np
import pytest
from label_files import dump, expect_error, set_at
from test_hieve import JOINTS, label, person, write
from test_score_posetrack import predictions_of

from rpstn_training.data.findings import Report
from rpstn_training.data.sets import hieve
from rpstn_training.errors import UserError
from rpstn_training.scores.hieve_ap import SIGMAS, CrowdFrame, crowd_index, frame_weight, hieve_ap, similarity
from rpstn_training.scores.posetrack_ap import People
from rpstn_training.scores.sets import hieve as official


def shifted(track, joints, by=200, x=30, **changes):
    """A person of whom some joints are somewhere else."""
    entry = person(track, x, **changes)
    for joint in joints:
        entry["annopoints"][0]["point"][joint]["y"][0] += by
    return entry


def scored(tmp_path, truth, found, **options):
    """`truth` and `found` map frames to people of video 3."""
    dump(tmp_path / "gt" / "3.json", label(truth))
    dump(tmp_path / "pred" / "3.json", label(found))
    return official.score(tmp_path / "gt", tmp_path / "pred", **options)


def test_the_crowd_index_of_two_people():
    """7 of B's 14 joints in A's box, none of A's in B's: (7/14 + 0/14) / 2."""
    joints = np.zeros((2, 14, 2))
    joints[0], joints[1, :7], joints[1, 7:] = (5, 5), (8, 8), (40, 40)
    boxes = np.array([[0, 0, 10, 10], [20, 20, 60, 60]], dtype=float)
    seen = np.ones((2, 14), dtype=bool)
    assert crowd_index(joints, seen, boxes) == 0.25
    seen[1, :7] = False
    assert crowd_index(joints, seen, boxes) == 0
    seen[1] = False
    assert crowd_index(joints, seen, boxes) == 0  # a person without joints is in no sum
    assert crowd_index(joints[:0], seen[:0], boxes[:0]) == 0
    assert crowd_index(joints, np.ones((2, 14), dtype=bool), np.full((2, 4), np.nan)) == 0


def test_the_weight_of_a_frame():
    assert frame_weight("A", 0.25, 2) == pytest.approx(2 * np.exp(0.25) + 2)
    assert frame_weight("B", 0.25, 2) == 2.5
    assert frame_weight("none", 0.25, 2) == 1


def some(places, scores=None):
    """People all of whose joints are at one place; a head of 10 pixels."""
    joints = np.repeat(np.array(places, dtype=float).reshape(-1, 1, 2), 14, axis=1)
    count = len(joints)
    return People(
        joints=joints,
        present=np.ones((count, 14), dtype=bool),
        scores=np.repeat(np.array(scores if scores is not None else [0] * count, float)[:, None], 14, axis=1),
        heads=np.full(count, 10.0),
        tracks=np.zeros(count, dtype=int),
    )


def frame(truth, found, scores, weight):
    return CrowdFrame(
        truth=some(truth),
        found=some(found, scores),
        areas=np.full(len(truth), 400.0),
        scores=np.array(scores, dtype=float),
        weight=weight,
    )


@pytest.mark.parametrize("criterion", ["pckh_fraction", "oks", "poseval_distance"])
def test_each_person_and_prediction_weighs_as_its_frame(criterion):
    frames = [frame([(5, 5)], [(5, 5)], [0.5], 1.0), frame([(5, 5)], [(900, 900)], [0.9], 3.0)]
    ((ap, precision, recall),) = hieve_ap(frames, [0.5], criterion, weighted=False)
    assert (ap, precision, recall) == (0.25, 0.5, 0.5)  # the false alarm comes first: 1/2 at recall 1/2
    ((ap, precision, recall),) = hieve_ap(frames, [0.5], criterion, weighted=True)
    assert (ap, precision, recall) == pytest.approx((1 / 16, 1 / 4, 1 / 4))
    assert hieve_ap(frames[:1], [0.5], criterion, weighted=True)[0] == (1, 1, 1)


def test_similarity_by_hand():
    truth, found = some([(0, 0)]), some([(3, 4)])
    truth.present[0, 1:] = False  # the nose alone
    expected = np.exp(-25 / (2 * 400 * (2 * 0.026) ** 2))
    assert similarity(truth, found, np.array([400.0]))[0, 0] == pytest.approx(expected)
    found.present[0, 0] = False
    assert similarity(truth, found, np.array([400.0]))[0, 0] == 0
    assert SIGMAS.tolist() == pytest.approx(
        [0.026, 0.079, *2 * [0.079, 0.072, 0.062], *2 * [0.107, 0.087, 0.089]]
    )


def test_alpha_as_the_share_of_right_joints(tmp_path):
    truth = {0: [person(1)], 1: [person(1)]}
    assert scored(tmp_path, truth, truth).main == 1
    half = {0: [shifted(1, range(7))], 1: [shifted(1, range(7))]}
    table = scored(tmp_path, truth, half)
    assert list(table.rows["AP"].values()) == pytest.approx([100 / 3, 100, 0, 0])
    assert table.rows["w-AP"] == pytest.approx(table.rows["AP"])  # all frames weigh the same
    assert table.columns == ("avg", "@0.5", "@0.75", "@0.9")
    table = scored(tmp_path, truth, half, alphas=(0.4, 0.51), weight="none")
    assert list(table.rows["AP"].values()) == [50, 100, 0] and "w-AP" not in table.rows
    assert all("nofficial" in text for text in (table.title, table.protocol[0]))


def test_alpha_as_a_distance_and_as_similarity(tmp_path):
    truth = {0: [person(1)]}
    head = 0.6 * np.hypot(40, 70)
    found = {0: [shifted(1, range(14), by=0.6 * head)]}
    table = scored(tmp_path, truth, found, criterion="poseval_distance")
    assert list(table.rows["AP"].values()) == pytest.approx([200 / 3, 0, 100, 100])  # rises with alpha
    found = {0: [shifted(1, [0], by=1000)]}
    table = scored(tmp_path, truth, found, criterion="poseval_distance")
    assert table.rows["AP"]["@0.5"] == pytest.approx(100 * 13 / 14)
    table = scored(tmp_path, truth, found, criterion="oks", alphas=(0.9, 0.95))
    assert list(table.rows["AP"].values()) == [50, 100, 0]  # 13/14 is 0.93
    assert scored(tmp_path, truth, {0: [shifted(1, range(14), by=0.6 * head)]}, head_share=1.2).main == 1


def test_invisible_joints_and_people_without_any_are_not_scored(tmp_path):
    hidden = person(1, points={joint: int(joint > 3) for joint in range(JOINTS)})
    nobody = person(2, x=300, points={})
    table = scored(tmp_path, {0: [hidden, nobody]}, {0: [shifted(1, range(4))]})
    assert table.main == 1 and any(
        "1 labelled people without a visible joint" in line for line in table.protocol
    )
    table = scored(tmp_path, {0: [hidden]}, {0: [shifted(1, range(4))]}, criterion="poseval_distance")
    assert table.details["people"] == 1 and table.rows["precision"]["@0.5"] == pytest.approx(100 * 10 / 14)


def test_a_crowded_frame_weighs_more(tmp_path):
    truth = {0: [person(1), person(2, x=34)], 1: [person(1)]}
    table = scored(tmp_path, truth, {0: [], 1: [person(1)]})
    index = (14 + 12) / 14 / 2  # 12 of the first one's joints begin at x = 34
    crowded, alone = 2 * 2 * np.exp(index), 2.0
    assert table.rows["AP"]["avg"] == pytest.approx(100 / 3)
    assert table.details["weights"]["max"] == pytest.approx(crowded / 2)
    assert table.rows["w-AP"]["avg"] == pytest.approx(100 * alone / (crowded + alone))


def test_anomalous_actions_hold_until_the_next_frame_with_labels(tmp_path):
    everybody = {number: [person(1)] for number in range(4)}
    path = dump(tmp_path / "actions.json", {"3": {"0": [1], "1": [11, 12, 13], "3": []}})
    weights = {}
    for between in ("hold", "zero"):
        table = scored(tmp_path, everybody, everybody, weight="B", actions=str(path), between=between)
        weights[between] = table.details["weights"]["mean"]
    assert weights == {"hold": (0 + 2 + 2 + 0) / 4, "zero": 2 / 4}
    dump(path, {"3": {"0": [15]}})
    with pytest.raises(UserError, match=r"3\.0: expected numbers of video and frame, and a list of actions"):
        scored(tmp_path, everybody, everybody, actions=str(path))


def test_files_and_frames_in_any_order_and_number(tmp_path):
    truth = {number: [person(1, x=30 + 90 * number)] for number in range(4)}
    found = label({9: [person(1)], **{number: truth[number] for number in (2, 0, 1)}})
    dump(tmp_path / "gt" / "3.json", label(truth))
    dump(tmp_path / "pred" / "3.json", found)
    dump(tmp_path / "pred" / "4.json", label({}))
    table = official.score(tmp_path / "gt", tmp_path / "pred")
    assert table.rows["recall"]["avg"] == 75 and table.rows["precision"]["avg"] == 100
    noted = table.protocol[-1]
    for text in ("1 prediction files of other", "1 labelled frames without an entry", "1 frames of the pred"):
        assert text in noted
    dump(tmp_path / "gt" / "5.json", label(truth))
    with pytest.raises(UserError, match=r"expected predictions 5.json .* --set videos=\[3, 4\]"):
        official.score(tmp_path / "gt", tmp_path / "pred")
    assert official.score(tmp_path / "gt", tmp_path / "pred", videos=(3,)).main == 0.75
    with pytest.raises(UserError, match="expected the labels of video 8"):
        official.score(tmp_path / "gt", tmp_path / "pred", videos=(8,))


def test_a_pose_without_a_score_has_the_mean_of_its_points(tmp_path):
    sure = person(1, points=dict.fromkeys(range(JOINTS), 0.8), score=...)
    wrong = shifted(2, range(14), score=[0.7])
    truth = {0: [person(1)]}
    assert scored(tmp_path, truth, {0: [wrong, sure]}).main == 1
    assert scored(tmp_path, truth, {0: [shifted(2, range(14), score=[0.9]), sure]}).main == 0.5


def test_ignored_regions(tmp_path):
    values = label({0: [person(1)]})
    corners = [(0, 0), (500, 0), (500, 500), (0, 500)]
    region = {"point": [{"x": [x], "y": [y]} for x, y in corners]}
    dump(tmp_path / "gt" / "3.json", label({0: [person(1)]}))
    extra = person(2, x=300)
    dump(tmp_path / "pred" / "3.json", label({0: [person(1, x=900), extra]}))
    assert official.score(tmp_path / "gt", tmp_path / "pred").rows["precision"]["avg"] == 0
    values["annolist"][0]["ignore_regions"] = [region]
    values["annolist"][0]["annorect"].append(person(5, x=900))
    dump(tmp_path / "gt" / "3.json", values)
    table = official.score(tmp_path / "gt", tmp_path / "pred")
    assert table.main == 1 and table.details["people"] == 1 and table.details["predictions"] == 1


POINT = ("annolist", 0, "annorect", 0, "annopoints", 0, "point", 1)
BAD = {
    "nan": ((*POINT, "x"), [float("nan")], "point[1].x: expected 1 finite numbers"),
    "id": ((*POINT, "id"), [14], "point: expected each id 0..13 at most once"),
    "twice": (("annolist", 1, "image", 0, "name"), "000000.jpg", "name: expected each frame once"),
    "name": (("annolist", 1, "image", 0, "name"), "a.jpg", "name: expected a frame's number and .jpg"),
    "score": (
        ("annolist", 0, "annorect", 0, "score"),
        ["0.5"],
        "annorect[0].score: expected 1 finite numbers",
    ),
    "people": (("annolist", 0, "annorect"), 3, "annorect: expected a list"),
    "form": (("annolist",), ..., "annolist: expected a list, got no such field"),
}


@pytest.mark.parametrize(("place", "value", "text"), BAD.values(), ids=BAD)
def test_a_defective_file_is_named_with_its_field(tmp_path, place, value, text):
    good = label({0: [person(1)], 1: [person(1)]})
    bad = copy.deepcopy(good)
    set_at(bad, place, value)
    dump(tmp_path / "gt" / "3.json", good)
    path = dump(tmp_path / "pred" / "3.json", bad)
    expect_error(lambda: official.score(tmp_path / "gt", tmp_path / "pred"), path, text)


def test_zip_files_that_are_not_as_they_should_be(tmp_path, monkeypatch):
    truth = label({0: [person(1)]})
    dump(tmp_path / "gt" / "3.json", truth)
    out = tmp_path / "out.zip"

    def packed(**files):
        with zipfile.ZipFile(out, "w") as archive:
            for name, text in files.items():
                archive.writestr(name.replace("__", "/") + ".json", text)
        return lambda: official.score(tmp_path / "gt", out)

    good = json.dumps(truth)
    assert packed(**{"3": good})().main == 1
    expect_error(packed(folder__3=good), out / "folder/3.json", "expected files 20.json")
    expect_error(packed(**{"..__3": good}), out / "../3.json", "in the zip's root")
    expect_error(packed(**{"3": good[:-9]}), out / "3.json", "expected a whole JSON file")
    run = packed(**{"3": good})
    out.write_bytes(out.read_bytes()[:60])
    expect_error(run, out, "expected a zip of files")
    monkeypatch.setattr(official, "_LARGEST", 100)
    expect_error(packed(**{"3": good}), out / "3.json", "it unpacks to more")


def test_what_is_written_is_read_again(tmp_path):
    write(tmp_path, 3, label({t: [person(4, 30 + t)] for t in (0, 2, 3)}))
    tracks = hieve.read(tmp_path, "test", report=Report())
    predictions = predictions_of(tracks)
    out = official.write(predictions, tracks, hieve.SKELETON, tmp_path / "track2.zip", root=tmp_path)
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["3.json"]
        content = json.loads(archive.read("3.json"))["annolist"]
    assert [entry["image"][0]["name"] for entry in content] == [f"{t:06d}.jpg" for t in range(6)]
    assert [len(entry["annorect"]) for entry in content] == [1, 0, 1, 1, 0, 0]
    rect = content[0]["annorect"][0]
    assert (rect["track_id"], rect["x1"], rect["annopoints"][0]["point"][1]["id"]) == ([4], [30], [1])
    labels = tmp_path / "labels" / "train" / "track2&3"
    assert official.score(labels, out).main == 1
    predictions[0].joints[0] += 300
    official.write(predictions, tracks, hieve.SKELETON, out, root=tmp_path)
    assert official.score(labels, out).main < 1


def test_hidden_videos_have_a_file_each(tmp_path):
    for number in (20, 21):
        write(tmp_path, number, label({0: [person(1)] if number == 20 else []}), part="test", folder="boxes")
    tracks = hieve.read(tmp_path, "test", images="test", detections="boxes", report=Report())
    out = official.write(predictions_of(tracks), tracks, hieve.SKELETON, tmp_path / "a.zip", root=tmp_path)
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["20.json", "21.json"]
