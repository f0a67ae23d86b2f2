"""What the writers of all layouts share: which clips are held out, and files whose bytes follow from the clips."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from .clip import Clip

TEST_EVERY = 4  # has no factor in common with the number of Penn Action's actions: each comes into both parts


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one data set is made.

    `make(seed, number, frames=, size=)` draws clip `number`. `write(root, number, clips, clip, skeleton)` writes what
    is the clip's own, of `clips` in all, and returns what `finish(root, parts, skeleton)` needs of it for the files
    of the whole set. `skeleton` is `SKELETON.to_dict()` of the reader `dataset`, plain, so that the processes that
    draw need not load the readers and what they need. `stills`: every frame is a picture of its own, a clip of one
    frame. `fewest` clips make a set.
    """

    make: Callable[..., Clip]
    write: Callable[[Path, int, int, Clip, dict[str, Any]], Any]
    finish: Callable[[Path, list[Any], dict[str, Any]], None] | None = None
    stills: bool = False
    dataset: str | None = None  # None needs no skeleton
    fewest: int = 2  # one to train on, one to test
    even: bool = False  # width and height, as videos have them


def is_test(number: int, clips: int) -> bool:
    """Whether clip `number`, counted from 0, is held out: each fourth, and of fewer than four the last."""
    every = min(TEST_EVERY, clips)
    return number % every == every - 1


def rank(number: int, clips: int) -> int:
    """How many clips of the same part, held out or not, come before clip `number`."""
    held_out = number // min(TEST_EVERY, clips)
    return held_out if is_test(number, clips) else number - held_out


def write_mat(path: Path, values: dict[str, Any], text: str, *, compressed: bool = False) -> None:
    """A MATLAB 5 file that begins with `text`: SciPy writes the time of day there, but the same clip is the same
    bytes.
    """
    content = io.BytesIO()
    scipy.io.savemat(content, values, do_compression=compressed)
    content.seek(0)
    content.write(f"MATLAB 5.0 MAT-file, {text}".encode().ljust(116))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.getvalue())


def write_compact(path: Path, values: Any) -> None:
    """JSON in one line, as the label files of the big sets are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, allow_nan=False), encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def corner(box: np.ndarray) -> list[float]:
    """x1, y1, x2, y2 [4] of the first and last pixel as x, y, width, height."""
    x1, y1, x2, y2 = box.tolist()
    return [round(value, 2) for value in (x1, y1, x2 - x1 + 1, y2 - y1 + 1)]


def inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Whether points [..., 2] lie in the picture."""
    return ((points >= -0.5) & (points <= np.array(size) - 0.5)).all(-1)


def detections(
    rng: np.random.Generator, boxes: np.ndarray, size: tuple[int, int]
) -> list[tuple[np.ndarray, float]]:
    """Boxes as a detector would find them in one picture: those of the people [N, 4], shifted a little, a few of
    them missed, and now and then one where nobody is, with a lower score.
    """
    found = []
    for box in boxes:
        if rng.random() < 0.05:
            continue
        side = np.tile(np.maximum(box[2:] - box[:2], 1), 2)
        found.append((box + rng.normal(0, 0.03, 4) * side, rng.uniform(0.55, 0.999)))
    if rng.random() < 0.5:
        low = rng.uniform(0, 0.7, 2) * size
        found.append((np.concatenate([low, low + rng.uniform(0.1, 0.3, 2) * size]), rng.uniform(0.02, 0.35)))
    border = np.tile(np.array(size) - 1.0, 2)
    return [
        (cut, round(float(score), 6))
        for cut, score in ((np.clip(b, 0, border), s) for b, s in found)
        if (cut[2:] - cut[:2] >= 2).all()
    ]
