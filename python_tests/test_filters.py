"""Filled gaps, smoothed trajectories, angles and speeds, against what is known of them by their formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
from small_recordings import FPS, SKELETON, person, poses, recording, two_persons

from rpstn_training.errors import UserError
from rpstn_training.video.angles import ANGLES, angles, angular_speeds, joint_speeds
from rpstn_training.video.filters import Butterworth, Filtering, OneEuro, smoother

NAMES = SKELETON.joints


@pytest.mark.parametrize(
    "text, expected",
    [
        ("butterworth", Butterworth(cutoff=6.0)),
        ("butterworth=3.5", Butterworth(cutoff=3.5)),
        ("one-euro", OneEuro(min_cutoff=1.0, beta=0.007)),
        ("one-euro=2", OneEuro(min_cutoff=2.0, beta=0.007)),
        ("one-euro=2,0.1", OneEuro(min_cutoff=2.0, beta=0.1)),
    ],
)
def test_a_filter_has_a_name_and_numbers(text, expected):
    assert smoother(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "median",
        "butterworth=",
        "butterworth=a",
        "butterworth=3,4",
        "one-euro=1,2,3",
        "one-euro=nan",
        "one-euro=-1",
    ],
)
def test_other_texts_are_told(text):
    with pytest.raises(UserError, match=r"--smooth: expected butterworth\[=HZ\] or one-euro.*, got"):
        smoother(text)


@pytest.mark.parametrize("cutoff", [1.0, 5.0, 11.0])
def test_butterworth_halves_the_power_at_its_cut_off_and_delays_nothing(cutoff):
    """A sine comes out with the gain of the formula and in its phase; at the cut-off with 0.707 of its height."""
    times = np.arange(2000) / FPS
    for share in (0.3, 1.0, 1.1):
        frequency = cutoff * share
        wave = np.sin(2 * np.pi * frequency * times)
        middle = slice(500, 1500)
        other = np.cos(2 * np.pi * frequency * times)
        found = Butterworth(cutoff=cutoff)(wave[:, None], times, FPS)[:, 0]
        ways = np.stack([wave, other], axis=1)[middle]
        gain, quadrature = np.linalg.lstsq(ways, found[middle], rcond=None)[0]
        ratio = math.tan(math.pi * frequency / FPS) / math.tan(math.pi * cutoff / FPS)
        assert gain == pytest.approx(1 / (1 + (math.sqrt(2) - 1) * ratio**4), abs=1e-3)
        assert abs(quadrature) < 1e-3
    assert 1 / (1 + math.sqrt(2) - 1) == pytest.approx(math.sqrt(0.5))


def test_butterworth_keeps_lines_and_short_stretches():
    times = np.arange(40) / FPS
    line = np.stack([3 + 2 * times, 5 - times], axis=1)
    np.testing.assert_allclose(Butterworth()(line, times, FPS), line, atol=1e-4)
    for count in (1, 2, 3):
        values = np.random.default_rng(0).normal(size=(count, 2))
        found = Butterworth()(values, times[:count], FPS)
        assert found.shape == values.shape and np.isfinite(found).all()
        assert np.array_equal(found, values) == (count < 3)


def test_uneven_times_are_brought_to_even_ones_and_back():
    rng = np.random.default_rng(1)
    even = np.arange(200) / FPS
    kept = np.sort(rng.choice(200, 160, replace=False))  # frames that a variable rate left out
    kept[[0, -1]] = 0, 199
    wave, noise = np.sin(2 * np.pi * 0.5 * even), rng.normal(0, 0.1, 200)
    found = Butterworth(cutoff=2.0)((wave + noise)[kept, None], even[kept], FPS)[:, 0]
    by_frames = Butterworth(cutoff=2.0)((wave + noise)[kept, None], np.arange(160) / FPS, FPS)[:, 0]
    error, before = np.std(found - wave[kept]), np.std(noise[kept])
    assert error < 0.6 * before and error < np.std(by_frames - wave[kept])
    line = np.stack([even[kept]], axis=1)
    np.testing.assert_allclose(Butterworth()(line, even[kept], FPS), line, atol=1e-5)


def test_one_euro_as_its_authors_write_it():
    """The recurrence, number by number, at uneven times."""
    rng = np.random.default_rng(2)
    times = np.cumsum(rng.uniform(0.02, 0.06, 30))
    values = rng.normal(0, 5, (30, 2)).cumsum(axis=0)
    found = OneEuro(min_cutoff=1.5, beta=0.02)(values, times, FPS)
    for column in range(2):
        x = before = values[0, column]
        derivative = 0.0
        assert found[0, column] == x
        for now in range(1, 30):
            te = times[now] - times[now - 1]
            r = 2 * math.pi * 1.0 * te
            derivative = r / (r + 1) * (values[now, column] - before) / te + 1 / (r + 1) * derivative
            r = 2 * math.pi * (1.5 + 0.02 * abs(derivative)) * te
            x = r / (r + 1) * values[now, column] + 1 / (r + 1) * x
            before = values[now, column]
            assert found[now, column] == pytest.approx(x, rel=1e-12)


def test_one_euro_knows_no_future_and_butterworth_does():
    times = np.arange(30) / FPS
    values = np.random.default_rng(3).normal(size=(30, 1)).cumsum(axis=0)
    other = values.copy()
    other[20:] += 9
    for smooth, same in ((OneEuro(), True), (Butterworth(), False)):
        first, second = (smooth(v, times, FPS)[:20] for v in (values, other))
        assert np.array_equal(first, second) is same
    jump = np.r_[np.zeros(10), np.full(20, 100.0)][:, None]
    slow, fast = (OneEuro(beta=beta)(jump, times, FPS)[11, 0] for beta in (0.0, 0.05))
    assert slow < 50 < fast  # what moves fast is followed at once


def test_gaps_are_filled_up_to_their_length():
    """Person 3 is away in the frames 5 and 6, for 0.12 s from frame to frame, and has no head in frame 8."""
    made = two_persons()
    for longest, frames in (
        (0.0, [2, 3, 4, 7, 8, 9]),
        (0.11, [2, 3, 4, 7, 8, 9]),
        (0.12, [2, 3, 4, 5, 6, 7, 8, 9]),
    ):
        found = Filtering(fill_gaps=longest)(made).persons[1]
        assert found.rows.tolist() == frames
        assert np.isnan(found.joints[frames.index(8), 0]).all() == (longest == 0)
    first, last = (poses(made)[frame, 3] for frame in (4, 7))
    between = poses(Filtering(fill_gaps=0.12)(made))
    for frame, share in ((5, 1 / 3), (6, 2 / 3)):
        pose = between[frame, 3]
        np.testing.assert_allclose(pose.joints, first.joints + share * (last.joints - first.joints))
        np.testing.assert_allclose(pose.box, first.box + share * (last.box - first.box))
        np.testing.assert_array_equal(pose.scores, np.minimum(first.scores, last.scores))
        np.testing.assert_array_equal(pose.probabilities, np.minimum(first.probabilities, last.probabilities))
        assert set(pose.states) == {"filled"}
    assert between[8, 3].states[0] == "filled"
    assert between[8, 3].states[1:] == poses(made)[8, 3].states[1:]
    for key, pose in poses(made).items():  # what was there stays as it was
        there = ~np.isnan(pose.joints[:, 0])
        np.testing.assert_array_equal(between[key].joints[there], pose.joints[there])


def test_raw_values_stay_and_stretches_know_nothing_of_one_another():
    made = two_persons()
    before = [one.joints.copy() for one in made.persons]
    smooth = Butterworth(cutoff=3.0)
    found = Filtering(smooth=smooth)(made)
    assert found.raw is made
    for one, joints in zip(made.persons, before):
        np.testing.assert_array_equal(one.joints, joints)
    late = found.persons[1].joints[3:]  # of the frames 7, 8, 9; the head is there in the first and the last
    alone = smooth(before[1][3:, 1:], made.times[7:10], FPS)
    np.testing.assert_allclose(late[:, 1:], alone)
    np.testing.assert_array_equal(late[:, 0], before[1][3:, 0])
    assert found.persons[1].rows.tolist() == made.persons[1].rows.tolist()
    assert np.abs(found.persons[0].joints - before[0]).max() > 0.1


@pytest.mark.parametrize(
    "smooth, fill, options, sentence",
    [
        (
            Butterworth(cutoff=12.5),
            0,
            {},
            r"--smooth: expected a cut-off above 0 and below 12\.5 Hz, half .* got 12\.5",
        ),
        (Butterworth(cutoff=0), 0, {}, "--smooth: expected a cut-off above 0"),
        (OneEuro(min_cutoff=13), 0, {}, "--smooth: expected a cut-off above 0 and below 12"),
        (None, -1.0, {}, "--fill-gaps: expected seconds, 0 or more, got -1"),
        (None, math.nan, {}, "--fill-gaps: expected seconds, 0 or more, got nan"),
        (Butterworth(), 0, {"stills": True}, "expected frames of a video, these are pictures by themselves"),
        (
            Butterworth(),
            0,
            {"times": np.zeros(12)},
            "expected times that rise from frame to frame for --smooth",
        ),
    ],
)
def test_what_cannot_be_filtered(smooth, fill, options, sentence):
    with pytest.raises(UserError, match=sentence):
        Filtering(smooth=smooth, fill_gaps=fill)(recording(person(0, [0, 1, 2, 3]), **options))


def test_the_rate_is_that_of_the_frames_that_were_looked_at():
    assert recording().fps == FPS
    assert recording(times=np.arange(12) * 3 / FPS).fps == pytest.approx(FPS / 3)
    assert recording(times=np.round(np.arange(12) / 30, 6), fps=30).fps == 30
    assert recording(frames=1).fps == FPS


def posed(**places: tuple[float, float]):
    """A person with joints at these places, the others missing."""
    one = person(0, [0])
    joints = np.full((1, len(NAMES), 2), np.nan)
    for name, place in places.items():
        joints[0, NAMES.index(name)] = place
    return replace(one, joints=joints)


@pytest.mark.parametrize("turn", [0, 37, 90, 200])
@pytest.mark.parametrize("bend", [0, 30, 90, 150, 180])
def test_angles_by_hand(bend, turn):
    """An upper part of 20 and a lower one of 30 pixels, bent by so many degrees to either side, however they turn."""
    for side in (1, -1):
        for name, ((p, q, r), straight) in ANGLES.items():
            upper, lower = np.radians(turn), np.radians(turn + side * bend)
            start = np.array([50.0, 40.0])
            middle = start + 20 * np.array([np.cos(upper), np.sin(upper)])
            end = middle + 30 * np.array([np.cos(lower), np.sin(lower)])
            found = angles(posed(**{p: start, q: middle, r: end}), NAMES)
            assert found[name][0] == pytest.approx(bend if straight else 180 - bend, abs=1e-9)
            assert sum(not np.isnan(values[0]) for values in found.values()) == 1


@pytest.mark.parametrize(
    "lean, head", [(0, (0, -1)), (90, (1, 0)), (-90, (-1, 0)), (45, (1, -1)), (180, (0, 1))]
)
def test_the_lean_of_the_trunk(lean, head):
    hips = np.array([[40.0, 60.0], [50.0, 62.0]])
    shoulders = hips + 20 * np.array(head) + np.array([[-3.0, 1], [3, -1]])
    found = angles(
        posed(left_hip=hips[0], right_hip=hips[1], left_shoulder=shoulders[0], right_shoulder=shoulders[1]),
        NAMES,
    )
    assert (
        abs(found["trunk_lean"][0]) == pytest.approx(180)
        if lean == 180
        else found["trunk_lean"][0] == pytest.approx(lean)
    )


def test_a_skeleton_without_the_joints_has_no_such_angles():
    assert "left_knee_flexion" not in angles(person(0, [0]), tuple(f"joint{n}" for n in range(13)))
    spelled = tuple("LKnee" if name == "left_knee" else name for name in NAMES)
    assert "left_knee_flexion" in angles(person(0, [0]), spelled)


def test_speeds_of_a_joint_and_of_an_angle():
    """A knee that bends by 90 degrees a second, at uneven times, while the whole person moves by (30, 40) px/s."""
    times = np.array([0, 0.04, 0.09, 0.12, 0.17, 0.2, 0.24])
    one = person(0, [0, 1, 2, 4, 5])
    made = recording(one, times=times)
    at = times[one.rows][:, None] * np.array([30.0, 40.0])
    bend = np.radians(10 + 90 * times[one.rows])
    joints = np.full_like(one.joints, np.nan)
    joints[:, NAMES.index("left_hip")] = at
    joints[:, NAMES.index("left_knee")] = at + [0, 20]
    joints[:, NAMES.index("left_ankle")] = at + [0, 20] + 25 * np.stack([np.sin(bend), np.cos(bend)], axis=1)
    one = replace(one, joints=joints)
    speeds = joint_speeds(one, made)
    np.testing.assert_allclose(speeds[:, NAMES.index("left_hip")], 50)
    assert np.isnan(speeds[:, NAMES.index("head")]).all()
    found = angles(one, NAMES)
    turning = angular_speeds(one, found, made)
    np.testing.assert_allclose(turning["left_knee_flexion"], 90)
    alone = replace(one, rows=np.array([0, 2, 4, 5, 6]))
    assert np.isnan(joint_speeds(alone, made)[:2]).all()  # no neighbour, no speed


def test_a_lean_that_passes_180_has_a_speed():
    one = person(0, [0, 1, 2])
    joints = np.full_like(one.joints, np.nan)
    for place, degrees in enumerate((170, 180, 190)):
        way = 20 * np.array([np.sin(np.radians(degrees)), -np.cos(np.radians(degrees))])
        for side in ("left", "right"):
            joints[place, NAMES.index(f"{side}_hip")] = 50, 50
            joints[place, NAMES.index(f"{side}_shoulder")] = way + 50
    one = replace(one, joints=joints)
    made = recording(one)
    found = angles(one, NAMES)
    assert found["trunk_lean"][2] == pytest.approx(-170)
    np.testing.assert_allclose(angular_speeds(one, found, made)["trunk_lean"], 10 * FPS)
