"""The study's intervals, by hand."""

import numpy as np
import pytest

from rpstn_training.study.report import in_words
from rpstn_training.study.statistics import Counts, paired_difference

DRAWS = {"resamples": 4000, "seed": 1}


def counts(hits, counted) -> Counts:
    return Counts(hits=np.array(hits), counted=np.array(counted))


def test_two_clips_are_drawn_as_two_coins():
    """One clip all found, one nothing: half; both draws are of the same clip in half of the cases."""
    ten = [[10, 10]]
    found = paired_difference(counts([[10, 0]], ten), counts([[0, 0]], ten), **DRAWS)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    assert not found.clear


def test_what_is_the_same_in_both_arms_does_not_widen_the_interval():
    """Clips from 0 to 9 of 10 found, one more in the arm: the difference is a tenth in every draw."""
    control = np.arange(10)[None]
    found = paired_difference(
        counts(control + 1, control * 0 + 10), counts(control, control * 0 + 10), **DRAWS
    )
    np.testing.assert_allclose([found.value, found.low, found.high], 0.1)
    assert found.clear


def test_clips_weigh_by_their_joints():
    """10 of 30 more in one clip, none of 10 in the other: a quarter of all 40, not a sixth."""
    found = paired_difference(counts([[10, 0]], [[30, 10]]), counts([[0, 0]], [[30, 10]]), **DRAWS)
    assert found.value == 0.25
    np.testing.assert_allclose([found.low, found.high], [0.0, 1 / 3])


def test_seeds_are_a_level_of_their_own():
    """A hundred clips that agree, two seeds that do not: both draws are of the same seed in half of the cases."""
    ten = np.full((2, 100), 10)
    hits = np.array([[10] * 100, [0] * 100])
    found = paired_difference(counts(hits, ten), counts(hits * 0, ten), **DRAWS)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    assert paired_difference(counts(hits[:1], ten[:1]), counts(hits[:1] * 0, ten[:1]), **DRAWS).low == 1.0


def test_one_clip_has_no_interval():
    found = paired_difference(counts([[5], [6]], [[10], [10]]), counts([[4], [4]], [[10], [10]]), **DRAWS)
    assert found.value == pytest.approx(0.15) and np.isnan([found.low, found.high]).all() and not found.clear
    assert in_words(found) == "+15.0"


def test_a_share_of_nothing_is_no_number():
    assert np.isnan(counts([[0]], [[0]]).share)
    assert counts([[1, 2], [3, 4]], [[4, 4], [8, 8]]).by_seed == [3 / 8, 7 / 16]
    with pytest.raises(ValueError, match="clips with joints to count, got none"):
        paired_difference(counts([[0]], [[0]]), counts([[0]], [[0]]), **DRAWS)
    with pytest.raises(ValueError, match=r"same seeds and clips, got \[1, 1\] and \[1, 2\]"):
        paired_difference(counts([[0]], [[1]]), counts([[0, 0]], [[1, 1]]), **DRAWS)
