"""Decoded frames, kept where all processes of a machine find them, so that a training decodes each about once.

A file for each picture, named by what its pixels follow from: the path, the orientation and size that were asked for,
and the version of OpenCV. It begins with the size and the time of change of the picture's file, and holds the pixels as
`clips.read_frame` gives them, so that samples are the same bits with and without. Nothing found there is trusted: what
is cut off, or was made from a file that has changed since, is made anew.

Whole frames are kept, not what is cut out of them: a crop moves with every random change, and what of a picture all of
them may reach is most of it where the person is not small.
"""

import fcntl
import functools
import hashlib
import logging
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from ..config import DataConfig
from ..errors import UserError
from ..files import LOCK, atomic_write
from .clips import read_frame
from .images import header_size, image_size
from .records import Track

_HEADER = struct.Struct("<8s4q")  # mark, bytes and nanoseconds of change of the picture's file, height, width
_MARK = b"rpstn 1\n"
_MEMORY = Path("/dev/shm")
_SHARE = 0.5  # of what is free; in memory, batches on their way from the workers need some too
_BEGINNING = 1 << 16  # bytes of a picture's file, in which its header nearly always is

_log = logging.getLogger(__name__)


class FrameCache:
    """The frames of `tracks` in `folder`, at most `limit` bytes of them; the first ones where not all fit.

    Which are kept follows from what is there before the first is written, so that processes need not count together.
    Without a folder every frame is decoded every time.
    """

    def __init__(self, tracks: Sequence[Track], folder: Path | None, limit: float = 0.0) -> None:
        self._folder = folder
        self._most: dict[Path, int] = {}  # bytes that the entry of a picture may have
        if folder is None:
            return
        sizes = _sizes(tracks)
        there = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
        names = {_name(track, path) for track in tracks for path in track.frames}
        others = sum(size for name, size in there.items() if name not in names)
        room = min(limit, _SHARE * (shutil.disk_usage(folder).free + sum(there.values()))) - others
        kept, total = 0, sum(sizes.values())
        for path, size in sizes.items():
            if kept + size > room:
                break
            self._most[path] = size
            kept += size
        words = f"{_gb(kept)} of decoded frames are kept in {folder}"
        if kept < total:
            words = f"{_gb(kept)} of {_gb(total)} of decoded frames are kept in {folder}, the others are decoded each "
            words += f"time; data.cache_gb is {limit / 1e9:g}, and at most half of what is free is taken"
        if others:
            words += f"; {_gb(others)} there are not of this training"
        self._words = f"data.cache: {words}"

    def in_words(self) -> list[str]:
        """How much is going to be kept, if anything."""
        return [] if self._folder is None else [self._words]

    def read(self, track: Track, index: int) -> np.ndarray:
        """`clips.read_frame`, from the cache where it has the frame; else it may have it from then on."""
        path = track.frames[index]
        most = self._most.get(path)
        if self._folder is None or most is None:
            return read_frame(track, index)
        try:
            state = os.stat(path)
        except OSError:
            return read_frame(track, index)  # which says what is wrong with it
        entry = self._folder / _name(track, path)
        image = _read(entry, state)
        if image is None:
            image = read_frame(track, index)
            if _HEADER.size + image.nbytes <= most and self._folder.is_dir():
                _write(entry, state, image)
        return image


@contextmanager
def kept_frames(tracks: Sequence[Track], data: DataConfig, run: Path) -> Iterator[FrameCache]:
    """The cache that `data.cache` asks for, for the training of the folder `run`.

    In memory it is shared by that training's processes on this machine, and the last of them to leave removes it.
    """
    limit = 1e9 * data.cache_gb
    if data.cache == "none":
        yield FrameCache(tracks, None)
    elif data.cache == "ram":
        with _in_memory(run) as folder:
            yield FrameCache(tracks, folder, limit)
    else:
        folder = Path(data.cache)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"data.cache: expected none, ram or a folder, {folder} cannot be made ({error.strerror})"
            ) from error
        yield FrameCache(tracks, folder, limit)


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def _sizes(tracks: Sequence[Track]) -> dict[Path, int]:
    """Bytes of each picture's entry. The frames of a track have the size of its first one."""
    sizes: dict[Path, int] = {}
    for track in tracks:
        new = [path for path in track.frames if path not in sizes]
        if new:
            width, height = track.size or _size_of(new[0])
            sizes |= dict.fromkeys(new, _HEADER.size + 3 * width * height)
    return sizes


def _size_of(path: Path) -> tuple[int, int]:
    """Width and height, or the other way round, by the header alone where it tells."""
    try:
        with open(path, "rb") as file:
            told = header_size(file.read(_BEGINNING))
    except OSError:
        told = None
    return told or image_size(path)


def _name(track: Track, path: Path) -> str:
    made_from = repr((str(path.absolute()), track.orientation, track.size, cv2.__version__))
    return hashlib.blake2b(made_from.encode(), digest_size=16).hexdigest()


def _read(entry: Path, state: os.stat_result) -> np.ndarray | None:
    """The pixels, if the entry is whole and of the picture's file as it is now."""
    try:
        data = np.fromfile(entry, np.uint8)
    except OSError:
        return None
    if len(data) < _HEADER.size:
        return None
    *made_from, height, width = _HEADER.unpack(data[: _HEADER.size].tobytes())
    pixels = data[_HEADER.size :]
    if made_from != [_MARK, state.st_size, state.st_mtime_ns] or len(pixels) != 3 * height * width:
        return None
    return pixels.reshape(height, width, 3)


def _write(entry: Path, state: os.stat_result, image: np.ndarray) -> None:
    try:
        with atomic_write(entry) as file:
            file.write(_HEADER.pack(_MARK, state.st_size, state.st_mtime_ns, *image.shape[:2]))
            file.write(np.ascontiguousarray(image))
    except UserError as error:  # no reason to end a training
        _tell_once(str(error))


@functools.cache
def _tell_once(reason: str) -> None:
    _log.warning("data.cache: %s; the frame is decoded each time", reason)


@contextmanager
def _in_memory(run: Path) -> Iterator[Path]:
    """A folder in shared memory, and away with those that killed trainings have left there."""
    if not _MEMORY.is_dir():
        raise UserError(f"data.cache: expected none or a folder where there is no {_MEMORY}, got ram")
    prefix = f"rpstn_frames_{os.getuid()}_"
    folder = _MEMORY / (prefix + hashlib.blake2b(str(run.absolute()).encode(), digest_size=8).hexdigest())
    for left in _MEMORY.glob(f"{prefix}*"):
        if left != folder:
            _remove_unused(left)
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = open(folder / LOCK, "ab")  # noqa: SIM115
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_SH)
        if (folder / LOCK).exists() and os.path.samestat(os.stat(folder / LOCK), os.fstat(lock.fileno())):
            break
        lock.close()  # another process has just removed the folder
    try:
        yield folder
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)  # for the workers too, who have it from this process
        lock.close()
        _remove_unused(folder)


def _remove_unused(folder: Path) -> None:
    """Remove the folder, unless a process uses it."""
    try:
        with open(folder / LOCK, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # it is in use, or somebody else was faster
        return
