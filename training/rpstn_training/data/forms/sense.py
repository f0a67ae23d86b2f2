"""Whether labels can be meant: numbers that parse and still cannot be where they say.

One odd person is a line or a count; where nearly all are odd the file holds something else than it says, and nothing
can be learnt from it, so that it is refused.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from .. import boxes as box_rules
from ..findings import Report
from .people import Pose

SHARE = 1.5  # what lies below in all coordinates is a share of the picture's sides, no pixel
_NEARLY_ALL = 0.9
_BORDER = 1.0  # pixels: boxes are rounded


def are_shares(boxes: np.ndarray) -> np.ndarray:
    """Bool [N]: boxes x1, y1, x2, y2 [N, 4] that are given as shares of the picture, as YOLO has them."""
    with np.errstate(invalid="ignore"):
        return (np.abs(boxes) <= SHARE).all(axis=1) & (boxes != 0).any(axis=1)


def look(file: Path, poses: Sequence[Pose], report: Report) -> None:
    """Count joints outside their boxes, and raise UserError where nearly all joints or boxes cannot be right."""
    if not poses:
        return
    joints = np.stack([pose.joints for pose in poses])
    labelled = np.stack([pose.labelled for pose in poses])
    boxes = np.stack([pose.box for pose in poses])
    total = int(labelled.sum())
    small = labelled & (np.abs(joints) <= SHARE).all(axis=-1)
    if total and small.sum() > _NEARLY_ALL * total:
        raise UserError(
            f"{file}: expected key points in pixels, {small.sum()} of {total} lie between 0 and {SHARE}; they are "
            "shares of the picture, multiply x by its width and y by its height"
        )
    boxed = np.isfinite(boxes).all(axis=1)
    ends = boxes + [0, 0, 1, 1]  # as in the file: x2 = x + width
    shares = boxed & are_shares(ends) & (ends[:, 2] > ends[:, 0]) & (ends[:, 3] > ends[:, 1])
    if boxed.any() and shares.sum() > _NEARLY_ALL * boxed.sum():
        raise UserError(
            f"{file}: expected boxes in pixels, {shares.sum()} of {boxed.sum()} lie between 0 and {SHARE}; they are "
            "shares of the picture, multiply them by its width and height"
        )
    known = labelled & box_rules.usable(boxes)[:, None]
    outside = known & ((joints < boxes[:, None, :2] - _BORDER) | (joints > boxes[:, None, 2:] + _BORDER)).any(
        axis=-1
    )
    if outside.any():
        report.count("joints outside their box", int(outside.sum()))
    for pose, is_out, has in zip(poses, outside.sum(axis=1), known.sum(axis=1)):
        if is_out == has > 1:
            report.defect(file, pose.place, "all joints outside their box", "kept")
    if known.any() and outside.sum() > _NEARLY_ALL * known.sum():
        raise UserError(
            f"{file}: expected joints in their boxes, {outside.sum()} of {known.sum()} lie outside; key points and "
            "boxes must both be pixels of the picture, boxes as x, y, width, height"
        )
    _look_for_corners(file, joints, labelled, ends, boxed, report)


def _look_for_corners(
    file: Path, joints: np.ndarray, labelled: np.ndarray, ends: np.ndarray, boxed: np.ndarray, report: Report
) -> None:
    """Boxes x1, y1, x2, y2 where x, y, width, height is meant. Read as the former they hold their joints, and read as
    the latter they reach beyond them by the whole of x1 and y1, which boxes far from the corner show.
    """
    around = box_rules.around(joints, labelled)
    sides = ends[:, 2:] - ends[:, :2]
    far = (ends[:, :2] > 0.1 * sides).all(axis=1) & boxed & np.isfinite(around).all(axis=1)
    fits = far & (ends[:, :2] < sides).all(axis=1) & (around[:, 2:] <= sides + _BORDER).all(axis=1)
    if far.any() and fits.sum() > _NEARLY_ALL * far.sum():
        report.defect(
            file,
            f"{fits.sum()} of {far.sum()} boxes that can tell",
            "boxes that fit their joints as x1, y1, x2, y2",
            "taken as x, y, width, height, so crops are too large; write them so",
        )
