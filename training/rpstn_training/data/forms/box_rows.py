"""What the rows of a file of boxes say: CSV, JSON or MOTChallenge's text.

CSV: a header with frame (or image_id, file_name, frame_id), x1, y1, x2, y2, and if wanted person, score, category_id,
in any case; further columns are ignored; commas, semicolons or tabs between. JSON: a list of {"image_id" or "frame" or
"image_name", "bbox": [x, y, width, height]} with an optional "track_id" or "person", "score", "category_id"; or a COCO
file, whose "images" say by "frame" or "file_name" what an image_id is. A picture is meant by its number or id, or by
its name; where the name is a video's, its frame_id or else image_id is the frame's number. Coordinates are pixels of
the image, x right, y down, first pixel centre at 0. x1, y1 and x2, y2 are the first and the last pixel, so x2 = x +
width - 1.

MOTChallenge's text (.txt): a line is frame,id,left,top,width,height and perhaps conf, then class and visibility (9
values) or a place in the world. Frames, ids and pixels count from 1 there, and are taken one lower; an id of -1 is
none, a conf of 0 with a class means a box that is not to be considered. "-" as a path is standard input in any of the
forms.
"""

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .. import boxes as box_rules
from ..findings import Report
from . import jsonfiles

FORMS = ".csv, .json or .txt"
SIDES = ("x1", "y1", "x2", "y2")
_IMAGE = ("frame", "image_id", "image_name", "file_name", "frame_id")
_NUMBER = ("frame_id", "image_id")  # what tells frames apart where the name is that of their video
_PERSON = ("person", "track_id")
_CATEGORY = ("category_id", "category")
_LARGEST = 1e6  # pixels; beyond it a number is a mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One row: `image` is a number, an id or a name, as the file has it, and `number` the frame's or the image's beside
    a name; `sides` float64 [4] x1, y1, x2, y2; `person` is None where nobody says who it is; `where` is the file and
    the row, for messages; `with_size`: the file has x, y, width, height.
    """

    image: Any
    number: Any = None
    person: int | None
    sides: np.ndarray
    score: float
    category: Any
    where: str
    with_size: bool

    @property
    def text(self) -> str:
        """The numbers for a message, as in the file."""
        if not self.with_size:
            return corners(self.sides)
        x1, y1, x2, y2 = self.sides
        return f"x,y,width,height = {x1:g},{y1:g},{x2 - x1 + 1:g},{y2 - y1 + 1:g}"


@dataclass(kw_only=True)
class Own:
    """The categories that a file of boxes lists itself: names by id, and the ids of those with key points."""

    names: dict[Any, str | None] = field(default_factory=dict)
    with_joints: list[Any] = field(default_factory=list)

    def add(self, categories: Any) -> None:
        for entry in categories if isinstance(categories, list) else ():
            if isinstance(entry, Mapping) and isinstance(entry.get("id"), int | str):
                number = jsonfiles.canonical_id(entry["id"])
                self.names[number] = entry["name"] if isinstance(entry.get("name"), str) else None
                if entry.get("keypoints"):
                    self.with_joints.append(number)


def _csv_rows(path: Path, data: bytes, scored: bool, own: Own, report: Report) -> Iterator[Box]:
    lines = _lines(path, data)
    separator = _separator(lines[0] if lines else "")
    reader = csv.DictReader(lines, skipinitialspace=True, strict=True, delimiter=separator)
    try:
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        image, number, person, category = (
            _first(columns, names) for names in (_IMAGE, _NUMBER, _PERSON, _CATEGORY)
        )
        missing = [name for name in SIDES if name not in columns]
        if image is None or missing:
            lacks = ", ".join([*(["frame"] if image is None else []), *missing])
            raise UserError(
                f"{path}: expected the header frame,person,x1,y1,x2,y2, got {separator.join(columns) or 'nothing'} "
                f"(without {lacks})"
            )
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            with report.file():
                if None in row or None in row.values():
                    raise UserError(
                        f"{where}: expected {len(columns)} values as in the header, got another number"
                    )
                sides = np.array([_pixels(row[name], where, name) for name in SIDES])
                yield Box(
                    image=row[image],
                    number=row[number] if number else None,
                    person=whole_number(row[person], where, person) if person and row[person] else None,
                    sides=sides,
                    score=_score(row["score"], where) if scored and "score" in columns else 1.0,
                    category=_category(row[category] or None, where) if category else None,
                    where=where,
                    with_size=False,
                )
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}: expected comma-separated values, but {error}"
        ) from error


def _separator(header: str) -> str:
    """What stands between the names of a header: spreadsheets write semicolons where a comma is the decimal sign.

    >>> _separator("frame;x1"), _separator("frame, x1"), _separator("frame")
    (';', ',', ',')
    """
    return max(",;\t", key=header.count)


def _mot_rows(path: Path, data: bytes, scored: bool, own: Own, report: Report) -> Iterator[Box]:
    for number, line in enumerate(_lines(path, data), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        values = [value.strip() for value in line.split(",")]
        with report.file():
            if len(values) < 6:
                raise UserError(
                    f"{where}: expected frame,id,left,top,width,height and perhaps more, as MOTChallenge has it, got "
                    f"{short(line)}"
                )
            frame = whole_number(values[0], where, "frame")
            if frame == 0:
                raise UserError(f"{where}: frame: expected a number from 1 on, as MOTChallenge counts, got 0")
            x, y, width, height = (
                _pixels(value, where, name)
                for value, name in zip(values[2:6], ("left", "top", "width", "height"))
            )
            known = len(values) == 9  # with a class, as in MOTChallenge's labels
            if known and _score(values[6], where) == 0:
                report.defect(
                    path, short_place(where), "a box that is not to be considered (conf 0)", "left out"
                )
                continue
            yield Box(
                image=frame - 1,
                person=_mot_person(values[1], where),
                sides=box_rules.from_corner(np.array([x - 1, y - 1, width, height])),
                score=_score(values[6], where) if scored and len(values) > 6 else 1.0,
                category=_category(values[7], where) if known else None,
                where=where,
                with_size=True,
            )


def _mot_person(value: str, where: str) -> int | None:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if number == -1:
        return None
    return whole_number(number if number.is_integer() else value, where, "id")


def _lines(path: Path, data: bytes) -> list[str]:
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: expected a file with boxes ({FORMS}), it is not UTF-8 text; save it as UTF-8"
        ) from error


def _json_rows(path: Path, data: bytes, scored: bool, own: Own, report: Report) -> Iterator[Box]:
    content = jsonfiles.parse(data, path)
    images: dict[Any, tuple[Any, Any]] | None = None
    if isinstance(content, Mapping):
        images = _image_names(path, content.get("images"))
        own.add(content.get("categories"))
        content = content.get("annotations")
    if not isinstance(content, list):
        raise UserError(f'{path}: expected a list of boxes, or a COCO file with "images" and "annotations"')
    for position, entry in enumerate(content):
        where = f"{path}, entry {position}"
        with report.file():
            if not isinstance(entry, Mapping):
                raise UserError(
                    f"{where}: expected an object with image_id and bbox, got {type(entry).__name__}"
                )
            bbox = entry.get("bbox")
            if not isinstance(bbox, list) or len(bbox) != 4:
                raise UserError(f"{where}: expected bbox [x, y, width, height], got {short(bbox)}")
            x, y, width, height = (_pixels(value, where, f"bbox[{axis}]") for axis, value in enumerate(bbox))
            person, category = _first(entry, _PERSON), _first(entry, _CATEGORY)
            image, number = _image(entry, images, where)
            yield Box(
                image=image,
                number=number,
                person=None if person is None else whole_number(entry[person], where, person),
                sides=box_rules.from_corner(np.array([x, y, width, height])),
                score=_score(entry.get("score"), where) if scored else 1.0,
                category=None if category is None else _category(entry[category], where),
                where=where,
                with_size=True,
            )


def _first(given: Iterable[str], names: Sequence[str]) -> str | None:
    """The first of the names that is given; in an object, with a value."""
    has = (lambda name: given.get(name) is not None) if isinstance(given, Mapping) else given.__contains__
    return next((name for name in names if has(name)), None)


def _image(
    entry: Mapping[str, Any], images: dict[Any, tuple[Any, Any]] | None, where: str
) -> tuple[Any, Any]:
    """`image` and `number` of the box."""
    if images is None:
        image, number = (_first(entry, names) for names in (_IMAGE, _NUMBER))
        return image and entry[image], number and entry[number]
    image = jsonfiles.canonical_id(entry.get("image_id"))
    if not isinstance(image, int | str) or image not in images:
        raise UserError(f'{where}: expected an image_id that is in "images", got {short(image)}')
    return images[image]


def _image_names(path: Path, images: Any) -> dict[Any, tuple[Any, Any]]:
    """image_id of a COCO file to frame or file name, and the number of the frame or of the image."""
    if not isinstance(images, list):
        raise UserError(f'{path}: expected "images" with id and file_name or frame, got {short(images)}')
    names = {}
    for position, image in enumerate(images):
        if not isinstance(image, Mapping) or not isinstance(image.get("id"), int | str):
            raise UserError(
                f"{path}, image {position}: expected an object with id and file_name or frame, got {short(image)}"
            )
        name = image.get("frame", image.get("file_name", image.get("frame_id")))
        names[jsonfiles.canonical_id(image["id"])] = name, image.get("frame_id", image["id"])
    return names


def _pixels(value: Any, where: str, field: str) -> float:
    number = _number(value, where, field)
    if not abs(number) < _LARGEST:  # also NaN
        raise UserError(f"{where}: {field}: expected a number of pixels, got {short(value)}")
    return number


def _number(value: Any, where: str, field: str) -> float:
    """NaN for what is none."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d*,\d+\s*", value):
        raise UserError(
            f"{where}: {field}: expected a number with a decimal point, got {short(value)} with a comma; have the "
            "table written with points"
        )
    try:
        return math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _category(value: Any, where: str) -> int | str | None:
    value = jsonfiles.canonical_id(value.strip() if isinstance(value, str) else value)
    if isinstance(value, bool) or not isinstance(value, int | str | None):
        raise UserError(f"{where}: category_id: expected a whole number or a name, got {short(value)}")
    return value


def _score(value: Any, where: str) -> float:
    number = _number(value, where, "score")
    if not math.isfinite(number):
        raise UserError(f"{where}: score: expected a finite number, got {short(value)}")
    return number


def whole_number(value: Any, where: str, field: str) -> int:
    """A whole number from 0 on; 3.0, "3" and "3.0" are some: a table with an empty cell makes 3.0 of 3."""
    number = value
    if isinstance(value, str | float):
        try:
            number = int(re.sub(r"(?<=\d)\.0*\s*$", "", str(value)))
        except ValueError:  # no digits, or thousands of them
            number = None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 53:
        raise UserError(f"{where}: {field}: expected a whole number from 0 on, got {short(value)}")
    return number


def short(value: Any) -> str:
    """`value` for a message."""
    if value is None:
        return "nothing"
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."


def corners(sides: np.ndarray) -> str:
    """The sides for a message."""
    return "x1,y1,x2,y2 = " + ",".join(f"{side:g}" for side in sides)


def short_place(where: str) -> str:
    """The row without the file."""
    return where.rpartition(", ")[2]


def form_of(data: bytes) -> str:
    """Which form boxes from standard input have: by their first character other than white space."""
    first = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first in (b"[", b"{"):
        return ".json"
    return ".txt" if first.isdigit() else ".csv"


READERS = {".csv": _csv_rows, ".json": _json_rows, ".txt": _mot_rows}
