"""Pictures of a video: which files they are, and their pixels."""

import logging
import re
import unicodedata
from pathlib import Path, PurePath
from typing import Literal

import cv2
import numpy as np

from ..errors import UserError
from . import exif, jpeg, png
from .findings import Report

# A damaged header may claim any size, and the decoder would ask for the memory at once.
MAX_PIXELS = 1 << 27

_log = logging.getLogger(__name__)


def numbered_files(folder: Path, digits: int, suffix: str, first: int = 1) -> list[Path]:
    """The files `first`, `first` + 1 ... of `folder`, named by `digits` digits and `suffix`, in order.

    A number that is left out would shift all later frames against their labels, so a gap raises UserError.
    """
    pattern = re.compile(rf"\d{{{digits}}}{re.escape(suffix)}")
    entries = folder.iterdir() if folder.is_dir() else ()
    names = {entry.name for entry in entries if pattern.fullmatch(entry.name)}
    files = [folder / f"{number:0{digits}d}{suffix}" for number in range(first, len(names) + first)]
    gap = next((file for file in files if file.name not in names), None)
    if gap is not None or not files:
        expected = gap or folder / f"{first:0{digits}d}{suffix}"
        raise UserError(f"{expected}: expected a frame here, found none; unpack the data set's frames again")
    return files


Notes = list[tuple[str, str]]
Orientation = Literal["auto", "turned", "stored"]


def read_image(
    path: Path,
    *,
    orientation: Orientation = "stored",
    size: tuple[int, int] | None = None,
    notes: Notes | None = None,
) -> np.ndarray:
    """The picture at `path` as uint8 [H, W, 3] RGB.

    Args:
        orientation: "stored" leaves EXIF's aside, "turned" goes by it as viewers do, and "auto" turns where only the
            turned picture has the `size` (width, height) that the labels state.
        notes: gets what is odd about the file, and what was done about it. Without it the log has the first of a kind.

    Raises UserError naming the file if it is missing, is no picture, or is cut off.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: expected a picture, it cannot be read ({error.strerror})") from error
    claimed = header_size(data)
    if claimed is not None and claimed[0] * claimed[1] > MAX_PIXELS:
        raise UserError(
            f"{path}: expected a picture of at most {MAX_PIXELS:,} pixels, its header claims "
            f"{claimed[0]}x{claimed[1]}; copy it again"
        )
    found: Notes = []
    cut_off = jpeg.is_cut_off(data)
    image = png.unpack(data)
    if cut_off:
        image = jpeg.without_end_mark(data, _decode)
        found.append(("a JPEG without its end mark", "taken, because every row decodes"))
    elif image is None and data:
        image = _decode(data)
    if image is None:
        what = "is cut off" if cut_off else "does not decode"
        raise UserError(f"{path}: expected a picture, the file {what} ({len(data)} bytes); copy it again")
    number = exif.orientation(data)
    if number != 1 and (orientation == "turned" or _only_turned_fits(image, number, orientation, size)):
        image = exif.turned(image, number)
        why = "data.options.orientation says so" if orientation == "turned" else "the stated size fits so"
        found.append(("an EXIF orientation", f"turned; {why}"))
    elif number != 1 and orientation == "auto":
        fits = size is not None and exif.is_on_its_side(number) and size[0] != size[1]
        otherwise = "for labels on upright pictures set data.options.orientation=turned"
        why = "the stated size fits so" if fits else otherwise
        found.append(("an EXIF orientation", f"left as stored; {why}"))
    if notes is not None:
        notes += found + _depth(data)
    else:
        for note in found:
            if orientation != "turned" or note[0] != "an EXIF orientation":  # that was asked for
                _log_once(path, note)
    return image


def _decode(data: bytes) -> np.ndarray | None:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # we say it in one sentence
    try:
        return cv2.imdecode(np.frombuffer(exif.as_stored(data), np.uint8), flags)
    finally:
        cv2.utils.logging.setLogLevel(before)


def _only_turned_fits(
    image: np.ndarray, number: int, orientation: Orientation, size: tuple[int, int] | None
) -> bool:
    stored = image.shape[1::-1]
    return orientation == "auto" and exif.is_on_its_side(number) and stored != size == stored[::-1]


def _depth(data: bytes) -> Notes:
    """A line about a picture of more than 8 bits, of which OpenCV takes the upper ones."""
    deep = data.startswith(png.SIGNATURE) and len(data) > 24 and data[24] == 16
    if not deep and data[:4] not in (b"II*\0", b"MM\0*"):
        return []
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16:
        return []
    if image.max() < 1 << 14:  # 12 bits, as in medical and raw pictures, leave 4
        bits = int(image.max()).bit_length()
        done = "kept, nearly black: of 8 bits the upper ones count; convert it to 8 bits"
        return [(f"a picture of {bits} bits in 16", done)]
    return [("a picture of 16 bits", "the upper 8 are taken")]


def _log_once(path: Path, note: tuple[str, str]) -> None:
    if note not in _logged:
        _logged.add(note)
        _log.warning("%s: %s (first: %s; rpstn check-data lists all)", *note, path)


_logged: set[tuple[str, str]] = set()  # kinds of odd pictures that this process has spoken of


def header_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that the header of a JPEG or PNG claims; None for other or damaged ones."""
    if data.startswith(png.SIGNATURE) and len(data) >= 24:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if not data.startswith(jpeg.START):
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD7:  # padding, and markers without length
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


class Pictures:
    """Which pictures exist, by one look at each folder instead of one at each file."""

    def __init__(self) -> None:
        self._folders: dict[Path, frozenset[str]] = {}
        self._alike: dict[Path, dict[str, list[str]]] = {}

    def require(self, path: Path, source: str, report: Report) -> Path:
        """`path` if it is there, or the one picture whose name differs only in its Unicode form; else UserError with
        what there is instead. source (str): the file and the field that name it.
        """
        names = self._names(path.parent)
        if path.name in names:
            return path
        alike = self._alike_names(path)
        same = [name for name in alike if _composed(name) == _composed(path.name)]
        if len(same) == 1:
            what = "a file name in another Unicode form than the label file's"
            report.defect(path, source, what, "the picture of the same name is taken")
            return path.with_name(same[0])
        if alike:
            advice = (
                f"there is {' and '.join(alike)}; make the names the same, in the label file or on the disk"
            )
        elif (elsewhere := _elsewhere(path)) is not None:
            advice = (
                f"there is {elsewhere}; make file_name relative to the folder that the configuration names"
            )
        elif not names and not path.parent.is_dir():
            advice = f"there is no folder {path.parent}; unpack the pictures"
        else:
            advice = "unpack the pictures"
        raise UserError(f"{path}: expected the picture that {source} names, found none; {advice}")

    def _names(self, folder: Path) -> frozenset[str]:
        if folder not in self._folders:
            there = folder.is_dir()
            self._folders[folder] = (
                frozenset(entry.name for entry in folder.iterdir()) if there else frozenset()
            )
        return self._folders[folder]

    def _alike_names(self, path: Path) -> list[str]:
        """Names in the folder that differ from that of `path` in upper and lower case, Unicode form or ending."""
        if path.parent not in self._alike:
            self._alike[path.parent] = {}
            for name in sorted(self._names(path.parent)):
                if not name.startswith("."):
                    self._alike[path.parent].setdefault(_loose(name), []).append(name)
        return self._alike[path.parent].get(_loose(path.name), [])


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _loose(name: str) -> str:
    return unicodedata.normalize("NFKC", PurePath(name).stem).casefold()


def _elsewhere(path: Path) -> Path | None:
    """The picture one folder up or with a folder of its way twice, as where `images/` stands in both places."""
    parts = path.parts
    shorter = [Path(*parts[:at], *parts[at + 1 :]) for at in range(len(parts) - 2, 0, -1)][:3]
    return next((other for other in shorter if other.is_file()), None)


def image_size(path: Path, orientation: Orientation = "stored") -> tuple[int, int]:
    """Width and height of the picture at `path`."""
    height, width = read_image(path, orientation=orientation).shape[:2]
    return width, height
