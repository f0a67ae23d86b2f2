"""What a predictions.json holds, as arrays by person: what files, filters and angles are made from."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data.forms.joint_names import mirror_pairs
from ..data.records import Skeleton
from ..errors import UserError
from .writers import FoundPose, FrameInfo

_SAME_RATE = 1e-3  # the times have six digits


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person in the N frames where the person is.

    rows int [N]: places in `Recording.frames`, rising. joints float64 [N, K, 2] in pixels of the image (x right, y
    down, first pixel centre at 0), NaN where a joint is missing; scores float64 [N, K]; boxes float64 [N, 4] x1, y1,
    x2, y2. probabilities float64 [N, K] and states str [N, K] as in `streams.Pose`, None where the weights are not
    calibrated; a joint that `filters` put into a gap has the state "filled".
    """

    number: int
    rows: np.ndarray
    joints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    probabilities: np.ndarray | None = None
    states: np.ndarray | None = None

    @property
    def confidence(self) -> np.ndarray:
        """float64 [N, K]: the probabilities, or the scores where there are none; what files with one number take."""
        return self.scores if self.probabilities is None else self.probabilities


@dataclass(frozen=True, kw_only=True)
class Recording:
    """All frames that were gone through, and the persons in them by rising numbers.

    path: where it was read, for error messages. info: where the predictions come from. raw: of filtered values, the
    recording that they were made from.
    """

    path: Path
    info: dict[str, Any]
    skeleton: Skeleton
    frames: tuple[FrameInfo, ...]
    persons: tuple[Person, ...]
    raw: "Recording | None" = None

    @cached_property
    def times(self) -> np.ndarray:
        """float64 [F], seconds."""
        return np.array([frame.time for frame in self.frames], dtype=np.float64)

    @property
    def fps(self) -> float:
        """Frames per second: what the file says, or what its times say where frames were left out."""
        stated = float(self.info.get("fps") or 0)
        if len(self.frames) < 2:
            return stated or 1.0
        measured = 1 / float(np.median(np.diff(self.times)))
        return stated if abs(measured - stated) <= _SAME_RATE * measured else measured

    def require_rising_times(self, purpose: str) -> None:
        """Raise UserError where a frame is not later than the one before."""
        late = np.flatnonzero(np.diff(self.times) <= 0)
        if late.size:
            before, frame = self.frames[late[0]], self.frames[late[0] + 1]
            raise UserError(
                f"{self.path}: expected times that rise from frame to frame for {purpose}, frame {frame.number} has "
                f"{frame.time:g} s after {before.time:g} s; predict again with --fps"
            )

    def by_frame(self) -> Iterator[tuple[FrameInfo, list[FoundPose]]]:
        """Every frame with the poses in it, by rising numbers of the persons."""
        places = [0] * len(self.persons)
        for row, frame in enumerate(self.frames):
            poses = []
            for which, person in enumerate(self.persons):
                place = places[which]
                if place < len(person.rows) and person.rows[place] == row:
                    poses.append(_pose(person, place, frame.number))
                    places[which] += 1
            yield frame, poses


def _pose(person: Person, place: int, frame: int) -> FoundPose:
    return FoundPose(
        frame=frame,
        person=person.number,
        box=person.boxes[place],
        joints=person.joints[place],
        scores=person.scores[place],
        probabilities=None if person.probabilities is None else person.probabilities[place],
        states=None if person.states is None else tuple(person.states[place].tolist()),
    )


def read_recording(path: Path | str) -> Recording:
    """Read a predictions.json of `rpstn predict`.

    Raises UserError: the file is something else.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        category = content["categories"][0]
        joints = tuple(category["keypoints"])
        limbs = tuple((first - 1, second - 1) for first, second in category["skeleton"])
        skeleton = Skeleton(
            name=str(content["info"]["skeleton"]),
            joints=joints,
            limbs=limbs,
            flip_pairs=mirror_pairs(joints),
            groups={},
            torso=(0, 0),
            torso_paper=(0, 0),
        )
        frames = tuple(
            FrameInfo(
                number=image["frame"],
                time=image["time"],
                file_name=image["file_name"],
                width=image["width"],
                height=image["height"],
            )
            for image in content["images"]
        )
        return Recording(
            path=path,
            info=content["info"],
            skeleton=skeleton,
            frames=frames,
            persons=_persons(content["annotations"], frames, len(joints)),
        )
    except FileNotFoundError:
        raise UserError(
            f"{path}: expected the predictions.json of rpstn predict, found nothing there"
        ) from None
    except (KeyError, IndexError, TypeError, ValueError, IsADirectoryError) as error:
        reason = f"{error!r}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{path}: expected the predictions.json of rpstn predict, got something else ({reason})"
        ) from error


def _persons(notes: Sequence[dict[str, Any]], frames: Sequence[FrameInfo], count: int) -> tuple[Person, ...]:
    rows = {frame.number: row for row, frame in enumerate(frames)}
    found: dict[int, list[dict[str, Any]]] = {}
    for note in notes:
        found.setdefault(note["track_id"], []).append(note)
    persons = []
    for number in sorted(found):
        mine = sorted(found[number], key=lambda note: rows[note["image_id"]])
        keypoints = _numbers([note["keypoints"] for note in mine]).reshape(len(mine), count, 3)
        missing = ~np.isfinite(keypoints[..., :2]).all(axis=2) | (keypoints == 0).all(axis=2)
        keypoints[missing] = np.nan
        boxes = _numbers([note["bbox"] for note in mine])
        boxes[:, 2:] += boxes[:, :2] - 1
        probabilities = None
        if all(note.get("probabilities") is not None for note in mine):
            probabilities = _numbers([note["probabilities"] for note in mine])
            probabilities[missing] = np.nan
        known = all(note.get("states") is not None for note in mine)
        persons.append(
            Person(
                number=number,
                rows=np.array([rows[note["image_id"]] for note in mine]),
                joints=keypoints[..., :2],
                scores=keypoints[..., 2],
                boxes=boxes,
                probabilities=probabilities,
                states=np.array([note["states"] for note in mine], dtype=object) if known else None,
            )
        )
        if (np.diff(persons[-1].rows) == 0).any():
            raise ValueError(f"person {number} is twice in a frame")
    return tuple(persons)


def _numbers(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    """float64, NaN for null."""
    return np.array(rows, dtype=np.float64)
