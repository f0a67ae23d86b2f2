"""Entries of label files in COCO's form, which COCO, PoseTrack2018 and people's own sets use."""

from typing import Any

import cv2
import numpy as np

CATEGORY = 1  # the id of "person"
_FINE = 4  # parts of a pixel, so that an outline goes round it


def category(skeleton: dict[str, Any]) -> dict[str, Any]:
    """The one category; limbs count from 1, as in COCO."""
    return {
        "supercategory": "person",
        "id": CATEGORY,
        "name": "person",
        "keypoints": skeleton["joints"],
        "skeleton": [[first + 1, second + 1] for first, second in skeleton["limbs"]],
    }


def flat(joints: np.ndarray, flags: np.ndarray) -> list[float]:
    """x, y, flag of each of the joints [K, 2]; 0, 0, 0 where the flag is 0."""
    rows = np.column_stack([np.round(joints, 2), flags])
    rows[flags == 0] = 0
    return [int(value) if value == int(value) else value for value in rows.ravel().tolist()]


def polygons(mask: np.ndarray) -> list[list[float]]:
    """The outlines of the parts of a mask, bool [H, W], as lists x, y, x, y ... Pixel (0, 0) goes from 0 to 1."""
    large = np.repeat(np.repeat(mask.astype(np.uint8), _FINE, axis=0), _FINE, axis=1)
    found, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [((outline.ravel() + 0.5) / _FINE).tolist() for outline in found]


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """A mask, bool [H, W], as COCO has crowds: lengths of the runs down the columns, the first one of background."""
    values = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(values[1:] != values[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return {"counts": counts.tolist(), "size": list(mask.shape)}


def tight_box(mask: np.ndarray) -> np.ndarray:
    """First and last pixel x1, y1, x2, y2 of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], float)
