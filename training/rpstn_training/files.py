"""Files that are written whole or not at all, lists of those that are there, and folders for one process at a time."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import UserError

LOCK = ".lock"


@contextmanager
def atomic_write(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that takes its place when the block ends well.

    Whatever happens inside the block - an exception, Ctrl-C, a full disk - the temporary file is removed
    and the file that was at `path` before stays as it was. Missing parent folders are made. `mode` is "wb"
    or "w" (UTF-8).

    Raises UserError where the operating system refuses (no space, no permission).

        with atomic_write("run/last.pt") as file:
            torch.save(state, file)
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"atomic_write: expected mode 'w' or 'wb', got {mode!r}")
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(temporary, mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8")  # noqa: SIM115
    except OSError as error:
        raise _refused(path, error) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        cause: BaseException | None = error
        while isinstance(cause, RuntimeError):  # torch.save hides the OSError of a full disk behind one
            cause = cause.__cause__ or cause.__context__
        # An OSError that names another file is the block's own affair.
        if isinstance(cause, OSError) and cause.filename in (None, str(temporary)):
            raise _refused(path, cause) from error
        raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made if it is missing, for this process. Raises UserError where another one holds it.

    The lock goes with the process that took it, however that ends.
    """
    path = folder / LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = open(path, "ab")  # noqa: SIM115
        except OSError as error:
            raise _refused(path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise UserError(
                f"{folder}: expected a folder that no other process uses, another rpstn train holds it; wait for its "
                "end, or choose another folder"
            ) from error
        if path.exists() and os.path.samestat(os.stat(path), os.fstat(file.fileno())):
            break
        file.close()  # the one who held it has just removed the file
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def require_new(path: Path) -> None:
    """Raise UserError where there is a file already."""
    if path.exists():
        raise UserError(f"{path}: expected a new file, there is one; remove it or choose another name")


def _refused(path: Path, error: OSError) -> UserError:
    reason = error.strerror or str(error)
    return UserError(f"{path}: could not be written ({reason}); a file that was there before is unchanged")


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_write(path, "w") as file:
        file.write(text)


def write_json(path: Path | str, obj: Any) -> None:
    """Write `obj` as indented JSON, whole or not at all. NaN is no JSON and raises ValueError."""
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def listed(folder: Path, pattern: str) -> list[Path]:
    """The entries of `folder` that match, by name, without those that begin with a dot: a Mac, or a disk that was
    once at one, keeps a `._NAME` beside each file.
    """
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))
