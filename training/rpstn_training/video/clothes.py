"""How people are dressed: the colours of their upper bodies, which tell apart who crosses whom."""

from collections.abc import Sequence

import cv2
import numpy as np

_LEVELS = 8  # of each colour
# A pixel counts for the neighbouring levels too, [8, 8]: light changes.
_SPREAD = (2 * np.eye(_LEVELS) + np.eye(_LEVELS, k=1) + np.eye(_LEVELS, k=-1)) / 4
_LEFT, _RIGHT, _TOP, _BOTTOM = (
    0.25,
    0.75,
    0.15,
    0.6,
)  # shares of a person's box: from the chin to the hips, no arms


def clothes(image: np.ndarray, boxes: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The root of the share of each colour in the middle of each box [4], [N, D] of length 1: the product of two rows
    is the Bhattacharyya coefficient, 1 for the same colours and 0 for none in common.

    Args:
        image: uint8 [H, W, 3] RGB.
        boxes: of people, in pixels of the image.

    >>> image = np.zeros((40, 60, 3), np.uint8)
    >>> image[:, :20], image[:, 20:40], image[:, 40:] = (200, 20, 20), (20, 20, 200), (195, 25, 20)
    >>> worn = clothes(image, [np.array([x, 0, x + 19, 39]) for x in (0, 20, 40)])
    >>> (worn @ worn[0]).round(1).tolist()
    [1.0, 0.0, 1.0]
    """
    rows = [_colours(image, np.asarray(box, dtype=np.float64)) for box in boxes]
    return np.array(rows).reshape(len(rows), _LEVELS**3)


def _colours(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    wide, high = box[2:] - box[:2]
    left, right = (int(np.clip(box[0] + share * wide, 0, width - 1)) for share in (_LEFT, _RIGHT))
    top, bottom = (int(np.clip(box[1] + share * high, 0, height - 1)) for share in (_TOP, _BOTTOM))
    part = np.ascontiguousarray(image[top : bottom + 1, left : right + 1])
    counts = cv2.calcHist([part], [0, 1, 2], None, [_LEVELS] * 3, [0, 256] * 3)
    for _ in range(3):  # the first axis becomes the last one
        counts = np.tensordot(counts, _SPREAD, axes=(0, 0))
    return np.sqrt(counts.ravel() / counts.sum())
