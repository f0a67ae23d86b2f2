"""deeplabcut.csv and deeplabcut.h5: what DeepLabCut writes of a video, for what reads that.

A row per frame, numbered from 0; columns scorer, (individuals,) bodyparts, coords: x, y, likelihood of each joint of
each person. The level of individuals, person0, person1 ..., is there where there are several persons. The likelihood
is the probability that the joint is right, or the score where the weights are not calibrated. A joint or person that is
not there is NaN. The h5 file holds the same table as DataFrame under df_with_missing; it is made where pandas and
tables are installed. It is one table of HDF5, as DeepLabCut's own, or several arrays where the columns are too many for
one (some 2,500); pandas reads both.
"""

import csv
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..digits import PIXEL_DIGITS, SCORE_DIGITS
from ..recording import Recording

SCORER = "DLC_rpstn"
_COORDS = ("x", "y", "likelihood")


def names() -> tuple[str, ...]:
    both = all(find_spec(package) is not None for package in ("pandas", "tables"))
    return ("deeplabcut.csv", "deeplabcut.h5") if both else ("deeplabcut.csv",)


def advice() -> str | None:
    if len(names()) == 2:
        return None
    return "deeplabcut.h5 needs two packages more: pip install pandas tables"


def write(recording: Recording, path: Path) -> None:
    if path.suffix == ".h5":
        _write_h5(recording, path)
        return
    levels = _levels(recording)
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        for name, values in levels.items():
            table.writerow([name, *values])
        for number, values in _rows(recording):
            # pandas takes a first row without any text for the name of the index.
            table.writerow([number, *("NaN" if np.isnan(value) else value for value in values.tolist())])


def _write_h5(recording: Recording, path: Path) -> None:
    import pandas as pd
    from tables import HDF5ExtError

    levels = _levels(recording)
    numbers, rows = [], []
    for number, values in _rows(recording):
        numbers.append(number)
        rows.append(values)
    columns = pd.MultiIndex.from_arrays(list(levels.values()), names=list(levels))
    frame = pd.DataFrame(np.array(rows).reshape(len(numbers), len(columns)), index=numbers, columns=columns)
    stored = partial(frame.to_hdf, path, key="df_with_missing", mode="w")
    try:
        stored(format="table" if numbers else "fixed")
    except HDF5ExtError:  # the columns' names have to stand in a header of 64 KB
        stored(format="fixed")


def _levels(recording: Recording) -> dict[str, list[str]]:
    persons = [f"person{person.number}" for person in recording.persons] or ["person0"]
    joints = recording.skeleton.joints
    columns = [(person, joint, coord) for person in persons for joint in joints for coord in _COORDS]
    individuals, bodyparts, coords = (list(level) for level in zip(*columns))
    levels = {"scorer": [SCORER] * len(columns)}
    if len(persons) > 1:
        levels["individuals"] = individuals
    return levels | {"bodyparts": bodyparts, "coords": coords}


def _rows(recording: Recording) -> Iterator[tuple[int, np.ndarray]]:
    """Frame and its numbers, person after person, joint after joint, NaN for what is not there."""
    order = {person.number: place for place, person in enumerate(recording.persons)}
    for frame, poses in recording.by_frame():
        values = np.full((max(len(order), 1), len(recording.skeleton.joints), 3), np.nan)
        for pose in poses:
            confidence = pose.scores if pose.probabilities is None else pose.probabilities
            values[order[pose.person], :, :2] = np.round(pose.joints, PIXEL_DIGITS)
            values[order[pose.person], :, 2] = np.round(confidence, SCORE_DIGITS)
        yield frame.number, values.ravel()
