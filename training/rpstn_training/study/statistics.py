"""Scores as counts per clip, and intervals of their differences.

Clips are the sample: frames of one clip are much alike, so that they are drawn together or not at all. Trainings with
other seeds are a second level: clips say how sure a score is of these weights, seeds how sure the weights are of being
typical.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Joints found and joints counted of each of C clips under each of S seeds, int64 [S, C]."""

    hits: np.ndarray
    counted: np.ndarray

    def __post_init__(self) -> None:
        if self.hits.shape != self.counted.shape or self.hits.ndim != 2:
            raise ValueError(
                f"Counts: expected hits and counted of one shape [S, C], got {list(self.hits.shape)} and "
                f"{list(self.counted.shape)}"
            )

    @property
    def share(self) -> float:
        """Found of counted, all clips and seeds together; NaN where nothing was counted."""
        return _share(self.hits.sum(), self.counted.sum())

    @property
    def by_seed(self) -> list[float]:
        return [_share(hits, counted) for hits, counted in zip(self.hits.sum(1), self.counted.sum(1))]


def _share(hits: int, counted: int) -> float:
    return float(hits / counted) if counted else float("nan")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two arms' shares, with a 95 % interval: NaN where one clip alone was counted."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def paired_difference(arm: Counts, control: Counts, *, resamples: int, seed: int) -> Difference:
    """The difference of two arms' shares, and its 95 % interval by a paired bootstrap of two levels.

        d   = sum_sc a_sc / sum_sc n_sc - sum_sc b_sc / sum_sc m_sc
        d*  = the same with S seeds s and C clips c drawn with replacement, the same draws for both arms
        interval = the 2.5 and 97.5 percent points of d* over `resamples` draws

    a, b are the joints found under seed s in clip c, n, m those counted. A draw takes its clips for all seeds and both
    arms together (they all saw the same clips) and its seeds for both arms together (seed s of one arm began where seed
    s of the other began). With one seed the interval knows nothing of seeds; of one clip there is none (NaN).

    Args:
        arm, control: of the same S seeds and C clips, in the same order.
        resamples: draws.
        seed: of the draws.

    Raises:
        ValueError: the arms have other shapes, or no joint was counted.
    """
    if arm.hits.shape != control.hits.shape:
        raise ValueError(
            f"paired_difference: expected arms of the same seeds and clips, got {list(arm.hits.shape)} and "
            f"{list(control.hits.shape)}"
        )
    if not arm.counted.any() or not control.counted.any():
        raise ValueError("paired_difference: expected clips with joints to count, got none")
    rng = np.random.default_rng(seed)
    seeds, clips = arm.hits.shape
    of_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    of_clip = rng.multinomial(clips, np.full(clips, 1 / clips), size=resamples)

    def drawn(counts: np.ndarray) -> np.ndarray:
        """Sum over seeds and clips, each as often as it was drawn, [resamples]."""
        return ((of_seed @ counts) * of_clip).sum(axis=1)

    with np.errstate(invalid="ignore", divide="ignore"):
        differences = drawn(arm.hits) / drawn(arm.counted) - drawn(control.hits) / drawn(control.counted)
    low, high = np.nanpercentile(differences, [2.5, 97.5]) if clips > 1 else (np.nan, np.nan)
    return Difference(value=arm.share - control.share, low=float(low), high=float(high))
