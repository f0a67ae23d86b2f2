"""predictions_tidy.parquet where pyarrow is installed, else predictions_tidy.csv: a row per frame, person and joint,
with all that one has to know in it.

    source, model, weights, commit    what was looked at, by what; empty where it is not known
    frame, time_s, person, joint      numbers from 0, seconds
    x_px, y_px                        pixels of the picture, x right, y down, first pixel centre at 0; raw
    score, probability, state         as in predictions.json; "filled" is a state of filtered values only
    speed_px_per_s                    of the raw values (`video.angles`)
    x_filtered_px, y_filtered_px, speed_filtered_px_per_s     where --smooth or --fill-gaps is given

What is missing is null, empty in the CSV. A person in a gap that was filled has rows with filtered values alone.
"""

import csv
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..angles import joint_speeds
from ..digits import PIXEL_DIGITS, SCORE_DIGITS, TIME_DIGITS, rounded
from ..recording import Recording

_ABOUT = ("source", "model", "weights", "commit")
_KINDS = {**dict.fromkeys((*_ABOUT, "joint", "state"), "string"), "frame": "int64", "person": "int64"}
_COLUMNS = (
    *(*_ABOUT, "frame", "time_s", "person", "joint", "x_px", "y_px"),
    *("score", "probability", "state", "speed_px_per_s"),
)
_FILTERED = ("x_filtered_px", "y_filtered_px", "speed_filtered_px_per_s")
_BLOCK = 1 << 16  # rows that are in memory together


def names() -> tuple[str, ...]:
    return ("predictions_tidy.parquet" if find_spec("pyarrow") is not None else "predictions_tidy.csv",)


def advice() -> str | None:
    if names()[0].endswith(".parquet"):
        return None
    return "predictions_tidy.parquet, a smaller file, needs a package more: pip install pyarrow"


def write(recording: Recording, path: Path) -> None:
    recording.require_rising_times("speeds in the tidy table")
    heads = _COLUMNS if recording.raw is None else (*_COLUMNS, *_FILTERED)
    if path.suffix == ".parquet":
        _write_parquet(recording, path, heads)
        return
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, heads, lineterminator="\n")
        table.writeheader()
        table.writerows(_rows(recording))


def _write_parquet(recording: Recording, path: Path, heads: tuple[str, ...]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64()}
    schema = pa.schema([(name, kinds[_KINDS.get(name, "double")]) for name in heads])
    rows = _rows(recording)
    with pq.ParquetWriter(path, schema) as file:
        while block := list(islice(rows, _BLOCK)):
            file.write_table(pa.Table.from_pylist(block, schema=schema))


def _rows(recording: Recording) -> Iterator[dict[str, Any]]:
    about = {name: recording.info.get(name) for name in _ABOUT}
    raw = recording if recording.raw is None else recording.raw
    speeds = {person.number: joint_speeds(person, raw) for person in raw.persons}
    places = {person.number: {row: n for n, row in enumerate(person.rows)} for person in raw.persons}
    by_number = {person.number: person for person in raw.persons}
    filtered = {}
    if recording.raw is not None:
        filtered = {person.number: joint_speeds(person, recording) for person in recording.persons}
    count = dict.fromkeys(places, 0)
    for row, (frame, poses) in enumerate(recording.by_frame()):
        for pose in poses:
            now, person = places[pose.person].get(row), by_number[pose.person]
            for joint, name in enumerate(recording.skeleton.joints):
                cells = about | {
                    "frame": frame.number,
                    "time_s": round(frame.time, TIME_DIGITS),
                    "person": pose.person,
                    "joint": name,
                    "state": None if pose.states is None else pose.states[joint] or None,
                }
                if now is not None:
                    x, y = person.joints[now, joint]
                    probability = np.nan if person.probabilities is None else person.probabilities[now, joint]
                    cells |= {
                        "x_px": rounded(x, PIXEL_DIGITS),
                        "y_px": rounded(y, PIXEL_DIGITS),
                        "score": rounded(person.scores[now, joint], SCORE_DIGITS),
                        "probability": rounded(probability, SCORE_DIGITS),
                        "speed_px_per_s": rounded(speeds[pose.person][now, joint], PIXEL_DIGITS),
                    }
                if recording.raw is not None:
                    x, y = pose.joints[joint]
                    speed = filtered[pose.person][count[pose.person], joint]
                    values = (rounded(value, PIXEL_DIGITS) for value in (x, y, speed))
                    cells |= zip(_FILTERED, values)
                yield cells
            count[pose.person] += 1
