"""Video files as cameras, phones, editors and browsers write them, made by PyAV in the tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
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


def of_jpegs(path: Path, jpegs: list[bytes]) -> Path:
    """A video of pictures as a camera wrote them, 10 a second."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        for number, data in enumerate(jpegs):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base, packet.is_keyframe = Fraction(1, 10), True
            file.mux(packet)
    return path


def begun_late(path: Path, source: Path, seconds: int) -> Path:
    """The same frames, but the first one's time is not 0, as of what is recorded from a stream."""
    with (
        av.open(str(source)) as before,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as file,
    ):
        stream = before.streams.video[0]
        target = file.add_stream_from_template(stream)
        for packet in before.demux(stream):
            if packet.size:
                packet.pts += round(seconds / packet.time_base)
                packet.dts += round(seconds / packet.time_base)
                packet.stream = target
                file.mux(packet)
    return path


def with_cover(path: Path, *, frames: int) -> Path:
    """A sound with a picture of its cover, and a video where there are frames."""
    with av.open(str(path), "w", format="mp4") as file:
        cover = file.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = *SIZE, "rgb24"
        cover.disposition = Disposition.attached_pic
        streams = [(cover, 1)]
        if frames:
            video = file.add_stream("libx264", rate=10)
            video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
            streams.append((video, frames))
        sound = file.add_stream("aac", rate=48_000, layout="mono")
        for stream, count in streams:
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(
                    format=stream.pix_fmt
                )
                frame.pts, frame.time_base = number, 1 / stream.codec_context.framerate
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        part = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        part.sample_rate = 48_000
        file.mux([*sound.encode(part), *sound.encode(None)])
    return path


def in_tiles(path: Path) -> Path:
    """A .heic of one tile above the other, by hand: boxes of ISO/IEC 14496-12 and 23008-12."""
    with av.open(str(path.with_suffix(".mp4")), "w") as file:
        stream = file.add_stream(
            "libx265", rate=10, options={"x265-params": "log-level=none:bframes=0:pools=none"}
        )
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        frame = av.VideoFrame.from_ndarray(picture(0), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            packet.pts = packet.dts = 0  # x265 leaves the one or the other out at times
            file.mux(packet)
    data = path.with_suffix(".mp4").read_bytes()

    def found(kind: bytes) -> bytes:
        at = data.index(kind)
        return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]

    def box(kind: bytes, *parts: bytes) -> bytes:
        return (8 + sum(map(len, parts))).to_bytes(4, "big") + kind + b"".join(parts)

    def numbers(*values: int, size: int = 2) -> bytes:
        return b"".join(value.to_bytes(size, "big") for value in values)

    (width, height), tile = SIZE, found(b"mdat")
    shape = numbers(0, 256) + numbers(width, 2 * height)  # rows - 1 and columns - 1 of the grid, its size
    names = [
        box(b"infe", numbers(2 << 24 | (kind == b"hvc1"), size=4), numbers(item, 0), kind, b"\0")
        for item, kind in ((1, b"grid"), (2, b"hvc1"), (3, b"hvc1"))
    ]
    sizes = [box(b"ispe", numbers(0, width, rows * height, size=4)) for rows in (1, 2)]
    properties = box(
        b"iprp",
        box(b"ipco", box(b"hvcC", found(b"hvcC")), *sizes),
        box(b"ipma", numbers(0, 3, size=4), b"\0\1\1\3", b"\0\2\2\1\2", b"\0\3\2\1\2"),
    )

    def head(begin: int) -> bytes:
        places = [(1, begin, len(shape))] + [(item, begin + len(shape), len(tile)) for item in (2, 3)]
        return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), numbers(1)),
            box(
                b"iloc",
                bytes(4),
                b"\x44\0",
                numbers(3),
                *(numbers(item, 0, 1) + numbers(at, size, size=4) for item, at, size in places),
            ),
            box(b"iinf", bytes(4), numbers(3), *names),
            box(b"iref", bytes(4), box(b"dimg", numbers(1, 2, 2, 3))),
            properties,
        )

    path.write_bytes(head(len(head(0)) + 8) + box(b"mdat", shape, tile))
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
