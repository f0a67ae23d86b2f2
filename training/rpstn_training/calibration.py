"""What the scores of a network are worth, as clips with known joints have shown: `Calibration`, kept in a checkpoint.

From the numbers of `evidence` it makes of each joint

    probability   that it is within RIGHT of the person's size (longer side of the box) of where it is: a logistic
                  function of the joint's numbers and of which joint it is
    state         the most probable of visible, hidden (in the picture, but something is in front of it) and outside (of
                  the picture). Visible or not: a tiny network (`layers`) sees the numbers of all joints together, and a
                  logistic function what it says. Outside, of those that are not visible: a logistic function of how far
                  from the edge of the picture the joint was found

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
_FORM = 3  # of what is stored
FEWEST = 20  # joints of a kind, below which nothing is said about it
_SEEN = [EVIDENCE.index(name) for name in ("peak", "second", "mass", "across", "down")]
_PEAK, _MASS, _OUTSIDE = (EVIDENCE.index(name) for name in ("peak", "mass", "outside"))
_RIDGE = 30.0  # of 15 clips of drawn people 10 to 300 make fits alike: off by 0.03 to 0.04 on 50 others
_PARTS, _STREAM = 5, 5  # the latter of random numbers


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
        visible = self.visible(self.layers(_together(numbers))[..., None])
        beyond = numbers[..., _OUTSIDE]
        outside = (beyond > 0).astype(float) if self.outside is None else self.outside(beyond[..., None])
        return np.stack([visible, (1 - visible) * (1 - outside), (1 - visible) * outside], axis=-1)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """As above. seen is None where the clips had no visible or no hidden joints to learn from, then no state is known.

    pose_threshold: of a pose's score, the mean over its joints; with less nobody is there. None where the
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
            f"calibrated on {self.fitted_on}; measured part by part, by fits of the other clips:",
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
            kept, refused = (_percent(found[name]) for name in ("people_kept", "nobody_refused"))
            lines.append(
                f"  nobody is there with a score below {self.pose_threshold:.3f}: keeps {kept} of people, refuses "
                f"{refused} of boxes without"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as checkpoints hold them; `from_dict` reads them."""
        seen = self.seen
        return {
            "form": _FORM,
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
        """None where there is none, or one of another form or other evidence than this version's."""
        if plain is None or (plain.get("form"), plain["evidence"]) != (_FORM, list(EVIDENCE)):
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
    """Fit to all that was heard, and measure how good fits are: the videos are parted at random, each part is judged by
    a fit of the others, and what is said of all of them is compared with what came true.

    people: persons in boxes as predictions have them, in clips on which the network was not trained, of two videos or
    more. nobody: boxes of the same videos that hold nobody. learned: persons of other clips, from which the layers
    learn what hidden joints look like; they may be those of the training.

    measured: calibration_error (`fitting.calibration_error`) and right_auroc of the probabilities, right (the share of
    joints that are), visible_auroc (visible against hidden), people_kept and nobody_refused at the pose threshold,
    joints_kept and joints_refused at the joint threshold; None where it is not known.
    """
    videos = np.unique(people.videos)
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM,))).permutation(videos)
    layers = None if learned is None else _learn(learned, seed)
    parts = []
    for number in range(min(_PARTS, len(videos))):
        apart = order[number::_PARTS]
        others = order[~np.isin(order, apart)]
        fit = _fit(_of(people, others), _of(nobody, others), layers)
        parts.append(_judged(fit, _of(people, apart), _of(nobody, apart)))
    right, seen, pose, joint = _fit(people, nobody, layers)
    said, came = (np.concatenate([part[name] for part in parts]) for name in ("said", "came"))
    bins = reliability(said, came)
    visible, was_visible, kept, refused, joints_kept, joints_refused = (
        np.concatenate([part[name] for part in parts])
        for name in ("visible", "was_visible", "kept", "refused", "joints_kept", "joints_refused")
    )
    measured = {
        "calibration_error": calibration_error(bins),
        "right": _mean(came),
        "right_auroc": _known(auroc(said, came)),
        "visible_auroc": _known(auroc(visible, was_visible)) if seen is not None else None,
        "people_kept": _mean(kept),
        "nobody_refused": _mean(refused),
        "joints_kept": _mean(joints_kept),
        "joints_refused": _mean(joints_refused),
    }
    return Calibration(
        right=right,
        seen=seen,
        pose_threshold=pose,
        joint_threshold=joint,
        fitted_on=fitted_on,
        measured=measured,
        bins=bins,
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
        scores = np.concatenate([_score(people), _score(nobody)])
        pose = best_threshold(scores, np.arange(len(scores)) < len(people))
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
    said = layers(_together(people.numbers))[..., None]
    unseen = counted & ~people.visible
    outside = None
    if _both(people.outside[unseen]):
        beyond = people.numbers[..., [_OUTSIDE]]
        outside = fit_logistic(beyond[unseen], people.outside[unseen])
    visible = fit_logistic(said[counted], people.visible[counted])
    return Seen(layers=layers, visible=visible, outside=outside)


def _judged(fit: _Fit, people: Witnesses, nobody: Witnesses | None) -> dict[str, np.ndarray]:
    """What a fit says of clips that it was not fitted to, and what came true: rows of the samples that count."""
    right, seen, pose, joint = fit
    counted, is_right = people.labelled, people.distances <= RIGHT
    said = right(_by_joint(people.numbers))
    none = np.zeros(0)
    found = {
        "said": said[counted],
        "came": is_right[counted],
        **dict.fromkeys(("visible", "was_visible", "kept", "refused", "joints_kept", "joints_refused"), none),
    }
    if seen is not None:
        inside = counted & ~people.outside
        found |= {"visible": seen(people.numbers)[..., 0][inside], "was_visible": people.visible[inside]}
    if pose is not None:
        found["kept"] = _score(people) >= pose
        if nobody is not None:
            found["refused"] = _score(nobody) < pose
    if joint is not None:
        found["joints_kept"] = said[counted & is_right] >= joint
        found["joints_refused"] = said[counted & ~is_right] < joint
    return found


def _score(heard: Witnesses) -> np.ndarray:
    """Of poses [N]. It tells people from none better than the probabilities do, which know people only."""
    return heard.numbers[..., _PEAK].mean(axis=-1)


def _by_joint(numbers: np.ndarray) -> np.ndarray:
    """[N, K, E] with K further columns that say which joint it is."""
    which = np.eye(numbers.shape[-2])
    return np.concatenate([numbers, np.broadcast_to(which, (*numbers.shape[:-1], len(which)))], axis=-1)


def _together(numbers: np.ndarray) -> np.ndarray:
    """What the layers see of poses [N, K, E]: numbers, and what all of a joint's map sums to."""
    whole = numbers[..., [_PEAK]] * numbers[..., [_MASS]]
    return np.concatenate([numbers[..., _SEEN], whole], axis=-1).reshape(len(numbers), -1)


def _both(outcomes: np.ndarray) -> bool:
    return min(int(outcomes.sum()), int((~outcomes).sum())) >= FEWEST


def _of(heard: Witnesses | None, videos: np.ndarray) -> Witnesses | None:
    """None where nothing was heard of them."""
    if heard is None or not (chosen := np.isin(heard.videos, videos)).any():
        return None
    return heard[chosen]


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _percent(share: float | None) -> str:
    return "not known how many" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"
