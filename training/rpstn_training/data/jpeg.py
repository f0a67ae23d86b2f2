"""JPEG files that lack nothing but their end mark, as some cameras write them and cut downloads leave them."""

from collections.abc import Callable, Iterator

import numpy as np

START, SCAN, END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"

_RESTARTS = range(0xD0, 0xD8)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# What a decoder makes of bytes behind the last one depends on them wherever it still waits for picture data: none, and
# some that differ from the first bit on.
_FILLERS = (
    b"",
    *(bytes((first + 37 * number) % 251 for number in range(64)) for first in (0x55, 0xAA, 0xE7, 0x93)),
)


def is_cut_off(data: bytes) -> bool:
    """Whether a JPEG has no end mark behind its last scan. OpenCV 4 decodes what is left to grey rows without
    complaint.
    """
    return data.startswith(START) and data.find(END, max(data.rfind(SCAN), 0)) < 0


def without_end_mark(data: bytes, decode: Callable[[bytes], np.ndarray | None]) -> np.ndarray | None:
    """The whole picture of a JPEG that is cut off, or None where rows or scans are missing.

    decode: the picture of a whole file. All rows are there where it gives the same for any bytes put before the end
    mark.
    """
    body = data[:-1] if data.endswith(b"\xff") else data  # half an end mark
    if not _has_all_scans(body):
        return None
    first, *others = (decode(body + filler + END) for filler in _FILLERS)
    if first is None or any(other is None or not np.array_equal(first, other) for other in others):
        return None
    return first


def segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, content and the place behind it of each segment of a JPEG; picture data between them is skipped."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if (
            marker in (0x00, 0x01, 0xFF) or marker in _RESTARTS
        ):  # picture data, padding, marks without content
            at += 1 if marker == 0xFF else 2
            continue
        if marker == END[1]:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        yield marker, data[at + 4 : end], end
        at = end


def _has_all_scans(data: bytes) -> bool:
    """Whether each component has a scan for all bits of its 64 frequencies, and the last one all its restart marks."""
    lowest: dict[int, list[int]] = {}
    shape = (0, 0, 1, 1)
    interval = scans = last = 0
    for marker, content, end in segments(data):
        if marker in _FRAMES and len(content) >= 6:
            height, width = int.from_bytes(content[1:3]), int.from_bytes(content[3:5])
            parts = [content[6 + 3 * number : 9 + 3 * number] for number in range(content[5])]
            if not parts or any(len(part) < 3 for part in parts):
                return False
            lowest = {part[0]: [99] * 64 for part in parts}
            shape = (height, width, max(part[1] & 15 for part in parts), max(part[1] >> 4 for part in parts))
            if len(parts) == 1:  # not interleaved: single blocks, whatever the sampling says
                shape = (height, width, 1, 1)
        elif marker == 0xDD and len(content) >= 2:
            interval = int.from_bytes(content[:2])
        elif marker == SCAN[1]:
            if not content or len(content) < 4 + 2 * content[0]:
                return False
            first, final, bits = content[1 + 2 * content[0] : 4 + 2 * content[0]]
            for number in range(content[0]):
                for frequency in range(first, min(final, 63) + 1):
                    lowest.setdefault(content[1 + 2 * number], [99] * 64)[frequency] = bits & 15
            scans, last = scans + 1, end
    if not lowest or any(any(bits) for bits in lowest.values()):
        return False
    if not interval:
        return True
    height, width, down, across = shape
    blocks = -(-height // (8 * max(down, 1))) * -(-width // (8 * max(across, 1)))
    marks = sum(data[at + 1] in _RESTARTS for at in _marks(data, last))
    return scans == 1 and marks == -(-blocks // interval) - 1


def _marks(data: bytes, at: int) -> Iterator[int]:
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 1:
        yield at
        at += 2
