"""Affine maps between the original image and the network's input, one per frame (`codec.crop_matrix`), at work.

Coordinates on both sides are pixels, x right, y down, first pixel centre at 0.
"""

import math

import cv2
import numpy as np


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
