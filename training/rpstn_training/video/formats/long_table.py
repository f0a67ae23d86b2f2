"""predictions.csv, a row per frame, person and joint (`writers.write_csv`)."""

from pathlib import Path

from ..recording import Recording
from ..writers import write_csv


def names() -> tuple[str, ...]:
    return ("predictions.csv",)


def write(recording: Recording, path: Path) -> None:
    poses = [pose for _, poses in recording.by_frame() for pose in poses]
    with open(path, "w", encoding="utf-8", newline="") as file:
        write_csv(file, recording.frames, poses, recording.skeleton)
