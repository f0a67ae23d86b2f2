"""Fits of probabilities to what came true, and how good such probabilities are: numbers alone, of NumPy.

Outcomes are bool [N], of N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15
FAR = 6.0  # standard deviations
_STEPS, _STILL = 50, 1e-8


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """p = 1 / (1 + exp(-(sum_f weight_f z_f + bias))) with z_f = (x_f - mean_f) / spread_f, of samples x [..., F].

    z is cut off at -FAR and FAR: what nobody has seen in a fit makes nobody surer.
    """

    mean: np.ndarray
    spread: np.ndarray
    weight: np.ndarray
    bias: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return sigmoid(_scaled(x, self.mean, self.spread) @ self.weight + self.bias)

    def to_dict(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).tolist() for name in ("mean", "spread", "weight")}
        return {**arrays, "bias": self.bias}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Logistic":
        arrays = {name: np.array(plain[name], dtype=np.float64) for name in ("mean", "spread", "weight")}
        return cls(**arrays, bias=float(plain["bias"]))


def fit_logistic(x: np.ndarray, outcomes: np.ndarray, *, ridge: float = 1.0) -> Logistic:
    """The logistic function of greatest likelihood, less ridge/2 times the squared weights (not of the bias).

    Outcomes count as (N1 + 1) / (N1 + 2) and 1 / (N0 + 2) in place of 1 and 0, with N1 and N0 of each (Platt,
    "Probabilistic outputs for support vector machines", 2000): so there is an answer, and none of certainty, where one
    of them never came. A column that is always the same gets the weight 0. Newton's method, with steps halved until
    the objective falls.

    x (ndarray[N, F]), outcomes (bool ndarray[N]).

    Nothing but outcomes, 3 of 4:

    >>> found = fit_logistic(np.zeros((4, 1)), np.array([True, True, True, False]))(np.zeros(1))
    >>> round(float(found), 9) == round((3 * 4 / 5 + 1 / 3) / 4, 9)
    True
    """
    outcomes = np.asarray(outcomes, dtype=bool)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 1e-12 * np.maximum(abs(mean), 1), spread, 1.0)
    columns = np.hstack([_scaled(x, mean, spread), np.ones((len(x), 1))])
    ones = int(outcomes.sum())
    target = np.where(outcomes, (ones + 1) / (ones + 2), 1 / (len(x) - ones + 2))
    penalty = np.append(np.full(x.shape[1], ridge), 0.0)

    def objective(at: np.ndarray) -> float:
        z = columns @ at
        return float((np.logaddexp(0, z) - target * z).sum() + (penalty * at**2).sum() / 2)

    at = np.zeros(columns.shape[1])
    value = objective(at)
    for _ in range(_STEPS):
        p = sigmoid(columns @ at)
        gradient = columns.T @ (p - target) + penalty * at
        curvature = (columns * (p * (1 - p))[:, None]).T @ columns + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curvature, gradient)
        while (after := objective(at - step)) > value and abs(step).max() > _STILL:
            step = step / 2
        at, value = at - step, min(after, value)
        if abs(step).max() <= _STILL:
            break
    return Logistic(mean=mean, spread=spread, weight=at[:-1], bias=float(at[-1]))


def _scaled(x: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.clip((x - mean) / spread, -FAR, FAR)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Samples of a like probability: how many, the mean of what was said, the share of what came true."""

    count: int
    said: float
    came: float


def reliability(probabilities: np.ndarray, outcomes: np.ndarray, *, bins: int = BINS) -> tuple[Bin, ...]:
    """The samples in `bins` equal parts of [0, 1], those without samples left out; 1 belongs to the last."""
    place = np.minimum((np.asarray(probabilities) * bins).astype(int), bins - 1)
    return tuple(
        Bin(
            count=int(inside.sum()),
            said=float(probabilities[inside].mean()),
            came=float(np.mean(outcomes[inside])),
        )
        for number in range(bins)
        if (inside := place == number).any()
    )


def calibration_error(of: Sequence[Bin]) -> float:
    """The expected calibration error: sum over bins of count / N * |said - came|. NaN of no bins.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3, with BINS bins of equal width.

    >>> round(calibration_error(reliability(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1, 0, 0, 0]))), 3)
    0.25
    """
    total = sum(each.count for each in of)
    return sum(each.count * abs(each.said - each.came) for each in of) / total if total else float("nan")


def auroc(scores: np.ndarray, outcomes: np.ndarray) -> float:
    """The share of pairs of a sample that came true and one that did not of which the first has the higher score, ties
    for half: the area under the receiver's curve. NaN where there are no such pairs.

    >>> auroc(np.array([3.0, 2, 2, 1]), np.array([1, 1, 0, 0]) > 0)
    0.875
    """
    outcomes = np.asarray(outcomes, dtype=bool)
    ones, zeros = int(outcomes.sum()), int((~outcomes).sum())
    if not ones or not zeros:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[outcomes].sum() - ones * (ones + 1) / 2) / (ones * zeros))


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """`value`: from it on a sample is taken for true. `kept`: the share of the true ones that is, `refused`: the share
    of the others that is not.
    """

    value: float
    kept: float
    refused: float


def best_threshold(scores: np.ndarray, outcomes: np.ndarray) -> Threshold | None:
    """The threshold with the greatest kept + refused (Youden's index), midway between two scores, the lowest of
    several; None where there are not both kinds.

    >>> best_threshold(np.array([1, 2, 6, 8]), np.array([0, 1, 0, 1]) > 0)
    Threshold(value=1.5, kept=1.0, refused=0.5)
    """
    outcomes = np.asarray(outcomes, dtype=bool)
    ones, zeros = int(outcomes.sum()), int((~outcomes).sum())
    if not ones or not zeros:
        return None
    levels, place = np.unique(scores, return_inverse=True)
    kept = 1 - np.cumsum(np.bincount(place, outcomes, len(levels)))[:-1] / ones
    refused = np.cumsum(np.bincount(place, ~outcomes, len(levels)))[:-1] / zeros
    if not len(kept):
        return None
    best = int(np.argmax(np.round(kept + refused, 12)))
    return Threshold(
        value=float((levels[best] + levels[best + 1]) / 2),
        kept=float(kept[best]),
        refused=float(refused[best]),
    )
