"""Pictures that libdeflate unpacks are those that OpenCV gives, and it gets none that it might get wrong."""

import struct
import zlib
from itertools import pairwise

import cv2
import numpy as np
import pytest

from rpstn_training.data import png
from rpstn_training.data.images import read_image
from rpstn_training.errors import UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8)


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write(
    path, *, image=IMAGE, filters=None, depth=8, color=2, extra=b"", pieces=3, size=None, rows=None
) -> bytes:
    """A PNG file, by default one that libdeflate unpacks."""
    height, width = image.shape[:2]
    filters = np.zeros(height, np.uint8) if filters is None else filters
    rows = np.hstack([filters[:, None], image.reshape(height, -1)]).tobytes() if rows is None else rows
    packed = zlib.compress(rows, 6)
    header = struct.pack(">IIBBBBB", *(size or (width, height)), depth, color, 0, 0, 0)
    cuts = [round(len(packed) * number / pieces) for number in range(pieces + 1)]
    pixels = b"".join(chunk(b"IDAT", packed[a:b]) for a, b in pairwise(cuts))
    data = png.SIGNATURE + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND")
    path.write_bytes(data)
    return data


def by_opencv(path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


def test_unfiltered_rows_are_the_picture(tmp_path):
    data = write(tmp_path / "a.png", extra=chunk(b"pHYs", bytes(9)) + chunk(b"tEXt", b"Title\0x"))
    assert np.array_equal(png.unpack(data), IMAGE)
    assert np.array_equal(read_image(tmp_path / "a.png"), IMAGE)
    assert np.array_equal(by_opencv(tmp_path / "a.png"), IMAGE)


def some_filtered(first: int) -> np.ndarray:
    filters = np.zeros(len(IMAGE), np.uint8)
    filters[first::3] = [1, 2, 4, 3, 2, 1, 2, 3][: len(filters[first::3])]
    return filters


@pytest.mark.parametrize(
    "kind",
    [
        {"filters": some_filtered(0)},
        {"filters": some_filtered(1)},
        {"depth": 16, "image": np.repeat(IMAGE, 2, axis=2)},
        {"color": 6, "image": np.dstack([IMAGE, IMAGE[..., :1]])},
        {"color": 0, "image": IMAGE[..., 0]},
        {"color": 3, "image": IMAGE[..., 0], "extra": chunk(b"PLTE", IMAGE.tobytes()[:768])},
        {"extra": chunk(b"tRNS", bytes(6))},
        {"extra": chunk(b"acTL", struct.pack(">II", 1, 1))},
    ],
)
def test_other_pictures_are_left_to_opencv(tmp_path, kind):
    data = write(tmp_path / "a.png", **kind)
    assert png.unpack(data) is None
    assert np.array_equal(read_image(tmp_path / "a.png"), by_opencv(tmp_path / "a.png"))


@pytest.mark.parametrize("place", ["header", "pixels", "end"])
def test_damage_is_noticed(tmp_path, place):
    data = bytearray(write(tmp_path / "a.png"))
    at = {"header": 19, "pixels": 300, "end": data.rindex(b"IDAT") + 10}[place]
    data[at] ^= 0x55
    assert png.unpack(bytes(data)) is None


@pytest.mark.parametrize("share", [0.0, 0.004, 0.01, 0.3, 0.9, 0.995])
def test_files_cut_off_are_refused(tmp_path, share):
    data = write(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r"a\.png: expected a picture"):
        read_image(tmp_path / "a.png")


def test_a_header_is_not_trusted(tmp_path):
    """Neither asks for the 384 MB that this header claims, nor takes rows that are too few."""
    assert png.unpack(write(tmp_path / "a.png", size=(16384, 8192))) is None
    assert png.unpack(write(tmp_path / "b.png", size=(37, 24))) is None
    assert png.unpack(write(tmp_path / "c.png", size=(37, 22))) is None
    assert png.unpack(write(tmp_path / "d.png", size=(0, 22))) is None
    assert png.unpack(write(tmp_path / "e.png", rows=b"", size=(37, 1))) is None


def test_jhmdb_is_unpacked_here(shared):
    files = sorted((shared / "samples" / "jhmdb" / "Rename_Images").glob("*/*/*.png"))
    assert len(files) == 40
    for file in files:
        assert np.array_equal(png.unpack(file.read_bytes()), by_opencv(file))
