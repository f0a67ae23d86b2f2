"""PCK, the share of correct key points, by the rules of LSTM Pose Machines, to which the paper refers.

For every frame t and every counted joint j, in pixels of the original image:

    hit(t, j) = ||prediction - truth|| <= gamma * L(t)         (<=, not <)
    person size  L = max(x2 - x1, y2 - y1) of the annotated box of that frame
    torso size   L = ||truth[a] - truth[b]||; where that is under 1 pixel, ||prediction[a] - prediction[b]||
    PCK_j = sum of hits / number counted, over all frames of all videos

Penn Action counts visible joints. No test is made whether the torso's own ends are visible: on Penn Action
an end that nobody placed lies in the image's corner, and a quarter of the frames gets a torso that is too
long. That rule stays, for comparable numbers; `strict` leaves those frames out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data.boxes import person_size
from ..data.records import Skeleton, Track
from .table import Table, mean_of_known, plain

GAMMAS = tuple(tenth / 10 for tenth in range(1, 11))  # the sweep of the paper's Fig. 11

_SHORTEST_TORSO = 1.0


def torso_size(truth: np.ndarray, predicted: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """Distance [F] of the true torso ends [F, K, 2]; under one pixel that of the predicted ones."""
    first, second = pair
    true_size = np.linalg.norm(truth[:, first] - truth[:, second], axis=-1)
    predicted_size = np.linalg.norm(predicted[:, first] - predicted[:, second], axis=-1)
    return np.where(true_size < _SHORTEST_TORSO, predicted_size, true_size)


@dataclass(frozen=True, kw_only=True)
class PckCounts:
    """`hits` int64 [G, K] at each of G thresholds `gammas`, `counted` int64 [K]. Counts of videos add up."""

    gammas: tuple[float, ...]
    hits: np.ndarray
    counted: np.ndarray

    @property
    def per_joint(self) -> np.ndarray:
        """Fractions [G, K], NaN for a joint that was never counted."""
        return _share(self.hits, self.counted)

    @classmethod
    def zero(cls, gammas: Sequence[float], joints: int) -> "PckCounts":
        hits = np.zeros((len(gammas), joints), dtype=np.int64)
        return cls(gammas=tuple(gammas), hits=hits, counted=np.zeros(joints, dtype=np.int64))

    def __add__(self, other: "PckCounts") -> "PckCounts":
        if self.gammas != other.gammas or self.hits.shape != other.hits.shape:
            raise ValueError("PckCounts: expected counts of the same thresholds and joints")
        counted = self.counted + other.counted
        return PckCounts(gammas=self.gammas, hits=self.hits + other.hits, counted=counted)


def count(
    predicted: np.ndarray,
    truth: np.ndarray,
    mask: np.ndarray,
    sizes: np.ndarray,
    gammas: Sequence[float],
    *,
    missing_misses: bool = False,
) -> PckCounts:
    """Counts of one video.

    Args:
        predicted, truth (ndarray[F, K, 2]): pixels of the original image; taken as float64.
        mask (bool ndarray[F, K]): joints that count.
        sizes (ndarray[F]): L of each frame, in pixels.
        gammas: thresholds as shares of L.
        missing_misses: a prediction that is NaN is a miss; otherwise it is an error.

    Raises:
        ValueError: shapes differ, or a prediction of a counted joint is not finite.
    """
    predicted, truth = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    frames, joints = truth.shape[:2]
    for name, array, shape in (
        ("predicted", predicted, (frames, joints, 2)),
        ("mask", mask, (frames, joints)),
        ("sizes", sizes, (frames,)),
    ):
        if array.shape != shape:
            raise ValueError(f"pck: expected {name} {list(shape)} like truth, got {list(array.shape)}")
    refused = np.isinf(predicted) if missing_misses else ~np.isfinite(predicted)
    if refused[mask].any():
        raise ValueError("pck: expected finite predictions of all counted joints")
    distance = np.linalg.norm(predicted - truth, axis=-1)
    tolerance = np.asarray(gammas, dtype=np.float64)[:, None, None] * sizes[:, None]
    hits = (distance <= tolerance) & mask
    return PckCounts(gammas=tuple(gammas), hits=hits.sum(axis=1), counted=mask.sum(axis=0))


@dataclass(frozen=True, kw_only=True)
class PckResult:
    """PCK at one threshold, as fractions of 1; NaN for a joint, group or mean of which nothing was counted.

    `protocol` says how it was counted, in words for people. `hits` is None for a mean over splits.
    """

    gamma: float
    protocol: str
    per_joint: np.ndarray
    counted: np.ndarray
    hits: np.ndarray | None
    micro: float
    skeleton: Skeleton = field(repr=False)

    @property
    def groups(self) -> dict[str, float]:
        """Head .. Ank, left and right with equal weight."""
        return {
            name: mean_of_known(self.per_joint[list(joints)]) for name, joints in self.skeleton.groups.items()
        }

    @property
    def mean_of_joints(self) -> float:
        """Every joint with equal weight: what the paper's Penn Action tables print."""
        return mean_of_known(self.per_joint)

    @property
    def mean_of_7_groups(self) -> float:
        return mean_of_known(np.array(list(self.groups.values())))

    @property
    def ungrouped(self) -> tuple[str, ...]:
        """Names of the joints that are in no group: neck and belly of Sub-JHMDB."""
        grouped = {joint for joints in self.skeleton.groups.values() for joint in joints}
        return tuple(name for joint, name in enumerate(self.skeleton.joints) if joint not in grouped)

    @property
    def mean_of_grouped_joints(self) -> float:
        """Every joint of a group with equal weight: Sub-JHMDB's 13 joints without neck and belly."""
        return mean_of_known(
            self.per_joint[[joint for joints in self.skeleton.groups.values() for joint in joints]]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; what was never counted is None."""
        names = self.skeleton.joints
        found = {
            "gamma": self.gamma,
            "protocol": self.protocol,
            "per_joint": dict(zip(names, self.per_joint)),
            "counted": dict(zip(names, self.counted)),
            "groups": self.groups,
            "mean_of_joints": self.mean_of_joints,
            "mean_of_7_groups": self.mean_of_7_groups,
            "micro": self.micro,
        }
        if self.hits is not None:
            found["detected"] = dict(zip(names, self.hits))
        if self.ungrouped:
            remaining = len(names) - len(self.ungrouped)
            key = f"mean_of_{remaining}_joints_without_{'_'.join(self.ungrouped)}"
            found[key] = self.mean_of_grouped_joints
        return plain(found)

    @property
    def row(self) -> dict[str, float]:
        """Of a `Table`, in percent: Head .. Ank, the means, and how many joints were counted.

        "Mean" is over all joints, "13 j." over those without neck and belly where the skeleton has them, "7 gr." over
        the groups, "Micro" all hits over all counted.
        """
        shares = {**self.groups, "Mean": self.mean_of_joints}
        if self.ungrouped:
            shares[f"{len(self.skeleton.joints) - len(self.ungrouped)} j."] = self.mean_of_grouped_joints
        shares |= {"7 gr.": self.mean_of_7_groups, "Micro": self.micro}
        return {name: 100 * share for name, share in shares.items()} | {
            "Joints": int(self.counted.sum()) or float("nan")
        }


def _share(hits: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return np.divide(hits, counted, out=np.full(hits.shape, np.nan), where=counted > 0)


def results(counts: PckCounts, skeleton: Skeleton, protocol: str) -> tuple[PckResult, ...]:
    """One result per threshold: the sums are divided once, here."""
    return tuple(
        PckResult(
            gamma=gamma,
            protocol=protocol,
            per_joint=shares,
            counted=counts.counted,
            hits=hits,
            micro=float(_share(hits.sum(), counts.counted.sum())),
            skeleton=skeleton,
        )
        for gamma, hits, shares in zip(counts.gammas, counts.hits, counts.per_joint)
    )


def sweep(
    predictions: Sequence[np.ndarray],
    tracks: Sequence[Track],
    skeleton: Skeleton,
    *,
    gammas: Sequence[float] = GAMMAS,
    normaliser: str = "person",
    torso: str = "code",
    strict: bool = False,
    joints: str = "visible",
    frames: Sequence[np.ndarray] | None = None,
    missing_misses: bool = False,
) -> tuple[PckResult, ...]:
    """PCK of predictions at several thresholds.

    Args:
        predictions: per track, ndarray[F, K, 2] in pixels of the original image.
        normaliser: "person" (the annotated box) or "torso".
        torso: "code", the ends that the compared code uses, or "paper", those its text names; they differ on Penn
            Action (right shoulder to left hip, left shoulder to right hip).
        strict: with the torso normaliser, leave out frames in which an end of the torso is invisible.
        joints: "visible", the published rule, or "occluded" (labelled but not visible), or "labelled" (both).
        frames: per track, bool ndarray[F] of the frames to score; default all.
        missing_misses: a prediction that is NaN is a miss; otherwise it is an error.

    Returns:
        A PckResult per threshold, in the order of `gammas`.
    """
    if normaliser not in ("person", "torso"):
        raise ValueError(f"pck: expected normaliser 'person' or 'torso', got {normaliser!r}")
    if torso not in ("code", "paper"):
        raise ValueError(f"pck: expected torso 'code' or 'paper', got {torso!r}")
    if len(predictions) != len(tracks):
        raise ValueError(f"pck: expected predictions of {len(tracks)} tracks, got {len(predictions)}")
    if strict and normaliser != "torso":
        raise ValueError("pck: strict concerns the torso's ends, expected normaliser 'torso'")
    pair = skeleton.torso if torso == "code" else skeleton.torso_paper
    total = PckCounts.zero(gammas, len(skeleton.joints))
    for number, (predicted, track) in enumerate(zip(predictions, tracks)):
        mask = joint_mask(track, joints)
        if frames is not None:
            mask = mask & frames[number][:, None]
        if strict:
            mask = mask & track.visible[:, list(pair)].all(axis=1)[:, None]
        predicted = np.asarray(predicted, dtype=np.float64)
        if normaliser == "person":
            sizes = person_size(track.score_boxes)
        else:
            sizes = torso_size(track.joints, predicted, pair)
        total = total + count(predicted, track.joints, mask, sizes, gammas, missing_misses=missing_misses)
    return results(total, skeleton, _protocol(skeleton, normaliser, pair, strict, joints))


def pck(
    predictions: Sequence[np.ndarray],
    tracks: Sequence[Track],
    skeleton: Skeleton,
    *,
    gamma: float = 0.2,
    **options: Any,
) -> PckResult:
    """PCK at one threshold; `options` are those of `sweep`."""
    return sweep(predictions, tracks, skeleton, gammas=(gamma,), **options)[0]


def every_rule(
    predictions: Sequence[np.ndarray],
    tracks: Sequence[Track],
    skeleton: Skeleton,
    *,
    gamma: float = 0.2,
    **options: Any,
) -> dict[str, PckResult]:
    """PCK of the visible joints by every normaliser, and of the occluded ones where there are any; `options` are
    `frames` and `missing_misses` of `sweep`.
    """

    def by(**rule: Any) -> PckResult:
        return pck(predictions, tracks, skeleton, gamma=gamma, **rule, **options)

    results = {"person": by(normaliser="person"), "torso": by(normaliser="torso")}
    if skeleton.torso_paper != skeleton.torso:
        results["torso, paper's pair"] = by(normaliser="torso", torso="paper")
    results["torso, strict"] = by(normaliser="torso", strict=True)
    occluded = by(normaliser="person", joints="occluded")
    if occluded.counted.any():
        results["occluded, person"] = occluded
        results["occluded, torso"] = by(normaliser="torso", joints="occluded")
    return results


def every_threshold(
    predictions: Sequence[np.ndarray], tracks: Sequence[Track], skeleton: Skeleton, **options: Any
) -> dict[str, PckResult]:
    """PCK of the visible joints by both normalisers at the thresholds of Fig. 11: "person, 0.1" and so on; `options`
    as for `every_rule`.
    """
    return {
        f"{normaliser}, {result.gamma:g}": result
        for normaliser in ("person", "torso")
        for result in sweep(predictions, tracks, skeleton, normaliser=normaliser, **options)
    }


def joint_mask(track: Track, joints: str) -> np.ndarray:
    """Bool [F, K]: the "visible", "occluded" (labelled but not visible) or "labelled" joints of a track."""
    masks = {
        "visible": track.visible,
        "occluded": track.labelled & ~track.visible,
        "labelled": track.labelled,
    }
    if joints not in masks:
        raise ValueError(f"pck: expected joints 'visible', 'occluded' or 'labelled', got {joints!r}")
    return masks[joints]


def _protocol(skeleton: Skeleton, normaliser: str, pair: tuple[int, int], strict: bool, joints: str) -> str:
    size = "person size (longer side of the annotated box)"
    if normaliser == "torso":
        size = "torso size (" + " to ".join(skeleton.joints[joint].replace("_", " ") for joint in pair) + ")"
        size += ", frames with an invisible end left out" if strict else ""
    hidden = " (position known, hidden in the image)" if joints == "occluded" else ""
    return f"{size}, {joints} joints{hidden}"


def mean_over_splits(splits: Sequence[PckResult]) -> PckResult:
    """The mean per joint of results of one protocol, as Sub-JHMDB's three splits are reported."""
    first = splits[0]
    if any((one.gamma, one.protocol) != (first.gamma, first.protocol) for one in splits):
        raise ValueError("mean_over_splits: expected results of one threshold and protocol")
    return PckResult(
        gamma=first.gamma,
        protocol=f"{first.protocol}, mean of {len(splits)} splits",
        per_joint=np.mean([one.per_joint for one in splits], axis=0),
        counted=np.sum([one.counted for one in splits], axis=0),
        hits=None,
        micro=float(np.mean([one.micro for one in splits])),
        skeleton=first.skeleton,
    )


def mean_over_videos(videos: Sequence[PckResult]) -> PckResult:
    """The mean per joint of results of one protocol, of those videos in which a joint was counted."""
    first = videos[0]
    per_joint = np.array([one.per_joint for one in videos])
    return PckResult(
        gamma=first.gamma,
        protocol=f"{first.protocol}, mean over videos",
        per_joint=np.array([mean_of_known(column) for column in per_joint.T]),
        counted=np.sum([one.counted for one in videos], axis=0),
        hits=None,
        micro=mean_of_known(np.array([one.micro for one in videos])),
        skeleton=first.skeleton,
    )


def pck_table(
    title: str, results: Mapping[str, PckResult], *, main: str, protocol: Sequence[str] = ()
) -> Table:
    """Results as the rows of a table. Under `protocol` stands each rule, by the first row that it made.

    main: the row whose mean over joints is the table's score.
    """
    rules: dict[str, str] = {}
    for name, result in results.items():
        rules.setdefault(result.protocol, name)
    return Table(
        title=title,
        rows={name: result.row for name, result in results.items()},
        protocol=(*protocol, *(f"{name}: {rule}" for rule, name in rules.items())),
        main=results[main].mean_of_joints,
        main_name=f"PCK@{results[main].gamma:g} {main}",
        details={name: result.to_dict() for name, result in results.items()},
    )
