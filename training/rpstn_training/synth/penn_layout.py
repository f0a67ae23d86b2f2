"""Writes a synthetic clip in the files of Penn Action."""

from pathlib import Path

import numpy as np
import scipy.io

from .clip import Clip, render

_TEST_EVERY = 4
_NUM_ACTIONS = 15


def is_test(number: int) -> bool:
    """Whether clip `number`, counted from 0, is held out: each fourth, and every action comes into both parts."""
    return (number + number // _NUM_ACTIONS) % _TEST_EVERY == _TEST_EVERY - 1


def write_clip(root: Path, number: int, clip: Clip) -> None:
    """frames/NNNN/000001.jpg ... and labels/NNNN.mat with the keys, dtypes, shapes and 1-based pixels of the real
    set, NNNN = number + 1. Positions of hidden joints are the true ones, also outside the picture.
    """
    name = f"{number + 1:04d}"
    folder = root / "frames" / name
    folder.mkdir(parents=True)
    pictures, truth = render(clip)
    for position, picture in enumerate(pictures, start=1):
        (folder / f"{position:06d}.jpg").write_bytes(picture)
    (width, height), frames = clip.size, len(pictures)
    label = {
        "action": truth.action,
        "pose": truth.view,
        "x": truth.joints[..., 0] + 1,
        "y": truth.joints[..., 1] + 1,
        "visibility": truth.visible.astype(np.uint8),
        "train": np.array([[-1 if is_test(number) else 1]], dtype=np.int32),
        "bbox": truth.boxes + 1,
        "dimensions": np.array([[height, width, frames]], dtype=np.uint16),
        "nframes": np.array([[frames]], dtype=np.uint8 if frames < 256 else np.uint16),
    }
    (root / "labels").mkdir(exist_ok=True)
    scipy.io.savemat(root / "labels" / f"{name}.mat", label)
