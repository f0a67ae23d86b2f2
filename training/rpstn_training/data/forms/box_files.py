"""Persons' boxes, by a detector or by hand, from a CSV, a JSON or a MOTChallenge file: one set of rules for
`data.options.detections` and for `rpstn predict --boxes`.

CSV: a header with frame (or image_id, file_name), x1, y1, x2, y2, and if wanted person, score, category_id; further
columns are ignored. JSON: a list of {"image_id" or "frame" or "image_name", "bbox": [x, y, width, height]} with an
optional "track_id" or "person", "score", "category_id"; or a COCO file, whose "images" say by "frame" or "file_name"
what an image_id is. A picture is meant by its number or id, or by its name. Coordinates are pixels of the image, x
right, y down, first pixel centre at 0. x1, y1 and x2, y2 are the first and the last pixel, so x2 = x + width - 1.

MOTChallenge's text (.txt): a line is frame,id,left,top,width,height and perhaps conf, then class and visibility (9
values) or a place in the world. Frames, ids and pixels count from 1 there, and are taken one lower; an id of -1 is
none, a conf of 0 with a class means a box that is not to be considered. "-" as a path is standard input in any of the
forms.

Left out, and counted, are boxes of another category, of no size, and with a score below the threshold. Boxes in
shares of the picture are refused.
"""

import csv
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from ...errors import UserError
from .. import boxes as box_rules
from ..findings import Report
from . import jsonfiles, sense

SIDES = ("x1", "y1", "x2", "y2")
_IMAGE = ("frame", "image_id", "image_name", "file_name")
_PERSON = ("person", "track_id")
_CATEGORY = ("category_id", "category")
_FORMS = ".csv, .json or .txt"
_LARGEST = 1e6  # pixels; beyond it a number is a mistake
_PERSON_NAME, _PERSON_ID = "person", 1  # COCO's, where no labels say which category is meant

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One row: `image` is a number, an id or a name, as the file has it; `sides` float64 [4] x1, y1, x2, y2; `person`
    is None where nobody says who it is; `where` is the file and the row, for messages; `with_size`: the
    file has x, y, width, height.
    """

    image: Any
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
class _Own:
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


@dataclass(frozen=True, kw_only=True)
class Category:
    """The category that the labels' key points belong to, by `id` and, where it has one, by `name`."""

    id: int | str
    name: str | None
    source: str


def read(
    path: Path, report: Report, *, category: Category | None = None, threshold: float | None = None
) -> list[Box]:
    """The boxes of the file, in its order.

    Args:
        category: whose boxes are meant; None where no labels say it: the file's own category with key points or called
            person, else its only one, else COCO's person, 1.
        threshold: the lowest score that counts; None asks for no score.

    Raises UserError naming file, row and field, where a row cannot be meant, and where no box is left, with the reason.
    """
    readers = {".csv": _csv_rows, ".json": _json_rows, ".txt": _mot_rows}
    if str(path) == "-":
        data = sys.stdin.buffer.read()
        path, suffix = Path("standard input"), _form_of(data)
    else:
        suffix = path.suffix.lower()
        if suffix not in readers:
            raise UserError(f"{path}: expected boxes in a file that ends in {_FORMS}")
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"{path}: expected a file with boxes ({_FORMS}), found none") from error
        except OSError as error:
            raise UserError(f"{path}: expected a file with boxes ({_FORMS}), {error.strerror}") from error
    own = _Own()
    rows = list(readers[suffix](path, data, threshold is not None, own, report))
    if not rows:
        if report.errors:
            return []
        raise UserError(f"{path}: expected at least one box, got none; without boxes leave the file out")
    rows = _of_category(path, rows, category, own, report)
    _refuse_shares(path, rows)
    sized = [row for row in rows if row.sides[2] > row.sides[0] and row.sides[3] > row.sides[1]]
    if len(sized) < len(rows):
        kept = set(map(id, sized))
        for row in (row for row in rows if id(row) not in kept):
            report.defect(path, short_place(row.where), "a box of no size", "left out")
    if not sized:
        others = "" if len(rows) == 1 else f"; none of the {len(rows)} boxes has one"
        raise UserError(
            f"{rows[0].where}: expected a box with a width and a height above 1 pixel, got {rows[0].text}{others}"
        )
    if threshold is None:
        return sized
    sure = [row for row in sized if row.score >= threshold]
    report.count("detected boxes", len(rows))
    report.count(f"detected boxes with a score of {threshold:g} or more", len(sure))
    if not sure:
        raise UserError(
            f"{path}: expected boxes with a score of {threshold:g} or more (data.options.detection_threshold), "
            f"the highest of {len(sized)} has {max(row.score for row in sized):g}"
        )
    return sure


def finder(pictures: Iterable[tuple[Any, str, Found]]) -> Callable[[Box], Found | None]:
    """Which picture a box is in: by id or number, by the whole name, or by as much of the name as both have.

    pictures: (id, name, what to find). None for a picture that is not among them.
    """
    by_id: dict[Any, Found] = {}
    by_name: dict[str, Found] = {}
    by_file: dict[str, list[tuple[str, Found]]] = {}
    for number, name, found in pictures:
        by_id[jsonfiles.canonical_id(number)] = by_name[name] = found
        by_file.setdefault(PurePosixPath(name).name, []).append((name, found))

    def find(box: Box) -> Found | None:
        value = box.image
        number = jsonfiles.canonical_id(value)
        if number in by_id:
            return by_id[number]
        if not isinstance(value, str):
            return None
        name = value.strip().replace("\\", "/")  # only compared, never opened
        if name in by_name:
            return by_name[name]
        same = [
            found
            for whole, found in by_file.get(PurePosixPath(name).name, [])
            if f"/{whole}".endswith(f"/{name}") or f"/{name}".endswith(f"/{whole}")
        ]
        if len(same) > 1:
            raise UserError(
                f"{box.where}: expected the picture's id or whole name, {len(same)} pictures are called "
                f"{PurePosixPath(name).name}"
            )
        return same[0] if same else None

    return find


def numbered(rows: Sequence[Box], frames: Sequence[Any], *, stills: bool) -> list[Box]:
    """The rows with a person each; `frames` says which frame each is in.

    In stills nobody is followed: where the rows of a picture do not say who is who, they are numbered. In a video all
    rows say it, or none: then there is one person.
    """
    if stills:
        together: dict[Any, list[int]] = {}
        for place, frame in enumerate(frames):
            together.setdefault(frame, []).append(place)
        people: dict[int, int] = {}
        for places in together.values():
            own = [rows[place].person for place in places]
            said = None not in own and len(set(own)) == len(own)
            people |= dict(zip(places, own if said else range(len(own))))
        return [replace(row, person=people[place]) for place, row in enumerate(rows)]
    unsaid = [row for row in rows if row.person is None]
    if 0 < len(unsaid) < len(rows):
        raise UserError(
            f"{unsaid[0].where}: expected a track_id that says who this is, as other rows have one, got none; pictures "
            "that are no video need --stills instead"
        )
    return [replace(row, person=0) for row in rows] if unsaid else list(rows)


def _of_category(
    path: Path,
    rows: list[Box],
    category: Category | None,
    own: _Own,
    report: Report,
) -> list[Box]:
    counts = Counter(row.category for row in rows)
    wanted = _wanted(category, own, counts)
    if wanted is None:
        return rows
    kept = [row for row in rows if row.category is None or row.category in wanted]
    others = {name: number for name, number in counts.items() if name is not None and name not in wanted}
    called = " or ".join(str(name) for name in wanted)
    if not kept:
        got = ", ".join(f"{number} of category {_called(name, own)}" for name, number in others.items())
        source = f" as in {category.source}" if category is not None else ""
        raise UserError(f"{path}: expected boxes of category {called}{source}, got {got}")
    for name, number in others.items():
        first = next(row for row in rows if row.category == name)
        place = f"{number} boxes, first {short_place(first.where)}"
        report.defect(path, place, f"boxes of category {_called(name, own)} instead of {called}", "left out")
    return kept


def _wanted(category: Category | None, own: _Own, counts: Counter[Any]) -> tuple[Any, ...] | None:
    """The ids and names of the category whose boxes are meant; None: all of them."""
    if category is not None:
        # A file that names its categories may number them its own way.
        same = [number for number, name in own.names.items() if name is not None and name == category.name]
        names = () if category.name is None else (category.name,)
        return (*(same or (category.id,)), *names)
    people = own.with_joints or [number for number, name in own.names.items() if name == _PERSON_NAME]
    if people:
        return (*people, *(own.names[number] for number in people if own.names[number]))
    given = [name for name in counts if name is not None]
    return None if len(given) < 2 else (_PERSON_ID, _PERSON_NAME)


def _called(category: Any, own: _Own) -> str:
    name = own.names.get(category)
    return f"{category}" if name is None else f"{category} ({name})"


def _refuse_shares(path: Path, rows: Sequence[Box]) -> None:
    shares = sense.are_shares(np.stack([row.sides for row in rows])) if rows else np.zeros(0, dtype=bool)
    if rows and shares.sum() > 0.9 * len(rows):
        first = rows[int(shares.argmax())]
        raise UserError(
            f"{first.where}: expected a box in pixels, got {first.text}; these are shares of the picture, "
            "multiply x by its width and y by its height"
        )


def _csv_rows(path: Path, data: bytes, scored: bool, own: _Own, report: Report) -> Iterator[Box]:
    reader = csv.DictReader(_lines(path, data), skipinitialspace=True, strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        image, person, category = (_first(columns, names) for names in (_IMAGE, _PERSON, _CATEGORY))
        missing = [name for name in SIDES if name not in columns]
        if image is None or missing:
            lacks = ", ".join([*(["frame"] if image is None else []), *missing])
            raise UserError(
                f"{path}: expected the header frame,person,x1,y1,x2,y2, got {','.join(columns) or 'nothing'} "
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


def _mot_rows(path: Path, data: bytes, scored: bool, own: _Own, report: Report) -> Iterator[Box]:
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


def _form_of(data: bytes) -> str:
    """Which form boxes from standard input have: by their first character other than white space."""
    first = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first in (b"[", b"{"):
        return ".json"
    return ".txt" if first.isdigit() else ".csv"


def _lines(path: Path, data: bytes) -> list[str]:
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: expected a file with boxes ({_FORMS}), it is not UTF-8 text; save it as UTF-8"
        ) from error


def _json_rows(path: Path, data: bytes, scored: bool, own: _Own, report: Report) -> Iterator[Box]:
    content = jsonfiles.parse(data, path)
    images: dict[Any, Any] | None = None
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
            yield Box(
                image=_image(entry, images, where),
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


def _image(entry: Mapping[str, Any], images: dict[Any, Any] | None, where: str) -> Any:
    if images is None:
        key = _first(entry, _IMAGE)
        return None if key is None else entry[key]
    image = jsonfiles.canonical_id(entry.get("image_id"))
    if not isinstance(image, int | str) or image not in images:
        raise UserError(f'{where}: expected an image_id that is in "images", got {short(image)}')
    return images[image]


def _image_names(path: Path, images: Any) -> dict[Any, Any]:
    """image_id of a COCO file to frame or file name."""
    if not isinstance(images, list):
        raise UserError(f'{path}: expected "images" with id and file_name or frame, got {short(images)}')
    names = {}
    for position, image in enumerate(images):
        if not isinstance(image, Mapping) or not isinstance(image.get("id"), int | str):
            raise UserError(
                f"{path}, image {position}: expected an object with id and file_name or frame, got {short(image)}"
            )
        names[jsonfiles.canonical_id(image["id"])] = image.get("frame", image.get("file_name"))
    return names


def _pixels(value: Any, where: str, field: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) < _LARGEST:  # also NaN
        raise UserError(f"{where}: {field}: expected a number of pixels, got {short(value)}")
    return number


def _category(value: Any, where: str) -> int | str | None:
    value = jsonfiles.canonical_id(value.strip() if isinstance(value, str) else value)
    if isinstance(value, bool) or not isinstance(value, int | str | None):
        raise UserError(f"{where}: category_id: expected a whole number or a name, got {short(value)}")
    return value


def _score(value: Any, where: str) -> float:
    try:
        number = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where}: score: expected a finite number, got {short(value)}")
    return number


def whole_number(value: Any, where: str, field: str) -> int:
    """A whole number from 0 on; 3.0 and "3" are some."""
    number = value
    if isinstance(value, str | float):
        try:
            number = int(value) if isinstance(value, str) or value.is_integer() else None
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
