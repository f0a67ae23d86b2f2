"""Whose pose is whose where people meet: by places, by the last poses and by clothes."""

import numpy as np
import pytest
from disc_people import box_of, frame, pose_at

from rpstn_training.video import whose
from rpstn_training.video.clothes import clothes
from rpstn_training.video.streams import Pose
from rpstn_training.video.whose import Whose

RED, BLUE = (220, 30, 30), (30, 30, 220)
LEFT, RIGHT = (100.0, 120.0), (200.0, 120.0)


def box(hip: tuple[float, float]) -> np.ndarray:
    return np.array(box_of(*hip), dtype=np.float64)


def tell(known: Whose, colors: dict, poses: dict, places: dict | None = None, **how):
    """Hips by person, in a picture of people in these colours at these hips."""
    found = {person: pose_at(*hip) for person, hip in poses.items()}
    places = {person: box(hip) for person, hip in (places or poses).items()}
    return known.tell(frame(0, colors).image, found, places, **how)


def clothes_of(color: tuple[int, int, int]) -> np.ndarray:
    return clothes(frame(0, {LEFT: color}).image, [pose_at(*LEFT).joints])[0]


def met() -> Whose:
    """Person 0 in red on the left, person 1 in blue on the right, until their clothes are known."""
    known = Whose()
    for _ in range(whose._SURE):
        assert tell(known, {LEFT: RED, RIGHT: BLUE}, {0: LEFT, 1: RIGHT}) == (set(), {})
    return known


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_with_one_pose_the_clothes_decide_against_the_box(turned: bool):
    middle, beside = (150.0, 120.0), (156.0, 120.0)
    places = {0: beside, 1: middle} if turned else {0: middle, 1: beside}  # nearer to the wrong one
    color, owner = (RED, 0) if turned else (BLUE, 1)
    hidden, _ = tell(met(), {middle: color}, {0: middle, 1: middle}, places)
    assert hidden == {1 - owner}


def test_poses_in_each_others_boxes_are_nobodys_and_both_are_looked_for_where_they_are():
    near, far = (145.0, 120.0), (149.0, 120.0)
    known = met()
    halves = {(140.0, 120.0): BLUE, (154.0, 120.0): RED}  # the picture has the one's colours up to x = 147
    hidden, moved = tell(known, halves, {0: near, 1: far})
    assert hidden == {0, 1} and sorted(moved) == [0, 1]
    assert moved[0][[0, 2]].mean() == pytest.approx(far[0]) and moved[1][[0, 2]].mean() == pytest.approx(
        near[0]
    )
    apart = (130.0, 120.0), (170.0, 120.0)
    assert tell(known, {apart[0]: BLUE, apart[1]: RED}, {0: apart[1], 1: apart[0]}) == (set(), {})


def test_a_pose_in_a_box_that_is_somebodys_for_sure_is_never_anothers():
    hidden, _ = tell(met(), {LEFT: BLUE}, {0: LEFT, 1: LEFT}, certain=[0, 1])
    assert hidden == set()
    assert tell(met(), {LEFT: BLUE}, {0: LEFT, 1: LEFT}, certain=[0])[0] == {1}
    assert tell(Whose(), {LEFT: BLUE}, {0: LEFT, 1: LEFT}, doubtful=[0])[0] == {0}
    assert tell(Whose(), {LEFT: BLUE}, {0: LEFT, 1: LEFT}, doubtful=[1])[0] == {1}


GREEN = (30, 200, 30)


def test_a_pose_in_the_clothes_of_somebody_near_who_is_not_seen_now_is_not_the_persons():
    known, far = met(), (80.0, 120.0)  # 1.5 times the longer side of a box are 111 pixels
    assert tell(known, {LEFT: BLUE}, {0: LEFT}) == ({0}, {})
    assert tell(met(), {far: BLUE}, {0: far}) == (set(), {})
    assert known.may_be(0, clothes_of(RED), box(LEFT)) and known.may_be(1, clothes_of(BLUE), box(LEFT))
    assert not known.may_be(0, clothes_of(BLUE), box(LEFT)) and not known.may_be(
        0, clothes_of(GREEN), box(far)
    )
    assert known.may_be(7, clothes_of(GREEN), box(LEFT))  # nobody knows


def test_alike_clothes_tell_nobody_apart():
    known, ruby = Whose(), (215, 20, 20)
    for _ in range(whose._SURE):
        tell(known, {LEFT: RED, RIGHT: ruby}, {0: LEFT, 1: RIGHT})
    assert tell(known, {LEFT: ruby}, {0: LEFT}) == (set(), {})


def test_what_is_not_clearly_one_persons_is_nobodys_where_clothes_say_nothing():
    first, second, between = (150.0, 120.0), (174.0, 120.0), (162.0, 120.0)
    places, known = {0: first, 1: second}, Whose()
    assert tell(known, {}, {0: first, 1: between}, places)[0] == set()  # both are new
    assert tell(known, {}, places)[0] == set()
    assert tell(known, {}, {0: first, 1: between}, places)[0] == {1}
    dressed = met()
    colors = {first: RED, (between[0] + 8, 120.0): BLUE}
    assert tell(dressed, colors, {0: first, 1: between}, places)[0] == set()


def test_clothes_are_known_by_their_mean_at_first():
    known = Whose()
    tell(known, {LEFT: RED}, {0: LEFT})
    tell(known, {LEFT: BLUE, RIGHT: GREEN}, {0: LEFT, 1: RIGHT})
    assert known.alike(0, clothes_of(RED)) == pytest.approx(known.alike(0, clothes_of(BLUE)))
    assert known.alike(7, clothes_of(RED)) == 1


def test_who_changes_clothes_near_nobody_is_believed_at_once_and_after_a_meeting_later():
    known, far = met(), (310.0, 120.0)
    tell(known, {LEFT: RED, far: BLUE}, {0: LEFT, 1: far})
    assert tell(known, {LEFT: GREEN, far: BLUE}, {0: LEFT, 1: far})[0] == set()

    known, near = met(), (LEFT[0] + 4, LEFT[1])
    both = {0: LEFT, 1: near}
    assert 1 in tell(known, {LEFT: RED, near: RED}, both)[0]  # red is not what person 1 wears
    hidden = [tell(known, {LEFT: RED, RIGHT: RED}, {0: LEFT, 1: RIGHT})[0] for _ in range(whose._AGAIN + 2)]
    assert hidden == [{1}] * (whose._AGAIN - 1) + [set()] * 3
    assert 1 not in tell(met(), {LEFT: RED, near: BLUE}, both)[0]


def test_below_the_calibrated_threshold_nobody_is_there():
    unlikely = Pose(joints=pose_at(*LEFT).joints, scores=np.ones(3), probabilities=np.full(3, 0.2))
    for least, hidden in ((0.3, {0}), (0.1, set()), (None, set())):
        known = Whose(least=least)
        assert known.tell(frame(0, {LEFT: RED}).image, {0: unlikely}, {0: box(LEFT)})[0] == hidden
        assert (0 in known._known) == (not hidden)


def test_of_many_people_the_latest_are_remembered():
    known = Whose()
    for person in range(whose._REMEMBERED + 5):
        tell(known, {LEFT: RED}, {person: LEFT})
    assert list(known._known) == list(range(5, whose._REMEMBERED + 5))
