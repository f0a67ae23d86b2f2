"""Poses as files, written as they come: COCO key points and a table.

A writer (`Writer`) hears of each frame once and keeps nothing of it, so that an hour of video needs no more memory than
a second. `WRITERS` has them all by name.
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
from .streams import Pose

COLUMNS = ("frame", "time", "person", "joint", "x", "y", "score", "probability", "state")
_PIXEL_DIGITS, _SCORE_DIGITS, _TIME_DIGITS = 3, 5, 6  # the same in every file


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

    `names` are the files (or folders) there, known beforehand. `begin` comes once, then `add` for every frame that is
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
    the weights are not calibrated.
    categories: the joints' names as keypoints, and the limbs as skeleton, counted from 1.

    One image or annotation stands on a line, so that the file can be read and searched as text. The annotations wait in
    a file beside it until the last image is written.
    """

    names = ("predictions.json",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
            open(self._folder / self.names[0], "w", encoding="utf-8")  # noqa: SIM115
        )
        self._waiting = self._stack.enter_context(
            tempfile.TemporaryFile("w+", dir=self._folder, encoding="utf-8")  # noqa: SIM115
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
            "time": _round(frame.time, _TIME_DIGITS),
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

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def begin(self, header: Header) -> None:
        self._joints = header.skeleton.joints
        self._file: IO[str] = self._stack.enter_context(
            open(self._folder / self.names[0], "w", encoding="utf-8", newline="")  # noqa: SIM115
        )
        self._table = csv.writer(self._file, lineterminator="\n")
        self._table.writerow(COLUMNS)

    def add(self, frame: FrameInfo, poses: Sequence[FoundPose]) -> None:
        time, nothing = _round(frame.time, _TIME_DIGITS), ("",) * len(self._joints)
        for pose in poses:
            probabilities = nothing
            if pose.probabilities is not None:
                probabilities = tuple(_round(value, _SCORE_DIGITS) for value in pose.probabilities)
            known = zip(probabilities, pose.states or nothing)
            for name, (x, y), score, worth in zip(self._joints, pose.joints, pose.scores, known):
                place = (_round(x, _PIXEL_DIGITS), _round(y, _PIXEL_DIGITS), _round(score, _SCORE_DIGITS))
                self._table.writerow((pose.frame, time, pose.person, name, *place, *worth))
        self._file.flush()

    def end(self) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()


def _annotation(number: int, pose: FoundPose) -> dict[str, Any]:
    x1, y1, x2, y2 = (_round(side, _PIXEL_DIGITS) for side in pose.box)
    width, height = _round(x2 - x1 + 1, _PIXEL_DIGITS), _round(y2 - y1 + 1, _PIXEL_DIGITS)
    keypoints = [
        value
        for (x, y), score in zip(pose.joints, pose.scores)
        for value in (_round(x, _PIXEL_DIGITS), _round(y, _PIXEL_DIGITS), _round(score, _SCORE_DIGITS))
    ]
    return {
        "id": number,
        "image_id": pose.frame,
        "category_id": 1,
        "track_id": pose.person,
        "bbox": [x1, y1, width, height],
        "area": _round(width * height, _PIXEL_DIGITS),
        "iscrowd": 0,
        "num_keypoints": len(pose.scores),
        "keypoints": keypoints,
        "score": _round(np.mean(pose.scores), _SCORE_DIGITS),
        "probabilities": None
        if pose.probabilities is None
        else [_round(value, _SCORE_DIGITS) for value in pose.probabilities],
        "states": None if pose.states is None else list(pose.states),
        "probability": None if pose.probability is None else _round(pose.probability, _SCORE_DIGITS),
    }


WRITERS: dict[str, type[Writer]] = {"json": CocoWriter, "csv": CsvWriter}


def read_back(path: Path) -> tuple[tuple[FrameInfo, ...], tuple[FoundPose, ...]]:
    """Frames and poses of a predictions.json, with the digits that it has."""
    content = json.loads(path.read_text(encoding="utf-8"))
    frames = tuple(
        FrameInfo(
            number=image["frame"],
            time=image["time"],
            file_name=image["file_name"],
            width=image["width"],
            height=image["height"],
        )
        for image in content["images"]
    )
    poses = []
    for note in content["annotations"]:
        x, y, width, height = note["bbox"]
        joints = np.array(note["keypoints"], dtype=np.float64).reshape(-1, 3)
        poses.append(
            FoundPose(
                frame=note["image_id"],
                person=note["track_id"],
                box=np.array([x, y, x + width - 1, y + height - 1], dtype=np.float64),
                joints=joints[:, :2],
                scores=joints[:, 2],
                probabilities=None
                if note["probabilities"] is None
                else np.array(note["probabilities"], dtype=np.float64),
                states=None if note["states"] is None else tuple(note["states"]),
            )
        )
    return frames, tuple(poses)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _round(value: float, digits: int) -> float:
    return round(float(value), digits)
