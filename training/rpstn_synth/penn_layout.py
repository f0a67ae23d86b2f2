"""Writes a synthetic clip in the files of Penn Action."""

from pathlib import Path
from typing import Any

import numpy as np

from .clip import Clip, make_any_clip, make_clip, render
from .crowd import make_company
from .layout import TEST_EVERY, Layout, is_test, write_bytes, write_mat
from .points import JOINTS


def write_clip(root: Path, number: int, clips: int, clip: Clip, skeleton: dict[str, Any]) -> None:
    """frames/NNNN/000001.jpg ... and labels/NNNN.mat with the keys, dtypes, shapes and 1-based pixels of the real
    set, NNNN = number + 1. Positions of hidden joints are the true ones, also outside the picture.
    """
    name = f"{number + 1:04d}"
    pictures, truth = render(clip)
    for position, picture in enumerate(pictures, start=1):
        write_bytes(root / "frames" / name / f"{position:06d}.jpg", picture)
    (width, height), frames = clip.size, len(pictures)
    chosen = slice(len(JOINTS))
    joints = truth.joints[:, chosen]
    test = is_test(number, TEST_EVERY)  # of fewer than four clips none
    label = {
        "action": truth.action,
        "pose": truth.view,
        "x": joints[..., 0] + 1,
        "y": joints[..., 1] + 1,
        "visibility": truth.visible[:, chosen].astype(np.uint8),
        "train": np.array([[-1 if test else 1]], dtype=np.int32),
        "bbox": truth.boxes + 1,
        "dimensions": np.array([[height, width, frames]], dtype=np.uint16),
        "nframes": np.array([[frames]], dtype=np.uint8 if frames < 256 else np.uint16),
    }
    write_mat(root / "labels" / f"{name}.mat", label, "synthetic clip in the layout of Penn Action")


LAYOUT = Layout(make=make_clip, write=write_clip, fewest=1)
EVERYDAY = Layout(make=make_any_clip, write=write_clip, fewest=1)
COMPANY = Layout(make=make_company, write=write_clip, fewest=1)
