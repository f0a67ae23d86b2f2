"""The folder of a source's results: its files appear together, when they are whole, and one says what made them."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import write_json

RECORD = "made_with.json"
_PARTIAL = ".partial"
_STAGING = ".predict.{}.tmp"
_ENDS = 1 << 20  # bytes of a source that are looked at, at its beginning and at its end: videos are large


class OutputError(UserError):
    """Results cannot be written: no matter of one source, the next one will meet it too."""


class Staged:
    """A folder for files that are being written, beside their places (`staged`)."""

    def __init__(self, out: Path, folder: Path, names: Sequence[str]) -> None:
        self.out, self.folder, self.names = out, folder, tuple(names)

    def publish(self) -> None:
        """All files take their places; what was there before, and what an interruption left, goes."""
        for name in self.names:
            _remove(self.out / f"{name}{_PARTIAL}")
            _move(self.folder / name, self.out / name)

    def keep_partial(self) -> list[Path]:
        """The files that there are as NAME.partial; what is at NAME stays."""
        kept = []
        for name in self.names:
            if (self.folder / name).exists():
                kept.append(self.out / f"{name}{_PARTIAL}")
                _move(self.folder / name, kept[-1])
        return kept


@contextmanager
def staged(out: Path, names: Sequence[str]) -> Iterator[Staged]:
    """A temporary folder in `out` for the files `names`, which take their places by `publish` or `keep_partial`.

    Whatever happens in the block, the temporary folder goes, and so do folders that were made for it and are empty. One
    that a killed process has left goes first. A write that the operating system refuses becomes one sentence.
    """
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    staging = out / _STAGING.format(secrets.token_hex(4))
    try:
        _remove_abandoned(out)
        staging.mkdir(parents=True)
        held = _hold(staging)
    except OSError as error:
        raise OutputError(
            f"{out}: expected a folder for the results, it cannot be made or written to ({error.strerror}); "
            "choose another --out"
        ) from error
    try:
        yield Staged(out, staging, names)
    except UserError as error:
        raise type(error)(str(error).replace(str(staging), str(out))) from error
    finally:
        shutil.rmtree(staging)
        os.close(held)
        for folder in missing:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _hold(folder: Path) -> int:
    """An open file for as long as which nobody takes the folder for abandoned, also where this process is killed."""
    held = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks, where nobody gets the other one either
        fcntl.flock(held, fcntl.LOCK_SH)
    return held


def _remove_abandoned(out: Path) -> None:
    """Temporary folders whose processes are gone."""
    for folder in out.glob(_STAGING.format("*")):
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        except OSError:  # its process works on, or nobody can tell
            continue
        finally:
            os.close(held)


@contextmanager
def refusals(out: Path) -> Iterator[None]:
    """A write in the block that the operating system refuses is one sentence."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{out}: the results could not be written ({error.strerror or error}); check the space left on the disk "
            "or choose another --out, results of before are unchanged"
        ) from error


def source_mark(files: Sequence[Path]) -> dict[str, Any]:
    """What tells a source of these files from another: names, sizes, and their first and last megabyte."""
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with open(path, "rb") as file:
            digest.update(file.read(_ENDS))
            if size > _ENDS:
                file.seek(max(size - _ENDS, _ENDS))
                digest.update(file.read(_ENDS))
    return {"files": len(files), "first": files[0].name if files else None, "sha256": digest.hexdigest()}


def file_mark(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_record(folder: Path, made_with: dict[str, Any], result: dict[str, Any]) -> None:
    """What the files beside it were made with, and what there is to say about them."""
    write_json(folder / RECORD, {"made_with": made_with, "result": result})


def recorded(out: Path) -> dict[str, Any] | None:
    """What `write_record` wrote, where a whole record is there."""
    try:
        content = json.loads((out / RECORD).read_text(encoding="utf-8"))
        return content if {"made_with", "result"} <= content.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def require_free(
    out: Path,
    names: Sequence[str],
    *,
    overwrite: bool,
    found: str = "results here, found those of another source, of other weights or of other options",
) -> None:
    """Raise UserError where something that is no result, or a result that shall stay, has a place already.

    found: what was expected not to be there, and what is there.
    """
    for name in names:
        path = out / name
        if path.is_dir() and path.suffix:
            raise UserError(f"{path}: expected a place for a file, it is a folder; choose another --out")
        if path.exists() and not overwrite:
            raise UserError(
                f"{path}: expected no {found}; choose another --out, or replace what is there with --overwrite"
            )


def _move(path: Path, place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    os.replace(path, place)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
