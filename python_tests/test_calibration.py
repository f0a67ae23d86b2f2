"""Calibrations of networks whose answers are drawn at random here, so that the truth about them is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pytest import approx

from rpstn_training.calibration import RIGHT, STATES, Calibration, Witnesses, calibrate
from rpstn_training.evidence import EVIDENCE
from rpstn_training.fitting import Bin, auroc, calibration_error, reliability

JOINTS = 5
PEAK, MASS, OUTSIDE = (EVIDENCE.index(name) for name in ("peak", "mass", "outside"))


def people(frames: int = 600, videos: int = 60, seed: int = 0, *, hidden: float = 0.4) -> Witnesses:
    """A joint is right as often as its peak is high, the first one half as often; nothing else tells. Hidden ones have
    a large mass, those outside are found near the picture's edge.
    """
    rng = np.random.default_rng(seed)
    shape = (frames, JOINTS)
    numbers = rng.normal(size=(*shape, len(EVIDENCE)))
    numbers[..., PEAK] = rng.uniform(0, 1, shape)
    visible = rng.random(shape) >= hidden
    outside = ~visible & (rng.random(shape) < 0.3)
    numbers[..., MASS] += 3.0 * ~visible
    numbers[..., OUTSIDE] = np.where(outside, rng.normal(-0.05, 0.1, shape), rng.normal(-0.8, 0.2, shape))
    odds = numbers[..., PEAK] * np.where(np.arange(JOINTS) == 0, 0.5, 1.0)
    return Witnesses(
        numbers=numbers,
        distances=np.where(rng.random(shape) < odds, 0.5, 1.5) * RIGHT,
        labelled=np.ones(shape, dtype=bool),
        visible=visible,
        outside=outside,
        videos=np.arange(frames) % videos,
    )


def nobody(frames: int = 120, videos: int = 60) -> Witnesses:
    found = people(frames, videos, seed=9)
    numbers = found.numbers.copy()
    numbers[..., PEAK] *= 0.1
    return replace(found, numbers=numbers, distances=np.full(found.distances.shape, 9.0))


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    return calibrate(people(), nobody(), people(seed=1), "people of numbers")


def test_probabilities_come_true_where_nothing_was_fitted(fitted):
    fresh = people(2000, seed=5)
    said, _ = fitted.judge(fresh.numbers)
    came = fresh.distances <= RIGHT
    assert calibration_error(reliability(said.ravel(), came.ravel())) < 0.04
    assert fitted.measured["calibration_error"] < 0.06
    assert fitted.measured["right"] == approx(came.mean(), abs=0.03)
    assert fitted.measured["right_auroc"] == approx(auroc(said.ravel(), came.ravel()), abs=0.03)
    for joint in (0, 3):  # each joint has a level of its own
        assert said[:, joint].mean() == approx(came[:, joint].mean(), abs=0.05)
    # Of two alike but for the peak the higher one is surer.
    low, high = fresh.numbers.copy(), fresh.numbers.copy()
    low[..., PEAK], high[..., PEAK] = 0.2, 0.8
    assert (fitted.judge(high)[0] > fitted.judge(low)[0]).all()


def test_states_are_found(fitted):
    fresh = people(500, seed=6)
    _, states = fitted.judge(fresh.numbers)
    truth = np.where(fresh.visible, "visible", np.where(fresh.outside, "outside", "hidden"))
    right = np.array(states) == truth
    for state in STATES:
        assert right[truth == state].mean() > 0.75, state
    assert fitted.measured["visible_auroc"] > 0.95


def test_a_threshold_refuses_boxes_without_people(fitted):
    measured = fitted.measured
    assert measured["people_kept"] > 0.9 and measured["nobody_refused"] > 0.9
    assert (people(300, seed=7).numbers[..., PEAK].mean(axis=1) >= fitted.pose_threshold).mean() > 0.9
    assert (nobody().numbers[..., PEAK].mean(axis=1) < fitted.pose_threshold).mean() > 0.9
    assert 0 < fitted.joint_threshold < 1
    assert measured["joints_kept"] + measured["joints_refused"] > 1.3


def test_in_plain_types_and_back(fitted):
    again = Calibration.from_dict(json.loads(json.dumps(fitted.to_dict())))
    numbers = people(20, seed=8).numbers
    np.testing.assert_array_equal(again.judge(numbers)[0], fitted.judge(numbers)[0])
    assert again.judge(numbers)[1] == fitted.judge(numbers)[1]
    assert again.summary == fitted.summary and again.bins == fitted.bins
    assert Calibration.from_dict(None) is None
    for other in ({"evidence": ["peak"]}, {"form": 1}):  # of another version
        assert Calibration.from_dict({**fitted.to_dict(), **other}) is None


def test_the_same_again_whatever_else_draws_random_numbers(fitted):
    import torch

    before = torch.get_rng_state()
    again = calibrate(people(), nobody(), people(seed=1), "people of numbers")
    assert torch.equal(torch.get_rng_state(), before)
    assert again.to_dict() == fitted.to_dict()


def test_clips_are_judged_by_fits_of_others():
    """Where all is chance, a fit finds something in its own clips; what is measured is not taken in."""
    found = people(120, 12, seed=2)
    distances = np.where(np.random.default_rng(3).random(found.distances.shape) < 0.5, 0.5, 1.5) * RIGHT
    measured = calibrate(replace(found, distances=distances), None, None, "chance").measured
    assert measured["right_auroc"] == approx(0.5, abs=0.12)


def test_every_joint_right():
    found = people(60)
    all_right = calibrate(replace(found, distances=0 * found.distances), None, found, "easy")
    said = all_right.judge(found.numbers)[0]
    assert (said > 0.9).all() and (said < 1).all()
    assert all_right.joint_threshold is None and all_right.pose_threshold is None
    assert all_right.measured["right"] == 1 and all_right.measured["right_auroc"] is None
    assert all_right.measured["joints_kept"] is None
    text = "\n".join(all_right.sentences)
    assert "AUROC not known" in text and "no room for boxes without people" in text


def test_no_hidden_joint_no_state():
    seen = calibrate(people(60, hidden=0.0), None, people(60, hidden=0.0), "all visible")
    assert seen.seen is None and seen.measured["visible_auroc"] is None
    assert seen.judge(people(5).numbers)[1] is None
    assert "visible or hidden: too few joints of one kind" in "\n".join(seen.sentences)


def test_nobody_outside_the_picture():
    """Then it is outside where it was found there."""
    found = people(200, seed=4)
    inside = replace(found, outside=np.zeros_like(found.outside))
    fit = calibrate(inside, None, inside, "all inside")
    numbers = found.numbers[:50].copy()
    numbers[..., MASS] = 6.0  # hidden
    numbers[:25, :, OUTSIDE], numbers[25:, :, OUTSIDE] = 0.1, -0.1
    states = np.array(fit.judge(numbers)[1])
    assert (states[:25] != "hidden").all() and (states[25:] != "outside").all()


def test_joints_without_labels_do_not_count():
    found = people(400, seed=3)
    unknown = np.zeros(found.labelled.shape, dtype=bool)
    unknown[:, 2] = True
    wrong = np.where(unknown, 50.0, found.distances)
    fit = calibrate(replace(found, labelled=~unknown, distances=wrong), None, found, "four joints")
    plain = calibrate(found, None, found, "five joints")
    numbers = people(100, seed=8).numbers
    others = [0, 1, 3, 4]
    np.testing.assert_allclose(
        fit.judge(numbers)[0][:, others], plain.judge(numbers)[0][:, others], atol=0.08
    )


@pytest.mark.parametrize("fault", ["another joint's", "squared", "turned"])
def test_a_fault_in_the_probabilities_would_be_seen(fitted, fault):
    fresh = people(2000, seed=5)
    said, came = fitted.judge(fresh.numbers)[0], fresh.distances <= RIGHT
    wrong = {"another joint's": np.roll(said, 1, axis=1), "squared": said**2, "turned": 1 - said}[fault]
    assert calibration_error(reliability(wrong.ravel(), came.ravel())) > 0.05


def test_sentences_and_summary(fitted):
    text = "\n".join(fitted.sentences)
    assert text.startswith("calibrated on people of numbers; measured part by part")
    assert f"AUROC {fitted.measured['visible_auroc']:.3f}" in text
    assert f"score below {fitted.pose_threshold:.3f}" in text
    assert fitted.summary["fitted_on"] == "people of numbers"
    assert sum(each.count for each in fitted.bins) == 600 * JOINTS
    assert all(isinstance(each, Bin) for each in fitted.bins)


def test_the_reliability_diagram_shows_the_bins(fitted, tmp_path):
    from rpstn_training.figures.plots import write_figure
    from rpstn_training.figures.reliability import draw

    figure = draw(fitted)
    above, below = figure.axes
    said, came = above.lines[1].get_data()
    assert list(said) == [each.said for each in fitted.bins]
    assert list(came) == [each.came for each in fitted.bins]
    assert [bar.get_height() for bar in below.patches] == [each.count for each in fitted.bins]
    assert f"off by {fitted.measured['calibration_error']:.3f}" in above.get_title()
    write_figure(tmp_path / "reliability.png", figure)
    assert (tmp_path / "reliability.png").stat().st_size > 1000
