"""The affine map between image and crop."""

import cv2
import numpy as np
import pytest

from rpstn_training.codec import crop_matrix
from rpstn_training.data.crops import apply, invert, warp

BOX = np.array([30.0, 10.0, 70.0, 90.0])  # 40 x 80, centre (50, 50)


def test_crop_by_hand():
    # The height decides: 80 * 1.25 = 100 image pixels fill 200 crop pixels, so the factor is 2.
    matrix = crop_matrix(BOX, (200, 200))
    points = apply(matrix, np.array([[50.0, 50.0], [50.0, 10.0], [30.0, 50.0]]))
    assert points.tolist() == [[99.5, 99.5], [99.5, 19.5], [59.5, 99.5]]


def test_a_wide_box_is_fitted_by_its_width():
    matrix = crop_matrix(np.array([0.0, 40.0, 100.0, 60.0]), (192, 256), box_scale=1.0)
    assert matrix[0, 0] == matrix[1, 1] == pytest.approx(1.92)


def test_flip_mirrors_the_crop():
    plain, flipped = (
        apply(crop_matrix(BOX, (64, 48), flip=flip), BOX.reshape(2, 2)) for flip in (False, True)
    )
    assert np.allclose(flipped[:, 0], 63 - plain[:, 0]) and np.allclose(flipped[:, 1], plain[:, 1])


def test_rotation_is_clockwise_on_the_screen():
    matrix = crop_matrix(BOX, (101, 101), box_scale=1.0, rotation=90.0)
    above_centre = apply(matrix, np.array([[50.0, 10.0]]))
    assert np.allclose(above_centre, [[100.5, 50.0]])  # what was up is right


@pytest.mark.parametrize("flip", [False, True])
def test_invert_leads_back(flip):
    rng = np.random.default_rng(0)
    matrices = np.stack(
        [
            crop_matrix(BOX + rng.normal(size=4), (256, 192), rotation=angle, scale=1.3, flip=flip)
            for angle in rng.uniform(-180, 180, 7)
        ]
    )
    points = rng.uniform(-50, 300, (7, 13, 2))
    assert np.abs(apply(invert(matrices), apply(matrices, points)) - points).max() < 1e-10
    assert np.allclose(apply(matrices, points)[3], apply(matrices[3], points[3]))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 25.0, -130.0])
def test_pictures_and_points_move_together(rotation, flip):
    image = np.zeros((120, 160, 3), np.uint8)
    marks = np.array([[48.0, 33.0], [61.0, 70.0], [37.0, 55.0]])
    for number, (x, y) in enumerate(marks.astype(int)):
        cv2.circle(image, (int(x), int(y)), 4, tuple(255 * (number == c) for c in range(3)), -1)
    size = (160, 120)
    matrix = crop_matrix(BOX, size, rotation=rotation, scale=1.1, flip=flip)
    crop = warp(image, matrix, size)
    assert crop.shape == (120, 160, 3) and crop.dtype == np.uint8
    weights = crop.astype(float)
    rows, columns = np.mgrid[:120, :160]
    centres = [
        [(weights[..., c] * axis).sum() / weights[..., c].sum() for axis in (columns, rows)] for c in range(3)
    ]
    assert np.abs(np.array(centres) - apply(matrix, marks)).max() < 0.1


def exact_warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The bilinear crop in float64, before it is rounded to bytes."""
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    x, y = np.moveaxis(apply(invert(matrix), np.stack([columns, rows], axis=-1).reshape(-1, 2)), -1, 0)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    crop = np.zeros((x.size, 3))
    for i, across in ((0, 1 - (x - left)), (1, x - left)):
        for j, down in ((0, 1 - (y - top)), (1, y - top)):
            u, v = left + i, top + j
            inside = (u >= 0) & (v >= 0) & (u < image.shape[1]) & (v < image.shape[0])
            crop[inside] += (across * down)[inside, None] * image[v[inside], u[inside]]
    return crop.reshape(size[1], size[0], 3)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 25.0, -130.0])
@pytest.mark.parametrize("place", [(0, 0), (900, 500), (1700, -150), (1250, 650)])
def test_crops_are_those_of_an_exact_warp(rotation, flip, place):
    """In the middle, at the corners and half outside of a large picture; also pixel for pixel, within rounding."""
    image = np.random.default_rng(1).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 1.0)
    matrix = crop_matrix(BOX + np.tile(place, 2) - [30, 10, 30, 10], (96, 64), rotation=rotation, flip=flip)
    crop, exact = warp(image, matrix, (96, 64)), exact_warp(image, matrix, (96, 64))
    assert np.abs(crop - exact).max() < 0.51
    assert (crop != np.rint(exact)).mean() < 2e-3
    shifted = matrix + [[0, 0, 0.1], [0, 0, 0]]
    assert place[0] == 1700 or np.abs(crop - exact_warp(image, shifted, (96, 64))).max() > 1


def test_outside_the_image_is_black():
    nothing = crop_matrix(np.array([500.0, 0.0, 520.0, 9.0]), (30, 20))
    assert (
        warp(np.full((10, 10, 3), 200, np.uint8), nothing, (30, 20)).tolist()
        == np.zeros((20, 30, 3)).tolist()
    )
    image = np.full((10, 10, 3), 200, np.uint8)
    crop = warp(image, crop_matrix(np.array([0.0, 0.0, 9.0, 9.0]), (30, 30), box_scale=2.0), (30, 30))
    assert crop[15, 15].tolist() == [200] * 3 and crop[:5].max() == 0


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [5, 5, 9, 4], [np.nan, 0, 1, 1], [0, 0, np.inf, 1]])
def test_an_empty_box_is_refused(box):
    with pytest.raises(ValueError, match="expected a box"):
        crop_matrix(np.array(box, dtype=float), (64, 64))
