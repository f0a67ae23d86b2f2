"""Who is who from frame to frame: detected boxes, with or without poses, are linked into tracks.

Online: what a frame is given depends on it and on earlier frames alone, so that no number changes later. Each new frame
is assigned to the tracks that are still open, so that the sum of likenesses is the largest, where those that were
missed count a little less. A track that is not found stays open for some frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from .boxes import alone, iou
from .similarity import pose_similarity

# Tried on 15 drawn crowds of 3 seconds (`rpstn_synth.crowd`) with true boxes, and with boxes moved at random by 5 % of
# their sides, a tenth of them left out and others added.
_REMEMBERED = 8  # boxes of a track from which its speed is taken
_CAUTION = 0.5  # frames^2: a speed by two boxes is the least sure
_BLURRED = 0.1  # of a box's sides, by which a place is less sure with every frame without the person
_MOST_BLURRED = 0.5
_STALE = 0.2  # by which a track is less likely that was missed for _STALE_AFTER frames or more
_STALE_AFTER = 5
_CLOTHES = 0.4  # of a likeness: how much it is that of the clothes, where they are known
_FADING = 0.1  # how much of new clothes goes into those that are known


@dataclass(kw_only=True)
class _Open:
    """A track that may go on: its last boxes, the last pose, and how the person is dressed."""

    number: int
    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    pose: np.ndarray | None = None
    clothes: np.ndarray | None = None

    def add(self, frame: int, box: np.ndarray, pose: np.ndarray | None) -> None:
        self.frames = [*self.frames, frame][-_REMEMBERED:]
        self.boxes = [*self.boxes, box][-_REMEMBERED:]
        self.pose = pose

    def missed(self, frame: int) -> int:
        """Frames without the person before this one."""
        return frame - self.frames[-1] - 1

    def shifts(self, frame: int) -> np.ndarray:
        """How far the sides [4] may have come since the last box, [3, 4]: at the speeds of straight lines through the
        last ones, so that a box grows while somebody walks into the picture; all by the centre's speed; nowhere.
        """
        times, boxes = np.array(self.frames, dtype=np.float64), np.stack(self.boxes)
        away = times - times.mean()
        sides = (away @ boxes) / (away @ away + _CAUTION) * (frame - times[-1])
        return np.stack([sides, np.tile((sides[:2] + sides[2:]) / 2, 2), np.zeros(4)])


class Linker:
    """Numbers detections frame by frame, as `link` does for a whole video, and by its arguments."""

    def __init__(
        self,
        *,
        sigmas: Sequence[float] | np.ndarray | None = None,
        min_likeness: float = 0.2,
        max_missed: int = 5,
    ) -> None:
        self._sigmas, self._least, self._max_missed = sigmas, min_likeness, max_missed
        self._opened: list[_Open] = []
        self._given = 0

    def last(self, number: int) -> tuple[int, np.ndarray]:
        """The frame and the box [4] in which somebody was seen last, who may still come again."""
        (track,) = (track for track in self._opened if track.number == number)
        return track.frames[-1], track.boxes[-1]

    def next_frame(
        self,
        frame: int,
        boxes: np.ndarray,
        poses: np.ndarray | None = None,
        clothes: np.ndarray | None = None,
    ) -> np.ndarray:
        """The numbers int64 [N] of a later frame's detections; of new people the first ones get the lowest.

        clothes [N, D] of length 1: who has a smaller angle to a track's wears more of the same. They are remembered
        where nobody else is near. Where they are known they are a part of the likeness, but link nobody alone.
        """
        numbers = np.full(len(boxes), -1, dtype=np.int64)
        self._opened = [track for track in self._opened if track.missed(frame) <= self._max_missed]
        likeness = self._likeness(frame, boxes, poses)
        worth = likeness if clothes is None else self._dressed(likeness, clothes)
        stale = [_STALE * min(track.missed(frame) / _STALE_AFTER, 1.0) for track in self._opened]
        # What may be linked is worth more than nothing, however stale; and one good link more than two poor ones.
        worth = np.maximum(worth - np.array(stale).reshape(-1, 1), 0.01) ** 1.5
        for track, row in zip(
            *linear_sum_assignment(np.where(likeness >= self._least, worth, 0.0), maximize=True)
        ):
            if likeness[track, row] >= self._least:
                numbers[row] = self._opened[track].number
        by_number = {track.number: track for track in self._opened}
        apart = alone(boxes)
        for row in range(len(boxes)):
            if numbers[row] < 0:
                numbers[row] = self._given
                by_number[self._given] = _Open(number=self._given)
                self._opened.append(by_number[self._given])
                self._given += 1
            track = by_number[int(numbers[row])]
            track.add(frame, boxes[row], None if poses is None else poses[row])
            if clothes is not None and (track.clothes is None or apart[row]):
                track.clothes = blended(track.clothes, clothes[row])
        return numbers

    def see(self, number: int, frame: int, box: np.ndarray, pose: np.ndarray | None = None) -> None:
        """Where a numbered person was in a frame by other means than a detection."""
        for track in self._opened:
            if track.number == number:
                track.add(frame, box, pose)

    def _likeness(self, frame: int, boxes: np.ndarray, poses: np.ndarray | None) -> np.ndarray:
        """[tracks, detections]"""
        rows = np.zeros((len(self._opened), len(boxes)))
        for row, track in zip(rows, self._opened):
            shifts, last = track.shifts(frame), track.boxes[-1]
            blur = min(_BLURRED * track.missed(frame), _MOST_BLURRED)
            row[:] = iou(_grown(last + shifts, blur), _grown(boxes, blur)).max(axis=0)
            if poses is not None and track.pose is not None:
                alike = [
                    pose_similarity(track.pose + shift[:2], poses, _area(last), _area(boxes), self._sigmas)
                    for shift in shifts[1:]
                ]
                row[:] = (row + np.max(alike, axis=0)) / 2
        return rows

    def _dressed(self, likeness: np.ndarray, clothes: np.ndarray) -> np.ndarray:
        """Likenesses [tracks, detections] with that of the clothes."""
        rows = likeness.copy()
        for row, track in zip(rows, self._opened):
            if track.clothes is not None:
                row[:] = (1 - _CLOTHES) * row + _CLOTHES * (clothes @ track.clothes)
        return rows


def blended(known: np.ndarray | None, new: np.ndarray, *, times: int = 10**9) -> np.ndarray:
    """What somebody is known to wear, [D] of length 1, by what is seen now too, for the `times`-th time."""
    share = 1.0 if known is None else max(_FADING, 1 / times)
    mixed = new if known is None else (1 - share) * known + share * new
    return mixed / max(float(np.linalg.norm(mixed)), 1e-9)


def _grown(boxes: np.ndarray, share: float) -> np.ndarray:
    """Boxes [N, 4] with every side moved outwards by this share of the box's."""
    reach = share * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - reach, boxes[:, 2:] + reach], axis=1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[..., 2:] - boxes[..., :2] + 1, 0).prod(axis=-1)


def link(
    frames: Sequence[int] | np.ndarray,
    boxes: np.ndarray,
    *,
    scores: np.ndarray | None = None,
    poses: np.ndarray | None = None,
    sigmas: Sequence[float] | np.ndarray | None = None,
    min_likeness: float = 0.2,
    max_missed: int = 5,
) -> np.ndarray:
    """The number of the track that each detection belongs to.

    The likeness of a detection with a track is the overlap (intersection over union) of its box with the track's
    last one: moved on at the speed of the last eight, its sides each by itself or all alike, or left where it was,
    whichever is more alike. For every frame in which the person was missed both are grown by a tenth of their sides.
    With poses it is the mean of that and of OKS (`scores.coco_ap`) with the track's last pose, moved on or left, over
    the areas of the two boxes.

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
        int64 [N], from 0 on in the order in which the people appear; no two of a frame are equal, and no number comes
        again for somebody new.

    Raises ValueError for shapes that do not fit.

    Two people, one of whom is missed in frame 1:

    >>> boxes = np.array([[0, 0, 9, 19], [50, 0, 59, 19], [1, 0, 10, 19], [51, 0, 60, 19], [2, 0, 11, 19]])
    >>> link([0, 0, 1, 2, 2], boxes).tolist()
    [0, 1, 0, 1, 0]
    """
    frames, boxes = np.asarray(frames), np.asarray(boxes, dtype=np.float64)
    _require_shapes(frames, boxes, scores, poses, sigmas)
    numbers = np.full(len(frames), -1, dtype=np.int64)
    linker = Linker(sigmas=sigmas, min_likeness=min_likeness, max_missed=max_missed)
    for frame in np.unique(frames):
        rows = np.flatnonzero(frames == frame)
        if scores is not None:
            rows = rows[np.argsort(-np.asarray(scores)[rows], kind="stable")]
        numbers[rows] = linker.next_frame(int(frame), boxes[rows], None if poses is None else poses[rows])
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
