"""predictions.csv, a row per frame, person and joint (`writers.CsvWriter`)."""

from pathlib import Path

from ..recording import Recording
from ..writers import CsvWriter
from .coco import replay


def names() -> tuple[str, ...]:
    return CsvWriter.names


def write(recording: Recording, path: Path) -> None:
    replay(recording, CsvWriter(path.parent, path.name))
