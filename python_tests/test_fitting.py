"""Probabilities fitted to what came true, and how good they are: cases worked out by hand."""

import numpy as np
import pytest
from pytest import approx

from rpstn_training.fitting import (
    Logistic,
    auroc,
    best_threshold,
    calibration_error,
    fit_logistic,
    reliability,
)


def outcomes(*values: int) -> np.ndarray:
    return np.array(values) > 0


def test_a_logistic_function_of_two_places_gives_the_mean_outcome_of_each():
    """With two places and no ridge the fit goes through both means, of targets 4/5 and 1/6: at 0 one of three came
    true (3 in all), at 1 two of four (4 did not).
    """
    x = np.array([0, 0, 0, 1, 1, 1, 1.0])[:, None]
    found = fit_logistic(x, outcomes(1, 0, 0, 1, 1, 0, 0), ridge=0.0)
    yes, no = 4 / 5, 1 / 6
    assert found(np.array([[0.0], [1.0]])) == approx([(yes + 2 * no) / 3, (2 * yes + 2 * no) / 4], abs=1e-6)
    # The logit is straight between: halfway it is the mean of the two.
    logit = np.log(found(np.array([[0.0], [0.5], [1.0]])) / (1 - found(np.array([[0.0], [0.5], [1.0]]))))
    assert logit[1] == approx((logit[0] + logit[2]) / 2)


def test_a_ridge_draws_the_weights_to_zero():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    came = rng.random(400) < 1 / (1 + np.exp(-2 * x[:, 0]))
    free, tied = fit_logistic(x, came, ridge=0.0), fit_logistic(x, came, ridge=1e6)
    assert free.weight[0] == approx(2, abs=0.5) and abs(free.weight[1]) < 0.5
    assert abs(tied.weight).max() < 1e-3
    assert tied(x).mean() == approx(came.mean(), abs=0.01)  # the bias is free


def test_a_weight_of_separable_samples_is_finite():
    found = fit_logistic(np.arange(8.0)[:, None] * 1e6, outcomes(0, 0, 0, 0, 1, 1, 1, 1), ridge=0.0)
    assert (
        np.isfinite(found.weight).all() and 0 < found(np.array([[0.0]]))[0] < found(np.array([[7e6]]))[0] < 1
    )


@pytest.mark.parametrize(("kind", "share"), [(1, 11 / 12), (0, 1 / 12)])
def test_one_outcome_alone_gives_no_certainty(kind, share):
    found = fit_logistic(np.random.default_rng(0).normal(size=(10, 3)), outcomes(*[kind] * 10))
    assert found(np.zeros((1, 3))) == approx([share], abs=1e-6)


def test_a_column_that_never_changes_counts_nothing():
    x = np.stack([np.array([0, 1, 2, 3.0]), np.full(4, 0.1)], axis=1)
    found = fit_logistic(x, outcomes(0, 1, 0, 1))
    assert found.weight[1] == 0 and found.weight[0] > 0


def test_round_trip():
    found = fit_logistic(np.random.default_rng(0).normal(size=(9, 2)), outcomes(1, 0, 1, 0, 1, 1, 1, 0, 0))
    again = Logistic.from_dict(found.to_dict())
    x = np.random.default_rng(1).normal(size=(4, 2))
    np.testing.assert_array_equal(again(x), found(x))


def test_calibration_error_by_hand():
    """Ten parts: 0.85 and 0.87 share one, of which one came true: |0.86 - 0.5| of 2 samples; 0.1 belongs to the second
    part, beside 0.15: |0.125 - 0| of 2; and 1.0 to the last, |1 - 1| of 1. (2 * 0.36 + 2 * 0.125) / 5 = 0.194.
    """
    said = np.array([0.85, 0.87, 0.1, 0.15, 1.0])
    bins = reliability(said, outcomes(1, 0, 0, 0, 1), bins=10)
    assert [(each.count, round(each.said, 6), each.came) for each in bins] == (
        [(2, 0.125, 0.0), (2, 0.86, 0.5), (1, 1.0, 1.0)]
    )
    assert calibration_error(bins) == approx(0.194)
    assert np.isnan(calibration_error(()))


def test_errors_in_opposite_directions_do_not_cancel_across_bins():
    said = np.array([0.3, 0.3, 0.7, 0.7])
    assert calibration_error(reliability(said, outcomes(1, 1, 0, 0))) == approx(0.7)


def test_area_under_the_curve_by_hand():
    """Pairs (3, 2) (3, 1) (2, 2) (2, 1): three and a half of four are in order."""
    assert auroc(np.array([3.0, 2, 2, 1]), outcomes(1, 1, 0, 0)) == 3.5 / 4
    assert auroc(np.array([1.0, 2, 3]), outcomes(1, 1, 0)) == 0.0
    assert auroc(np.zeros(5), outcomes(1, 0, 1, 0, 0)) == 0.5
    assert np.isnan(auroc(np.ones(3), outcomes(1, 1, 1)))
    rng = np.random.default_rng(0)
    scores, came = rng.integers(0, 9, 60).astype(float), rng.random(60) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in scores[came] for b in scores[~came]]
    assert auroc(scores, came) == approx(np.mean(pairs))


def test_the_best_threshold_by_hand():
    """Above 1.5 are both true ones and one of two others; above 7 would be one of two and none: 1.5 each, the lower."""
    found = best_threshold(np.array([1.0, 2, 6, 8]), outcomes(0, 1, 0, 1))
    assert (found.value, found.kept, found.refused) == (1.5, 1.0, 0.5)
    apart = best_threshold(np.array([0.1, 0.2, 0.7, 0.9]), outcomes(0, 0, 1, 1))
    assert apart.value == approx(0.45) and (apart.kept, apart.refused) == (1.0, 1.0)
    assert best_threshold(np.ones(3), outcomes(1, 1, 1)) is None
    assert best_threshold(np.ones(3), outcomes(1, 0, 1)) is None  # no threshold tells equal scores apart
