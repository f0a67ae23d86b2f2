"""Persons' boxes of a video by frame and person, from a file in one of the forms of `data.forms.box_files`."""

import re
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.boxes import union
from ..data.clips import tiled_starts
from ..data.findings import reporting
from ..data.forms import box_files, box_rows
from ..data.tracking import fill_gaps
from ..errors import UserError
from .sources import Frame, Source


@dataclass(frozen=True, kw_only=True)
class Box:
    """One row: `sides` float64 [4] x1, y1, x2, y2; `where` is the file and the row, for messages."""

    frame: int
    person: int
    sides: np.ndarray
    where: str


class Boxes:
    """The boxes of a file by frame and person. Where `named` is False nobody says whose they are, and the persons are
    numbers of the frame's rows.

    Raises UserError, naming file, row and field, where a row cannot be meant.
    """

    def __init__(self, path: Path, rows: list[Box], *, named: bool = True) -> None:
        self.path, self.named = path, named
        self.frames: dict[int, dict[int, Box]] = {}
        for row in rows:
            others = self.frames.setdefault(row.frame, {})
            if row.person in others:
                raise UserError(
                    f"{row.where}: expected one box for person {row.person} in frame {row.frame}, got another one "
                    f"already ({box_rows.short_place(others[row.person].where)}); give each person a number of its own"
                )
            others[row.person] = row
        self.last_frame, self._step = max(self.frames), 1
        self._last_row = next(iter(self.frames[self.last_frame].values()))
        self._last_seen = {person: number for number in sorted(self.frames) for person in self.frames[number]}
        self._goes_on = {person for person in self._last_seen if self._may_go_on(person)}

    def at(self, frame: int, size_wh: tuple[int, int]) -> dict[int, np.ndarray]:
        """Person to box [4] in this frame, in the order of the persons' numbers; each must touch the picture."""
        width, height = size_wh
        found = self.frames.get(frame, {})
        for row in found.values():
            x1, y1, x2, y2 = row.sides
            if x1 > width - 1 or y1 > height - 1 or x2 < 0 or y2 < 0:
                raise UserError(
                    f"{row.where}: expected a box in the {width}x{height} picture, got {box_rows.corners(row.sides)}, "
                    "which lies outside it"
                )
        return {person: found[person].sides for person in sorted(found)}

    def found(self, frame: Frame) -> np.ndarray | None:
        """The boxes [N, 4] in this frame, None where the file has none."""
        boxes = self.at(frame.number, frame.size)
        return np.stack(list(boxes.values())) if boxes else None

    def after(self, frame: int) -> Iterator[tuple[int, np.ndarray]]:
        """The later frames that have boxes, and these, [N, 4]."""
        numbers = sorted(self.frames)
        for number in numbers[bisect(numbers, frame) :]:
            yield number, np.stack([box.sides for box in self.frames[number].values()])

    def gone(self, frame: int) -> list[int]:
        """Persons with no box after this frame."""
        return [person for person in self.frames.get(frame, {}) if self._last_seen[person] == frame]

    def goes_on(self, person: int) -> bool:
        """Whether the last box of a person is only the last one that somebody drew.

        It is not where the boxes go frame by frame and end before those of other persons do: then the person leaves.
        """
        return person in self._goes_on

    def _may_go_on(self, person: int) -> bool:
        last = self._last_seen[person]
        return last == self.last_frame or person not in self.frames.get(last - 1, {})

    def fill_gaps(self) -> None:
        """Interpolate each person's boxes, side by side, in frames between two given ones."""
        for person in self._last_seen:
            known = [number for number in sorted(self.frames) if person in self.frames[number]]
            sides = np.stack([self.frames[number][person].sides for number in known])
            ((every, between, given),) = fill_gaps(np.array(known), sides, max_missed=known[-1])
            for number, box in zip(every[~given].tolist(), between[~given]):
                before = self.frames[known[bisect(known, number) - 1]][person]
                self.frames.setdefault(number, {})[person] = replace(before, frame=number, sides=box)

    def keep_every(self, step: int) -> None:
        """Only boxes in every `step`-th frame, from 0 on, are of use; a person's last one is the last of these."""
        self._step = step
        self.frames = {number: people for number, people in self.frames.items() if number % step == 0}
        self._last_seen = {person: number for number in sorted(self.frames) for person in self.frames[number]}

    def crops(self, length: int) -> dict[tuple[int, int], np.ndarray]:
        """What to cut out, (frame, person) to box [4], as in training.

        The box around `length` boxes of the person: each stretch of frames without a gap is cut into clips side by
        side, the last one moved back to end with the stretch (`data.clips.EvalClips`). By a length of 1 the box itself.
        """
        crops = {}
        for person in self._last_seen:
            for stretch in self._stretches(person):
                sides = np.stack([self.frames[number][person].sides for number in stretch])
                for clip, start in enumerate(tiled_starts(len(stretch), length)):
                    around = union(sides[start : start + length])
                    for number in stretch[clip * length : start + length]:
                        crops[number, person] = around
        return crops

    def _stretches(self, person: int) -> list[list[int]]:
        """The person's frames, in lists without a gap."""
        stretches: list[list[int]] = []
        for number in sorted(self.frames):
            if person not in self.frames[number]:
                continue
            if stretches and stretches[-1][-1] == number - self._step:
                stretches[-1].append(number)
            else:
                stretches.append([number])
        return stretches

    def require_frames(self, count: int) -> None:
        """Every row is about one of the `count` frames that there are."""
        if self.last_frame >= count:
            row = self._last_row
            raise UserError(
                f"{row.where}: expected a frame between 0 and {count - 1}, got frame {self.last_frame}; "
                "frames count from 0"
            )


def read_boxes(path: str | Path, source: Source, *, stills: bool = False) -> Boxes:
    """The boxes of a file (`data.forms.box_files`) for the frames of `source`. Nothing is left out in silence.

    Where no row says whose box it is, and frames have several, they are to be linked (`detected`).

    stills: the frames are pictures by themselves, whose boxes need no person's number.
    """
    path = Path(path)
    with reporting(None) as report:
        found = box_files.read(path, report)
    frames = _frame_numbers(found, source)
    alone = stills or (source.names is not None and len(source.names) == 1)
    named = alone or len(set(frames)) == len(frames) or any(box.person is not None for box in found)
    people = box_files.numbered(found, frames, stills=alone or not named)
    rows = [
        Box(frame=frame, person=box.person, sides=box.sides, where=box.where)
        for frame, box in zip(frames, people)
    ]
    boxes = Boxes(path, rows, named=named)
    if source.names is not None:
        boxes.require_frames(len(source.names))
    return boxes


def _frame_numbers(found: list[box_files.Box], source: Source) -> list[int]:
    """Which frame each box is in: a number from 0, also beside the video's name, or a picture's file name."""
    find = box_files.finder((None, name, number) for number, name in enumerate(source.names or ()))
    numbers = []
    for box in found:
        value = box.image
        if source.names is None and box.number is not None and _is_called(value, source.name):
            value = box.number
        if not isinstance(value, str) or re.fullmatch(r"\s*-?\d+(\.0*)?\s*", value):
            numbers.append(box_rows.whole_number(value, box.where, "frame"))
            continue
        number = find(box)
        if number is None:
            what = (
                "one of the pictures as frame"
                if source.names
                else f"the number of a frame, or {source.name} and a frame_id"
            )
            raise UserError(f"{box.where}: expected {what}, got {value!r}")
        numbers.append(number)
    return numbers


def _is_called(value: Any, name: str) -> bool:
    """Whether a file means the video `name`, perhaps with folders before it."""
    return isinstance(value, str) and value.strip().replace("\\", "/").rpartition("/")[2] == name
