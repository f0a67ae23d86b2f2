"""Where frames come from: a video file, a folder of pictures, or pictures. One frame is in memory at a time.

Sizes and lengths in a file's header are hints; what counts is what decodes.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..data.images import read_image
from ..errors import UserError
from .overlay import quiet

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
DEFAULT_FPS = 25.0
_SANE_FPS = (0.1, 1000.0)
_LOST_FRAMES = 2  # or this share: headers are off by a frame or two in whole files, cut ones lack more
_LOST_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Frame:
    """`image` uint8 [H, W, 3] RGB; `time` in seconds from the first frame; `file_name` of the picture or video."""

    number: int
    time: float
    file_name: str
    image: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Source:
    """Frames to go through once, in order.

    `expected` is how many there should be: exact for pictures, the header's word (or None) for a video. `names`
    are the pictures' file names, None for a video.
    """

    name: str
    fps: float
    expected: int | None
    names: tuple[str, ...] | None
    files: tuple[Path, ...]

    def frames(self) -> Iterator[Frame]:
        """Decode one frame after the other. Raises UserError where the next one does not decode."""
        return _video_frames(self) if self.names is None else _picture_frames(self)


def open_source(source: str | Path | Sequence[str | Path], *, fps: float | None = None) -> Source:
    """The source behind a path or several.

    Args:
        source: a video file; a folder, whose pictures are taken in natural order (2 before 10); or pictures in the
            order given.
        fps: frames per second of pictures, 25 unless given; for a video instead of what its header says.

    Raises:
        UserError: there is nothing of the kind at the path.
    """
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
    if not paths:
        raise UserError("expected a video, a folder of frames or pictures, got no path")
    if fps is not None and not _SANE_FPS[0] <= fps <= _SANE_FPS[1]:
        raise UserError(
            f"--fps: expected between {_SANE_FPS[0]:g} and {_SANE_FPS[1]:g} frames/s, got {fps:g}"
        )
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: expected a video, a folder of frames or a picture, found nothing there")
    if len(paths) == 1 and paths[0].is_dir():
        files = _pictures_in(paths[0])
    elif all(path.suffix.lower() in PICTURES for path in paths):
        files = tuple(paths)
    elif len(paths) == 1:
        return _open_video(paths[0], fps)
    else:
        other = next(path for path in paths if path.suffix.lower() not in PICTURES)
        raise UserError(
            f"{other}: expected a picture ({', '.join(PICTURES)}), got something else; "
            "give one video, one folder, or pictures only"
        )
    return Source(
        name=paths[0].name if len(paths) == 1 else f"{len(paths)} pictures",
        fps=fps or DEFAULT_FPS,
        expected=len(files),
        names=tuple(file.name for file in files),
        files=files,
    )


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that counts numbers as numbers: frame2 comes before frame10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts]


def _pictures_in(folder: Path) -> tuple[Path, ...]:
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()
    ]
    if not files:
        raise UserError(
            f"{folder}: expected a folder of frames ({', '.join(PICTURES)}), found no picture in it"
        )
    return tuple(sorted(files, key=lambda path: natural_key(path.name)))


def _picture_frames(source: Source) -> Iterator[Frame]:
    for number, file in enumerate(source.files):
        try:
            with quiet():
                image = read_image(file, orientation="turned")  # as viewers show it; no labels depend on it
        except (cv2.error, MemoryError) as error:  # a header that announces a picture of absurd size
            raise UserError(
                f"{file}: expected a picture, its header does not fit its {file.stat().st_size} bytes; copy it again"
            ) from error
        yield Frame(number=number, time=number / source.fps, file_name=file.name, image=image)


def _open_video(path: Path, fps: float | None) -> Source:
    if not path.is_file():
        raise UserError(f"{path}: expected a video file, it is no regular file")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: expected a video, the file is empty; copy it again")
    with quiet():
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not video.isOpened():
            raise UserError(
                f"{path}: expected a video, the file ({size} bytes) does not open as one; it is something else or "
                "cut off, so copy it again or convert it with ffmpeg"
            )
        rate, count = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        video.release()
    sane = math.isfinite(rate) and _SANE_FPS[0] <= rate <= _SANE_FPS[1]
    return Source(
        name=path.name,
        fps=fps or (rate if sane else DEFAULT_FPS),
        expected=int(count) if math.isfinite(count) and 0 < count < 1e9 else None,
        names=None,
        files=(path,),
    )


def _video_frames(source: Source) -> Iterator[Frame]:
    path = source.files[0]
    with quiet():
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    number, shape, gap = 0, None, None
    rate = video.get(cv2.CAP_PROP_FPS)
    try:
        while True:
            with quiet():  # a damaged file makes FFmpeg print thousands of lines
                decoded, image = video.read()
            if not decoded:
                break
            if shape not in (None, image.shape):
                raise UserError(
                    f"{path}: expected frames of one size, frame {number} is {image.shape[1]}x{image.shape[0]} and "
                    f"the first {shape[1]}x{shape[0]}; convert it with ffmpeg"
                )
            shape = image.shape
            stamp = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if gap is None and rate > 0 and stamp > (number + 1.5) / rate:
                gap = number
            yield Frame(
                number=number,
                time=number / source.fps,
                file_name=path.name,
                image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB),
            )
            number += 1
    finally:
        video.release()
    _require_whole(source, number, gap)


def _require_whole(source: Source, decoded: int, gap: int | None) -> None:
    path = source.files[0]
    if decoded == 0:
        raise UserError(
            f"{path}: expected a video, not one frame of it decodes; it is cut off or in a codec that OpenCV lacks, "
            "so convert it with ffmpeg"
        )
    lost = (source.expected or decoded) - decoded
    if lost > max(_LOST_FRAMES, _LOST_SHARE * (source.expected or 0)):
        broken = decoded if gap is None else gap
        raise UserError(
            f"{path}: expected {source.expected} frames as its header says, {decoded} decode (frame {broken} does "
            "not); copy the file again, or write a whole one of what there is with ffmpeg"
        )
