"""Videos, cameras and streams, frame by frame as players show them: turned, and at their own times.

What a header says of rate and length is an estimate, and counts for progress bars alone. Frames that an edit list hides
(a trimmed clip) do not come, and are not missed.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition

from ..errors import UserError

SANE_FPS = (0.1, 1000.0)
DEFAULT_FPS = 25.0
_LOST_FRAMES, _LOST_SHARE = 2, 0.05  # what a whole video may lack, the larger of the two
_NO_VIDEOS = ("tty",)  # FFmpeg plays any text
_SQUARE = 0.02  # pixels that differ less from squares are squares
_TIMEOUTS = (10.0, 30.0)  # seconds for opening a stream and for its next bytes
_CAMERAS = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}"),
    "win32": ("dshow", "video={}"),
}


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video says of itself: frames per second (mean), frames (None unknown, else an estimate), seconds (None
    without end), and whether there is sound.
    """

    fps: float
    frames: int | None
    duration: float | None
    sound: bool


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A decoded frame: its number, its time from the beginning and how long it is shown, in seconds, as the container
    has them (None: it says nothing). Of `raw` and `shape`, width / height of a pixel, `picture` makes an image.
    """

    number: int
    time: float | None
    duration: float | None
    raw: av.VideoFrame
    shape: Fraction | None


def address(place: str | Path) -> str:
    """What FFmpeg is given: of a file the absolute path, as `10:30.mp4` alone would be an URL."""
    return place if isinstance(place, str) else str(place.absolute())


def open_container(place: str | Path) -> InputContainer:
    """Open a file (Path), an URL, or a camera by its number (str). Raises UserError."""
    if isinstance(place, Path):
        _require_file(place)
    try:
        if isinstance(place, str) and place.isdecimal():
            container = _open_camera(int(place))
        else:
            container = av.open(address(place), timeout=None if isinstance(place, Path) else _TIMEOUTS)
    except (av.FFmpegError, ValueError) as error:
        raise UserError(_does_not_open(place, error)) from error
    what = _no_video(container)
    if what is not None:
        container.close()
        raise UserError(f"{place}: expected a video, got {what}")
    return container


def _no_video(container: InputContainer) -> str | None:
    """What else this is, in words."""
    if container.format.name in _NO_VIDEOS:
        return "text"
    streams = container.streams.video
    if container.duration is None and any(stream.disposition & Disposition.dependent for stream in streams):
        return "a picture in tiles, as phones write .heic; convert it to .jpg"
    if all(stream.disposition & Disposition.attached_pic for stream in streams):
        return "sound with a picture of its cover" if streams else "a file without pictures"
    return None


def _moving(container: InputContainer) -> av.VideoStream:
    """The first stream of pictures that is no cover."""
    return next(
        stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
    )


def look_at(place: str | Path) -> VideoInfo:
    """What the header says. Raises UserError where there is no video."""
    with open_container(place) as container:
        stream = _moving(container)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        if not SANE_FPS[0] <= rate <= SANE_FPS[1]:
            rate = DEFAULT_FPS
        duration = None if container.duration is None else container.duration / av.time_base
        frames = stream.frames or (None if duration is None else round(duration * rate))
        if duration is not None and stream.frames:
            frames = min(frames, math.ceil(duration * rate))  # without what an edit list hides
        return VideoInfo(
            fps=rate, frames=frames or None, duration=duration, sound=bool(container.streams.audio)
        )


def decoded(place: str | Path, *, whole: bool = True) -> Iterator[Shown]:
    """Every frame in the order of its showing. Raises UserError where the video turns out to be broken, unless it need
    not be `whole`.
    """
    with open_container(place) as container:
        stream = _moving(container)
        stream.thread_type = "AUTO"
        begin = beginning(container)
        live = container.duration is None
        end, bad, number = 0.0, 0, 0
        try:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream is not stream:
                    continue
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    bad += 1
                    continue
                for frame in frames:
                    if frame.pts is not None and (begin is None or (live and number == 0)):
                        begin = frame.pts * frame.time_base
                    bad += bool(frame.is_corrupt)
                    yield _shown(number, frame, begin, stream.sample_aspect_ratio)
                    number += 1
        except av.FFmpegError as error:
            raise UserError(f"{place}: stopped at frame {number} ({error.strerror})") from error
        if whole:
            # Some containers state their end, others how long it is from their beginning.
            _require_whole(place, container, number, bad, max(end, end - float(begin or 0)))


def beginning(container: InputContainer) -> Fraction | None:
    """The first time stamp of pictures and sounds, where players begin, in seconds."""
    streams = [*container.streams.video, *container.streams.audio]
    return min(
        (stream.start_time * stream.time_base for stream in streams if stream.start_time is not None),
        default=None,
    )


def picture(frame: av.VideoFrame, shape: Fraction | None = None) -> np.ndarray:
    """uint8 [H, W, 3] RGB as it is shown: turned or mirrored by the frame's display matrix, and with square pixels.

    shape: width / height of a pixel; None is a square.
    """
    width = frame.width
    if shape and abs(float(shape) - 1) > _SQUARE:
        width = max(round(width * shape), 1)
    image = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
    matrix = _display_matrix(frame)
    return image if matrix is None else turned(image, matrix)


def _display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
        return None if matrix is None else np.frombuffer(bytes(matrix), np.int32)
    except ValueError:  # side data that PyAV has no name for, as in spatial videos or with EXIF
        return _turn(frame.rotation)


def _turn(degrees: int) -> np.ndarray:
    """The display matrix of a turn against the clock, of any scale."""
    cosine, sine = (
        round(1000 * value) for value in (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    )
    return np.array([cosine, -sine, 0, sine, cosine, 0, 0, 0, 1], np.int32)


def turned(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """An image [H, W, 3] by a display matrix (int32 [9], rows a b u, c d v, x y w), which maps column p and row q to
    column a p + c q + x and row b p + d q + y; to the nearest quarter turn.

    >>> turned(np.array([[[1], [2]]]), np.array([0, 1, 0, -1, 0, 0, 0, 0, 1]))[..., 0].tolist()  # clockwise
    [[1], [2]]
    """
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if abs(b) > abs(a):
        image, right, down = image.transpose(1, 0, 2), c, b
    else:
        right, down = a, d
    image = image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
    return np.ascontiguousarray(image)


def _shown(number: int, frame: av.VideoFrame, begin: Fraction | None, shape: Fraction | None) -> Shown:
    time = None if frame.pts is None else float(frame.pts * frame.time_base - (begin or 0))
    duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else None
    return Shown(number=number, time=time, duration=duration, raw=frame, shape=shape)


def _require_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: expected a video, a folder of frames or a picture, found nothing there")
    if not path.is_file():
        raise UserError(f"{path}: expected a video file, it is no regular file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: expected a video, the file is empty; copy it again")


def _open_camera(number: int) -> InputContainer:
    form, name = _CAMERAS.get(sys.platform, _CAMERAS["linux"])
    return av.open(name.format(number), format=form, timeout=_TIMEOUTS)


def _does_not_open(place: str | Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(place, Path):
        return (
            f"{place}: expected a video, the file ({place.stat().st_size} bytes) does not open as one ({reason}); it "
            "is something else or cut off, so copy it again or convert it with ffmpeg"
        )
    if place.isdecimal():
        return f"{place}: expected a camera of this number, none opens ({reason})"
    return f"{place}: expected the address of a stream, it does not open ({reason})"


def _require_whole(place: str | Path, container: InputContainer, frames: int, bad: int, end: float) -> None:
    """That the container's end was reached, by the times of all its packets, and that they could be decoded."""
    if frames == 0:
        raise UserError(
            f"{place}: expected a video, not one frame of it decodes; it is cut off, or in a codec that this FFmpeg "
            "lacks, so convert it with ffmpeg"
        )
    if bad > max(_LOST_FRAMES, _LOST_SHARE * frames):
        raise UserError(
            f"{place}: expected a whole video, {bad} of its frames do not decode; copy the file again, or write a "
            "whole one of what there is with ffmpeg"
        )
    stream = _moving(container)
    if 0 < stream.frames <= frames:
        return
    duration = container.duration / av.time_base if container.duration else None
    rate = float(stream.average_rate or DEFAULT_FPS)
    if duration is not None and duration - end > max(_LOST_FRAMES / rate, _LOST_SHARE * duration):
        raise UserError(
            f"{place}: expected {duration:.1f} seconds as its header says, they end after {end:.1f}, with frame "
            f"{frames - 1}; it is cut off or damaged, so copy the file again, or write a whole one of what there is "
            "with ffmpeg"
        )
