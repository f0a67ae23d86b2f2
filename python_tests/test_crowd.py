"""Several people without boxes: where many windows lead somebody is, and who is found again has the old number."""

import doctest

import numpy as np
import pytest
from disc_people import SIZE, box_of, frame, joints_at, pose_at

from rpstn_training.video import clothes as dressing
from rpstn_training.video.crowd import search_crowd
from rpstn_training.video.follow import PATIENCE, Followers
from rpstn_training.video.search import windows
from rpstn_training.video.searched_crowd import SearchedCrowd
from rpstn_training.video.streams import Pose

EVERYWHERE = windows(SIZE, 1.0, shown=1.25)


def looker(*hips: tuple[float, float], score: float = 0.8):
    """Finds a person whose middle is near that of the box, and joints anywhere, a little less sure, in other boxes."""
    rng = np.random.default_rng(0)

    def look(boxes):
        poses = []
        for box in map(np.asarray, boxes):
            middle, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
            near = [hip for hip in hips if (abs(middle - hip) < 0.3 * sides).all() and sides.max() < 200]
            poses.append(
                pose_at(*near[0], score)
                if near
                else Pose(joints=box[:2] + sides * rng.random((3, 2)), scores=np.full(3, 0.7 * score))
            )
        return poses

    return look


def places(found) -> list[tuple[float, float]]:
    return sorted(tuple(one.pose.joints[1].tolist()) for one in found)


def test_the_examples_run():
    assert doctest.testmod(dressing, extraglobs={"np": np}).failed == 0


def test_where_many_windows_lead_somebody_is():
    hips = [(60.0, 70.0), (150.0, 120.0), (180.0, 125.0)]
    found = search_crowd(looker(*hips), EVERYWHERE, 3)
    assert places(found.new) == hips and found.stand == []
    assert len(search_crowd(looker(*hips), EVERYWHERE, 2).new) == 2


def test_who_is_followed_is_not_new_and_stands_out_or_not():
    hips = [(60.0, 70.0), (150.0, 120.0)]
    known = [np.array(box_of(*hips[0])), np.array([270.0, 190, 300, 230])]
    found = search_crowd(looker(*hips), EVERYWHERE, 1, known)
    assert places(found.new) == hips[1:] and found.stand == [True, False]


def test_nobody_is_found_by_a_network_that_finds_nothing():
    nothing = lambda boxes: [Pose(joints=joints_at(100, 100), scores=np.zeros(3))] * len(boxes)  # noqa: E731
    assert search_crowd(nothing, EVERYWHERE, 2).new == []


def test_who_walks_behind_somebody_is_hidden_goes_on_and_is_seen_again():
    followers = Followers(10)
    standing, walking = (160.0, 120.0), [(100 + 6.0 * t, 122.0) for t in range(22)]
    followers.begin(0, np.array(box_of(*standing)), 1.0)
    followers.begin(1, np.array(box_of(*walking[0])), 1.0)
    for t, hip in enumerate(walking):
        behind = 8 <= t < 8 + PATIENCE - 1
        poses = {0: pose_at(*standing), 1: pose_at(*(standing if behind else hip), 1.0)}
        assert followers.seen(frame(t, {hip: BLUE, standing: RED}), poses) == []
        assert followers.hidden == ({1} if behind else set())
    box = followers.boxes()[1]
    assert abs((box[0] + box[2]) / 2 - walking[-1][0]) < 12


def go(people: SearchedCrowd, number: int, there: dict) -> dict[int, tuple[float, float]]:
    """The hips by person in a frame in which these people are."""
    look = looker(*there)
    boxes = people.boxes(frame(number, there), look)
    poses = dict(zip(boxes, look(list(boxes.values()))))
    people.seen(frame(number, there), poses)
    return {
        person: tuple(poses[person].joints[1].tolist()) for person in boxes if person not in people.hidden
    }


RED, BLUE = (220, 30, 30), (30, 30, 220)


def test_who_comes_is_found_within_a_second_and_has_a_new_number():
    people = SearchedCrowd(3, aspect=1.0, shown=1.25, fps=5, stills=False)
    assert go(people, 0, {(60.0, 70.0): RED}) == {0: (60, 70)}
    for t in range(1, 5):
        go(people, t, {(60.0, 70.0): RED, (220.0, 150.0): BLUE})
    assert go(people, 5, {(60.0, 70.0): RED, (220.0, 150.0): BLUE}) == {0: (60, 70), 1: (220, 150)}


def test_of_two_who_were_lost_the_clothes_say_who_is_who():
    for turned in (False, True):
        people = SearchedCrowd(2, aspect=1.0, shown=1.25, fps=8, stills=False)
        first, second = (100.0, 110.0), (160.0, 110.0)
        before = go(people, 0, {first: RED, second: BLUE})
        numbers = {hip: person for person, hip in before.items()}
        for t in range(1, 3):
            go(people, t, {first: RED, second: BLUE})
        for person in (0, 1):  # both are gone for a while
            people._away[person] = people._followers.boxes()[person]
            people._followers.end(person)
        there = {(126.0, 110.0): BLUE if turned else RED, (134.0, 150.0): RED if turned else BLUE}
        after = {hip: person for person, hip in go(people, 8, there).items()}
        assert after[126.0, 110.0] == numbers[second if turned else first]


@pytest.mark.parametrize("color, number", [((220, 30, 30), 0), ((30, 200, 30), 2)])
def test_who_is_found_where_somebody_was_lost_is_that_person_in_the_same_clothes(color, number):
    people = SearchedCrowd(2, aspect=1.0, shown=1.25, fps=8, stills=False)
    first, second = (100.0, 110.0), (260.0, 110.0)
    for t in range(3):
        assert sorted(go(people, t, {first: RED, second: BLUE})) == [0, 1]
    red = next(person for person, hip in go(people, 3, {first: RED, second: BLUE}).items() if hip == first)
    people._away[red] = people._followers.boxes()[red]
    people._followers.end(red)
    after = {hip: person for person, hip in go(people, 8, {(130.0, 120.0): color, second: BLUE}).items()}
    assert after == {(130.0, 120.0): red if number == 0 else 2, second: 1 - red}


def test_near_by_who_is_lost_is_whom_the_clothes_show():
    followers = Followers(10)
    place, other = (100.0, 110.0), (145.0, 110.0)
    for person, hip in enumerate((place, other)):
        followers.begin(person, np.array(box_of(*hip)), 0.8)
    there = {place: RED, other: BLUE}
    for t in range(3):
        followers.seen(frame(t, there), {0: pose_at(*place, 0.8), 1: pose_at(*other, 0.8)})
    followers.end(1)
    for t in range(3, 3 + PATIENCE):  # nothing is seen of person 0
        lost = followers.seen(frame(t, {}), {0: pose_at(*place, 0.1)})
    assert lost == [0]
    swapped = {(94.0, 110.0): BLUE, (110.0, 110.0): RED}
    assert followers.find_nearby(frame(9, swapped), looker(*swapped)) == [0]
    assert abs(followers.boxes()[0][[0, 2]].mean() - 110) < 8


def test_who_does_not_stand_out_twice_is_nobody():
    people = SearchedCrowd(2, aspect=1.0, shown=1.25, fps=4, stills=False)
    real = (60.0, 70.0)
    go(people, 0, {real: RED})
    people._followers.begin(7, np.array([250.0, 180, 280, 220]), 0.1)  # a false alarm that scores well since
    seen = [sorted(go(people, t, {real: RED})) for t in range(1, 10)]
    assert 7 in seen[3] and all(7 not in some for some in seen[7:]) and all(0 in some for some in seen)


def test_stills_are_searched_one_by_one():
    people = SearchedCrowd(2, aspect=1.0, shown=1.25, fps=4, stills=True)
    assert sorted(go(people, 0, {(60.0, 70.0): RED, (220.0, 150.0): BLUE})) == [0, 1]
    assert go(people, 1, {(220.0, 70.0): RED}) == {0: (220, 70)}
