"""Pictures of a video: which files they are, and their pixels."""

import re
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


def numbered_files(folder: Path, digits: int, suffix: str) -> list[Path]:
    """The files 1, 2, 3 ... of `folder`, named by `digits` digits and `suffix`, in order.

    A number that is left out would shift all later frames against their labels, so a gap raises UserError.
    """
    pattern = re.compile(rf"\d{{{digits}}}{re.escape(suffix)}")
    entries = folder.iterdir() if folder.is_dir() else ()
    names = {entry.name for entry in entries if pattern.fullmatch(entry.name)}
    files = [folder / f"{number:0{digits}d}{suffix}" for number in range(1, len(names) + 1)]
    gap = next((file for file in files if file.name not in names), None)
    if gap is not None or not files:
        expected = gap or folder / f"{1:0{digits}d}{suffix}"
        raise UserError(f"{expected}: expected a frame here, found none; unpack the data set's frames again")
    return files


def read_image(path: Path) -> np.ndarray:
    """The picture at `path` as uint8 [H, W, 3] RGB.

    As stored, without EXIF's rotation: labels refer to stored pixels. Raises UserError naming the file if it
    is missing, is no picture, or is cut off.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: expected a picture, it cannot be read ({error.strerror})") from error
    # A JPEG cut off in its last scan decodes to grey rows without complaint in OpenCV 4.
    cut_off = data.startswith(_JPEG_START) and data.find(_JPEG_END, max(data.rfind(_JPEG_SCAN), 0)) < 0
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = None if cut_off or not data else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        what = "is cut off" if cut_off else "does not decode"
        raise UserError(f"{path}: expected a picture, the file {what} ({len(data)} bytes); copy it again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the picture at `path`."""
    height, width = read_image(path).shape[:2]
    return width, height
