"""Following people: sparse boxes, no boxes, people who go and come, by a network that finds coloured discs."""

import csv
import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from disc_people import CELL, DiscNetwork, box_of, checkpoint, frame, joints_at, pose_at, write_frames
from small_videos import FRAMES, boxes_csv, make_all, run

from rpstn_training import cli
from rpstn_training.video import follow as following
from rpstn_training.video import pipeline
from rpstn_training.video.follow import PATIENCE, Follower, Followers

FPS = 10.0


@pytest.fixture
def network(monkeypatch) -> DiscNetwork:
    network = DiscNetwork()
    monkeypatch.setattr(pipeline, "open_weights", lambda *_, **__: checkpoint(network))
    return network


def predict(source: Path, out: Path, **options) -> pipeline.Result:
    options = {
        "overlay": "none",
        "fps": FPS,
        "device": "cpu",
        "show_progress": False,
        "overwrite": True,
    } | options
    return pipeline.predict(source, "discs.pt", out, **options)


def errors_of(result: pipeline.Result, person: int, hips: dict[int, tuple[float, float]]) -> dict[int, float]:
    """Frame to the largest distance of the person's joints from those of the hips, in pixels."""
    poses = {pose.frame: pose.joints for pose in result.poses if pose.person == person}
    return {
        frame: float(np.linalg.norm(poses[frame] - joints_at(*hip), axis=1).max())
        for frame, hip in hips.items()
        if frame in poses
    }


def way(frames: int) -> list[tuple[float, float]]:
    """Four pixels a frame to the right, up and down."""
    return [(50 + 4.0 * number, 120 + 40 * np.sin(number / 6)) for number in range(frames)]


# ---- one follower --------------------------------------------------------------------------------------------


def test_the_examples_run():
    assert doctest.testmod(following).failed == 0


def test_a_low_score_moves_nothing_and_after_some_the_person_is_lost():
    follower = Follower(np.array(box_of(100, 100)), 0.9)
    for number in range(10):
        follower.seen(pose_at(100 + 3 * number, 100, 0.9))
    before = follower.next_box
    for _ in range(PATIENCE):
        assert not follower.lost
        follower.seen(pose_at(20, 20, 0.4))
    assert follower.lost
    assert 3 < follower.next_box[0] - before[0] < 3 * (PATIENCE + 1)  # it moves on, ever more slowly
    assert follower.next_box[1] == pytest.approx(before[1], abs=0.1)
    again = Follower(np.array(box_of(100, 100)), 0.9)
    for number in range(40):  # never so often in a row
        again.seen(pose_at(100, 100, 0.9 if number % PATIENCE == 0 else 0.4))
    assert not again.lost


def test_a_box_grows_quickly_and_shrinks_slowly():
    grown, shrunk = (Follower(np.array([60.0, 60, 140, 140]), 1.0) for _ in range(2))
    for _ in range(5):
        grown.seen(pose_at(100, 100))
        shrunk.seen(pose_at(100, 100))
    wide = pose_at(100, 100)
    wide.joints[:] = (wide.joints - 100) * 2.5 + 100
    grown.seen(wide)
    sides = [box[3] - box[1] for box in (grown.next_box, shrunk.next_box)]
    assert 72 < sides[1] < 80 and sides[0] > 80


def test_a_given_box_beside_the_person_is_no_movement():
    follower = Follower(np.array(box_of(110, 100)), 1.0)
    follower.given(np.array(box_of(110, 100)), 1.0)
    follower.seen(pose_at(100, 100))
    assert follower.next_box[[0, 2]].mean() == pytest.approx(110 - following.ALPHA * 10)


def test_whose_box_leaves_the_picture_is_lost_at_once():
    followers = Followers(5)
    followers.begin(4, np.array(box_of(300, 100)), 1.0)
    assert followers.seen(frame(0, {}), {4: pose_at(312, 100)}) == []
    assert followers.seen(frame(1, {}), {4: pose_at(330, 100)}) == [4]
    assert followers.numbers == () and list(followers.lost) == [4]


def test_of_two_with_one_pose_the_less_sure_one_is_lost_and_never_one_whose_box_is_given():
    for given in ({}, {1: np.array(box_of(100, 100))}):
        followers = Followers(5)
        followers.begin(0, np.array(box_of(100, 100)), 1.0)
        followers.begin(1, np.array(box_of(102, 100)), 0.9)
        for number in range(PATIENCE):
            poses = {0: pose_at(100, 100, 1.0), 1: pose_at(101, 100, 0.9)}
            lost = followers.seen(frame(number, {}), poses, given)
            assert lost == ([] if number < PATIENCE - 1 else [0 if given else 1])


# ---- sparse boxes --------------------------------------------------------------------------------------------


def test_the_first_box_is_enough(network, tmp_path):
    hips = way(45)
    frames = write_frames(tmp_path / "frames", [[hip] for hip in hips])
    boxes = boxes_csv(tmp_path / "b.csv", [(0, 7, *box_of(*hips[0]))])
    result = predict(frames, tmp_path / "out", boxes=boxes)
    errors = errors_of(result, 7, dict(enumerate(hips)))
    assert len(errors) == 45 and max(errors.values()) < CELL
    assert network.ages == list(range(44))  # one state, carried on
    assert result.boxes == "boxes from a file, interpolated between, people followed beyond the last"
    alone = predict(frames, tmp_path / "out", boxes=boxes, follow=False)
    assert [pose.frame for pose in alone.poses] == [0]
    assert alone.boxes == "boxes from a file"


def test_between_two_boxes_the_others_are_interpolated(network, tmp_path):
    frames = write_frames(tmp_path / "frames", [[hip] for hip in way(9)])
    first, last = [20, 70, 80, 170], [60, 78, 128, 174]
    boxes = boxes_csv(tmp_path / "b.csv", [(0, 0, *first), (8, 0, *last)])
    result = predict(frames, tmp_path / "out", boxes=boxes)
    expected = [np.array(first) + share / 8 * (np.array(last) - first) for share in range(9)]
    np.testing.assert_allclose([pose.box for pose in result.poses], expected, atol=1e-12)
    filled = boxes_csv(tmp_path / "full.csv", [(n, 0, *map(float, box)) for n, box in enumerate(expected)])
    full = predict(frames, tmp_path / "full", boxes=filled)
    np.testing.assert_array_equal(
        [pose.joints for pose in result.poses], [pose.joints for pose in full.poses]
    )


def test_boxes_for_every_frame_are_all_there_are(tmp_path):
    """Bit for bit: a state, a crop or a box that following touched would show in the random network's answer."""
    made = make_all(tmp_path)
    rows = [(number, 3, 5 + number, 4, 50 + number, 60.5) for number in range(FRAMES)]
    rows += [(number, 1, 20, 3, 70 - number, 58) for number in range(4)]  # who leaves
    boxes = boxes_csv(tmp_path / "b.csv", rows)
    results = [
        run(made, made.frames, tmp_path / "out", boxes=boxes, follow=follow, overlay="none")
        for follow in (True, False)
    ]
    followed, plain = results
    assert [(pose.frame, pose.person) for pose in followed.poses] == sorted((row[0], row[1]) for row in rows)
    for name in ("joints", "scores", "box"):
        np.testing.assert_array_equal(*([getattr(pose, name) for pose in r.poses] for r in (followed, plain)))


def test_who_leaves_while_the_file_goes_on_is_not_followed_and_a_single_box_is(network, tmp_path):
    hips = [[(60, 120), (160, 120), (260, 120)]] * 12
    frames = write_frames(tmp_path / "frames", hips)
    rows = [(number, 0, *box_of(60, 120)) for number in range(4)]  # a track that ends
    rows += [(2, 1, *box_of(160, 120))]  # a box by hand
    rows += [(number, 2, *box_of(260, 120)) for number in range(9)]  # to the end of the file
    result = predict(frames, tmp_path / "out", boxes=boxes_csv(tmp_path / "b.csv", rows))
    there = {person: [pose.frame for pose in result.poses if pose.person == person] for person in (0, 1, 2)}
    assert there == {0: [0, 1, 2, 3], 1: list(range(2, 12)), 2: list(range(12))}


# ---- nobody says where the people are ------------------------------------------------------------------------


def test_a_person_is_found_and_followed(network, tmp_path):
    hips = way(40)
    frames = write_frames(tmp_path / "frames", [[hip] for hip in hips])
    result = predict(frames, tmp_path / "out")
    errors = errors_of(result, 0, dict(enumerate(hips)))
    assert len(errors) == 40 and max(errors.values()) < CELL
    assert network.ages == list(range(39))
    info = json.loads((tmp_path / "out" / "predictions.json").read_text())["info"]
    assert (
        info["boxes"]
        == result.boxes
        == ("the first frame searched for one person, who is followed from there")
    )


def test_two_who_pass_each_other_keep_their_numbers(network, tmp_path):
    right = [(60 + 5.0 * number, 60.0) for number in range(40)]
    left = [(260 - 5.0 * number, 170.0) for number in range(40)]
    frames = write_frames(tmp_path / "frames", list(zip(right, left)))
    result = predict(frames, tmp_path / "out", persons=2)
    first = next(pose for pose in result.poses if pose.person == 0)
    ways = (right, left) if abs(first.joints[1, 0] - 60) < 20 else (left, right)
    for person, hips in enumerate(ways):
        errors = errors_of(result, person, dict(enumerate(hips)))
        assert len(errors) == 40 and max(errors.values()) < CELL
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        assert {row["person"] for row in csv.DictReader(file)} == {"0", "1"}


def test_of_several_who_comes_later_elsewhere_is_somebody_new(network, tmp_path):
    stays = [(100.0, 60.0)] * 45
    goes = [(280 + 6.0 * number, 170.0) for number in range(12)]
    comes = [(40.0, 180.0)] * 20  # a second after the other left, on the other side
    hips = [[stays[n], *goes[n : n + 1], *(comes[:1] if n >= 25 else [])] for n in range(45)]
    frames = write_frames(tmp_path / "frames", hips)
    result = predict(frames, tmp_path / "out", persons=2)
    assert result.persons == (0, 1, 2)
    seen = {person: [pose for pose in result.poses if pose.person == person] for person in result.persons}
    assert len(seen[0]) == 45 or len(seen[1]) == 45
    assert seen[2][0].frame >= 25 and seen[2][-1].frame == 44
    assert all(np.linalg.norm(pose.joints - joints_at(*comes[0]), axis=1).max() < CELL for pose in seen[2])


@pytest.mark.parametrize("back", [(95.0, 130.0), (250.0, 80.0)])
def test_who_is_lost_is_found_again_near_by_or_anywhere_and_begins_anew(network, tmp_path, back):
    """Away for a while: the box waits, then the person is lost, and comes back near by or elsewhere."""
    there = [[(80.0, 120.0)]] * 12 + [[]] * 9 + [[back]] * 20
    frames = write_frames(tmp_path / "frames", there)
    result = predict(frames, tmp_path / "out")
    assert result.persons == (0,)
    seen = [pose.frame for pose in result.poses]
    away = set(range(12 + PATIENCE, 21))
    assert set(range(12 + PATIENCE)) <= set(seen) and not away & set(seen)
    again = min(frame for frame in seen if frame >= 21)
    assert again == 21 if back[0] < 100 else again <= 21 + FPS + PATIENCE
    errors = errors_of(result, 0, {frame: back for frame in range(again, 41)})
    assert len(errors) == 41 - again and max(errors.values()) < CELL
    assert network.ages == [*range(11 + PATIENCE), *range(40 - again)]


def test_with_given_boxes_who_is_found_again_begins_anew_too(network, tmp_path):
    hips = [[(80.0, 120.0)]] * 6 + [[]] * 8 + [[(90.0, 125.0)]] * 6
    frames = write_frames(tmp_path / "frames", hips)
    boxes = boxes_csv(tmp_path / "b.csv", [(0, 3, *box_of(80, 120))])
    result = predict(frames, tmp_path / "out", boxes=boxes)
    assert [pose.frame for pose in result.poses] == [*range(6 + PATIENCE), *range(14, 20)]
    assert result.persons == (3,)
    assert network.ages == [*range(5 + PATIENCE), *range(5)]


def test_who_leaves_the_picture_is_lost(network, tmp_path):
    hips = [(260 + 6.0 * number, 120.0) for number in range(25)]
    frames = write_frames(tmp_path / "frames", [[hip] for hip in hips])
    boxes = boxes_csv(tmp_path / "b.csv", [(0, 0, *box_of(*hips[0]))])
    result = predict(frames, tmp_path / "out", boxes=boxes)
    assert 8 <= result.poses[-1].frame <= 12 + PATIENCE
    errors = errors_of(result, 0, {n: hip for n, hip in enumerate(hips) if hip[0] < 310})
    assert max(errors.values()) < CELL


def test_stills_are_searched_one_by_one(network, tmp_path):
    hips = [(60, 60), (250, 170), (160, 120)]
    frames = write_frames(tmp_path / "frames", [[hip] for hip in hips])
    result = predict(frames, tmp_path / "out", stills=True)
    assert max(errors_of(result, 0, dict(enumerate(hips))).values()) < CELL
    assert network.ages == []  # no picture goes on from another


def test_an_empty_video_has_nobody_and_the_command_says_so(network, tmp_path, capsys):
    folder = write_frames(tmp_path / "frames", [[]] * 3)
    assert cli.main(["predict", str(folder), "--weights", "discs.pt", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "3 frames, 0 persons, 0 poses" in printed and "nobody was found" in printed


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--persons", "0"], "--persons: expected a number from 1 on, got 0"),
        (
            ["--persons", "2", "--boxes", "b.csv"],
            "--boxes: expected without --persons, because the file says",
        ),
        (["--whole-picture", "--boxes", "b.csv"], "--boxes: expected without --whole-picture, because the"),
        (["--whole-picture", "--persons", "2"], "--whole-picture: expected without --persons, because"),
        (["--no-follow"], "--no-follow: expected with --boxes, which are then all there are; got none"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, sentence, tmp_path, capsys):
    write_frames(tmp_path / "frames", [[]])
    arguments = ["predict", str(tmp_path / "frames"), "--weights", "discs.pt", "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, *options]) == 2
    printed = capsys.readouterr().err.strip()
    assert sentence in printed and len(printed.splitlines()) == 1
    assert not (tmp_path / "out").exists()
