"""Fits of probabilities to what came true, and how good such probabilities are: numbers alone, of NumPy.

Samples are N, outcomes 0 or 1, `weights` [N] how much each sample counts (all alike where there are none).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15
_STEPS, _STILL = 50, 1e-8


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """p = 1 / (1 + exp(-(sum_f weight_f (x_f - mean_f) / spread_f + bias))), of samples x [..., F]."""

    mean: np.ndarray
    spread: np.ndarray
    weight: np.ndarray
    bias: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return sigmoid((x - self.mean) / self.spread @ self.weight + self.bias)

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

    >>> bool(abs(fit_logistic(np.zeros((4, 1)), np.array([1, 1, 1, 0]) > 0)(np.zeros(1)) - (3 * 0.8 + 1 / 3) / 4) < 1e-9)
    True
    """
    outcomes = np.asarray(outcomes, dtype=bool)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 1e-12 * np.maximum(abs(mean), 1), spread, 1.0)
    columns = np.hstack([(x - mean) / spread, np.ones((len(x), 1))])
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


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))


@dataclass(frozen=True, kw_only=True)
class Rising:
    """A function that never falls, straight between `values` at the rising places `at`, level beyond them."""

    at: np.ndarray
    values: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.interp(x, self.at, self.values)

    def to_dict(self) -> dict[str, Any]:
        return {"at": self.at.tolist(), "values": self.values.tolist()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Rising":
        return cls(at=np.array(plain["at"], dtype=float), values=np.array(plain["values"], dtype=float))


def fit_rising(x: np.ndarray, outcomes: np.ndarray, *, least: int = 1) -> Rising:
    """The rising step function of least squares (isotonic regression, by pooling neighbours that fall), with straight
    lines between the middles of its steps.

    least: samples of a step. Steps with fewer are pooled with the next, so that no value rests on a handful.

    >>> fit_rising(np.array([1.0, 2, 3, 4]), np.array([0, 1, 0, 1])).values.tolist()
    [0.0, 0.5, 1.0]
    """
    order = np.argsort(x, kind="stable")
    pools: list[list[float]] = []  # sum of outcomes, count, sum of places
    place, outcome = np.asarray(x, dtype=float)[order], np.asarray(outcomes, dtype=float)[order]
    starts = np.flatnonzero(np.append(True, place[1:] != place[:-1]))  # equal places have one value
    sums, counts = np.add.reduceat(outcome, starts), np.diff(np.append(starts, len(place)))
    for total, count, where in zip(sums, counts, place[starts]):
        pools.append([total, count, where * count])
        while len(pools) > 1 and (
            pools[-2][1] < least or pools[-2][0] * pools[-1][1] >= pools[-1][0] * pools[-2][1]
        ):
            last = pools.pop()
            pools[-1] = [first + second for first, second in zip(pools[-1], last)]
    while len(pools) > 1 and pools[-1][1] < least:
        last = pools.pop()
        pools[-1] = [first + second for first, second in zip(pools[-1], last)]
    found = np.array(pools)
    return Rising(at=found[:, 2] / found[:, 1], values=found[:, 0] / found[:, 1])


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
        value=float((levels[best] + levels[best + 1]) / 2), kept=float(kept[best]), refused=float(refused[best])
    )
