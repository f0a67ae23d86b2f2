"""`pck_released`: what makes the released evaluator's figure something else than PCK, each point by hand."""

import numpy as np
import pytest

from rpstn_training.data.records import Track
from rpstn_training.data.sets import sub_jhmdb
from rpstn_training.scores.pck import pck
from rpstn_training.scores.pck_released import clips_of, pck_released, person_sizes, released_rows, to_cells

JHMDB = sub_jhmdb.SKELETON
TORSO = (0, 1)


def clip(torso: float = 40.0, frames: int = 5, joints: int = 4) -> np.ndarray:
    """Cells [T, K, 2] with joints 0 and 1 `torso` apart, all counted."""
    cells = np.full((frames, joints, 2), 10.0)
    cells[:, 1, 0] += torso
    return cells


def moved(cells: np.ndarray, joint: int, by: tuple[float, float]) -> np.ndarray:
    other = cells.copy()
    other[:, joint] += by
    return other


def figure(found: np.ndarray, target: np.ndarray, **options) -> np.ndarray:
    options = options or {"torso": TORSO}
    return pck_released([found], [target], **options).per_joint


def test_perfect_predictions_of_a_short_torso_miss():
    """The distance of a perfect prediction is sqrt(2), and sqrt(2) / 0.2 = 7.07 cells."""
    assert figure(clip(8), clip(8)).tolist() == [1] * 4
    assert figure(clip(7), clip(7)).tolist() == [0] * 4


def test_perfect_predictions_get_less_than_everything_and_noise_a_lot():
    rng = np.random.default_rng(0)
    torsos = rng.uniform(4, 30, 200)
    targets = [np.rint(clip(torso)) for torso in torsos]
    perfect = pck_released(targets, targets, torso=TORSO).mean
    assert perfect == pytest.approx(np.mean(np.rint(torsos) * 0.2 > np.sqrt(2)))
    assert 0.8 < perfect < 1
    noisy = [np.clip(target + rng.normal(0, 6, target.shape), 0, 63) for target in targets]
    hits = [
        np.linalg.norm(noise - target, axis=-1) <= 0.2 * np.rint(torso)
        for noise, target, torso in zip(noisy, targets, torsos)
    ]
    assert np.mean(hits) < 0.2 and pck_released(noisy, targets, torso=TORSO).mean > 0.6


def test_the_tolerance_lies_about_a_shifted_centre():
    """d = ||difference / 6.4 + 1|| < 0.2 * 40 = 8: from -57.6 to 44.8 cells along the diagonal through (-6.4, -6.4)."""
    target = clip(40)
    centre = 6.4
    reach = 8 * 6.4  # along one axis, from the shifted centre
    for by, hit in (
        ((reach - centre - 1e-3, -centre), 1),
        ((reach - centre, -centre), 0),  # strict
        ((-reach - centre + 1e-3, -centre), 1),
        ((-reach - centre - 1e-3, -centre), 0),
        ((30.0, 0.0), 1),  # three quarters of the torso off
    ):
        assert figure(moved(target, 3, by), target)[3] == hit, by


def test_the_first_frame_gives_the_torso_of_all():
    target = clip(40)
    target[1:, 1] = target[1:, 0]  # later frames have none
    far = moved(target, 3, (20, 0))
    assert figure(far, target)[3] == 1
    assert figure(far[::-1], target[::-1])[3] == 0


def test_a_torso_under_one_cell_is_taken_from_the_prediction():
    target = clip(0.5)
    found = target.copy()
    found[:, 1, 0] = found[:, 0, 0] + 40
    assert figure(found, target)[3] == 1
    assert figure(target, target)[3] == 0


def test_joints_count_by_the_place_of_their_target():
    target = clip()
    target[:, 2] = (1, 30)  # x is not above 1
    target[:3, 3] = (30, 0)
    found = moved(target, 3, (0, 0))
    found[4, 3] += 60  # one of two
    share = figure(found, target)
    assert np.isnan(share[2]) and share[3] == 0.5


def test_shares_are_averaged_over_clips_and_then_joints():
    target = clip()
    one_of_five = target.copy()
    one_of_five[1:, 3] += 60
    short = target[:1]
    result = pck_released([one_of_five, short], [target, short], torso=TORSO)
    assert result.per_joint[3] == pytest.approx((0.2 + 1) / 2)  # 2 of 6 if counts were added
    assert result.mean == pytest.approx((3 + 0.6) / 4) and result.clips == 2


def test_person_sizes_pass_practically_everything():
    boxes = np.array([[100.0, 50.0, 220.0, 190.0], [10.0, 300.0, 20.0, 310.0]])
    assert person_sizes(boxes).tolist() == [156, 300]
    np.testing.assert_allclose(person_sizes(boxes, factor=0.35), [54.6, 105])
    target = clip(4)
    anywhere = np.random.default_rng(0).uniform(0, 64, target.shape)
    assert figure(anywhere, target, sizes=[256.0]).tolist() == [1] * 4
    assert figure(anywhere, target, sizes=[1.0]).mean() < 0.5


def test_cells_are_those_of_the_stretched_crop():
    boxes = np.array([[100.0, 50.0, 164.0, 306.0]])  # 64 x 256 pixels
    joints = np.array([[[100, 50], [101.2, 53.9], [101.2, 54.0], [90, 400], [163.9, 305]]], dtype=float)
    assert to_cells(joints, boxes).tolist() == [[[0, 0], [1, 0], [1, 1], [0, 63], [63, 63]]]


def test_clips_follow_gaps():
    frames = np.array([1, 1, 1, 1, 1, 1, 0, 1], dtype=bool)
    assert [clip.tolist() for clip in clips_of(frames)] == [[0, 1, 2, 3, 4], [5], [7]]
    assert clips_of(np.zeros(3, dtype=bool)) == []


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="either torso or sizes"):
        pck_released([clip()], [clip()])
    with pytest.raises(ValueError, match="expected 1 clips everywhere, got 2"):
        pck_released([clip(), clip()], [clip()], torso=TORSO)
    with pytest.raises(ValueError, match=r"expected predicted \[5, 4, 2\] like targets, got \[4, 4, 2\]"):
        pck_released([clip(frames=4)], [clip()], torso=TORSO)


def test_rows_from_tracks_are_named_apart_from_pck(shared):
    arrays = np.load(shared / "goldens/pck/arrays.npz")
    truth, predicted, boxes = (arrays[f"jhmdb_{name}"].astype(np.float64) for name in ("gt", "pred", "box"))
    known = np.ones(truth.shape[1:3], dtype=bool)
    tracks = [
        Track(
            name=str(number),
            split="test",
            action="",
            frames=("",) * len(joints),
            joints=joints,
            visible=known,
            labelled=known,
            boxes=box,
            score_boxes=box,
        )
        for number, (joints, box) in enumerate(zip(truth, boxes))
    ]
    everything = [np.ones(len(track), dtype=bool) for track in tracks]
    rows = released_rows(list(predicted), everything, tracks, JHMDB)
    assert list(rows) == ["pck_released, person", "pck_released, torso"]
    assert all("not a PCK" in row.protocol and "24 clips" in row.protocol for row in rows.values())
    definition = pck(list(predicted), tracks, JHMDB, normaliser="torso").mean_of_joints
    assert definition < 0.6 and rows["pck_released, torso"].mean_of_joints > 0.9
    wrong = [joints.copy() for joints in predicted]
    wrong[0][:, 7] = boxes[0][:, 2:]
    again = released_rows(wrong, everything, tracks, JHMDB)
    assert again["pck_released, torso"].per_joint[7] < rows["pck_released, torso"].per_joint[7]
