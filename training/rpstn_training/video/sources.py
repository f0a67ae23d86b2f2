"""Where frames come from: a video, a camera, a stream, a folder of pictures, or pictures. Few frames are in memory at a
time.
"""

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from ..data import decoding
from ..data.decoding import DEFAULT_FPS, SANE_FPS
from ..data.images import read_image
from ..errors import UserError

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

LATER = (3, 6)  # frames after the one that is searched: at 25 a second a limb is elsewhere then


@dataclass(frozen=True, kw_only=True)
class Frame:
    """`image` uint8 [H, W, 3] RGB; `time` from the beginning, and `duration`, for which it is shown, in seconds as the
    container has them; `file_name` of the picture or video; `later` pictures of frames to come (`LATER`), where
    the source looks ahead.
    """

    number: int
    time: float
    file_name: str
    image: np.ndarray
    duration: float | None = None
    later: tuple[np.ndarray, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which frames are gone through: from `start` to before `end`, in seconds, and of those numbered 0, 1, 2, ... every
    `every`-th one from 0 on.
    """

    start: float | None = None
    end: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        for name, value in (("--start", self.start), ("--end", self.end)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UserError(f"{name}: expected seconds from 0 on, got {value:g}")
        if self.end is not None and self.end <= (self.start or 0):
            raise UserError(
                f"--end: expected a time after --start ({self.start or 0:g} seconds), got {self.end:g}"
            )
        if self.every < 1:
            raise UserError(f"--every: expected a number from 1 on, got {self.every}")

    def has(self, number: int, time: float) -> bool:
        return number % self.every == 0 and (self.start is None or time >= self.start)

    def is_over(self, time: float) -> bool:
        return self.end is not None and time >= self.end

    @property
    def in_words(self) -> str:
        """Which frames, for a message.

        >>> Window(start=1.5, every=10).in_words
        'from 1.5 seconds on, of them every one whose number divides by 10'
        """
        until = "on" if self.end is None else f"to before {self.end:g}"
        every = "" if self.every == 1 else f", of them every one whose number divides by {self.every}"
        return f"from {self.start or 0:g} seconds {until}{every}"

    def frames(self, count: int | None, fps: float) -> int | None:
        """How many of so many frames at this rate are gone through, about."""
        if count is None and self.end is None:
            return None
        last = math.inf if count is None else count
        if self.end is not None:
            last = min(last, math.ceil(self.end * fps))
        first = math.ceil((self.start or 0) * fps)
        return max(math.ceil(last / self.every) - math.ceil(first / self.every), 0)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Frames to go through once, in order.

    name: the file's or folder's. fps: frames per second of those that are gone through. expected: how many these are,
    about (None: nobody knows). names: the pictures' file names, None for a video. files: what is read. place: of a
    video, the path, or the address of a stream or the number of a camera. rate: the video's own frames per second, or
    those it was given. own_times: the times are the container's, not number / rate. live: it ends when somebody ends
    it. look_ahead: frames come with pictures of later ones.
    """

    name: str
    fps: float
    expected: int | None
    names: tuple[str, ...] | None
    files: tuple[Path, ...]
    place: Path | str | None = None
    rate: float
    own_times: bool = False
    live: bool = False
    sound: bool = False
    window: Window = field(default_factory=Window)
    look_ahead: bool = False

    def frames(self) -> Iterator[Frame]:
        """Decode one frame after the other. Raises UserError where the next one does not decode."""
        return with_later(self._decoded()) if self.look_ahead else self._decoded()

    def _decoded(self) -> Iterator[Frame]:
        frames = _picture_frames(self) if self.names is not None else _video_frames(self)
        first = next(frames, None)
        if first is None:
            raise UserError(
                f"{self.name}: expected frames {self.window.in_words}, there is none; choose others with --start, "
                "--end and --every"
            )
        yield first
        yield from frames


def open_source(
    source: str | Path | Sequence[str | Path],
    *,
    fps: float | None = None,
    window: Window = Window(),
) -> Source:
    """The source behind a path or several.

    Args:
        source: a video file; a folder, whose pictures are taken in natural order (2 before 10); pictures in the order
            given; the address of a stream (with ://), or the number of a camera.
        fps: frames per second of pictures, 25 unless given; for a video instead of its own times.
        window: which frames are gone through.

    Raises:
        UserError: there is nothing of the kind at the path.
    """
    paths = [source] if isinstance(source, str | Path) else list(source)
    if not paths:
        raise UserError("expected a video, a folder of frames or pictures, got no path")
    if fps is not None and not SANE_FPS[0] <= fps <= SANE_FPS[1]:
        raise UserError(f"--fps: expected between {SANE_FPS[0]:g} and {SANE_FPS[1]:g} frames/s, got {fps:g}")
    if len(paths) == 1 and is_live(paths[0]):
        return _open_video(str(paths[0]), fps, window)
    paths = [Path(path) for path in paths]
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: expected a video, a folder of frames or a picture, found nothing there")
    if len(paths) == 1 and paths[0].is_dir():
        files = _pictures_in(paths[0])
    elif all(path.suffix.lower() in PICTURES for path in paths):
        files = tuple(paths)
    elif len(paths) == 1:
        return _open_video(paths[0], fps, window)
    else:
        other = next(path for path in paths if path.suffix.lower() not in PICTURES)
        raise UserError(
            f"{other}: expected a picture ({', '.join(PICTURES)}), got something else; "
            "give one video, one folder, or pictures only"
        )
    rate = fps or DEFAULT_FPS
    return Source(
        name=paths[0].name if len(paths) == 1 else f"{len(paths)} pictures",
        fps=rate / window.every,
        expected=window.frames(len(files), rate),
        names=tuple(file.name for file in files),
        files=files,
        rate=rate,
        window=window,
    )


def with_later(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The same frames, each with the pictures of those `LATER` ones that there are: six frames are held."""
    waiting: deque[Frame] = deque()

    def first() -> Frame:
        later = tuple(waiting[ahead].image for ahead in LATER if ahead < len(waiting))
        return replace(waiting.popleft(), later=later)

    for frame in frames:
        waiting.append(frame)
        if len(waiting) > LATER[-1]:
            yield first()
    while waiting:
        yield first()


def is_live(source: str | Path) -> bool:
    """Whether this is an address or the number of a camera, and no path to anything."""
    text = str(source)
    return isinstance(source, str) and ("://" in text or (text.isdecimal() and not Path(text).exists()))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that counts numbers as numbers: frame2 comes before frame10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts]


def files_of(folder: Path, suffixes: Sequence[str]) -> tuple[Path, ...]:
    """The files of a folder with such names, in natural order. A Mac's `._` files are none."""
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    ]
    return tuple(sorted(files, key=lambda path: natural_key(path.name)))


def _pictures_in(folder: Path) -> tuple[Path, ...]:
    files = files_of(folder, PICTURES)
    if not files:
        raise UserError(
            f"{folder}: expected a folder of frames ({', '.join(PICTURES)}), found no picture in it"
        )
    return files


def _picture_frames(source: Source) -> Iterator[Frame]:
    for number, file in enumerate(source.files):
        time = number / source.rate
        if source.window.is_over(time):
            return
        if not source.window.has(number, time):
            continue
        try:
            image = read_image(file, orientation="turned")  # as viewers show it; no labels depend on it
        except (cv2.error, MemoryError) as error:  # a header that announces a picture of absurd size
            raise UserError(
                f"{file}: expected a picture, its header does not fit its {file.stat().st_size} bytes; copy it again"
            ) from error
        yield Frame(number=number, time=time, file_name=file.name, image=image, duration=1 / source.fps)


def _open_video(place: Path | str, fps: float | None, window: Window) -> Source:
    info = decoding.look_at(place)
    rate = fps or info.fps
    return Source(
        name=place.name if isinstance(place, Path) else place,
        fps=rate / window.every,
        expected=window.frames(info.frames, rate),
        names=None,
        files=(place,) if isinstance(place, Path) else (),
        place=place,
        rate=rate,
        own_times=fps is None,
        live=info.duration is None and isinstance(place, str),
        sound=info.sound and fps is None,
        window=window,
    )


def _video_frames(source: Source) -> Iterator[Frame]:
    time, size = 0.0, None
    for shown in decoding.decoded(source.place):
        if not source.own_times:
            time = shown.number / source.rate
        elif shown.time is not None:
            time = shown.time
        elif shown.number:
            time += 1 / source.rate
        if source.window.is_over(time):
            return
        if not source.window.has(shown.number, time):
            continue
        image = decoding.picture(shown.raw, shown.shape)
        if image.shape != (size or image.shape):
            raise UserError(
                f"{source.name}: expected frames of one size, frame {shown.number} is "
                f"{image.shape[1]}x{image.shape[0]} and the first {size[1]}x{size[0]}; convert it with ffmpeg"
            )
        size = image.shape
        yield Frame(
            number=shown.number,
            time=time,
            file_name=source.name,
            image=image,
            duration=shown.duration if source.own_times else 1 / source.rate,
        )
