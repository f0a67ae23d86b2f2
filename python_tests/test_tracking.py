"""Detected boxes linked into tracks: crossing people, people who are missed, leave and come, and no number changes."""

import doctest

import numpy as np
import pytest

from rpstn_synth.crowd import Cast, make_crowd
from rpstn_training.data import boxes as box_rules
from rpstn_training.data import tracking

K = 4
SIGMAS = np.full(K, 0.05)


def box(x, y=0.0, width=20.0, height=60.0):
    return [x, y, x + width - 1, y + height - 1]


def link(rows, **options):
    """Numbers by (frame, row) of `rows`, a list of (frame, box)."""
    frames, boxes = [frame for frame, _ in rows], np.array([sides for _, sides in rows]).reshape(-1, 4)
    return tracking.link(frames, boxes, **options).tolist()


def test_the_examples_run():
    for module in (tracking, box_rules):
        result = doctest.testmod(module, extraglobs={"np": np})
        assert result.attempted and not result.failed


def test_overlap_of_boxes_by_hand():
    ours = np.array([box(0, 0, 10, 10), box(2, 2, 4, 4)])
    others = np.array([box(5, 5, 10, 10), box(10, 0, 10, 10)])
    assert box_rules.iou(ours, others) == pytest.approx(np.array([[25 / 175, 0], [1 / 115, 0]]))


def crossing(steps, speed=5.0):
    """Two people who walk through each other, the rows of every second frame the other way round."""
    rows, people = [], []
    for t in range(steps):
        pair = [(t, box(speed * t)), (t, box(100 - speed * t))]
        turned = t % 2
        rows += pair[::-1] if turned else pair
        people += [1, 0] if turned else [0, 1]
    return rows, people


def test_people_who_cross_keep_their_numbers():
    rows, people = crossing(21)
    assert link(rows) == people  # at frame 10 both boxes are the same; their speed tells them apart


def test_a_missed_person_keeps_the_number_for_so_many_frames():
    rows = [(t, box(2 * t)) for t in (0, 1, 2, 6, 7)]
    assert link(rows, max_missed=3) == [0] * 5
    assert link(rows, max_missed=2) == [0, 0, 0, 1, 1]
    quick = [(t, box(15 * t)) for t in (0, 1, 2, 6, 7)]  # by frame 6 no longer where it was seen last
    assert link(quick, max_missed=3, min_likeness=0.1) == [0] * 5


def test_who_leaves_and_who_enters():
    rows = [(t, box(10 + t)) for t in range(10)]
    rows += [(t, box(200 + t)) for t in range(3)] + [(t, box(200)) for t in range(12, 15)]
    rows += [(t, box(400)) for t in range(5, 9)]
    assert link(rows) == [0] * 10 + [1] * 3 + [3] * 3 + [2] * 4


def test_nothing_is_linked_below_the_least_likeness():
    rows = [(0, box(0)), (1, box(10))]  # overlap 1/3
    assert link(rows, min_likeness=0.33) == [0, 0] and link(rows, min_likeness=0.34) == [0, 1]
    assert link([]) == []


def test_the_sum_of_likenesses_counts_and_the_surest_is_first():
    # The box in between is nearer to the left person, who is also found exactly: the right one gets it.
    rows = [(0, box(0)), (0, box(14)), (1, box(6)), (1, box(0))]
    assert link(rows, min_likeness=0.2) == [0, 1, 1, 0]
    assert link(rows[:2], scores=np.array([0.2, 0.9])) == [1, 0]


def test_no_two_of_a_frame_have_one_number_and_no_number_changes_later():
    rng = np.random.default_rng(0)
    rows = [(t, box(*rng.uniform(0, 120, 2))) for t in range(40) for _ in range(rng.integers(0, 7))]
    whole = link(rows, min_likeness=0.05)
    frames = np.array([frame for frame, _ in rows])
    for t in range(41):
        assert link([row for row in rows if row[0] < t], min_likeness=0.05) == whole[: (frames < t).sum()]
        own = np.array(whole)[frames == t]
        assert len(set(own.tolist())) == len(own)
    assert len(set(whole)) < len(whole)  # some were linked at all
    order = rng.permutation(len(rows))
    scores = rng.uniform(size=len(rows))
    again = tracking.link(frames[order], np.array([rows[i][1] for i in order]), scores=scores[order])
    assert again.tolist() == np.array(link(rows, scores=scores))[order].tolist()


def test_poses_tell_apart_whose_boxes_do_not():
    up = np.stack([np.full(K, 10.0), np.linspace(5, 55, K)], axis=1)
    down = up[::-1]
    rows = [(0, box(0)), (0, box(2)), (1, box(0)), (1, box(2))]
    poses = np.stack([up, down, down, up])
    assert link(rows) == [0, 1, 0, 1]
    assert link(rows, poses=poses, sigmas=SIGMAS) == [0, 1, 1, 0]
    poses[2] = np.nan  # a pose that nobody found is like none
    assert link(rows, poses=poses, sigmas=SIGMAS) == [0, 1, 2, 0]


def test_what_does_not_fit_is_refused():
    boxes = np.array([box(0), box(9)])
    with pytest.raises(
        ValueError, match=r"link: expected frames \[N\] and boxes \[N, 4\], got \[3\] and \[2, 4\]"
    ):
        tracking.link([0, 1, 2], boxes)
    with pytest.raises(ValueError, match=r"link: expected scores \[2\], got \[1\]"):
        tracking.link([0, 1], boxes, scores=np.ones(1))
    with pytest.raises(ValueError, match=r"link: expected poses \[2, K, 2\], got \[1, 4, 2\]"):
        tracking.link([0, 1], boxes, poses=np.zeros((1, K, 2)), sigmas=SIGMAS)
    with pytest.raises(
        ValueError, match=r"link: expected 4 sigmas, one for each joint of the poses, got none"
    ):
        tracking.link([0, 1], boxes, poses=np.zeros((2, K, 2)))
    with pytest.raises(ValueError, match=r"fill_gaps: expected rising frames, got \[1, 1\]"):
        tracking.fill_gaps(np.array([1, 1]), np.zeros((2, 4)), max_missed=1)


def test_short_gaps_are_filled_and_long_ones_part_a_track():
    frames = np.array([2, 3, 6, 20])
    boxes = np.array([box(0), box(3), box(9), box(50)])
    first, second = tracking.fill_gaps(frames, boxes, max_missed=2)
    assert first[0].tolist() == [2, 3, 4, 5, 6] and first[2].tolist() == [True, True, False, False, True]
    assert first[1] == pytest.approx(np.array([box(0), box(3), box(5), box(7), box(9)]))
    assert second[0].tolist() == [20] and second[1].tolist() == [box(50)]
    assert len(tracking.fill_gaps(frames, boxes, max_missed=1)) == 3
    assert tracking.fill_gaps(np.zeros(0, int), np.zeros((0, 4)), max_missed=1) == []


@pytest.mark.parametrize("speed", [4.0, -4.0])
def test_who_walks_behind_somebody_keeps_the_number(speed):
    """Hidden for eight frames, and found beyond; who stands there keeps the other number, and so does who waits."""
    rows, people = [], []
    for t in range(40):
        walker = 100 + speed * (t - 20)
        for person, sides in enumerate([box(100), box(walker, 6), box(300 if speed > 0 else -100)]):
            hidden = person == 1 and abs(walker - 100) < 16
            if not hidden and not (person == 2 and 10 <= t < 22):  # missed, but where it was
                rows.append((t, sides))
                people.append(person)
    assert link(rows, max_missed=15) == people


def test_drawn_people_who_walk_past_each_other_keep_their_numbers():
    """True boxes of a crowd of which nobody says who is who."""
    cast = Cast(people=(6, 6), reach=(3.2, 9.0), actions={"walk": 1.0, "run": 1.0, "stand": 1.0})
    clip = make_crowd(5, 1, cast=cast, frames=30, size=(320, 240))
    there = [
        (t, number, one.boxes[t])
        for t in range(30)
        for number, one in enumerate(clip.people)
        if ((one.joints[t] >= 0) & (one.joints[t] < clip.size)).all(axis=1).any()
    ]
    numbers = link([(t, sides) for t, _, sides in there], max_missed=15)
    of = {
        number: {ours for ours, (_, theirs, _) in zip(numbers, there) if theirs == number}
        for _, number, _ in there
    }
    assert all(len(some) == 1 for some in of.values()) and len(set.union(*of.values())) == len(of) >= 4
    overlap = [
        box_rules.iou(one.boxes[t][None], other.boxes[t][None])[0, 0]
        for t in range(30)
        for one in clip.people
        for other in clip.people
        if one is not other
    ]
    assert max(overlap) > 0.3  # somebody passes before somebody


def test_a_box_that_is_cut_by_the_border_grows_on():
    """Somebody walks in from the left, and somebody else appears there: smaller, as the first one was a frame ago."""
    rows = [(t, [0, 10, 4 + 12 * t, 150]) for t in range(7)] + [(6, [0, 10, 66, 150])]
    assert link(rows) == [0] * 7 + [1]


def test_who_was_missed_may_be_farther_away():
    assert link([(0, box(0)), (4, box(17))]) == [0, 0]
    assert link([(0, box(0)), (1, box(17))]) == [0, 1]


def test_clothes_tell_apart_whose_boxes_do_not_and_link_nobody_alone():
    red, blue = np.eye(2)
    linker = tracking.Linker()
    before = linker.next_frame(0, np.array([box(0), box(14)]), clothes=np.stack([red, blue]))
    assert before.tolist() == [0, 1]
    turned = np.array([box(7), box(8)])
    plain = tracking.Linker()
    plain.next_frame(0, np.array([box(0), box(14)]))
    assert plain.next_frame(1, turned).tolist() == [0, 1]
    assert linker.next_frame(1, turned, clothes=np.stack([blue, red])).tolist() == [1, 0]
    # Before each other they were not looked at: who they are is still known.
    assert linker.next_frame(2, turned, clothes=np.stack([red, blue])).tolist() == [0, 1]
    assert linker.next_frame(3, np.array([box(300)]), clothes=red[None]).tolist() == [2]


def test_one_good_link_is_worth_more_than_two_poor_ones():
    known = [(0, box(0)), (0, box(7))]
    now = [(1, box(1)), (1, box(-7))]  # the first person moved by a pixel, and a false alarm
    assert link(known + now) == [0, 1, 0, 2]
