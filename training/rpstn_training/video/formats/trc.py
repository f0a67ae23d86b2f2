"""trc/personN.trc: the joints of each person as markers, for OpenSim.

OpenSim wants three dimensions and a unit of length. So a pixel is written as a millimetre: x right, y up from the last
row of the picture, whose pixel centres have y = 0, and z = 0. The first line of the file says so. The rows go from the
person's first frame to the last; a joint that is missing is NaN. Frame# counts from 1; the times are those of the
frames, evenly spaced or not, and DataRate is the number of frames per second.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..digits import PIXEL_DIGITS, TIME_DIGITS
from ..recording import Person, Recording
from .opensim import write_each

SPACE = "made from 2-D pixels: 1 px is written as 1 mm, x right, y up from the last row, z = 0"
_HEAD = (
    *("DataRate", "CameraRate", "NumFrames", "NumMarkers"),
    *("Units", "OrigDataRate", "OrigDataStartFrame", "OrigNumFrames"),
)


def names() -> tuple[str, ...]:
    return ("trc",)


def write(recording: Recording, path: Path) -> None:
    write_each(recording, path, "trc", _write)


def _write(recording: Recording, person: Person, path: Path) -> None:
    markers = ["_".join(name.split()) for name in recording.skeleton.joints]
    rows = range(person.rows[0], person.rows[-1] + 1)
    rate, first = round(recording.fps, TIME_DIGITS), recording.frames[rows[0]].number + 1
    place = np.full((len(rows), len(markers), 3), np.nan)
    heights = np.array([recording.frames[row].height for row in person.rows])
    place[person.rows - rows[0], :, 0] = person.joints[..., 0]
    place[person.rows - rows[0], :, 1] = heights[:, None] - 1 - person.joints[..., 1]
    place[..., 2] = np.where(np.isnan(place[..., 0]), np.nan, 0)
    numbers = range(1, len(markers) + 1)
    table: list[Sequence[object]] = [
        ["PathFileType", 4, "(X/Y/Z)", f"{path.name}, {SPACE}"],
        _HEAD,
        [rate, rate, len(rows), len(markers), "mm", rate, first, len(rows)],
        ["Frame#", "Time", *(cell for name in markers for cell in (name, "", ""))],
        ["", "", *(f"{axis}{number}" for number in numbers for axis in "XYZ")],
        [],
    ]
    for row, values in zip(rows, np.round(place, PIXEL_DIGITS).reshape(len(rows), -1).tolist()):
        frame = recording.frames[row]
        cells = ["NaN" if np.isnan(value) else value for value in values]
        table.append([frame.number + 1, round(frame.time, TIME_DIGITS), *cells])
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in table), encoding="utf-8")
