"""Poses in the files that other programs read, each from a `recording.Recording`.

A format is a module of this package with `names()`, the files or folders that it makes, and `write(recording, path)`,
which makes one of them; enter it in `FORMATS`. Filtered values go into files of their own, with _filtered in the name,
so that the raw ones stay as they are; the tidy table alone has both.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ...errors import UserError
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
DEFAULT = ("coco", "csv")
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
    """The files and folders that `write` makes."""
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


def write(raw: Recording, filtered: Recording | None, formats: Sequence[str], folder: Path) -> None:
    """Make the files of these formats in a folder that is there."""
    for name in formats:
        module = FORMATS[name]
        for file in module.names():
            if filtered is not None and name in _RAW_AND_FILTERED:
                module.write(filtered, folder / file)
                continue
            module.write(raw, folder / file)
            if filtered is not None:
                module.write(filtered, folder / with_filtered(file))
