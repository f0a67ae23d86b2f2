"""Poses in the files that other programs read, each from a `recording.Recording`.

A format is a module of this package with `names()`, the files or folders that it makes, and `write(recording, path)`,
which makes one of them; enter it in `FORMATS`. Where a package would make
more of it, `advice()` says so. Filtered values go into files of their own, with _filtered in the name,
so that the raw ones stay as they are; the tidy table alone has both.
"""

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from types import ModuleType

from ...errors import UserError
from ..filters import Filtering
from ..recording import Recording
from . import angle_table, coco, deeplabcut, long_table, mot, openpose, tidy, trc, wide

FORMATS: dict[str, ModuleType] = {
    "coco": coco,
    "csv": long_table,
    "wide": wide,
    "tidy": tidy,
    "openpose": openpose,
    "deeplabcut": deeplabcut,
    "trc": trc,
    "mot": mot,
    "angles": angle_table,
}
DEFAULT_FORMATS = ("coco", "csv")
_RAW_AND_FILTERED = ("tidy",)


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once. Raises UserError: there is no such format."""
    for name in names:
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise UserError(f"--formats: expected some of {' '.join(FORMATS)}, got {name}{hint}")
    return tuple(dict.fromkeys(names))


def file_names(formats: Sequence[str], *, filtered: bool) -> tuple[str, ...]:
    """The files and folders that `write_formats` makes."""
    names: list[str] = []
    for name in formats:
        names += FORMATS[name].names()
        if filtered and name not in _RAW_AND_FILTERED:
            names += map(with_filtered, FORMATS[name].names())
    return tuple(names)


def with_filtered(name: str) -> str:
    """
    >>> with_filtered("predictions.csv"), with_filtered("trc")
    ('predictions_filtered.csv', 'trc_filtered')
    """
    stem, dot, suffix = name.partition(".")
    return f"{stem}_filtered{dot}{suffix}"


def write_formats(
    raw: Recording,
    filtering: Filtering | None,
    formats: Sequence[str],
    folder: Path,
    *,
    without: Collection[str] = (),
) -> None:
    """Make the files of these formats in a folder that is there, but for those that are named in `without`."""
    filtered = None if filtering is None else filtering(raw)
    for name in formats:
        module = FORMATS[name]
        for file in module.names():
            both = filtered is not None and name in _RAW_AND_FILTERED
            if file not in without:
                module.write(filtered if both else raw, folder / file)
            if filtered is not None and not both:
                module.write(filtered, folder / with_filtered(file))


def advice(formats: Sequence[str]) -> list[str]:
    """What else there would be with other packages, in a line each."""
    return [
        line for name in formats if (line := getattr(FORMATS[name], "advice", lambda: None)()) is not None
    ]
