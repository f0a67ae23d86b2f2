"""Label files in the forms of COCO, PoseTrack2018, MPII and HiEve, written small for the tests of their readers."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rpstn_training.datasets import Report
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
