"""MPII's PCKh: HRNet's rules written out joint by joint, and the files it reads."""

import copy
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from label_files import dump, expect_error, set_at

from rpstn_training.data.records import Track
from rpstn_training.data.sets import mpii as dataset
from rpstn_training.errors import UserError
from rpstn_training.predictions import Prediction
from rpstn_training.scores.pckh import head_sizes, pckh
from rpstn_training.scores.sets import mpii

NAMES = ["rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head"]
NAMES += ["rwri", "relb", "rsho", "lsho", "lelb", "lwri"]
PEOPLE = 6


def truth(seed: int = 0):
    """Joints [N, 16, 2], bool [N, 16] which of them are missing, head boxes [N, 4]."""
    rng = np.random.default_rng(seed)
    joints = rng.uniform(50, 400, (PEOPLE, 16, 2))
    missing = rng.random((PEOPLE, 16)) < 0.2
    corner = rng.uniform(0, 100, (PEOPLE, 2))
    return joints, missing, np.hstack([corner, corner + rng.uniform(20, 60, (PEOPLE, 2))])


def write_mat(path: Path, joints, missing, boxes, **changes) -> Path:
    names = np.empty((1, 16), dtype=object)
    names[0] = [np.array([name]) for name in NAMES]
    values = {
        "dataset_joints": names,
        "jnt_missing": missing.T.astype(np.uint8),
        "pos_gt_src": joints.transpose(1, 2, 0),
        "headboxes_src": boxes.reshape(-1, 2, 2).transpose(1, 2, 0),
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {key: value for key, value in values.items() if value is not None})
    return path


def write_preds(path: Path, preds: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"preds": preds})
    return path


def people_of(joints, missing) -> list[dict]:
    return [
        {
            "image": f"{number}.jpg",
            "center": [200, 200],
            "scale": 1.5,
            "joints": np.where(gone[:, None], -1, points).tolist(),
            "joints_vis": (~gone).astype(int).tolist(),
        }
        for number, (points, gone) in enumerate(zip(joints, missing))
    ]


def by_hand(joints, missing, heads, preds, threshold=0.5):
    """Share of hits per joint, and their mean weighted with how often each joint is there, in plain loops."""
    hits, counted = np.zeros(16), np.zeros(16)
    for person in range(len(joints)):
        for joint in range(16):
            if not missing[person, joint]:
                distance = np.hypot(*(preds[person, joint] - joints[person, joint]))
                counted[joint] += 1
                hits[joint] += distance <= threshold * heads[person]
    weights = np.where(np.isin(np.arange(16), (6, 7)), 0, counted)
    return hits / counted, float((hits / counted * weights).sum() / weights.sum())


def test_equals_the_rule_joint_by_joint(tmp_path):
    joints, missing, boxes = truth()
    preds = joints + np.random.default_rng(1).normal(0, 9, joints.shape)
    table = mpii.score(
        write_mat(tmp_path / "gt_valid.mat", joints, missing, boxes), write_preds(tmp_path / "p.mat", preds)
    )
    heads = 0.6 * np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    share, mean = by_hand(joints, missing, heads, preds)
    assert 0.3 < mean < 0.9
    assert table.main == pytest.approx(mean, abs=1e-12)
    row = table.rows["PCKh"]
    assert row["Mean"] == pytest.approx(100 * mean)
    assert row["Head"] == pytest.approx(100 * share[9])  # the head's top alone
    for name, pair in (("Shoulder", (12, 13)), ("Elbow", (11, 14)), ("Wrist", (10, 15)), ("Ankle", (0, 5))):
        assert row[name] == pytest.approx(50 * share[list(pair)].sum())
    # HRNet's "0.1" is the twelfth of its thresholds.
    assert row["Mean@0.1"] == pytest.approx(100 * by_hand(joints, missing, heads, preds, 0.11)[1])
    assert table.details["mean_at_0.1"] == pytest.approx(by_hand(joints, missing, heads, preds, 0.1)[1])
    # One joint that moves away changes it; pelvis and thorax change no mean.
    person = int(np.flatnonzero(~missing[:, 9] & (np.hypot(*(preds - joints)[:, 9].T) <= 0.5 * heads))[0])
    wrong = preds.copy()
    wrong[person, 9] += 500
    assert mpii.score(tmp_path / "gt_valid.mat", write_preds(tmp_path / "w.mat", wrong)).main < table.main
    middle = preds.copy()
    middle[:, 6:8] += 500
    assert mpii.score(tmp_path / "gt_valid.mat", write_preds(tmp_path / "m.mat", middle)).main == table.main


def test_the_threshold_itself_is_a_hit():
    joints = np.zeros((1, 16, 2))
    for distance, hit in ((15.0, 1), (15.000001, 0)):
        counts = pckh(joints + [distance, 0], joints, np.ones((1, 16), dtype=bool), np.array([30.0]))
        assert (counts.hits == hit).all()
    assert head_sizes(np.array([[10, 10, 40, 50]])).tolist() == [30.0]


def test_nan_and_heads_of_no_size_miss():
    joints = np.zeros((2, 16, 2))
    preds = joints.copy()
    preds[0, 3] = np.nan
    counts = pckh(preds, joints, np.ones((2, 16), dtype=bool), np.array([30.0, 0.0]))
    assert counts.counted.tolist() == [2] * 16
    assert counts.hits[0].tolist() == [1, 1, 1, 0] + [1] * 12


def test_missing_predictions_are_misses_and_counted(tmp_path):
    joints, missing, boxes = truth()
    preds = joints.copy()
    preds[2] = np.nan
    table = mpii.score(
        write_mat(tmp_path / "gt.mat", joints, missing, boxes), write_preds(tmp_path / "p.mat", preds)
    )
    absent = (~missing[2]).sum()
    assert f"without a prediction, counted as misses ({absent})" in table.text
    assert table.main < 1


def test_joints_that_are_missing_may_be_nan(tmp_path):
    joints, missing, boxes = truth()
    holes = np.where(missing[..., None], np.nan, joints)
    table = mpii.score(
        write_mat(tmp_path / "gt.mat", holes, missing, boxes), write_preds(tmp_path / "p.mat", joints)
    )
    assert table.main == 1


def test_without_head_boxes_the_head_segment_is_taken_and_said(tmp_path):
    joints, missing, _ = truth()
    missing[:3, [8, 9]] = False
    missing[4, 9] = True
    dump(tmp_path / "annot/valid.json", people_of(joints, missing))
    preds = joints + np.random.default_rng(2).normal(0, 40, joints.shape)
    table = mpii.score(tmp_path, write_preds(tmp_path / "p.mat", preds))
    sized = ~missing[:, 8] & ~missing[:, 9]
    heads = np.linalg.norm(joints[:, 9] - joints[:, 8], axis=1)
    expected = by_hand(joints[sized], missing[sized], heads[sized], preds[sized])[1]
    assert table.main == pytest.approx(expected) and 0 < expected < 1
    assert (
        "PCKh" not in table.rows
        and "NOT the head box" in table.text
        and "gt_valid.mat is missing" in table.text
    )
    assert f"people without a head size, left out ({(~sized).sum()})" in table.text
    # With the file beside it, the head boxes count.
    write_mat(tmp_path / "annot/gt_valid.mat", *truth())
    assert "PCKh" in mpii.score(tmp_path, tmp_path / "p.mat").rows


def tracks_of(joints, order):
    known = np.ones((1, 16), dtype=bool)
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    return [
        Track(
            name=str(number),
            split="test",
            action="",
            frames=(Path(f"{number}.jpg"),),
            joints=joints[number][None],
            visible=known,
            labelled=known,
            boxes=box,
            score_boxes=box,
            image_ids=(number,),
            person=number,
        )
        for number in order
    ]


def test_written_predictions_are_one_based_and_in_the_files_order(tmp_path):
    joints, missing, boxes = truth()
    tracks = tracks_of(joints - 1, [3, 1, 5, 0, 4, 2])
    predictions = [
        Prediction(
            name=track.name,
            joints=track.joints,
            scores=np.ones((1, 16)),
            predicted=np.array([track.person != 4]),
        )
        for track in tracks
    ]
    path = mpii.write(predictions, tracks, dataset.SKELETON, tmp_path / "out", root=tmp_path)
    preds = scipy.io.loadmat(path)["preds"]
    assert preds.shape == (PEOPLE, 16, 2) and np.isnan(preds[4]).all()
    np.testing.assert_allclose(np.delete(preds, 4, 0), np.delete(joints, 4, 0))
    table = mpii.score(write_mat(tmp_path / "gt.mat", joints, missing, boxes), path)
    expected = (~missing)[:, [j for j in range(16) if j not in (6, 7)]].sum(axis=1)
    assert table.main == pytest.approx(1 - expected[4] / expected.sum())


def test_label_files_by_subset(tmp_path):
    assert mpii.labels(tmp_path, subset="test") == tmp_path / "annot/valid.json"
    write_mat(tmp_path / "annot/gt_valid.mat", *truth())
    assert mpii.labels(tmp_path, subset="test") == tmp_path / "annot/gt_valid.mat"
    assert mpii.labels(tmp_path, subset="train", train="trainval") == tmp_path / "annot/trainval.json"
    assert mpii.labels(tmp_path, subset="test", test="test") is None


BROKEN_LABELS = [
    ({"headboxes_src": None}, "headboxes_src missing"),
    ({"jnt_missing": np.full((16, PEOPLE), 2)}, "expected jnt_missing to hold 0 and 1 only"),
    ({"jnt_missing": np.zeros((16, PEOPLE - 1))}, "expected jnt_missing to be 16x6, got 16x5"),
    ({"pos_gt_src": np.full((16, 2, PEOPLE), np.nan)}, "expected pos_gt_src of every joint"),
    ({"dataset_joints": np.array(["a", "b"], dtype=object)}, "expected dataset_joints rank, rkne"),
]


@pytest.mark.parametrize(("changes", "text"), BROKEN_LABELS)
def test_broken_labels_are_one_sentence(tmp_path, changes, text):
    joints, missing, boxes = truth()
    gt = write_mat(tmp_path / "gt_valid.mat", joints, missing, boxes, **changes)
    preds = write_preds(tmp_path / "p.mat", joints)
    expect_error(lambda: mpii.score(gt, preds), gt, text)


BROKEN_PREDICTIONS = [
    (np.zeros((PEOPLE - 1, 16, 2)), "expected preds to be 6x16x2, a row for each person"),
    (np.zeros((PEOPLE, 15, 2)), "expected preds to be nx16xn"),
    (np.full((PEOPLE, 16, 2), np.inf), "expected preds to be finite"),
    (np.array(["text"]), "expected preds to hold real numbers"),
]


@pytest.mark.parametrize(("preds", "text"), BROKEN_PREDICTIONS)
def test_broken_predictions_are_one_sentence(tmp_path, preds, text):
    gt = write_mat(tmp_path / "gt_valid.mat", *truth())
    path = write_preds(tmp_path / "p.mat", preds)
    expect_error(lambda: mpii.score(gt, path), path, text)


def test_files_that_are_cut_off_or_absent_are_one_sentence(tmp_path):
    gt, preds = write_mat(tmp_path / "gt.mat", *truth()), write_preds(tmp_path / "p.mat", truth()[0])
    preds.write_bytes(preds.read_bytes()[:200])
    expect_error(lambda: mpii.score(gt, preds), preds, "expected a whole MATLAB v5 file")
    expect_error(lambda: mpii.score(tmp_path / "none", preds), tmp_path / "none", "expected")
    with pytest.raises(UserError, match=r"expected gt_valid\.mat or valid\.json in this folder"):
        mpii.score(tmp_path, preds)
    with pytest.raises(UserError, match="threshold: expected a share"):
        mpii.score(gt, preds, threshold=0)


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        ((0, "joints"), [[1, 2]], "[0].joints: expected 16 pairs of numbers"),
        ((1, "joints", 3), [1, "x"], "[1].joints.3: expected 2 finite numbers"),
        ((1, "joints_vis"), [2] * 16, "[1].joints_vis: expected 16 flags 0 or 1"),
        ((2,), 7, "[2]: expected an object"),
    ],
)
def test_broken_json_is_one_sentence(tmp_path, place, value, text):
    joints, missing, _ = truth()
    people = copy.deepcopy(people_of(joints, missing))
    set_at(people, place, value)
    gt, preds = dump(tmp_path / "valid.json", people), write_preds(tmp_path / "p.mat", joints)
    expect_error(lambda: mpii.score(gt, preds), gt, text)


def test_real_labels_score_one_for_themselves(shared, tmp_path):
    tracks = dataset.read(shared / "samples/mpii", "test")
    predictions = [
        Prediction(name=t.name, joints=t.joints, scores=np.ones((1, 16)), predicted=np.ones(1, dtype=bool))
        for t in tracks
    ]
    path = mpii.write(predictions, tracks, dataset.SKELETON, tmp_path, root=shared / "samples/mpii")
    assert mpii.score(shared / "samples/mpii", path).main == 1
