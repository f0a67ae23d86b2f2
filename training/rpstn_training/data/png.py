"""PNG pictures whose rows are stored unfiltered, as JHMDB's are: unpacked by libdeflate they are there.

Inflating is nearly all the work of such a picture, and libdeflate does it in half the time of the zlib inside
OpenCV. Everything else that a PNG may be is left to OpenCV.
"""

import struct
import zlib

import deflate
import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PLAIN = b"\x08\x02\x00\x00\x00"  # 8 bits, red, green, blue, not interlaced
# Chunks that leave the pixels as they are; transparency, palettes and animations are not among them.
_HARMLESS = frozenset({b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"gAMA", b"cHRM", b"sRGB"})


def unpack(data: bytes) -> np.ndarray | None:
    """The picture uint8 [H, W, 3] RGB, or None: filtered, of another kind, or damaged.

    The checksums of the header and of the pixels are verified. Memory is asked for as the header claims, so its
    size must have been looked at before.
    """
    parts = _pixel_data(data)
    if parts is None:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    size = height * (1 + 3 * width)  # a row begins with the number of its filter
    if size > 1032 * sum(map(len, parts)):  # more than deflate can ever pack: not worth the memory
        return None
    try:
        if zlib.decompressobj().decompress(parts[0][:512], 1) != b"\0":  # the first row is filtered
            return None
        rows = np.frombuffer(deflate.zlib_decompress(b"".join(parts), size), np.uint8)
    except (zlib.error, deflate.DeflateError):
        return None
    if rows.size != size:
        return None
    rows = rows.reshape(height, 1 + 3 * width)
    return None if rows[:, 0].any() else rows[:, 1:].reshape(height, width, 3)


def _pixel_data(data: bytes) -> list[memoryview] | None:
    """The IDAT chunks of a plain RGB picture; None where a chunk is damaged or might change the pixels."""
    if len(data) < 33 or not data.startswith(SIGNATURE) or data[12:16] != b"IHDR" or data[24:29] != _PLAIN:
        return None
    if zlib.crc32(data[12:29]) != int.from_bytes(data[29:33]) or 0 in struct.unpack_from(">II", data, 16):
        return None
    view, parts, at = memoryview(data), [], 33
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return parts
        if kind == b"IDAT":
            parts.append(view[at + 8 : at + 8 + length])
        elif kind not in _HARMLESS:
            return None
        at += 12 + length
    return None
