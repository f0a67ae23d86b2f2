"""Who is who from frame to frame: detected boxes, with or without poses, are linked into tracks.

Online: what a frame is given depends on it and on earlier frames alone, so that no number changes later. Each new frame
is assigned to the tracks that are still open, so that the sum of likenesses is the largest. A track that is not found
stays open for some frames. After the last boxes of a track its box is expected to move on at their mean speed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from .boxes import iou
from .similarity import pose_similarity

_REMEMBERED = 5  # boxes of a track from which its speed is taken


@dataclass(kw_only=True)
class _Open:
    """A track that may go on: its last boxes, and the last pose."""

    number: int
    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    pose: np.ndarray | None = None

    def add(self, frame: int, box: np.ndarray, pose: np.ndarray | None) -> None:
        self.frames = [*self.frames, frame][-_REMEMBERED:]
        self.boxes = [*self.boxes, box][-_REMEMBERED:]
        self.pose = pose

    def shift(self, frame: int) -> np.ndarray:
        """How far x and y [2] the person has come by `frame` since the last box, at its mean speed."""
        first, last = self.boxes[0], self.boxes[-1]
        elapsed = self.frames[-1] - self.frames[0]
        if elapsed == 0:
            return np.zeros(2)
        centres = (last[:2] + last[2:] - first[:2] - first[2:]) / 2
        return centres / elapsed * (frame - self.frames[-1])


def link(
    frames: Sequence[int] | np.ndarray,
    boxes: np.ndarray,
    *,
    scores: np.ndarray | None = None,
    poses: np.ndarray | None = None,
    sigmas: Sequence[float] | np.ndarray | None = None,
    min_likeness: float = 0.3,
    max_missed: int = 5,
) -> np.ndarray:
    """The number of the track that each detection belongs to.

    The likeness of a detection with a track is the overlap (intersection over union) of its box with the track's
    last one, moved on at its mean speed. With poses it is the mean of that and of OKS (`scores.coco_ap`) with the
    track's last pose, moved on likewise, over the areas of the two boxes.

    Args:
        frames (int [N]): the frame of each detection, in any order.
        boxes (float [N, 4]): x1, y1, x2, y2, the first and the last pixel.
        scores (float [N]): how sure the detector is. Of a frame's new people the surest gets the lowest number; None
            goes by the order of the rows.
        poses (float [N, K, 2]): joints in pixels, or None.
        sigmas (float [K]): tolerances of the joints in OKS; needed with poses.
        min_likeness: a detection less like a track than this is not its person.
        max_missed: frames in a row in which a person may be missed without being a new one afterwards.

    Returns:
        int64 [N], from 0 on in the order in which the people appear; no two of a frame are equal.

    Raises ValueError for shapes that do not fit.

    Two people, one of whom is missed in frame 1:

    >>> boxes = np.array([[0, 0, 9, 19], [50, 0, 59, 19], [1, 0, 10, 19], [51, 0, 60, 19], [2, 0, 11, 19]])
    >>> link([0, 0, 1, 2, 2], boxes).tolist()
    [0, 1, 0, 1, 0]
    """
    frames, boxes = np.asarray(frames), np.asarray(boxes, dtype=np.float64)
    _require_shapes(frames, boxes, scores, poses, sigmas)
    numbers = np.full(len(frames), -1, dtype=np.int64)
    opened: list[_Open] = []
    given = 0
    for frame in np.unique(frames):
        rows = np.flatnonzero(frames == frame)
        if scores is not None:
            rows = rows[np.argsort(-np.asarray(scores)[rows], kind="stable")]
        opened = [track for track in opened if frame - track.frames[-1] - 1 <= max_missed]
        own_poses = None if poses is None else poses[rows]
        likeness = _likeness(opened, int(frame), boxes[rows], own_poses, sigmas)
        wanted = np.where(likeness >= min_likeness, likeness, 0.0)
        for track, row in zip(*linear_sum_assignment(wanted, maximize=True)):
            if likeness[track, row] >= min_likeness:
                numbers[rows[row]] = opened[track].number
        by_number = {track.number: track for track in opened}
        for row in rows:
            if numbers[row] < 0:
                numbers[row] = given
                by_number[given] = _Open(number=given)
                opened.append(by_number[given])
                given += 1
            by_number[numbers[row]].add(int(frame), boxes[row], None if poses is None else poses[row])
    return numbers


def fill_gaps(
    frames: np.ndarray, values: np.ndarray, *, max_missed: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """One track's values in every frame, between neighbours where at most `max_missed` frames in a row are missing.

    Args:
        frames (int [N]): rising, each once.
        values (float [N, ...]): boxes or scores, for example.

    Returns a list of stretches without a longer gap, each of: frames [F] without a gap, values [F, ...], and bool [F],
    whether the value was given.

    >>> for frames, values, given in fill_gaps(np.array([3, 5, 9]), np.array([1.0, 2.0, 7.0]), max_missed=1):
    ...     print(frames.tolist(), values.tolist(), given.tolist())
    [3, 4, 5] [1.0, 1.5, 2.0] [True, False, True]
    [9] [7.0] [True]
    """
    frames, values = np.asarray(frames), np.asarray(values, dtype=np.float64)
    if len(frames) and np.diff(frames).min(initial=1) < 1:
        raise ValueError(f"fill_gaps: expected rising frames, got {frames.tolist()}")
    stretches = []
    breaks = np.flatnonzero(np.diff(frames) - 1 > max_missed) + 1
    for places in np.split(np.arange(len(frames)), breaks):
        if len(places) == 0:
            continue
        known = frames[places]
        every = np.arange(known[0], known[-1] + 1)
        columns = values[places].reshape(len(places), -1)
        between = np.stack([np.interp(every, known, column) for column in columns.T], axis=1)
        stretches.append((every, between.reshape(len(every), *values.shape[1:]), np.isin(every, known)))
    return stretches


def _likeness(
    opened: Sequence[_Open],
    frame: int,
    boxes: np.ndarray,
    poses: np.ndarray | None,
    sigmas: Sequence[float] | np.ndarray | None,
) -> np.ndarray:
    """[tracks, detections]"""
    if not opened:
        return np.zeros((0, len(boxes)))
    shifts = np.stack([track.shift(frame) for track in opened])
    last = np.stack([track.boxes[-1] for track in opened])
    overlap = iou(last + np.concatenate([shifts, shifts], axis=1), boxes)
    if poses is None:
        return overlap
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2] + 1, 0).prod(axis=1)
    own = np.maximum(last[:, 2:] - last[:, :2] + 1, 0).prod(axis=1)
    alike = [
        pose_similarity(track.pose + shift, poses, area, areas, sigmas)
        for track, shift, area in zip(opened, shifts, own)
    ]
    return (overlap + np.stack(alike)) / 2


def _require_shapes(
    frames: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray | None,
    poses: np.ndarray | None,
    sigmas: Sequence[float] | np.ndarray | None,
) -> None:
    if frames.ndim != 1 or boxes.shape != (len(frames), 4):
        raise ValueError(
            f"link: expected frames [N] and boxes [N, 4], got {list(frames.shape)} and {list(boxes.shape)}"
        )
    if scores is not None and np.shape(scores) != frames.shape:
        raise ValueError(f"link: expected scores [{len(frames)}], got {list(np.shape(scores))}")
    if poses is None:
        return
    if poses.ndim != 3 or poses.shape[::2] != (len(frames), 2):
        raise ValueError(f"link: expected poses [{len(frames)}, K, 2], got {list(poses.shape)}")
    if sigmas is None or len(sigmas) != poses.shape[1]:
        got = "none" if sigmas is None else len(sigmas)
        raise ValueError(
            f"link: expected {poses.shape[1]} sigmas, one for each joint of the poses, got {got}"
        )
