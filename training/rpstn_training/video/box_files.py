"""Person boxes for a video, from a CSV or a JSON file.

CSV: a header with frame, person, x1, y1, x2, y2 (further columns are ignored; without person there is one
person). JSON: a list of {"image_id" or "frame", "bbox": [x, y, width, height]} with an optional "track_id" or
"person", or a COCO file, whose "images" say by "frame" or "file_name" which frame an image_id is. A frame is a
number, counted from 0, or the file name of a picture. Coordinates are pixels of the image, x right, y down, first
pixel centre at 0. x1, y1 and x2, y2 are the first and the last pixel, so x2 = x + width - 1.
"""

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.boxes import union
from ..data.clips import tiled_starts
from ..errors import UserError
from .sources import Source

_SIDES = ("x1", "y1", "x2", "y2")
_LARGEST = 1e6  # pixels; beyond it a number is a mistake


@dataclass(frozen=True, kw_only=True)
class Box:
    """One row: `sides` float64 [4] x1, y1, x2, y2; `where` is the file and the row, for messages."""

    frame: int
    person: int
    sides: np.ndarray
    where: str


class Boxes:
    """The boxes of a file by frame and person.

    Raises UserError, naming file, row and field, where a row cannot be meant.
    """

    def __init__(self, path: Path, rows: list[Box]) -> None:
        self.path = path
        self.frames: dict[int, dict[int, Box]] = {}
        for row in rows:
            others = self.frames.setdefault(row.frame, {})
            if row.person in others:
                raise UserError(
                    f"{row.where}: expected one box for person {row.person} in frame {row.frame}, got another one "
                    f"already ({_place(others[row.person].where)}); give each person a number of its own"
                )
            others[row.person] = row
        self.last_frame = max(self.frames)
        self._last_seen = {person: number for number in sorted(self.frames) for person in self.frames[number]}

    def at(self, frame: int, size_wh: tuple[int, int]) -> dict[int, np.ndarray]:
        """Person to box [4] in this frame, in the order of the persons' numbers; each must touch the picture."""
        width, height = size_wh
        found = self.frames.get(frame, {})
        for row in found.values():
            x1, y1, x2, y2 = row.sides
            if x1 > width - 1 or y1 > height - 1 or x2 < 0 or y2 < 0:
                raise UserError(
                    f"{row.where}: expected a box in the {width}x{height} picture, got {_text(row.sides)}, "
                    "which lies outside it"
                )
        return {person: found[person].sides for person in sorted(found)}

    def gone(self, frame: int) -> list[int]:
        """Persons with no box after this frame."""
        return [person for person in self.frames.get(frame, {}) if self._last_seen[person] == frame]

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
            if stretches and stretches[-1][-1] == number - 1:
                stretches[-1].append(number)
            else:
                stretches.append([number])
        return stretches

    def require_frames(self, count: int) -> None:
        """Every row is about one of the `count` frames that there are."""
        if self.last_frame >= count:
            row = next(iter(self.frames[self.last_frame].values()))
            raise UserError(
                f"{row.where}: expected a frame between 0 and {count - 1}, got frame {self.last_frame}; "
                "frames count from 0"
            )


def read_boxes(path: str | Path, source: Source) -> Boxes:
    """The boxes of a .csv or .json file for the frames of `source`."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a file with boxes (.csv or .json), found none") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"{path}: expected a file with boxes (.csv or .json), {reason}") from error
    readers = {".csv": _csv_rows, ".json": _json_rows}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: expected boxes in a file that ends in .csv or .json")
    frame_of = _FrameNumbers(source)
    rows = list(readers[path.suffix.lower()](path, text, frame_of))
    if not rows:
        raise UserError(
            f"{path}: expected at least one box, got none; leave --boxes out to take the whole picture"
        )
    boxes = Boxes(path, rows)
    if source.names is not None:
        boxes.require_frames(len(source.names))
    return boxes


class _FrameNumbers:
    """Which frame a value of a file means: a number from 0, or a picture's file name."""

    def __init__(self, source: Source) -> None:
        self._names: dict[str, int] = {}
        self._twice: set[str] = set()
        for number, name in enumerate(source.names or ()):
            if name in self._names:
                self._twice.add(name)
            self._names[name] = number

    def __call__(self, value: Any, where: str) -> int:
        if isinstance(value, str) and not re.fullmatch(r"\s*-?\d+\s*", value):
            name = value.strip().replace("\\", "/").rpartition("/")[2]  # only compared, never opened
            if name in self._twice:
                raise UserError(
                    f"{where}: expected the number of a frame, several pictures are called {name}"
                )
            if name not in self._names:
                what = (
                    "one of the pictures"
                    if self._names
                    else "the number of a frame, as a video has no names,"
                )
                raise UserError(f"{where}: expected {what} as frame, got {value!r}")
            return self._names[name]
        return _whole_number(value, where, "frame")


def _csv_rows(path: Path, text: str, frame_of: _FrameNumbers) -> Iterator[Box]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True, strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        missing = [name for name in ("frame", *_SIDES) if name not in columns]
        if missing:
            raise UserError(
                f"{path}: expected the header frame,person,x1,y1,x2,y2, got {','.join(columns) or 'nothing'} "
                f"(without {', '.join(missing)})"
            )
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise UserError(
                    f"{where}: expected {len(columns)} values as in the header, got another number"
                )
            sides = np.array([_number(row[name], where, name) for name in _SIDES])
            person = _whole_number(row["person"], where, "person") if "person" in columns else 0
            yield _box(frame_of(row["frame"], where), person, sides, where)
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}: expected comma-separated values, but {error}"
        ) from error


def _json_rows(path: Path, text: str, frame_of: _FrameNumbers) -> Iterator[Box]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{path}{line}: expected JSON, it does not parse; write the file again") from error
    images: dict[Any, int] | None = None
    if isinstance(content, Mapping):
        images = _image_frames(path, content.get("images"), frame_of)
        content = content.get("annotations")
    if not isinstance(content, list):
        raise UserError(f'{path}: expected a list of boxes, or a COCO file with "images" and "annotations"')
    numbered = [_person(entry) is not None for entry in content]
    seen: dict[int, int] = {}
    for position, entry in enumerate(content):
        where = f"{path}, entry {position}"
        if not isinstance(entry, Mapping):
            raise UserError(f"{where}: expected an object with image_id and bbox, got {type(entry).__name__}")
        frame = _json_frame(entry, images, frame_of, where)
        bbox = entry.get("bbox")
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise UserError(f"{where}: expected bbox [x, y, width, height], got {_short(bbox)}")
        x, y, width, height = (_number(value, where, f"bbox[{axis}]") for axis, value in enumerate(bbox))
        if all(numbered):
            person = _whole_number(_person(entry), where, "track_id")
        else:
            person = 0
            if any(numbered) or frame in seen:
                other = "" if any(numbered) else f", frame {frame} has several boxes (entry {seen[frame]})"
                raise UserError(f"{where}: expected a track_id that says who this is{other}")
            seen[frame] = position
        if not (width > 1 and height > 1):
            raise UserError(
                f"{where}: bbox: expected a width and a height above 1 pixel, got {width:g} x {height:g}"
            )
        yield _box(frame, person, np.array([x, y, x + width - 1, y + height - 1]), where)


def _image_frames(path: Path, images: Any, frame_of: _FrameNumbers) -> dict[Any, int]:
    """image_id of a COCO file to frame: by "frame", else by "file_name"."""
    if not isinstance(images, list):
        raise UserError(f'{path}: expected "images" with id and file_name or frame, got {_short(images)}')
    frames = {}
    for position, image in enumerate(images):
        where = f"{path}, image {position}"
        if not isinstance(image, Mapping) or not isinstance(image.get("id"), int | str):
            raise UserError(
                f"{where}: expected an object with id and file_name or frame, got {_short(image)}"
            )
        frames[image["id"]] = frame_of(image.get("frame", image.get("file_name")), where)
    return frames


def _json_frame(
    entry: Mapping[str, Any], images: dict[Any, int] | None, frame_of: _FrameNumbers, where: str
) -> int:
    if images is None:
        return frame_of(entry.get("frame", entry.get("image_id")), where)
    image = entry.get("image_id")
    if not isinstance(image, int | str) or image not in images:
        raise UserError(f'{where}: expected an image_id that is in "images", got {_short(image)}')
    return images[image]


def _person(entry: Any) -> Any:
    return entry.get("track_id", entry.get("person")) if isinstance(entry, Mapping) else None


def _box(frame: int, person: int, sides: np.ndarray, where: str) -> Box:
    x1, y1, x2, y2 = sides
    if not (x2 > x1 and y2 > y1):
        raise UserError(f"{where}: expected a box with x1 < x2 and y1 < y2, got {_text(sides)}")
    return Box(frame=frame, person=person, sides=sides, where=where)


def _number(value: Any, where: str, field: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) < _LARGEST:  # also NaN
        raise UserError(f"{where}: {field}: expected a number of pixels, got {_short(value)}")
    return number


def _whole_number(value: Any, where: str, field: str) -> int:
    number = value
    if isinstance(value, str | float):
        try:
            number = int(value) if isinstance(value, str) or value.is_integer() else None
        except ValueError:  # no digits, or thousands of them
            number = None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 53:
        raise UserError(f"{where}: {field}: expected a whole number from 0 on, got {_short(value)}")
    return number


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(sides: np.ndarray) -> str:
    return "x1,y1,x2,y2 = " + ",".join(f"{side:g}" for side in sides)


def _place(where: str) -> str:
    return where.rpartition(", ")[2]
