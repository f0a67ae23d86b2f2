"""Person boxes x1, y1, x2, y2 [F, 4] of one clip, and how absent or empty ones are filled in."""

from collections.abc import Callable

import numpy as np

APART = 0.3  # overlap from which what is seen in a box may be another one's


def usable(boxes: np.ndarray) -> np.ndarray:
    """Bool [F]: finite, with a width and a height above zero."""
    return np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def from_corner(box: np.ndarray) -> np.ndarray:
    """x, y, width, height [..., 4] as x1, y1, x2, y2 of its first and last pixel, as SimpleBaselines has it."""
    return np.concatenate([box[..., :2], box[..., :2] + box[..., 2:] - 1], axis=-1)


def around(joints: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """The box [F, 4] about the labelled joints [F, K, 2] of each frame, not finite where there are none."""
    return np.concatenate(
        [
            np.where(labelled[..., None], joints, np.inf).min(axis=1),
            np.where(labelled[..., None], joints, -np.inf).max(axis=1),
        ],
        axis=1,
    )


def mend(
    boxes: np.ndarray, joints: np.ndarray, visible: np.ndarray, image_size: Callable[[], tuple[int, int]]
) -> np.ndarray:
    """Boxes [F, 4] in which every unusable row is replaced.

    By, in this order: the last usable box before it, the box of the frame's visible joints, the next usable
    box after it, the whole image. `image_size` gives (width, height) and is called only if it is needed.
    """
    good = usable(boxes)
    if good.all():
        return boxes.copy()
    frames = np.arange(len(boxes))
    before = np.maximum.accumulate(np.where(good, frames, -1))
    after = np.minimum.accumulate(np.where(good, frames, len(boxes))[::-1])[::-1]
    about_joints = around(joints, visible)
    from_joints = usable(about_joints) & (before < 0)
    from_after = ~from_joints & (before < 0) & (after < len(boxes))
    nothing = ~from_joints & (before < 0) & (after == len(boxes))
    mended = boxes[np.maximum(before, 0)]
    mended[from_joints] = about_joints[from_joints]
    mended[from_after] = boxes[after[from_after]]
    if nothing.any():
        width, height = image_size()
        mended[nothing] = [0, 0, width - 1, height - 1]
    return mended


def union(boxes: np.ndarray) -> np.ndarray:
    """The smallest box [4] that holds all of [N, 4]."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def person_size(boxes: np.ndarray) -> np.ndarray:
    """Longer side [F] of the boxes, the person size of PCK."""
    return np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])


def for_scoring(annotated: np.ndarray, mended: np.ndarray) -> np.ndarray:
    """The annotated boxes, except where they give no person size (missing, or no longer side above zero):
    there the mended ones. With a person size of 0 even a perfect prediction would only just count.
    """
    sized = person_size(annotated) > 0  # False for NaN
    return np.where(sized[:, None], annotated, mended)


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union [N, M] of boxes [N, 4] with others [M, 4]; sides are the first and the last pixel.

    >>> iou(np.array([[0, 0, 9, 9]]), np.array([[0, 0, 9, 9], [5, 0, 14, 9], [20, 0, 29, 9]])).round(2).tolist()
    [[1.0, 0.33, 0.0]]
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=-1)
    own, its = (np.maximum(some[:, 2:] - some[:, :2] + 1, 0).prod(axis=-1) for some in (boxes, others))
    return shared / np.maximum(own[:, None] + its[None] - shared, np.finfo(float).tiny)


def middle(box: np.ndarray) -> np.ndarray:
    """The point x, y [2] in the middle of a box [4].

    >>> middle(np.array([0, 0, 9, 19])).tolist()
    [4.5, 9.5]
    """
    return (box[:2] + box[2:]) / 2


def alone(boxes: np.ndarray, apart: float = APART) -> np.ndarray:
    """Bool [N]: boxes [N, 4] that overlap with none of the others by `apart` or more (`iou`).

    >>> alone(np.array([[0, 0, 9, 9], [1, 0, 10, 9], [20, 0, 29, 9]])).tolist()
    [False, False, True]
    """
    return (iou(boxes, boxes) - np.eye(len(boxes))).max(axis=1, initial=0.0) < apart
