"""People by a detector, and one of several people: stand-ins for the detector say what was drawn, or nearly that."""

import doctest

import numpy as np
import pytest
import torch
from disc_people import CELL, SIZE, DiscNetwork, box_of, checkpoint, joints_at, pose_at, write_frames
from small_videos import boxes_csv
from test_detector import Small

from rpstn_training import cli
from rpstn_training.detection import detector
from rpstn_training.errors import UserError
from rpstn_training.video import pipeline, selection
from rpstn_training.video.people import Searched
from rpstn_training.video.selection import Selection
from rpstn_training.video.sources import Frame

FPS = 10.0


@pytest.fixture
def network(monkeypatch) -> DiscNetwork:
    network = DiscNetwork()
    monkeypatch.setattr(pipeline, "open_weights", lambda *_, **__: checkpoint(network))
    return network


def predict(source, out, **options) -> pipeline.Result:
    options = {"overlay": "none", "fps": FPS, "device": "cpu", "show_progress": False} | options
    return pipeline.predict(source, "discs.pt", out, **options)


def detects(monkeypatch, answers: dict[int, list]) -> list[str]:
    """A detector that finds these boxes when it is called the n-th time; returns the names it was asked for."""
    asked, turns = [], iter(range(10**6))

    def finder(name, device):
        asked.append(name)
        return lambda image: np.array(answers[next(turns)], dtype=np.float64).reshape(-1, 4)

    monkeypatch.setattr(detector, "finder", finder)
    return asked


def frames_of(result, person) -> list[int]:
    return [pose.frame for pose in result.poses if pose.person == person]


def far_off(result, person, hips) -> float:
    """The largest distance of the person's joints from those of the hips by frame, in pixels."""
    return max(
        float(np.linalg.norm(pose.joints - joints_at(*hips[pose.frame]), axis=1).max())
        for pose in result.poses
        if pose.person == person
    )


def test_numbers_last_when_people_cross_are_missed_leave_and_come(network, tmp_path, monkeypatch):
    right = {t: (40.0 + 6 * t, 120.0) for t in range(40)}
    left = {t: (280.0 - 6 * t, 125.0) for t in range(40)}
    leaver = {t: (25.0 - 4 * t, 200.0) for t in range(6)}  # out of the picture
    comer = {t: (25.0 + 2 * (t - 26), 200.0) for t in range(26, 40)}  # two seconds later at the same place
    people = (right, left, leaver, comer)
    frames = write_frames(tmp_path / "frames", [[one[t] for one in people if t in one] for t in range(40)])
    hidden = range(16, 25)  # the one behind the other; the network takes one for the other there
    answers = {
        t: [
            box_of(*one[t])
            for one in people[:: 1 if t % 2 else -1]
            if t in one and not (one is left and t in hidden)
        ]
        for t in range(40)
    }
    asked = detects(monkeypatch, answers)
    result = predict(frames, tmp_path / "out", detector="fasterrcnn_resnet50_fpn=some.pth")
    assert asked == ["fasterrcnn_resnet50_fpn=some.pth"] and result.persons == (0, 1, 2, 3)
    assert result.boxes == "boxes of a detector in each frame, people followed where it misses them"
    who = {pose.person: pose for pose in result.poses if pose.frame == 0}
    of = {
        name: min(who, key=lambda n: np.abs(who[n].joints[1] - one[0]).sum())
        for name, one in {"right": right, "left": left, "leaver": leaver}.items()
    }
    assert sorted(of.values()) == [0, 1, 2]
    for name in (
        "right",
        "left",
    ):  # they are dressed alike: where they meet it is not clear whose pose is whose
        assert set(frames_of(result, of[name])) >= set(range(40)) - set(hidden)
    for name, hips in (("right", right), ("left", left)):
        seen = [pose for pose in result.poses if pose.person == of[name] and pose.frame not in hidden]
        assert (
            max(np.linalg.norm(pose.joints - joints_at(*hips[pose.frame]), axis=1).max() for pose in seen)
            < CELL
        )
    assert frames_of(result, 3) == list(range(26, 40)) and far_off(result, 3, comer) < CELL
    assert max(frames_of(result, of["leaver"])) <= 7


def test_between_detections_people_are_followed(network, tmp_path, monkeypatch):
    hips = {t: (50 + 4.0 * t, 120 + 30 * np.sin(t / 6)) for t in range(33)}
    frames = write_frames(tmp_path / "frames", [[hips[t]] for t in range(33)])
    detects(monkeypatch, {turn: [box_of(*hips[8 * turn])] for turn in range(5)})  # a sixth call would fail
    result = predict(frames, tmp_path / "out", detector="any", detect_every=8)
    assert result.persons == (0,) and frames_of(result, 0) == list(range(33))
    assert far_off(result, 0, hips) < CELL
    assert result.boxes == "boxes of a detector in every 8th frame, people followed between"
    assert network.ages == list(range(32))  # one memory


def test_a_false_alarm_is_not_followed_and_who_is_missed_is(network, tmp_path, monkeypatch):
    hips = {t: (60 + 3.0 * t, 120.0) for t in range(20)}
    frames = write_frames(tmp_path / "frames", [[hips[t]] for t in range(20)])
    answers = {t: [] if t in (8, 9, 10) else [box_of(*hips[t])] for t in range(20)}
    answers[4] = [*answers[4], box_of(270, 60)]
    detects(monkeypatch, answers)
    result = predict(frames, tmp_path / "out", detector="any")
    assert frames_of(result, 0) == list(range(20)) and far_off(result, 0, hips) < CELL
    assert frames_of(result, 1) == [4] and result.persons == (0, 1)


def without_numbers(path, people, frames, extra=()):
    """A file of the boxes of people (frame to hips) in these frames, in changing order, and others."""
    rows = [
        (t, *box_of(*one[t])) for t in frames for one in people[:: 1 if t % 2 else -1] if t in one
    ] + list(extra)
    return boxes_csv(path, rows, "frame,x1,y1,x2,y2")


def test_boxes_of_a_file_without_numbers_are_linked_and_a_false_alarm_is_nobody(network, tmp_path):
    right = {t: (40.0 + 6 * t, 120.0) for t in range(40)}
    left = {t: (280.0 - 6 * t, 125.0) for t in range(40) if not 16 <= t < 25}  # behind the other there
    frames = write_frames(
        tmp_path / "frames", [[one[t] for one in (right, left) if t in one] for t in range(40)]
    )
    false = [(t, *box_of(60 + 4 * t, 200)) for t in (5, 21)]
    boxes = without_numbers(tmp_path / "b.csv", [right, left], range(40), false)
    result = predict(frames, tmp_path / "out", boxes=boxes)
    assert result.boxes == "boxes from a file, interpolated between, people followed where it misses them"
    assert len(result.persons) == 2
    of = {one.joints[1][0] < 160: one.person for one in result.poses if one.frame == 0}
    assert frames_of(result, of[True]) == list(range(40)) and far_off(result, of[True], right) < CELL
    apart = [pose for pose in result.poses if pose.person == of[False] and pose.frame in left]
    assert [pose.frame for pose in apart] == list(left)
    assert (
        max(np.linalg.norm(pose.joints - joints_at(*left[pose.frame]), axis=1).max() for pose in apart) < CELL
    )
    alone = predict(frames, tmp_path / "alone", boxes=boxes, follow=False)
    assert alone.boxes == "boxes from a file" and len(alone.poses) == 40 + len(left)
    chosen = predict(frames, tmp_path / "chosen", boxes=boxes, select="30,120")
    assert frames_of(chosen, chosen.persons[0]) == list(range(40)) and len(chosen.persons) == 1


def test_between_the_frames_of_a_file_boxes_are_interpolated_and_beyond_followed(network, tmp_path):
    ways = [{t: (50 + 2.0 * t, 70 + 80 * person + 0.2 * t) for t in range(30)} for person in (0, 1)]
    frames = write_frames(tmp_path / "frames", [[one[t] for one in ways] for t in range(30)])
    boxes = without_numbers(tmp_path / "b.csv", ways, range(0, 25, 4))
    result = predict(frames, tmp_path / "out", boxes=boxes)
    assert result.persons == (0, 1) and len(result.poses) == 60
    for person in (0, 1):
        own = [pose for pose in result.poses if pose.person == person]
        one = ways[int(own[0].joints[1][1] > 110)]
        assert far_off(result, person, one) < CELL
        for pose in own[:25]:
            np.testing.assert_allclose(pose.box, box_of(*one[pose.frame]), atol=1e-6)


def test_no_more_people_than_wanted_and_who_was_there_before_stays(network, tmp_path, monkeypatch):
    ways = [{t: (60.0 + 2 * t, 50.0 + 75 * person) for t in range(10)} for person in range(3)]
    frames = write_frames(tmp_path / "frames", [[one[t] for one in ways] for t in range(10)])
    # From frame 4 on the third is the surest.
    detects(monkeypatch, {t: [box_of(*one[t]) for one in (ways[::-1] if t > 3 else ways)] for t in range(10)})
    result = predict(frames, tmp_path / "out", detector="any", persons=2)
    assert len(result.persons) == 2 and "; up to 2 at a time" in result.boxes
    assert [frames_of(result, person) for person in result.persons] == [list(range(10))] * 2
    assert all(far_off(result, person, ways[person]) < CELL for person in result.persons)


def test_of_new_people_with_one_pose_the_second_is_nobody(network, tmp_path, monkeypatch):
    hips = {t: (60 + 3.0 * t, 120.0) for t in range(12)}
    frames = write_frames(tmp_path / "frames", [[hips[t]] for t in range(12)])
    answers = {t: [box_of(*hips[t])] for t in range(12)}
    answers[5] = [*answers[5], box_of(60 + 15 + 9, 126)]
    detects(monkeypatch, answers)
    result = predict(frames, tmp_path / "out", detector="any")
    assert result.persons == (0,) and frames_of(result, 0) == list(range(12))


def test_stills_are_looked_through_one_by_one(network, tmp_path, monkeypatch):
    hips = [[(60, 60)], [(250, 170), (100, 100)], []]
    frames = write_frames(tmp_path / "frames", hips)
    detects(monkeypatch, {n: [box_of(*hip) for hip in some] for n, some in enumerate(hips)})
    result = predict(frames, tmp_path / "out", detector="any", detect_every=2, stills=True)
    assert [(pose.frame, pose.person) for pose in result.poses] == [(0, 0), (1, 0), (1, 1)]


# ---- one of several people


def test_the_examples_run():
    assert doctest.testmod(selection, extraglobs={"np": np}).failed == 0


def test_of_two_at_the_point_the_one_about_it_is_meant():
    boxes = [[0, 0, 100, 100], [40, 40, 70, 70]]
    assert Selection.read("55,55").of(boxes, SIZE) == 1 and Selection.read("10,10").of(boxes, SIZE) == 0
    assert Selection.read("-30,20").of(boxes, SIZE) == 0


@pytest.mark.parametrize("way", ["boxes", "detector", "search"])
@pytest.mark.parametrize("select, wanted", [("centre", 1), ("290,170", 2), ("30,60", 0)])
def test_one_of_several_is_followed_alone(way, select, wanted, network, tmp_path, monkeypatch):
    ways = [[(50.0 + 2 * t, 70.0 + 30 * person) for t in range(12)] for person in range(3)]
    ways = [[(x + 95 * person, y) for x, y in one] for person, one in enumerate(ways)]
    frames = write_frames(tmp_path / "frames", [list(hips) for hips in zip(*ways)])
    boxes = {t: [box_of(*one[t]) for one in ways] for t in range(12)}
    detects(monkeypatch, boxes)
    rows = [(t, person, *sides) for t, some in boxes.items() for person, sides in enumerate(some)]
    options = {
        "boxes": {"boxes": boxes_csv(tmp_path / "b.csv", rows)},
        "detector": {"detector": "any"},
        "search": {},
    }[way]
    result = predict(frames, tmp_path / "out", select=select, **options)
    assert len(result.persons) == 1 and len(result.poses) == 12
    assert far_off(result, result.persons[0], dict(enumerate(ways[wanted]))) < CELL
    assert Selection.read(select).in_words in result.boxes


def test_where_no_pose_is_probable_enough_nobody_is():
    frame = Frame(number=0, time=0.0, file_name="", image=np.zeros((240, 320, 3), np.uint8))

    def look(boxes):  # one window has a person in it
        poses = [pose_at(100, 100, 1.0 if place == 0 else 0.1) for place in range(len(boxes))]
        return [
            type(pose)(joints=pose.joints, scores=pose.scores, probabilities=np.full(3, 0.4))
            for pose in poses
        ]

    for least, found in ((None, 1), (0.39, 1), (0.41, 0)):
        people = Searched(aspect=1.0, shown=1.25, fps=10, stills=False, least=least)
        assert len(people.boxes(frame, look)) == found


# ---- the detector itself, and options


def test_a_name_and_a_file_make_a_detector(monkeypatch):
    asked = []
    monkeypatch.setattr(detector, "torchvision", lambda module: None)
    monkeypatch.setattr(detector, "read_weights", lambda name: asked.append(name))
    monkeypatch.setattr(detector, "load", lambda weights: Small())
    monkeypatch.setattr(detector, "SURE", 0.5)
    for name in ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn=my=own.pth"):
        find = detector.finder(name, torch.device("cpu"))
        np.testing.assert_allclose(find(np.zeros((90, 60, 3), np.uint8)), [[-15, 10, 24, 79]])
    assert asked == ["cache", "my=own.pth"]
    for name in ("yolo", "fasterrcnn_resnet50_fpn="):
        with pytest.raises(UserError, match=f"--detector: expected fasterrcnn_resnet50_fpn or .*got {name}"):
            detector.finder(name, torch.device("cpu"))


@pytest.mark.parametrize(
    "options, sentence",
    [
        (
            ["--detector", "x", "--boxes", "b.csv"],
            "--detector: expected without --boxes, because the detector",
        ),
        (["--detector", "x", "--persons", "0"], "--persons: expected a number from 1 on, got 0"),
        (["--detector", "x", "--whole-picture"], "--detector: expected without --whole-picture, because"),
        (["--detector", "x", "--detect-every", "0"], "--detect-every: expected at least 1, got 0"),
        (["--detect-every", "3"], "--detect-every: expected with --detector, got none"),
        (["--select", "smallest"], "--select: expected largest, centre or a point X,Y in pixels such as"),
        (["--select", "3,nan"], "--select: expected largest, centre or a point"),
        (["--select", "centre", "--persons", "2"], "--select: expected without --persons, because"),
        (["--select", "centre", "--whole-picture"], "--select: expected without --whole-picture, because"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, sentence, tmp_path, capsys):
    write_frames(tmp_path / "frames", [[]])
    arguments = ["predict", str(tmp_path / "frames"), "--weights", "discs.pt", "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, *options]) == 2
    printed = capsys.readouterr().err.strip()
    assert sentence in printed and len(printed.splitlines()) == 1
