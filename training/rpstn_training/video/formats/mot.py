"""mot/personN.mot: the angles of each person's joints in degrees, for OpenSim (`video.angles` has their definitions).

The names are those of the definitions and of no OpenSim model. OpenSim's motions hold no missing number (its reader
stops there), so an angle that the person never shows has no column, and a frame in which another one is missing has no
row; --fill-gaps fills it.
"""

from pathlib import Path

import numpy as np

from ..angles import angles
from ..digits import ANGLE_DIGITS, TIME_DIGITS
from ..recording import Person, Recording
from .opensim import write_each

_SAID = "Angles in degrees of joints in the plane of a picture, from 2-D pixels."


def names() -> tuple[str, ...]:
    return ("mot",)


def write(recording: Recording, path: Path) -> None:
    write_each(recording, path, "mot", _write)


def _write(recording: Recording, person: Person, path: Path) -> None:
    found = {
        name: values
        for name, values in angles(person, recording.skeleton.joints).items()
        if not np.isnan(values).all()
    }
    table = np.stack(list(found.values()), axis=1) if found else np.zeros((len(person.rows), 0))
    whole = ~np.isnan(table).any(axis=1)
    times = recording.times[person.rows][whole]
    lines = [
        path.stem,
        "version=1",
        f"nRows={len(times)}",
        f"nColumns={1 + len(found)}",
        "inDegrees=yes",
        "",
        _SAID,
        "endheader",
        "\t".join(["time", *found]),
    ]
    for time, values in zip(times, np.round(table[whole], ANGLE_DIGITS).tolist()):
        lines.append("\t".join(map(str, [round(float(time), TIME_DIGITS), *values])))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
