"""Writes a synthetic clip in the files of Penn Action."""

import io
from pathlib import Path

import numpy as np
import scipy.io

from .clip import Clip, render

_TEST_EVERY = 4  # has no factor in common with the number of actions, so each comes into both parts
# The free text a .mat file begins with; SciPy writes the time of day there, but the same clip is the same bytes.
_HEADER = b"MATLAB 5.0 MAT-file, synthetic clip in the layout of Penn Action".ljust(116)


def is_test(number: int) -> bool:
    """Whether clip `number`, counted from 0, is held out."""
    return number % _TEST_EVERY == _TEST_EVERY - 1


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
    content = io.BytesIO()
    scipy.io.savemat(content, label)
    content.seek(0)
    content.write(_HEADER)
    (root / "labels").mkdir(exist_ok=True)
    (root / "labels" / f"{name}.mat").write_bytes(content.getvalue())
