"""One affine map per frame between the original image and the network's input.

Coordinates on both sides are pixels, x right, y down, first pixel centre at 0.
"""

import math

import cv2
import numpy as np


def crop_matrix(
    box: np.ndarray,
    size_wh: tuple[int, int],
    *,
    box_scale: float = 1.25,
    rotation: float = 0.0,
    scale: float = 1.0,
    flip: bool = False,
) -> np.ndarray:
    """Matrix [2, 3] float64 that takes the image to the crop: centre of the box to centre of the crop.

    The box is widened or heightened to the crop's aspect, enlarged `box_scale` times, and fills the crop;
    so one factor serves both axes and nothing is stretched.

    Args:
        box (ndarray[4]): x1, y1, x2, y2 with x2 > x1 and y2 > y1, pixels of the image.
        size_wh (tuple[int, int]): width and height of the crop.
        rotation: degrees, clockwise on the screen, about the box's centre.
        scale: further enlargement of the person, 1.4 makes everything 1.4 times as large.
        flip: mirror left and right after all else.

    Raises:
        ValueError: the box is empty or not finite.

    >>> crop_matrix(np.array([0.0, 0.0, 10.0, 10.0]), (21, 21), box_scale=1.0) @ [5.0, 5.0, 1.0]
    array([10., 10.])
    """
    x1, y1, x2, y2 = (float(side) for side in box)
    if not (np.isfinite([x1, y1, x2, y2]).all() and x2 > x1 and y2 > y1):
        raise ValueError(f"crop_matrix: expected a box x1 < x2, y1 < y2, got {[x1, y1, x2, y2]}")
    width, height = size_wh
    factor = scale * min(width / (x2 - x1), height / (y2 - y1)) / box_scale
    cosine, sine = factor * np.cos(np.deg2rad(rotation)), factor * np.sin(np.deg2rad(rotation))
    linear = np.array([[cosine, -sine], [sine, cosine]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.empty((2, 3))
    matrix[:, :2] = linear
    matrix[:, 2] = centre - linear @ [(x1 + x2) / 2, (y1 + y2) / 2]
    if flip:
        matrix[0] = -matrix[0]
        matrix[0, 2] += width - 1
    return matrix


def invert(matrix: np.ndarray) -> np.ndarray:
    """The inverse maps [..., 2, 3] of affine maps [..., 2, 3]."""
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [..., N, 2] mapped by [..., 2, 3]: leading axes are matched, so [T, 2, 3] maps [T, K, 2]."""
    linear, shift = matrix[..., :2], matrix[..., 2]
    return points @ np.swapaxes(linear, -1, -2) + shift[..., None, :]


def warp(image: np.ndarray, matrix: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The crop uint8 [h, w, 3] of `image` uint8 [H, W, 3] by `matrix`; bilinear, zero outside the image.

    OpenCV warps four channels in half the time of three, so the part of the image that the crop shows gets a
    fourth for as long.
    """
    (width, height), (rows, columns) = size_wh, image.shape[:2]
    (xx, xy, x), (yx, yy, y) = cv2.invertAffineTransform(matrix).tolist()
    # Extent, in the image, of the crop with a pixel around it, cut off at the image's border.
    left = max(math.floor(x + min(-xx, xx * width) + min(-xy, xy * height)), 0)
    top = max(math.floor(y + min(-yx, yx * width) + min(-yy, yy * height)), 0)
    right = min(math.ceil(x + max(-xx, xx * width) + max(-xy, xy * height)) + 1, columns)
    bottom = min(math.ceil(y + max(-yx, yx * width) + max(-yy, yy * height)) + 1, rows)
    if left >= right or top >= bottom:
        return np.zeros((height, width, 3), np.uint8)
    part = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2RGBA)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (left, top)
    crop = cv2.warpAffine(part, moved, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return cv2.cvtColor(crop, cv2.COLOR_RGBA2RGB)
