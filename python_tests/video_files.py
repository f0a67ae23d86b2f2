"""Video files as cameras, phones, editors and browsers write them, made by PyAV in the tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from small_videos import SIZE, picture

# Suffix: encoder and pixel format of the pictures, encoder of the sound.
ENCODERS = {
    ".mp4": ("libx264", "yuv420p", "aac"),
    ".mov": ("libx264", "yuv420p", "aac"),
    ".mkv": ("libx264", "yuv420p", "aac"),
    ".webm": ("libvpx", "yuv420p", "libopus"),
    ".avi": ("mjpeg", "yuvj420p", None),
    ".gif": ("gif", "rgb8", None),
    ".ts": ("libx264", "yuv420p", None),
}


def make(
    path: Path,
    times: list[float] | int = 7,
    *,
    size: tuple[int, int] = SIZE,
    turn: int | None = None,
    sound: float = 0.0,
    image=None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of pictures at these times (or so many at 10 a second), with seconds of sound.

    turn: quarter turn in degrees that the display matrix asks for, against the clock. image: number -> picture.
    """
    times = [number / 10 for number in range(times)] if isinstance(times, int) else times
    encoder, pixels, of_sound = ENCODERS[path.suffix]
    with av.open(str(path), "w") as file:
        stream = file.add_stream(encoder, rate=10, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, {".gif": 100, ".avi": 10}.get(path.suffix, 1000))
        if turn is not None:
            stream.set_display_rotation(turn)
        heard = file.add_stream(of_sound, rate=48_000, layout="mono") if sound else None
        file.start_encoding()
        for number, time in enumerate(times):
            rgb = image(number) if image else picture(number, size)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
                format=pixels
            )
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(time / frame.time_base)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if heard is not None:
            length = heard.codec_context.frame_size or 960
            wave = (8000 * np.sin(np.arange(length) / 20)).astype(np.int16)[None]
            for number in range(int(sound * 48_000 / length)):
                part = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
                part.sample_rate, part.pts = 48_000, number * length
                file.mux(heard.encode(part))
            file.mux(heard.encode(None))
    return path


def cut(source: Path, path: Path, share: float) -> Path:
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def without_frames(path: Path) -> Path:
    """An mp4 that is whole and holds nothing to see: its frames were cut away by an editor."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        file.start_encoding()
    return path


def trimmed(path: Path, first: float) -> Path:
    """A whole video, of which an edit list shows what follows after `first` seconds: made by hand, as editors do."""
    make(path, 24, options={"g": "8", "bf": "0"})
    data = bytearray(path.read_bytes())
    place = data.index(
        b"elst"
    )  # size, name, version and flags, count, then duration and media time, 4 bytes each
    media_scale = data.index(b"mdhd")
    scale = int.from_bytes(data[media_scale + 16 : media_scale + 20], "big")
    begin = int.from_bytes(data[place + 16 : place + 20], "big") + round(first * scale)
    duration = int.from_bytes(data[place + 12 : place + 16], "big") - round(first * 1000)
    data[place + 12 : place + 16] = duration.to_bytes(4, "big")
    data[place + 16 : place + 20] = begin.to_bytes(4, "big")
    path.write_bytes(data)
    return path


def shown(path: Path) -> list[tuple[float, np.ndarray]]:
    """Time and picture of every frame, as PyAV alone has them."""
    with av.open(str(path)) as file:
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]


def heard(path: Path) -> tuple[str, float, float]:
    """The sound's codec, and when it begins and ends."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        parts = [(float(part.time), part.samples / part.sample_rate) for part in file.decode(stream)]
    return stream.codec_context.name, parts[0][0], sum(parts[-1])
