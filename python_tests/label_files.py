"""Label files in the forms of the data sets, written small for the tests of their readers and scores."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io

from rpstn_training.data.findings import Report
from rpstn_training.errors import UserError

WIDTH, HEIGHT = 120, 90


def picture(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), level: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), level, np.uint8))
    return path


def dump(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return path


def body(joints: int, x: float = 40.0, y: float = 20.0) -> list[float]:
    """Key points x, y, 2 on a diagonal from (x, y), 2 right and 3 down from joint to joint."""
    return [value for joint in range(joints) for value in (x + 2 * joint, y + 3 * joint, 2)]


def expect_error(call: Callable[[], object], path: Path | str, text: str) -> None:
    """`call` raises one sentence that begins with `path` and has `text` in it."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{path}: "), message
    assert text in message and "\n" not in message, message


def kinds(report: Report) -> dict[str, int]:
    """What the report has, by the kind of defect."""
    return dict(Counter(defect.what for defect in report.defects))


def set_at(values: Any, place: Iterable[str | int], value: Any) -> None:
    """values[a][b][c] = value; ... deletes."""
    *way, last = place
    for step in way:
        values = values[step]
    if value is ...:
        del values[last]
    else:
        values[last] = value


JHMDB_CLIPS = {"a": (1, 2, 2), "b": (2, 1, 2), "c": (2, 2, 1)}  # 1 train, 2 test, in each split


def write_jhmdb(root: Path, frames: int = 4) -> Path:
    """Labels of Sub-JHMDB without pictures: three clips, of which each split trains on one."""
    rng = np.random.default_rng(0)
    for clip in JHMDB_CLIPS:
        joints = rng.uniform(60, 200, (2, 15, frames))
        mask = np.zeros((240, 320, frames), np.uint8)
        mask[30:230, 40:240] = 1
        for folder, name, values in (
            ("joint_positions", "joint_positions.mat", {"pos_img": joints}),
            ("puppet_mask", "puppet_mask.mat", {"part_mask": mask}),
        ):
            path = root / folder / "catch" / clip / name
            path.parent.mkdir(parents=True)
            scipy.io.savemat(path, values)
    for split in (1, 2, 3):
        lines = "".join(f"{clip}.avi {flags[split - 1]}\n" for clip, flags in JHMDB_CLIPS.items())
        path = root / "sub_splits" / f"catch_test_split_{split}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines)
    return root
