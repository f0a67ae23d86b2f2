"""The EXIF orientation of a picture: how it is to be turned so that it stands upright, as viewers show it."""

from typing import Literal

import numpy as np

from . import jpeg, png

_TAG = 0x0112


def orientation(data: bytes) -> int:
    """1 (as stored) to 8, by the EXIF block of a JPEG, PNG or WebP, or a TIFF's own; 1 where there is none."""
    block = _block(data)
    order, place = _entry(block)
    value = 1 if place is None else int.from_bytes(block[place : place + 2], order)
    return value if 1 <= value <= 8 else 1


def as_stored(data: bytes) -> bytes:
    """A TIFF without its orientation, by which OpenCV turns it even when told not to; others as they are."""
    order, place = _entry(data)
    return data if place is None else data[:place] + (1).to_bytes(2, order) + data[place + 2 :]


def _entry(block: bytes) -> tuple[Literal["little", "big"], int | None]:
    """The order of the bytes in a TIFF, and where its orientation is, two bytes; None where there is none."""
    order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"
    if block[:4] not in (b"II*\0", b"MM\0*"):
        return order, None
    at = int.from_bytes(block[4:8], order)
    for number in range(min(int.from_bytes(block[at : at + 2], order), 1000)):
        entry = at + 2 + 12 * number
        if entry + 12 <= len(block) and int.from_bytes(block[entry : entry + 2], order) == _TAG:
            return order, entry + 8
    return order, None


def _block(data: bytes) -> bytes:
    if data.startswith(jpeg.START):
        for marker, content, _ in jpeg.segments(data):
            if marker == 0xE1 and content.startswith(b"Exif\0\0"):
                return content[6:]
            if marker == jpeg.SCAN[1]:
                break
        return b""
    if data.startswith(png.SIGNATURE):
        at = len(png.SIGNATURE)
        while at + 12 <= len(data):
            length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
            if kind == b"eXIf":
                return data[at + 8 : at + 8 + length]
            at += 12 + length
        return b""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        at = 12
        while at + 8 <= len(data):
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            if data[at : at + 4] == b"EXIF":
                return data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
            at += 8 + length + length % 2
        return b""
    return data


def turned(image: np.ndarray, number: int) -> np.ndarray:
    """`image` [H, W, 3] as stored, upright for the orientation `number`."""
    if number in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if number in (2, 3, 6, 7):
        image = image[:, ::-1]
    if number in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def is_on_its_side(number: int) -> bool:
    """Whether turning exchanges width and height."""
    return number >= 5
