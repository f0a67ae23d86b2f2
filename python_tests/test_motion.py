"""Where a video changes: patches that move over pictures that stand, shift, or are the same."""

import cv2
import numpy as np
import pytest
from disc_people import SIZE, joints_at, looker, picture

from rpstn_training.video.motion import Motion
from rpstn_training.video.search import search, windows
from rpstn_training.video.sources import LATER, Frame, with_later

NOISE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (260, 340, 3), dtype=np.uint8), (0, 0), 3
)  # as smooth as pictures are


def scene(shift: int = 0, patch: int = 0) -> np.ndarray:
    """240x320 pixels of a wall seen from `shift` pixels farther right, with a patch at row 60, column 40 + patch."""
    wall = NOISE[:240, shift : shift + 320].copy()
    wall[60:100, 40 + patch : 80 + patch] = 255 - NOISE[200:240, 200:240] // 2
    return wall


@pytest.mark.parametrize("shift", [0, 7])
def test_what_moves_changes_and_what_the_camera_moves_does_not(shift):
    motion = Motion(scene(), [scene(shift, 10 - shift), scene(2 * shift, 20 - 2 * shift)])
    there, elsewhere = np.array([38.0, 58, 102, 102]), np.array([150.0, 100, 299, 219])
    assert motion.within(there) > 4
    assert motion.within(elsewhere) < 0.5
    # Of the same sum over the whole picture the mean is 1, and what lies outside counts as still.
    assert motion.within(np.array([0.0, 0, 319, 239])) == pytest.approx(1, abs=1e-3)
    assert motion.within(np.array([0.0, 0, 639, 239])) == pytest.approx(0.5, abs=1e-3)


def test_boxes_are_of_the_picture_whatever_its_size():
    large = [np.kron(image, np.ones((4, 4, 1), np.uint8)) for image in (scene(), scene(0, 10))]
    small = Motion(scene(), [scene(0, 10)])
    box = np.array([38.0, 58, 90, 102])
    assert Motion(large[0], large[1:]).within(4 * box) == pytest.approx(small.within(box), rel=0.05)


@pytest.mark.parametrize("later", [[], [scene()], [scene()[:100]]], ids=["none", "the same", "another size"])
def test_where_nothing_is_known_everything_counts_alike(later):
    motion = Motion(scene(), later)
    assert motion.within(np.array([40.0, 60, 79, 99])) == motion.within(np.array([200.0, 60, 239, 99])) == 1


@pytest.mark.parametrize("moving", [0, 1])
def test_of_two_people_the_one_who_moves_is_found(moving):
    hips = [(70.0, 80.0), (250.0, 150.0)]
    later = [list(hips), list(hips)]
    for step, people in enumerate(later, start=1):
        people[moving] = hips[moving][0] + 4 * step, hips[moving][1]
    image = picture(*hips)
    motion = Motion(image, [picture(*people) for people in later])
    (found,) = search(looker(image), windows(SIZE, 1.0, shown=1.25), 1, motion=motion)
    assert np.linalg.norm(found.pose.joints - joints_at(*hips[moving]), axis=1).max() < 8


def test_frames_come_with_those_that_follow_and_are_otherwise_the_same():
    frames = [
        Frame(number=number, time=number / 25, file_name="a.mp4", image=np.full((2, 2, 3), number, np.uint8))
        for number in range(9)
    ]
    seen = list(with_later(iter(frames)))
    assert [frame.number for frame in seen] == list(range(9))
    for frame, before in zip(seen, frames, strict=True):
        assert frame.image is before.image and frame.time == before.time
        expected = [frame.number + ahead for ahead in LATER if frame.number + ahead < 9]
        assert [int(image[0, 0, 0]) for image in frame.later] == expected
    assert [frame.number for frame in with_later(iter(frames[:2]))] == [0, 1]
    assert list(with_later(iter([]))) == []
