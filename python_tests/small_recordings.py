"""Recordings of moving joints for the tests of files, filters and angles."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from rpstn_training.calibration import STATES
from rpstn_training.data.records import Skeleton
from rpstn_training.data.sets import penn_action
from rpstn_training.video import formats
from rpstn_training.video.filters import Filtering
from rpstn_training.video.recording import Person, Recording, read_recording
from rpstn_training.video.writers import FrameInfo

SKELETON = penn_action.SKELETON
FPS = 25.0
SIZE = (160, 120)
INFO = {
    "source": "clip.mp4",
    "fps": FPS,
    "weights": "best.pt",
    "model": "rpstn",
    "commit": "abc",
    "skeleton": "penn_action",
}


def person(
    number: int,
    rows: list[int],
    *,
    skeleton: Skeleton = SKELETON,
    calibrated: bool = True,
    missing: tuple[tuple[int, int], ...] = (),
) -> Person:
    """Joints on waves of their own, in these frames; `missing` are (place in rows, joint)."""
    rng = np.random.default_rng(number)
    count, joints = len(rows), len(skeleton.joints)
    phase = rng.uniform(0, 6, (joints, 2)) + np.array(rows)[:, None, None] / 5
    places = np.round(60 + 10 * number + 25 * np.sin(phase) + rng.normal(0, 0.5, phase.shape), 3)
    scores, probabilities = (np.round(rng.uniform(0.1, top, (count, joints)), 5) for top in (1.2, 1))
    for place, joint in missing:
        places[place, joint] = scores[place, joint] = probabilities[place, joint] = np.nan
    boxes = np.array([[10.0, 5.0, 99.5, 88.25]]).repeat(count, axis=0) + np.array(rows)[:, None]
    return Person(
        number=number,
        rows=np.array(rows),
        joints=places,
        scores=scores,
        boxes=boxes,
        probabilities=probabilities if calibrated else None,
        states=rng.choice(np.array(STATES, dtype=object), (count, joints)) if calibrated else None,
    )


def recording(
    *persons: Person,
    frames: int = 12,
    times: np.ndarray | None = None,
    skeleton: Skeleton = SKELETON,
    **info: Any,
) -> Recording:
    times = np.arange(frames) / FPS if times is None else times
    return Recording(
        path=Path("predictions.json"),
        info=INFO | info,
        skeleton=skeleton,
        frames=tuple(
            FrameInfo(number=number, time=float(time), file_name="clip.mp4", width=SIZE[0], height=SIZE[1])
            for number, time in enumerate(times)
        ),
        persons=persons,
    )


def two_persons(**options: Any) -> Recording:
    """Person 0 is there all the time; person 3 from frame 2 on, away in the frames 5 and 6, without head in frame 8."""
    return recording(
        person(0, list(range(12)), **options),
        person(3, [2, 3, 4, 7, 8, 9], missing=((4, 0),), **options),
    )


def written(folder: Path, made: Recording) -> Path:
    """As predictions.json."""
    folder.mkdir(parents=True, exist_ok=True)
    formats.write_formats(made, None, ["coco"], folder)
    return folder / "predictions.json"


def make(folder: Path, made: Recording, *names: str, filtering: Filtering | None = None) -> Path:
    """The files of these formats in the folder, which is returned."""
    formats.write_formats(made, filtering, names, folder)
    return folder


def read_again(folder: Path, made: Recording) -> Recording:
    return read_recording(written(folder, made))


def poses(made: Recording) -> dict[tuple[int, int], Any]:
    """(frame, person) to the pose."""
    return {(frame.number, pose.person): pose for frame, there in made.by_frame() for pose in there}


def rewritten(path: Path, change: Any) -> Path:
    """The JSON file with what `change` does to its content."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path
