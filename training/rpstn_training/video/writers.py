"""Poses as files: COCO key points and a table."""

import csv
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..data.records import Skeleton
from ..errors import UserError
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


def coco(
    frames: Sequence[FrameInfo], poses: Sequence[FoundPose], skeleton: Skeleton, info: dict[str, Any]
) -> dict[str, Any]:
    """COCO's key-point layout, which `pycocotools.coco.COCO` loads.

    images: id and frame (the frame's number), file_name, width, height, time in seconds. annotations: id from 1,
    image_id, category_id 1, track_id (the person), bbox [x, y, width, height] with x2 = x + width - 1, area,
    iscrowd 0, num_keypoints, keypoints [x, y, score] * K as in COCO's result files, score (mean over the joints);
    probabilities and states [K] of the joints as in `Pose` and probability, the mean over the joints, each null where
    the weights are not calibrated.
    categories: the joints' names as keypoints, and the limbs as skeleton, counted from 1.
    """
    return {
        "info": info,
        "licenses": [],
        "images": [
            {
                "id": frame.number,
                "file_name": frame.file_name,
                "width": frame.width,
                "height": frame.height,
                "frame": frame.number,
                "time": _round(frame.time, _TIME_DIGITS),
            }
            for frame in frames
        ],
        "annotations": [_annotation(number, pose) for number, pose in enumerate(poses, start=1)],
        "categories": [
            {
                "id": 1,
                "name": "person",
                "supercategory": "person",
                "keypoints": list(skeleton.joints),
                "skeleton": [[first + 1, second + 1] for first, second in skeleton.limbs],
            }
        ],
    }


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


def write_coco(file: IO[str], content: dict[str, Any]) -> None:
    """One image or annotation a line, so that the file can be read and searched as text."""
    file.write("{\n")
    for position, (key, value) in enumerate(content.items()):
        file.write(",\n" if position else "")
        if key in ("images", "annotations") and value:
            rows = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in value)
            file.write(f'"{key}": [\n{rows}\n]')
        else:
            file.write(f'"{key}": {json.dumps(value, ensure_ascii=False, allow_nan=False)}')
    file.write("\n}\n")


def write_csv(
    file: IO[str], frames: Sequence[FrameInfo], poses: Sequence[FoundPose], skeleton: Skeleton
) -> None:
    """A row per frame, person and joint: frame, time, person, joint, x, y, score, probability, state; the numbers of
    the JSON file, the last two empty where the weights are not calibrated.
    """
    times = {frame.number: _round(frame.time, _TIME_DIGITS) for frame in frames}
    table = csv.writer(file, lineterminator="\n")
    table.writerow(COLUMNS)
    for pose in poses:
        probabilities = ("",) * len(skeleton.joints)
        if pose.probabilities is not None:
            probabilities = tuple(_round(value, _SCORE_DIGITS) for value in pose.probabilities)
        known = zip(probabilities, pose.states or ("",) * len(skeleton.joints))
        for name, (x, y), score, worth in zip(skeleton.joints, pose.joints, pose.scores, known):
            place = (_round(x, _PIXEL_DIGITS), _round(y, _PIXEL_DIGITS), _round(score, _SCORE_DIGITS))
            table.writerow((pose.frame, times[pose.frame], pose.person, name, *place, *worth))


@contextmanager
def staged(out: Path, names: Sequence[str]) -> Iterator[Path]:
    """A temporary folder in `out` whose files `names` move to `out` when the block ends well, all or none.

    Whatever happens in the block, the temporary folder goes, and so do folders that were made for it and are empty.
    """
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    staging = out / f".predict.{secrets.token_hex(4)}.tmp"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"{out}: expected a folder for the results, it cannot be made or written to ({error.strerror}); "
            "choose another --out"
        ) from error
    try:
        for name in names:
            if (out / name).is_dir():
                raise UserError(
                    f"{out / name}: expected a place for a file, it is a folder; choose another --out"
                )
        yield staging
        for name in names:
            os.replace(staging / name, out / name)
    except UserError as error:
        raise UserError(str(error).replace(str(staging), str(out))) from error
    finally:
        shutil.rmtree(staging)
        for folder in missing:
            if not any(folder.iterdir()):
                folder.rmdir()


def _round(value: float, digits: int) -> float:
    return round(float(value), digits)
