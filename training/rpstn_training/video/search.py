"""Finding people in a picture without a detector: the pose network itself is shown many windows, and the best stay.

A network that finds one person's joints answers high where a person fills its crop. So windows of several sizes at
overlapping places are scored by the poses found in them,

    plausibility = mean of the joints' scores * IoU^0.25 * side^0.3 * change^0.5

where IoU is the overlap of the window with the box about its pose (`around_joints`), as a person found in a window of
the right size fills it, side its longer side, as what a video is about is rarely small in it, and change how much the
picture changes within the pose's box from frame to frame (`motion`; 1 for single pictures). The best windows that
do not overlap are looked at again, through the boxes about their own poses, which sets place and size right.

The first two exponents were chosen by the first frames of 30 clips of drawn people and a small network of little
training: the right place (centre within 0.3 of the person's size) in 60 % by the mean score alone, in 73 % so. The last
one is a square root by guess. With the package's weights and 80 clips of actions that they never saw the place is right
in 81 % with it and without; the boxes overlap the true ones by more than half in 64 % with it, in 59 % without. In the
one real clip (`benchmarks.real_clip`) it is the difference between the goalkeeper and a goal post.

Boxes are x1, y1, x2, y2 in pixels of the picture, x right, y down, first pixel centre at 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.boxes import iou
from .motion import Motion
from .streams import Pose

# Of the pose's longer side: how far a box reaches beyond the joints on every side. The median over drawn people is 0.06
# and over one clip of JHMDB 0.04 (a mask of the body); joints that are found lie rather nearer to the middle.
MARGIN = 0.08
SMALLEST = 0.25  # of the picture's shorter side: people smaller than the smallest window are not found
_SCALE_STEP = math.sqrt(0.5)
_STRIDE = 0.5  # of a window's side, from one to the next
_SURE = 0.1  # of the pose's mean score: what a joint needs to count for the extent of the person
_OVERLAP_EXPONENT, _SIDE_EXPONENT = 0.25, 0.3
_CHANGE_EXPONENT, _LEAST_CHANGE = 0.5, 0.05
_ROUNDS = 1  # further looks, each through the box about the pose of the one before
_SPARE = 5  # windows looked at again beyond those that are wanted: the first look is rough
_SAME = 0.3  # overlap from which two boxes are about one person
_NEAR = 0.1  # of a person's size: how near to each other two poses' joints are one

Look = Callable[[Sequence[np.ndarray]], list[Pose]]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A person who may be there: `box` [4] is where the network looked, `pose` what it found, `score` how plausible."""

    box: np.ndarray
    pose: Pose
    score: float


def around_joints(joints: np.ndarray, scores: np.ndarray, *, margin: float = MARGIN) -> np.ndarray:
    """The box [4] about the joints [K, 2] as a training's boxes are about theirs.

    Joints that are hardly there beside the others (scores [K]) may be anywhere and do not count, unless fewer than
    three would be left.

    >>> around_joints(np.array([[10.0, 0], [30, 100], [20, 50], [500, 500]]), np.array([0.9, 0.8, 0.9, 0.05])).tolist()
    [2.0, -8.0, 38.0, 108.0]
    """
    sure = scores >= _SURE * scores.mean()
    counted = joints[sure] if sure.sum() >= 3 else joints
    low, high = counted.min(axis=0), counted.max(axis=0)
    reach = max(margin * float((high - low).max()), 1.0)
    return np.concatenate([low - reach, high + reach])


def windows(
    size_wh: tuple[int, int], aspect: float, *, smallest: float = SMALLEST, shown: float = 1.0
) -> np.ndarray:
    """Boxes [N, 4] that cover a picture at several sizes, the largest first.

    Args:
        size_wh: the picture's width and height.
        aspect: width / height of the network's input.
        smallest: of the picture's shorter side, the side of the smallest windows.
        shown: how many times a crop is as large as its box (`Codec.box_scale`).

    The largest windows have the whole picture in their crops; each next size is sqrt(1/2) of it, half overlapping.

    >>> windows((81, 41), 1.0, smallest=0.9).round().astype(int).tolist()
    [[0, -20, 80, 60], [0, -8, 57, 48], [23, -8, 80, 48], [0, 0, 40, 40], [20, 0, 60, 40], [40, 0, 80, 40]]
    """
    width, height = size_wh[0] - 1.0, size_wh[1] - 1.0
    whole = max(width / aspect, height) / max(shown, 1.0)  # of the windows' height
    least = smallest * min(width, height) / max(min(aspect, 1.0), 1e-6)
    rows = []
    high = whole
    while high >= min(least, whole) - 1e-9:
        wide = high * aspect
        for y in _starts(height, high):
            rows += [(x, y, x + wide, y + high) for x in _starts(width, wide)]
        high *= _SCALE_STEP
    return np.array(rows)


def _starts(length: float, side: float) -> np.ndarray:
    """First coordinates of windows of a side that cover a length, in the middle where one is enough."""
    rest = length - side
    if rest <= 0:
        return np.array([rest / 2])
    return np.linspace(0, rest, math.ceil(rest / (_STRIDE * side) - 1e-9) + 1)


def nearby(box: np.ndarray) -> np.ndarray:
    """Boxes [27, 4] about the last box [4] of a person: moved by up to half a side, at three sizes; itself first.

    >>> nearby(np.array([0.0, 0, 10, 20]))[:2].tolist()
    [[0.0, 0.0, 10.0, 20.0], [-5.0, 0.0, 5.0, 20.0]]
    """
    centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    rows = []
    for scale in (1.0, _SCALE_STEP, 1 / _SCALE_STEP):
        for down in (0.0, -0.5, 0.5):
            for right in (0.0, -0.5, 0.5):
                middle, half = centre + sides * (right, down), scale * sides / 2
                rows.append(np.concatenate([middle - half, middle + half]))
    return np.stack(rows)


def overlap(pose: Pose, box: np.ndarray) -> float:
    """IoU of the box [4] that the pose was found in with the one about it, each as the square of its longer side:
    widths apart from heights would punish a standing person in a square window.
    """
    about = around_joints(pose.joints, pose.scores)
    return float(iou(_square(about)[None], _square(box)[None])[0, 0])


def plausibility(pose: Pose, box: np.ndarray, motion: Motion | None = None) -> float:
    """How much a pose found in a box [4] looks like a person who fills it (above)."""
    about = around_joints(pose.joints, pose.scores)
    side = float((box[2:] - box[:2]).max())
    change = 1.0 if motion is None else max(motion.within(about), _LEAST_CHANGE)
    score = float(pose.scores.mean()) * overlap(pose, box) ** _OVERLAP_EXPONENT * side**_SIDE_EXPONENT
    return score * change**_CHANGE_EXPONENT


def search(
    look: Look,
    boxes: Sequence[np.ndarray] | np.ndarray,
    count: int,
    *,
    taken: Sequence[np.ndarray] = (),
    known: Sequence[np.ndarray] = (),
    stands_out: float = 0.0,
    motion: Motion | None = None,
) -> list[Candidate]:
    """The most plausible people, at most `count`, the best first, who overlap neither each other nor boxes `taken`.

    Args:
        look: poses of the people in boxes of the picture, without any memory.
        boxes: where to look first (`windows`, `nearby`).
        count: of people, from 1.
        taken: boxes [4] of people who are known already.
        known: their joints [K, 2] as they were last; who shares half of them is nobody new.
        stands_out: how many times as plausible as the median of `boxes` somebody must be.
        motion: where the picture changes; None for a single picture.
    """
    first = [_candidate(box, pose, motion) for box, pose in zip(boxes, look(list(boxes)))]
    best = _apart(first, count + _SPARE, taken, known)
    every = list(best)
    for _ in range(_ROUNDS):
        if not best:
            break
        again = [around_joints(found.pose.joints, found.pose.scores) for found in best]
        best = [_candidate(box, pose, motion) for box, pose in zip(again, look(again))]
        every += best
    least = stands_out * float(np.median([found.score for found in first]))
    return [found for found in _apart(every, count, taken, known) if found.score > max(least, 0.0)]


def _candidate(box: np.ndarray, pose: Pose, motion: Motion | None) -> Candidate:
    return Candidate(box=np.asarray(box), pose=pose, score=plausibility(pose, box, motion))


def _apart(
    found: Sequence[Candidate], count: int, taken: Sequence[np.ndarray], known: Sequence[np.ndarray]
) -> list[Candidate]:
    """The best `count` who overlap no taken box, and no better one by the boxes about their poses, nor share half of
    their joints with those and the known: what is put together from two people is no third.
    """
    kept: list[Candidate] = []
    occupied = list(taken)
    for candidate in sorted(found, key=lambda one: -one.score):
        about = around_joints(candidate.pose.joints, candidate.pose.scores)
        if occupied and iou(about[None], np.stack(occupied)).max() >= _SAME:
            continue
        if _shared(candidate.pose.joints, [*known, *(one.pose.joints for one in kept)]) >= 0.5:
            continue
        kept.append(candidate)
        occupied.append(about)
        if len(kept) == count:
            break
    return kept


def _shared(joints: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """The share of joints [K, 2] that lie where one of the others [K, 2] has the same joint."""
    if not others:
        return 0.0
    near = [_NEAR * max(float(np.ptp(other, axis=0).max()), 1.0) for other in others]
    on = [np.linalg.norm(joints - other, axis=1) < reach for other, reach in zip(others, near)]
    return float(np.logical_or.reduce(on).mean())


def _square(box: np.ndarray) -> np.ndarray:
    """The square [4] about the box's centre with its longer side."""
    centre, half = (box[:2] + box[2:]) / 2, max(box[2] - box[0], box[3] - box[1]) / 2
    return np.concatenate([centre - half, centre + half])
