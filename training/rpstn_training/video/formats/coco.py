"""predictions.json in COCO's key-point layout (`writers.coco`); a missing joint is 0, 0, 0, as in COCO's labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..recording import Recording
from ..writers import FoundPose, coco, write_coco


def names() -> tuple[str, ...]:
    return ("predictions.json",)


def write(recording: Recording, path: Path) -> None:
    poses = [_without_nan(pose) for _, poses in recording.by_frame() for pose in poses]
    with open(path, "w", encoding="utf-8") as file:
        write_coco(file, coco(recording.frames, poses, recording.skeleton, recording.info))


def _without_nan(pose: FoundPose) -> FoundPose:
    missing = np.isnan(pose.joints[:, 0])
    probabilities = None if pose.probabilities is None else np.nan_to_num(pose.probabilities)
    return replace(
        pose,
        joints=np.nan_to_num(pose.joints),
        scores=np.where(missing, 0, pose.scores),
        probabilities=probabilities,
    )
