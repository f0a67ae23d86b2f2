"""Finding people without boxes, by a network that finds coloured discs: the right answer is known."""

import doctest

import numpy as np
import pytest
from disc_people import CELL, CODEC, SIZE, DiscNetwork, box_of, checkpoint, joints_at, looker, picture

from rpstn_training.data.boxes import iou
from rpstn_training.video import search as searching
from rpstn_training.video.search import around_joints, nearby, plausibility, search, windows
from rpstn_training.video.streams import PersonStreams, Pose

EVERYWHERE = windows(SIZE, 1.0, shown=CODEC.box_scale)


def test_the_examples_run():
    assert doctest.testmod(searching).failed == 0


@pytest.mark.parametrize("size, aspect", [((320, 240), 1.0), ((90, 200), 0.75), ((1280, 720), 0.75)])
def test_windows_cover_the_picture_at_every_size(size, aspect):
    boxes = windows(size, aspect, shown=1.25)
    sides = boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_allclose(sides[:, 0], aspect * sides[:, 1])
    heights = np.unique(sides[:, 1].round(6))[::-1]
    np.testing.assert_allclose(heights[1:] / heights[:-1], np.sqrt(0.5), rtol=1e-4)
    assert sides.min(axis=1).min() < 1.5 * searching.SMALLEST * min(size)
    whole = 1.25 * sides[0]
    assert (whole >= np.array(size) - 1.001).all()  # the first crop shows all of it
    for height in heights:
        of_size = boxes[abs(sides[:, 1] - height) < 1e-4]
        inside = [
            ((of_size[:, :2] <= point) & (point <= of_size[:, 2:])).all(axis=1).any()
            for point in np.random.default_rng(0).uniform([0, 0], np.array(size) - 1, (200, 2))
        ]
        # The largest windows leave out edges that their crops show.
        assert np.mean(inside) == 1 or height > 0.7 * heights[0]


@pytest.mark.parametrize("hip", [(60, 60), (261.5, 180.25), (160, 40)])
def test_a_person_is_found_wherever_in_the_picture(hip):
    (found,) = search(looker(picture(hip)), EVERYWHERE, 1, stands_out=1.3)
    away = np.linalg.norm(found.pose.joints - joints_at(*hip), axis=1)
    assert away.max() < CELL
    np.testing.assert_allclose((found.box[:2] + found.box[2:]) / 2, hip, atol=2 * CELL)
    assert 0.7 < (found.box[3] - found.box[1]) / 66 < 1.5


def test_two_are_found_and_no_third():
    hips = [(70, 80), (250, 150)]
    look = looker(picture(*hips))
    found = search(look, EVERYWHERE, 3, stands_out=1.3)
    places = sorted(found[:2], key=lambda one: one.pose.joints[0, 0])
    for one, hip in zip(places, hips, strict=True):
        assert np.linalg.norm(one.pose.joints - joints_at(*hip), axis=1).max() < CELL
    assert all(one.score < 0.5 * found[1].score for one in found[2:])
    (other,) = search(look, EVERYWHERE, 1, taken=[np.array(box_of(*hips[0]))])
    assert np.linalg.norm(other.pose.joints - joints_at(*hips[1]), axis=1).max() < CELL


def test_plausible_is_who_scores_high_fills_the_box_and_is_large():
    def person(scale: float, score: float) -> Pose:
        return Pose(joints=100 + scale * (joints_at(100, 100) - 100), scores=np.full(3, score))

    fitting = plausibility(person(1.0, 0.5), around_joints(joints_at(100, 100), np.ones(3)))
    assert plausibility(person(1.0, 0.6), np.array(box_of(100, 100))) > fitting
    assert plausibility(person(1.0, 0.5), np.array([20.0, 0, 180, 200])) < fitting
    larger = around_joints(person(2.0, 1).joints, np.ones(3))
    assert plausibility(person(2.0, 0.5), larger) == pytest.approx(2**0.3 * fitting)


def test_where_nothing_stands_out_nobody_is_found():
    same = Pose(joints=joints_at(100, 100), scores=np.full(3, 0.4))
    assert (
        search(lambda boxes: [same] * len(boxes), [np.array(box_of(100, 100))] * 9, 1, stands_out=1.3) == []
    )
    nothing = Pose(joints=joints_at(100, 100), scores=np.zeros(3))
    assert search(lambda boxes: [nothing] * len(boxes), EVERYWHERE, 1) == []


def test_near_by_is_within_reach_of_the_last_box():
    boxes = nearby(np.array(box_of(100, 100)))
    assert len(boxes) == 27
    np.testing.assert_array_equal(boxes[0], box_of(100, 100))
    assert iou(boxes[:1], boxes).min() > 0
    (found,) = search(looker(picture((112, 120))), boxes, 1)
    assert np.linalg.norm(found.pose.joints - joints_at(112, 120), axis=1).max() < CELL


def test_the_box_about_joints_leaves_out_stray_ones_but_not_all():
    joints = np.array([[10.0, 0], [30, 100], [20, 50], [500, 500]])
    about = around_joints(joints, np.array([0.9, 0.8, 0.9, 0.05]))
    np.testing.assert_allclose(about, [2, -8, 38, 108])
    whole = around_joints(joints, np.array([0.9, 0.01, 0.01, 0.01]))  # fewer than three would be left
    assert whole[2] > 500
    dot = around_joints(np.full((4, 2), 7.0), np.ones(4))
    assert (dot[2:] > dot[:2]).all()


def test_a_look_leaves_every_memory_alone():
    network = DiscNetwork()
    streams = PersonStreams(checkpoint(network))
    image, box = picture((100, 100)), np.array(box_of(100, 100))
    for _ in range(2):
        streams.next_frame(image, {0: box})
        streams.look(image, [box] * 20)  # more than a batch
    streams.next_frame(image, {0: box})
    assert network.ages == [0, 1]
    one = streams.look(image, [box])[0]
    np.testing.assert_array_equal(one.joints, streams.next_frame(image, {5: box})[5].joints)
