"""Poses as files, written as they come: COCO key points and a table.

A writer (`Writer`) hears of each frame once and keeps nothing of it, so that an hour of video needs no more memory than
a second. Files of other forms are made from predictions.json afterwards (`formats`).
"""

import csv
import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from ..data.records import Skeleton
from .digits import PIXEL_DIGITS, SCORE_DIGITS, TIME_DIGITS, rounded, rounded_all
from .streams import Pose

COLUMNS = ("frame", "time", "person", "joint", "x", "y", "score", "probability", "state")


@dataclass(frozen=True, kw_only=True)
class FrameInfo:
    """A frame that was gone through: number from 0, time in seconds, picture or video, size in pixels."""

    number: int
    time: float
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class FoundPose(Pose):
    """The pose of one person in one frame: `box` float64 [4] x1, y1, x2, y2 in pixels of the image."""

    frame: int
    person: int
    box: np.ndarray

    @classmethod
    def of(cls, frame: int, person: int, box: np.ndarray, pose: Pose) -> "FoundPose":
        return cls(
            frame=frame,
            person=person,
            box=box,
            joints=pose.joints,
            scores=pose.scores,
            probabilities=pose.probabilities,
            states=pose.states,
        )


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is known before the first frame: the joints, frames per second, and where the predictions come from (`info`,
    plain types).
    """

    skeleton: Skeleton
    fps: float
    info: dict[str, Any]


class Writer(Protocol):
    """Poses as one or more files in a folder, made with the folder's path.

    `names` are the files there, known beforehand. `begin` comes once, then `add` for every frame that is
    gone through, in order, with its poses by rising numbers of the persons, none included; then `end`, after which the
    files are whole: also where the frames ended early by Ctrl-C. `close` lets go of open files, whatever has happened.
    An OSError of a failed write (no space left) may pass.
    """

    names: tuple[str, ...]

    def begin(self, header: Header) -> None: ...

    def add(self, frame: FrameInfo, poses: Sequence[FoundPose]) -> None: ...

    def end(self) -> None: ...

    def close(self) -> None: ...


class CocoWriter:
    """predictions.json in COCO's key-point layout, which `pycocotools.coco.COCO` loads.

    images: id and frame (the frame's number), file_name, width, height, time in seconds. annotations: id from 1,
    image_id, category_id 1, track_id (the person), bbox [x, y, width, height] with x2 = x + width - 1, area,
    iscrowd 0, num_keypoints, keypoints [x, y, score] * K as in COCO's result files, score (mean over the joints);
    probabilities and states [K] of the joints as in `Pose` and probability, the mean over the joints, each null where
    the weights are not calibrated. A joint without numbers (NaN) is 0, 0, 0.
    categories: the joints' names as keypoints, and the limbs as skeleton, counted from 1.

    One image or annotation stands on a line, so that the file can be read and searched as text. The annotations wait in
    a file beside it until the last image is written.
    """

    names = ("predictions.json",)

    def __init__(self, folder: Path, name: str = names[0]) -> None:
        self._path = folder / name
        self._stack = ExitStack()
        self._images = self._annotations = 0

    def begin(self, header: Header) -> None:
        skeleton = header.skeleton
        category = {
            "id": 1,
            "name": "person",
            "supercategory": "person",
            "keypoints": list(skeleton.joints),
            "skeleton": [[first + 1, second + 1] for first, second in skeleton.limbs],
        }
        self._file = self._stack.enter_context(
            open(self._path, "w", encoding="utf-8")  # noqa: SIM115
        )
        self._waiting = self._stack.enter_context(
            tempfile.TemporaryFile("w+", dir=self._path.parent, encoding="utf-8")  # noqa: SIM115
        )
        self._file.write(
            f'{{\n"info": {_json(header.info)},\n"licenses": [],\n"categories": {_json([category])},\n"images": ['
        )

    def add(self, frame: FrameInfo, poses: Sequence[FoundPose]) -> None:
        image = {
            "id": frame.number,
            "file_name": frame.file_name,
            "width": frame.width,
            "height": frame.height,
            "frame": frame.number,
            "time": rounded(frame.time, TIME_DIGITS),
        }
        self._file.write(",\n" if self._images else "\n")
        self._file.write(_json(image))
        self._images += 1
        for pose in poses:
            self._waiting.write(",\n" if self._annotations else "\n")
            self._annotations += 1
            self._waiting.write(_json(_annotation(self._annotations, pose)))
        self._file.flush()  # a full disk is met here, and not at the end
        self._waiting.flush()

    def end(self) -> None:
        self._file.write('\n],\n"annotations": [')
        self._waiting.seek(0)
        shutil.copyfileobj(self._waiting, self._file)
        self._file.write("\n]\n}\n")
        self.close()

    def close(self) -> None:
        self._stack.close()


class CsvWriter:
    """predictions.csv, a row per frame, person and joint: frame, time, person, joint, x, y, score, probability, state;
    the numbers of the JSON file, the last two empty where the weights are not calibrated.
    """

    names = ("predictions.csv",)

    def __init__(self, folder: Path, name: str = names[0]) -> None:
        self._path = folder / name
        self._stack = ExitStack()

    def begin(self, header: Header) -> None:
        self._joints = header.skeleton.joints
        self._file: IO[str] = self._stack.enter_context(
            open(self._path, "w", encoding="utf-8", newline="")  # noqa: SIM115
        )
        self._table = csv.writer(self._file, lineterminator="\n")
        self._table.writerow(COLUMNS)

    def add(self, frame: FrameInfo, poses: Sequence[FoundPose]) -> None:
        time, nothing = rounded(frame.time, TIME_DIGITS), ("",) * len(self._joints)
        for pose in poses:
            probabilities = nothing
            if pose.probabilities is not None:
                probabilities = rounded_all(pose.probabilities, SCORE_DIGITS)
            known = zip(probabilities, pose.states or nothing)
            for name, (x, y), score, worth in zip(self._joints, pose.joints, pose.scores, known):
                place = (rounded(x, PIXEL_DIGITS), rounded(y, PIXEL_DIGITS), rounded(score, SCORE_DIGITS))
                self._table.writerow((pose.frame, time, pose.person, name, *place, *worth))
        self._file.flush()

    def end(self) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()


def _annotation(number: int, pose: FoundPose) -> dict[str, Any]:
    x1, y1, x2, y2 = rounded_all(pose.box, PIXEL_DIGITS)
    width, height = rounded(x2 - x1 + 1, PIXEL_DIGITS), rounded(y2 - y1 + 1, PIXEL_DIGITS)
    there = np.isfinite(pose.joints).all(axis=1) & np.isfinite(pose.scores)
    scores = rounded_all(pose.scores, SCORE_DIGITS)
    probabilities = None if pose.probabilities is None else rounded_all(pose.probabilities, SCORE_DIGITS)
    keypoints: list[float] = []
    for known, (x, y), score in zip(there, pose.joints, scores):
        keypoints += (rounded(x, PIXEL_DIGITS), rounded(y, PIXEL_DIGITS), score) if known else (0, 0, 0)
    return {
        "id": number,
        "image_id": pose.frame,
        "category_id": 1,
        "track_id": pose.person,
        "bbox": [x1, y1, width, height],
        "area": rounded(width * height, PIXEL_DIGITS),
        "iscrowd": 0,
        "num_keypoints": int(there.sum()),
        "keypoints": keypoints,
        "score": _mean(scores, there),
        "probabilities": probabilities,
        "states": None if pose.states is None else list(pose.states),
        "probability": None if probabilities is None else _mean(probabilities, there),
    }


def _mean(values: Sequence[float | None], there: np.ndarray) -> float:
    """Of the joints that are there, by the numbers in the file."""
    return rounded(np.mean([values[joint] for joint in np.flatnonzero(there)] or [0.0]), SCORE_DIGITS)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
