"""Videos that browsers play: H.264 in .mp4, VP8 in .webm, every frame at its own time, with the sound of another."""

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np

from ..data.decoding import beginning, open_container
from ..errors import UserError

_TICKS = 90_000  # a second, as in MPEG; all usual rates divide it
_BITS = 4  # a pixel and second, of VP8, which at a fixed quality alone gets slow
# Suffix: encoder, its options, the sounds that may stay as they are, and what others are turned into. Without B-frames
# the file ends when the last frame does.
FORMATS = {
    ".mp4": (
        "libx264",
        {"preset": "veryfast", "crf": "20", "g": "60", "bf": "0"},
        ("aac", "mp3", "opus"),
        "aac",
    ),
    ".webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "crf": "8"}, ("opus", "vorbis"), "libopus"),
}
_RATE = 48_000  # samples a second of a sound that is encoded anew
_BT601, _LIMITED = 5, 1  # what the conversion from RGB is by, so that players undo just that


@dataclass(frozen=True, kw_only=True)
class Sound:
    """The first sound of the video at `place`, from `start` to `end` (None: all) in seconds from its beginning."""

    place: Path
    start: float = 0.0
    end: float | None = None


def encodes(encoder: str) -> bool:
    """Whether this FFmpeg has it."""
    try:
        av.Codec(encoder, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


class OverlayWriter:
    """A video file that is there whole or not at all; a context manager.

    The suffix of `path` chooses the format (`FORMATS`). Frames go to a temporary file in the same folder, which takes
    its place when the block ends well. A size with an odd side gets one black column or row more, as the codecs want
    even ones.

    Args:
        path: .mp4 or .webm.
        fps: frames per second, > 0, where frames come without a time.
        size_wh: width and height of the frames.
        sound: what is heard with it. It is copied, or encoded anew where the format has no such sound.

    Raises:
        ValueError: another suffix, or a frame of another size.
        UserError: the file cannot be written there.
        OSError: a frame could not be written (no space left), at the first such frame.

        with OverlayWriter("pose.mp4", 25, (640, 480)) as video:
            video.write(image)
    """

    def __init__(
        self, path: str | Path, fps: float, size_wh: tuple[int, int], *, sound: Sound | None = None
    ) -> None:
        self.path, self.size, self.fps = Path(path), (int(size_wh[0]), int(size_wh[1])), float(fps)
        if self.path.suffix not in FORMATS:
            raise ValueError(
                f"OverlayWriter: expected a path ending in {' or '.join(FORMATS)}, got {self.path}"
            )
        self.frames, self._last = 0, -1
        self._sound_of = sound
        self._temporary = self.path.with_name(
            f".{self.path.stem}.{secrets.token_hex(4)}.tmp{self.path.suffix}"
        )

    def __enter__(self) -> "OverlayWriter":
        encoder, options, *_ = FORMATS[self.path.suffix]
        if not encodes(encoder):
            others = [suffix for suffix, (other, *_) in FORMATS.items() if encodes(other)]
            instead = f"write {others[0]} (--overlay {others[0][1:]})" if others else "leave the video out"
            raise UserError(
                f"{self.path}: expected an FFmpeg with the encoder {encoder}, this one lacks it; {instead}, or install "
                "av from PyPI"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = av.open(str(self._temporary.absolute()), "w", format=self.path.suffix[1:])
            rate = Fraction(self.fps).limit_denominator(1001)
            stream = self._file.add_stream(encoder, rate=rate, options=options)
            stream.width, stream.height = (side + side % 2 for side in self.size)
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, _TICKS)
            stream.codec_context.colorspace, stream.codec_context.color_range = _BT601, _LIMITED
            if encoder == "libvpx":
                stream.bit_rate = max(_BITS * stream.width * stream.height, 500_000)
            self._video = stream
            self._sound = (
                iter(()) if self._sound_of is None else _sound(self._file, self.path, self._sound_of)
            )
            self._file.start_encoding()
            self._waiting = next(self._sound, None)
        except OSError as error:
            self._temporary.unlink(missing_ok=True)
            raise UserError(
                f"{self.path}: could not begin a {self.path.suffix} video of {self.size[0]}x{self.size[1]} "
                f"({error.strerror}); check that the folder can be written, or leave the video out"
            ) from error
        return self

    def write(self, image: np.ndarray, time: float | None = None, duration: float | None = None) -> None:
        """Append one frame, uint8 [H, W, 3] RGB, at its time and for its duration in seconds; without them after and as
        long as 1 / fps says.
        """
        width, height = self.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"OverlayWriter: expected a frame uint8 [{height}, {width}, 3], "
                f"got {image.dtype} {list(image.shape)}"
            )
        if width % 2 or height % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT601)
        ticks = round((self.frames / self.fps if time is None else time) * _TICKS)
        frame.pts = self._last = max(ticks, self._last + 1)  # an encoder takes no time twice
        frame.time_base = Fraction(1, _TICKS)
        self._lasts = round((duration or 1 / self.fps) * _TICKS)
        self._let_in_sound(self._last / _TICKS)
        self._mux(self._video.encode(frame))
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._end()
                os.replace(self._temporary, self.path)
            else:
                _close_whatever(self._file)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _end(self) -> None:
        try:
            self._mux(self._video.encode(None))
            self._let_in_sound((self._last + self._lasts) / _TICKS if self.frames else 0.0)
        except BaseException:
            _close_whatever(self._file)
            raise
        self._file.close()

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            if packet.pts == self._last:  # the others last until the next one
                packet.duration = self._lasts
            self._file.mux(packet)

    def _let_in_sound(self, time: float) -> None:
        """The sound up to this time, so that both lie near each other in the file."""
        while self._waiting is not None and self._waiting[0] <= time:
            self._file.mux(self._waiting[1])
            self._waiting = next(self._sound, None)


def _close_whatever(file: av.container.OutputContainer) -> None:
    """Of a file that is thrown away."""
    with suppress(OSError):
        file.close()


def _sound(file: av.container.OutputContainer, path: Path, sound: Sound) -> Iterator[tuple[float, av.Packet]]:
    """Packets of the sound for `file` with their times in it. The stream for them is made at once.

    A sound that cannot be read is none, and one that breaks ends there: the pictures are what counts.
    """
    *_, kept, encoder = FORMATS[path.suffix]
    source = open_container(sound.place)
    stream = source.streams.audio[0]
    if stream.codec_context is None:  # a codec that this FFmpeg lacks
        source.close()
        return iter(())
    copied = stream.codec_context.name in kept
    if not copied and not encodes(encoder):
        source.close()
        return iter(())
    if copied:
        target = file.add_stream_from_template(stream)
    else:
        target = file.add_stream(encoder, rate=_RATE, layout="stereo")
    begin = (beginning(source) or 0) + Fraction(sound.start)
    last = None if sound.end is None else sound.end - sound.start

    def packets() -> Iterator[tuple[float, av.Packet]]:
        with source, suppress(av.FFmpegError):
            for packet in _copied(source, stream) if copied else _encoded(source, stream, target):
                time = float(packet.pts * packet.time_base - begin)
                if last is not None and time >= last:
                    return
                if time < 0 and sound.start:
                    continue
                packet.pts -= round(begin / packet.time_base)
                packet.dts = packet.pts
                packet.stream = target
                yield time, packet

    return packets()


def _copied(source: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.Packet]:
    for packet in source.demux(stream):
        if packet.pts is not None and packet.size:
            yield packet


def _encoded(
    source: av.container.InputContainer, stream: av.AudioStream, target: av.AudioStream
) -> Iterator[av.Packet]:
    resampler = av.AudioResampler(format=target.format, layout="stereo", rate=_RATE)
    for frame in source.decode(stream):
        for part in resampler.resample(frame):
            yield from target.encode(part)
    for part in resampler.resample(None):
        yield from target.encode(part)
    yield from target.encode(None)
