"""What the scores of a network are worth, as clips with known joints have shown: `Calibration`, kept in a checkpoint.

From the numbers of `evidence` it makes of each joint

    probability   that it is within RIGHT of the person's size (longer side of the box) of where it is: a logistic
                  function of the joint's numbers and of which joint it is
    state         the most probable of visible, hidden (in the picture, but something is in front of it) and outside (of
                  the picture). Visible or not: a tiny network (`layers`) sees the numbers of all joints together, and a
                  logistic function what it says beside the joint's own numbers. Outside, of those that are not visible:
                  a logistic function of how far from the edge of the picture the joint was found

and two thresholds, each the one that best tells right from wrong (`fitting.best_threshold`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .evidence import EVIDENCE
from .fitting import (
    Bin,
    Logistic,
    auroc,
    best_threshold,
    calibration_error,
    fit_logistic,
    reliability,
)
from .layers import Layers, fit_layers

RIGHT = 0.1
STATES = ("visible", "hidden", "outside")
FEWEST = 20  # joints of a kind, below which nothing is said about it
_SEEN = [EVIDENCE.index(name) for name in ("peak", "second", "mass", "across", "down")]
_OUTSIDE = EVIDENCE.index("outside")
_RIDGE = 10.0


@dataclass(frozen=True, kw_only=True)
class Witnesses:
    """N frames of persons.

    numbers float64 [N, K, E], as in `evidence`. distances float64 [N, K] from the true places, in person sizes (longer
    side of the annotated box). labelled, visible, outside bool [N, K]: there is a true place, it is to be seen, it is
    not in the picture. videos int64 [N]: which of the videos.
    """

    numbers: np.ndarray
    distances: np.ndarray
    labelled: np.ndarray
    visible: np.ndarray
    outside: np.ndarray
    videos: np.ndarray

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, chosen: np.ndarray) -> "Witnesses":
        return Witnesses(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})

    def __add__(self, other: "Witnesses") -> "Witnesses":
        names = self.__dataclass_fields__
        return Witnesses(
            **{name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in names}
        )


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Which joints are visible: `layers`, `visible` and, of those that are not, `outside`; None where too few were
    outside to learn from: then those count that were found there.
    """

    layers: Layers
    visible: Logistic
    outside: Logistic | None

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """The probabilities of the three STATES, float64 [N, K, 3]."""
        visible = self.visible(_with_layers(self.layers, numbers))
        beyond = numbers[..., _OUTSIDE]
        outside = (beyond > 0).astype(float) if self.outside is None else self.outside(beyond[..., None])
        return np.stack([visible, (1 - visible) * (1 - outside), (1 - visible) * outside], axis=-1)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """As above. seen is None where the clips had no visible or no hidden joints to learn from, then no state is known.

    pose_threshold: of a pose's probability, the mean over its joints; with less nobody is there. None where the
    pictures had no room for boxes without anybody. joint_threshold: of a joint's probability; from it on the joint is
    taken for right. None where all joints were, or none.

    fitted_on: the clips, in words. measured: by name, what came out on clips that were not fitted on (`calibrate`).
    bins: what was said and what came true there, by probability (`fitting.reliability`).
    """

    right: Logistic
    seen: Seen | None
    pose_threshold: float | None
    joint_threshold: float | None
    fitted_on: str
    measured: dict[str, float | None]
    bins: tuple[Bin, ...]

    def judge(self, numbers: np.ndarray) -> tuple[np.ndarray, list[tuple[str, ...]] | None]:
        """Of the numbers [N, K, E] (`evidence`): probabilities float64 [N, K], and N times the K states, if known."""
        probabilities = self.right(_by_joint(numbers))
        if self.seen is None:
            return probabilities, None
        best = self.seen(numbers).argmax(axis=-1)
        return probabilities, [tuple(STATES[state] for state in row) for row in best.tolist()]

    @property
    def summary(self) -> dict[str, Any]:
        """What a file of predictions says of it."""
        return {
            "probability": f"that a joint is within {RIGHT:g} of the person's size",
            "pose_threshold": self.pose_threshold,
            "joint_threshold": self.joint_threshold,
            "fitted_on": self.fitted_on,
            "measured": self.measured,
        }

    @property
    def sentences(self) -> list[str]:
        """What was fitted and how good it is, for people."""
        found = self.measured
        error = f"off by {found['calibration_error']:.3f} on the mean (expected calibration error)"
        lines = [
            f"calibrated on {self.fitted_on}; measured on the half of the clips that each fit had not seen:",
            f"  a joint's probability to be within {RIGHT:g} of the person's size is {error}; "
            f"{100 * found['right']:.1f} % are; right from wrong AUROC {_number(found['right_auroc'])}",
        ]
        if self.seen is None:
            lines.append("  visible or hidden: too few joints of one kind in these clips, not known")
        else:
            lines.append(f"  visible from hidden AUROC {_number(found['visible_auroc'])}")
        if self.pose_threshold is None:
            lines.append("  nobody there: no room for boxes without people in these pictures, no threshold")
        else:
            lines.append(
                f"  nobody is there below {self.pose_threshold:.3f}: keeps {_percent(found['people_kept'])} of people, "
                f"refuses {_percent(found['nobody_refused'])} of the boxes without"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as checkpoints hold them; `from_dict` reads them."""
        seen = self.seen
        return {
            "evidence": list(EVIDENCE),
            "right": self.right.to_dict(),
            "seen": None
            if seen is None
            else {
                "layers": seen.layers.to_dict(),
                "visible": seen.visible.to_dict(),
                "outside": None if seen.outside is None else seen.outside.to_dict(),
            },
            "pose_threshold": self.pose_threshold,
            "joint_threshold": self.joint_threshold,
            "fitted_on": self.fitted_on,
            "measured": self.measured,
            "bins": [[each.count, each.said, each.came] for each in self.bins],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | None) -> "Calibration | None":
        """None where there is none, or one of other evidence than this version's."""
        if plain is None or plain["evidence"] != list(EVIDENCE):
            return None
        seen = plain["seen"]
        return cls(
            right=Logistic.from_dict(plain["right"]),
            seen=None
            if seen is None
            else Seen(
                layers=Layers.from_dict(seen["layers"]),
                visible=Logistic.from_dict(seen["visible"]),
                outside=None if seen["outside"] is None else Logistic.from_dict(seen["outside"]),
            ),
            pose_threshold=plain["pose_threshold"],
            joint_threshold=plain["joint_threshold"],
            fitted_on=plain["fitted_on"],
            measured=dict(plain["measured"]),
            bins=tuple(Bin(count=count, said=said, came=came) for count, said, came in plain["bins"]),
        )


def calibrate(
    people: Witnesses, nobody: Witnesses | None, learned: Witnesses | None, fitted_on: str, *, seed: int = 0
) -> Calibration:
    """Fit to all that was heard, and measure how good fits are: the videos are halved at random, each half is judged by
    a fit of the other one, and the numbers of `measured` are the means over the two.

    people: persons in boxes as predictions have them, in clips on which the network was not trained, of two videos or
    more. nobody: boxes of the same videos that hold nobody. learned: persons of other clips, from which the layers
    learn what hidden joints look like; they may be those of the training.

    measured: calibration_error (`fitting.calibration_error`) and right_auroc of the probabilities, right (the share of
    joints that are), visible_auroc (visible against hidden), people_kept and nobody_refused at the pose threshold,
    joints_kept and joints_refused at the joint threshold; None where it is not known.
    """
    videos = np.unique(people.videos)
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(len(videos),))).permutation(videos)
    halves = [order[: len(order) // 2], order[len(order) // 2 :]]
    layers = None if learned is None else _learn(learned, seed)
    rounds = []
    for chosen, others in (halves, halves[::-1]):
        fit = _fit(people[np.isin(people.videos, chosen)], _of(nobody, chosen), layers)
        rounds.append(_measure(fit, people[np.isin(people.videos, others)], _of(nobody, others)))
    names = rounds[0][0]
    measured = {name: _mean([found[name] for found, _, _ in rounds]) for name in names}
    said, came = (np.concatenate([each[place] for each in rounds]) for place in (1, 2))
    right, seen, pose, joint = _fit(people, nobody, layers)
    return Calibration(
        right=right,
        seen=seen,
        pose_threshold=pose,
        joint_threshold=joint,
        fitted_on=fitted_on,
        measured=measured,
        bins=reliability(said, came),
    )


_Fit = tuple[Logistic, Seen | None, float | None, float | None]


def _fit(people: Witnesses, nobody: Witnesses | None, layers: Layers | None) -> _Fit:
    counted = people.labelled
    is_right = people.distances <= RIGHT
    numbers = _by_joint(people.numbers)
    right = fit_logistic(numbers[counted], is_right[counted], ridge=_RIDGE)
    said = right(numbers)
    joint = best_threshold(said[counted], is_right[counted])
    pose = None
    if nobody is not None:
        means = np.concatenate([said.mean(axis=1), right(_by_joint(nobody.numbers)).mean(axis=1)])
        pose = best_threshold(means, np.arange(len(means)) < len(people))
    seen = None if layers is None else _fit_seen(people, layers)
    return right, seen, None if pose is None else pose.value, None if joint is None else joint.value


def _learn(learned: Witnesses, seed: int) -> Layers | None:
    inside = learned.labelled & ~learned.outside
    if not _both(learned.visible[inside]):
        return None
    return fit_layers(_together(learned.numbers), learned.visible, inside, seed=seed)


def _fit_seen(people: Witnesses, layers: Layers) -> Seen | None:
    counted, inside = people.labelled, people.labelled & ~people.outside
    if not _both(people.visible[inside]):
        return None
    numbers = _with_layers(layers, people.numbers)
    unseen = counted & ~people.visible
    outside = None
    if _both(people.outside[unseen]):
        beyond = people.numbers[..., [_OUTSIDE]]
        outside = fit_logistic(beyond[unseen], people.outside[unseen])
    visible = fit_logistic(numbers[counted], people.visible[counted], ridge=_RIDGE)
    return Seen(layers=layers, visible=visible, outside=outside)


def _measure(
    fit: _Fit, people: Witnesses, nobody: Witnesses | None
) -> tuple[dict[str, float | None], np.ndarray, np.ndarray]:
    """By name how good it is, what it said of every counted joint, and what came true."""
    right, seen, pose, joint = fit
    counted, is_right = people.labelled, people.distances <= RIGHT
    said = right(_by_joint(people.numbers))
    found: dict[str, float | None] = {
        "calibration_error": calibration_error(reliability(said[counted], is_right[counted])),
        "right": float(is_right[counted].mean()),
        "right_auroc": auroc(said[counted], is_right[counted]),
        "visible_auroc": None,
        "people_kept": None,
        "nobody_refused": None,
        "joints_kept": None,
        "joints_refused": None,
    }
    if seen is not None:
        inside = counted & ~people.outside
        found["visible_auroc"] = auroc(seen(people.numbers)[..., 0][inside], people.visible[inside])
    if pose is not None:
        found["people_kept"] = _share(said.mean(axis=1) >= pose)
        if nobody is not None:
            found["nobody_refused"] = _share(right(_by_joint(nobody.numbers)).mean(axis=1) < pose)
    if joint is not None:
        found["joints_kept"] = _share(said[counted & is_right] >= joint)
        found["joints_refused"] = _share(said[counted & ~is_right] < joint)
    return found, said[counted], is_right[counted]


def _by_joint(numbers: np.ndarray) -> np.ndarray:
    """[N, K, E] with K further columns that say which joint it is."""
    which = np.eye(numbers.shape[-2])
    return np.concatenate([numbers, np.broadcast_to(which, (*numbers.shape[:-1], len(which)))], axis=-1)


def _together(numbers: np.ndarray) -> np.ndarray:
    """What the layers see of poses [N, K, E]."""
    return numbers[..., _SEEN].reshape(len(numbers), -1)


def _with_layers(layers: Layers, numbers: np.ndarray) -> np.ndarray:
    """The joints' own numbers [N, K, E], what the layers say of each, and which joint it is."""
    return _by_joint(np.concatenate([numbers, layers(_together(numbers))[..., None]], axis=-1))


def _both(outcomes: np.ndarray) -> bool:
    return min(int(outcomes.sum()), int((~outcomes).sum())) >= FEWEST


def _of(heard: Witnesses | None, videos: np.ndarray) -> Witnesses | None:
    return None if heard is None else heard[np.isin(heard.videos, videos)]


def _share(true: np.ndarray) -> float | None:
    return float(true.mean()) if len(true) else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _percent(share: float | None) -> str:
    return "not known how many" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"
