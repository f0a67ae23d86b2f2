"""The numbers of the demo's page, counted from tracks and predictions by the rules of `scores.pck`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..data.boxes import person_size
from ..data.records import Skeleton, Track
from ..predictions import Prediction
from ..scores.pck import joint_mask, pck, sweep, torso_size
from .inside import errors

TOLERANCES = tuple(step / 100 for step in range(51))  # shares of a size
NAMED = (0.05, 0.1, 0.2)  # those of the tables


def curve(
    tracks: Sequence[Track],
    predictions: Sequence[Prediction],
    skeleton: Skeleton,
    *,
    joints: str,
    normaliser: str = "person",
) -> np.ndarray:
    """Percent [len(TOLERANCES)] of the "visible" or "occluded" joints within each tolerance: the mean over the kinds of
    joints, as evaluation counts it; NaN where there are none.
    """
    frames = [prediction.predicted for prediction in predictions]
    rule = {"joints": joints, "normaliser": normaliser, "frames": frames}
    found = sweep(*_arguments(tracks, predictions, skeleton), gammas=TOLERANCES, **rule)
    return 100 * np.array([result.mean_of_joints for result in found])


def by_action(
    tracks: Sequence[Track], predictions: Sequence[Prediction], skeleton: Skeleton, *, gamma: float
) -> dict[str, dict[str, float]]:
    """Of each action, in the alphabet's order, percent at `gamma`: person and torso size of the visible joints, torso
    size of the hidden ones (NaN where there are none).
    """
    rules = {
        "person": {"normaliser": "person"},
        "torso": {"normaliser": "torso"},
        "hidden, torso": {"normaliser": "torso", "joints": "occluded"},
    }
    found = {}
    for action in sorted({track.action for track in tracks}):
        chosen = [place for place, track in enumerate(tracks) if track.action == action]
        some, guesses = [tracks[place] for place in chosen], [predictions[place] for place in chosen]
        frames = [guess.predicted for guess in guesses]
        found[action] = {
            name: 100
            * pck(*_arguments(some, guesses, skeleton), gamma=gamma, frames=frames, **rule).mean_of_joints
            for name, rule in rules.items()
        }
    return found


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Left and right: mean distance of the two joints of a pair, of persons' size, as found and in truth, and the share
    of pairs of which each joint was found nearer to the other's place.
    """

    found: float
    truth: float
    swapped: float


def sides(tracks: Sequence[Track], predictions: Sequence[Prediction], skeleton: Skeleton) -> Sides:
    """Over the pairs of labelled joints of all predicted frames."""
    found, truth, swapped = [], [], []
    for track, prediction in zip(tracks, predictions):
        sizes = person_size(track.score_boxes)
        for left, right in skeleton.flip_pairs:
            known = prediction.predicted & track.labelled[:, left] & track.labelled[:, right]
            guess, true = prediction.joints[known], track.joints[known]
            found.append(_apart(guess[:, left], guess[:, right]) / sizes[known])
            truth.append(_apart(true[:, left], true[:, right]) / sizes[known])
            swapped.append(
                (_apart(guess[:, left], true[:, right]) < _apart(guess[:, left], true[:, left]))
                & (_apart(guess[:, right], true[:, left]) < _apart(guess[:, right], true[:, right]))
            )
    means = {"found": found, "truth": truth, "swapped": swapped}
    return Sides(**{name: float(np.concatenate(parts).mean()) for name, parts in means.items()})


@dataclass(frozen=True, kw_only=True)
class Change:
    """Joints within a tolerance in one set of predictions alone, of `counted` joints."""

    only_before: int
    only_after: int
    counted: int


def change(
    tracks: Sequence[Track],
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    skeleton: Skeleton,
    *,
    gamma: float,
    joints: str,
) -> Change:
    """At `gamma` torso sizes."""
    lost = won = counted = 0
    for track, first, second in zip(tracks, before, after):
        mask = joint_mask(track, joints) & second.predicted[:, None]
        one, other = (_right(track, guess, skeleton, gamma) & mask for guess in (first, second))
        lost += int((one & ~other).sum())
        won += int((other & ~one).sum())
        counted += int(mask.sum())
    return Change(only_before=lost, only_after=won, counted=counted)


def mean_errors(track: Track, prediction: Prediction) -> np.ndarray:
    """Mean error [F] of the labelled joints of each predicted frame, as a share of the person size; NaN elsewhere."""
    error = np.where(prediction.predicted[:, None], errors(track, prediction), np.nan)
    known = np.isfinite(error)
    total = np.where(known, error, 0).sum(axis=1)
    return np.divide(total, known.sum(axis=1), out=np.full(len(track), np.nan), where=known.any(axis=1))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One frame of one track, by their places, and its mean error."""

    track: int
    frame: int
    error: float


def ranked(
    tracks: Sequence[Track], predictions: Sequence[Prediction], only: Callable[[Track], bool]
) -> list[Case]:
    """The predicted frames of the tracks that are `only` wanted, the smallest mean error first."""
    cases = [
        Case(track=place, frame=int(frame), error=float(error[frame]))
        for place, (track, prediction) in enumerate(zip(tracks, predictions))
        if only(track)
        for error in [mean_errors(track, prediction)]
        for frame in np.flatnonzero(np.isfinite(error))
    ]
    return sorted(cases, key=lambda case: (case.error, case.track, case.frame))


def typical_and_worst(
    tracks: Sequence[Track], predictions: Sequence[Prediction]
) -> dict[str, tuple[Case, Case]]:
    """Of each action the frame whose mean error is the median of all its frames, and the one with the largest. An
    action without a labelled joint is left out.
    """
    found = {}
    for action in sorted({track.action for track in tracks}):
        cases = ranked(tracks, predictions, lambda track, action=action: track.action == action)
        if cases:
            found[action] = (cases[(len(cases) - 1) // 2], cases[-1])
    return found


class BeforeRelation(nn.Module):
    """A network whose maps are those that the relation of another one gets. That one goes on as ever: its state holds
    what comes after the relation.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.temporal, self.stride, self.multiple = model.temporal, model.stride, model.multiple
        self.num_joints = model.num_joints

    def forward(self, clip: Tensor) -> Tensor:
        """Clips [B, T, 3, H, W]; the relation is called once for all frames, or once for each."""
        _, given = self._call(self.model, clip)
        return given[0].unflatten(0, clip.shape[:2]) if len(given) == 1 else torch.stack(given, dim=1)

    def start(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        (_, state), (given,) = self._call(self.model.start, frame)
        return given, state

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        (_, state), (given,) = self._call(self.model.step, frame, state)
        return given, state

    def _call(self, function: Callable, *inputs: Tensor) -> tuple[object, list[Tensor]]:
        given: list[Tensor] = []
        handle = self.model.relation.register_forward_pre_hook(lambda _, maps: given.append(maps[0]))
        try:
            return function(*inputs), given
        finally:
            handle.remove()


def _arguments(
    tracks: Sequence[Track], predictions: Sequence[Prediction], skeleton: Skeleton
) -> tuple[list[np.ndarray], Sequence[Track], Skeleton]:
    return [prediction.joints for prediction in predictions], tracks, skeleton


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.linalg.norm(first - second, axis=-1)


def _right(track: Track, guess: Prediction, skeleton: Skeleton, gamma: float) -> np.ndarray:
    sizes = torso_size(track.joints, guess.joints, skeleton.torso)
    return _apart(guess.joints, track.joints) <= gamma * sizes[:, None]


def at(values: np.ndarray, tolerance: float) -> float:
    """The value of a `curve` at one of its tolerances."""
    return float(values[TOLERANCES.index(tolerance)])
