"""Persons' boxes, by a detector or by hand, from a CSV, a JSON or a MOTChallenge file (`box_rows`): one set of rules
for `data.options.detections` and for `rpstn predict --boxes`.

Left out, and counted, are boxes of another category, of no size, and with a score below the threshold. Boxes in
shares of the picture are refused.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from ...errors import UserError
from ..findings import Report
from . import jsonfiles, sense
from .box_rows import FORMS, READERS, Box, Own, form_of, short_place

_PERSON_NAME, _PERSON_ID = "person", 1  # COCO's, where no labels say which category is meant

Found = TypeVar("Found")


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
    if str(path) == "-":
        data = sys.stdin.buffer.read()
        path, suffix = Path("standard input"), form_of(data)
    else:
        suffix = path.suffix.lower()
        if suffix not in READERS:
            raise UserError(f"{path}: expected boxes in a file that ends in {FORMS}")
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"{path}: expected a file with boxes ({FORMS}), found none") from error
        except OSError as error:
            raise UserError(f"{path}: expected a file with boxes ({FORMS}), {error.strerror}") from error
    own = Own()
    rows = list(READERS[suffix](path, data, threshold is not None, own, report))
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
    own: Own,
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


def _wanted(category: Category | None, own: Own, counts: Counter[Any]) -> tuple[Any, ...] | None:
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


def _called(category: Any, own: Own) -> str:
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
