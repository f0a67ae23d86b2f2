"""Trajectories with their gaps filled and their jitter smoothed: new values, beside which the raw ones stay.

Every joint of every person is filtered for itself, x and y apart, within each stretch of frames in which it is there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import scipy.signal

from ..errors import UserError
from .recording import Person, Recording

FILLED = "filled"  # the state of a joint that was put into a gap
_BEYOND = (
    2  # periods of the cut-off by which a stretch is carried on beyond its ends, turned about its end points
)
_UNEVEN = 0.05  # of a frame's duration that a time may be off an even grid
# Two passes of a filter of second order halve the power (-3 dB) at 0.802 times the cut-off of one pass.
_TWO_PASSES = (math.sqrt(2) - 1) ** 0.25


@dataclass(frozen=True, kw_only=True)
class Butterworth:
    """Zero phase: a Butterworth low-pass of second order, run forwards and backwards, so that nothing is delayed.

    The gain of both passes together is 1 / (1 + (C tan(pi f / r) / tan(pi cutoff / r))^4), with r frames per second and
    C = 0.802 (Winter, Biomechanics and Motor Control of Human Movement, 2.2.4.4), which makes `cutoff` (Hz) the
    frequency of half the power. A stretch of 2 frames or less stays as it is. Frames that are not evenly spaced in time
    are brought to even times by linear interpolation, filtered, and brought back.
    """

    cutoff: float = 6.0

    @property
    def in_words(self) -> str:
        return f"Butterworth low-pass, zero phase, 4th order in both passes, cut-off {self.cutoff:g} Hz"

    def __call__(self, values: np.ndarray, times: np.ndarray, fps: float) -> np.ndarray:
        """values float64 [N, ...] without gaps at the times [N]; of the same shape."""
        if len(values) <= 2:
            return values.copy()
        corrected = fps / math.pi * math.atan(math.tan(math.pi * self.cutoff / fps) / _TWO_PASSES)
        sections = scipy.signal.butter(2, corrected, fs=fps, output="sos")
        even = times[0] + np.arange(1 + math.ceil((times[-1] - times[0]) * fps - _UNEVEN)) / fps
        is_even = len(even) == len(times) and np.abs(times - even).max() <= _UNEVEN / fps
        on_grid = values if is_even else _at(even, times, values)
        beyond = min(math.ceil(_BEYOND * fps / self.cutoff), len(on_grid) - 1)
        smooth = scipy.signal.sosfiltfilt(sections, on_grid, axis=0, padlen=beyond)
        return smooth if is_even else _at(times, even, smooth)


def _at(wanted: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Linear interpolation along the first axis."""
    flat = values.reshape(len(values), -1)
    columns = [np.interp(wanted, times, column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(len(wanted), *values.shape[1:])


@dataclass(frozen=True, kw_only=True)
class OneEuro:
    """Causal: an exponential mean that follows faster the faster the joint moves (Casiez, Roussel and Vogel, CHI 2012).

    With t seconds since the frame before and a(f) = 1 / (1 + 1 / (2 pi f t)):
    speed' = a(1 Hz) speed + (1 - a) speed'_before,  f = min_cutoff + beta |speed'|,  x' = a(f) x + (1 - a) x'_before.
    min_cutoff in Hz, beta in 1/px, speed in px/s. A value depends on no later frame.
    """

    min_cutoff: float = 1.0
    beta: float = 0.007

    @property
    def cutoff(self) -> float:
        return self.min_cutoff

    @property
    def in_words(self) -> str:
        return f"one-euro filter, causal, lowest cut-off {self.min_cutoff:g} Hz, beta {self.beta:g} per px"

    def __call__(self, values: np.ndarray, times: np.ndarray, fps: float) -> np.ndarray:
        """values float64 [N, ...] without gaps at the times [N]; of the same shape."""
        smooth, speed = values.copy(), np.zeros_like(values[0])
        for now in range(1, len(values)):
            elapsed = times[now] - times[now - 1]
            rate = _weight(1.0, elapsed)
            speed = rate * (values[now] - values[now - 1]) / elapsed + (1 - rate) * speed
            weight = _weight(self.min_cutoff + self.beta * np.abs(speed), elapsed)
            smooth[now] = weight * values[now] + (1 - weight) * smooth[now - 1]
        return smooth


def _weight(cutoff: float | np.ndarray, elapsed: float) -> float | np.ndarray:
    return 1 / (1 + 1 / (2 * math.pi * cutoff * elapsed))


Smoother = Butterworth | OneEuro
SMOOTHERS: dict[str, tuple[type, tuple[str, ...]]] = {
    "butterworth": (Butterworth, ("cutoff",)),
    "one-euro": (OneEuro, ("min_cutoff", "beta")),
}
_FORMS = "butterworth[=HZ] or one-euro[=MINCUTOFF,BETA]"


def smoother(text: str) -> Smoother:
    """The filter of a text like butterworth=8 or one-euro=1.5,0.01.

    Raises UserError: another name, other numbers.

    >>> smoother("butterworth=8")
    Butterworth(cutoff=8.0)
    """
    name, given, numbers = text.partition("=")
    try:
        kind, fields = SMOOTHERS[name]
        values = [float(number) for number in numbers.split(",")] if given else []
        fits = len(values) <= len(fields) and all(math.isfinite(value) and value >= 0 for value in values)
    except (KeyError, ValueError):
        fits = False
    if not fits:
        raise UserError(f"--smooth: expected {_FORMS}, got {text}")
    return kind(**dict(zip(fields, values)))


@dataclass(frozen=True, kw_only=True)
class Filtering:
    """Gaps filled, then smoothed; either may be missing.

    A gap of a joint is filled, by linear interpolation in time, where no more than `fill_gaps` seconds lie between the
    frames before and after it. The joint's score and probability there are the lower ones of these two frames; the box
    of a person who was away is interpolated too.

        smooth = Filtering(smooth=Butterworth(cutoff=6.0), fill_gaps=0.2)(read_recording("joints/predictions.json"))
        smooth.persons[0].joints
    """

    smooth: Smoother | None = None
    fill_gaps: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fill_gaps) and self.fill_gaps >= 0):
            raise UserError(f"--fill-gaps: expected seconds, 0 or more, got {self.fill_gaps:g}")

    @classmethod
    def of(cls, smooth: str | None, fill_gaps: float) -> "Filtering | None":
        """Of the values of --smooth and --fill-gaps; None where nothing is asked for. Raises UserError."""
        asked = cls(smooth=None if smooth is None else smoother(smooth), fill_gaps=fill_gaps)
        return None if asked == cls() else asked

    @property
    def in_words(self) -> str:
        steps = [f"gaps up to {self.fill_gaps:g} s interpolated"] if self.fill_gaps else []
        return "; ".join(steps if self.smooth is None else [*steps, self.smooth.in_words])

    def check(self, fps: float, *, stills: bool) -> None:
        """Raise UserError where frames of this kind cannot be filtered."""
        if stills:
            raise UserError(
                "--smooth, --fill-gaps: expected frames of a video, these are pictures by themselves (--stills)"
            )
        if self.smooth is not None and not 0 < self.smooth.cutoff < fps / 2:
            raise UserError(
                f"--smooth: expected a cut-off above 0 and below {fps / 2:g} Hz, half of the {fps:g} frames/s, "
                f"got {self.smooth.cutoff:g}"
            )

    def __call__(self, recording: Recording) -> Recording:
        """New values, with `recording` as `raw`. Raises UserError as `check`, and where times do not rise."""
        recording.require_rising_times("--smooth and --fill-gaps")
        fps = recording.fps
        self.check(fps, stills=bool(recording.info.get("stills")))
        persons = []
        for person in recording.persons:
            person = _with_filled_gaps(person, recording.times, self.fill_gaps)
            persons.append(
                person if self.smooth is None else _smoothed(person, recording.times, fps, self.smooth)
            )
        info = recording.info | {"filtered": self.in_words}
        return replace(recording, info=info, persons=tuple(persons), raw=recording)


def _with_filled_gaps(person: Person, times: np.ndarray, longest: float) -> Person:
    first, last = person.rows[0], person.rows[-1]
    rows = np.arange(first, last + 1)
    there = times[rows]

    def spread(values: np.ndarray) -> np.ndarray:
        """With a row of NaN, or of nothing, for each frame in which the person is not."""
        whole = np.full(
            (len(rows), *values.shape[1:]), "" if values.dtype == object else np.nan, values.dtype
        )
        whole[person.rows - first] = values
        return whole

    joints, scores, boxes = spread(person.joints), spread(person.scores), spread(person.boxes)
    probabilities = None if person.probabilities is None else spread(person.probabilities)
    states = np.full(scores.shape, "", dtype=object) if person.states is None else spread(person.states)
    missing_boxes = np.isnan(boxes[:, 0])
    for joint in range(joints.shape[1]):
        known = np.flatnonzero(~np.isnan(joints[:, joint, 0]))
        for before, after in pairwise(known):
            if after == before + 1 or there[after] - there[before] > longest + 1e-9:
                continue
            gap = slice(before + 1, after)
            ends = [before, after]
            joints[gap, joint] = _at(there[gap], there[ends], joints[ends, joint])
            scores[gap, joint] = scores[ends, joint].min()
            if probabilities is not None:
                probabilities[gap, joint] = probabilities[ends, joint].min()
            states[gap, joint] = FILLED
    kept = ~missing_boxes | ~np.isnan(joints[..., 0]).all(axis=1)
    if missing_boxes.any():
        boxes[missing_boxes] = _at(there[missing_boxes], there[~missing_boxes], boxes[~missing_boxes])
    any_filled = (states == FILLED).any()
    return replace(
        person,
        rows=rows[kept],
        joints=joints[kept],
        scores=scores[kept],
        boxes=boxes[kept],
        probabilities=None if probabilities is None else probabilities[kept],
        states=states[kept] if person.states is not None or any_filled else None,
    )


def stretches(known: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """The places, stretch by stretch, where `known` (bool [N]) is true and the rows (int [N]) follow on one another."""
    places = np.flatnonzero(known)
    if not places.size:
        return []
    return np.split(places, np.flatnonzero(np.diff(rows[places]) != 1) + 1)


def of_each_stretch(
    values: np.ndarray, rows: np.ndarray, change: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """values float64 [N, M, ...] changed, for each of the M by itself, stretch by stretch without NaN.

    `change` gets the values [L, ...] of a stretch and its rows [L].
    """
    result = np.full_like(values, np.nan)
    for which in range(values.shape[1]):
        column = values[:, which]
        known = ~np.isnan(column.reshape(len(column), -1)).any(axis=1)
        for places in stretches(known, rows):
            result[places, which] = change(column[places], rows[places])
    return result


def _smoothed(person: Person, times: np.ndarray, fps: float, smooth: Smoother) -> Person:
    joints = of_each_stretch(
        person.joints, person.rows, lambda values, rows: smooth(values, times[rows], fps)
    )
    return replace(person, joints=joints)
