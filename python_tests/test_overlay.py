"""Poses as they are drawn over pictures: sides, unsure and missing joints, and what does not fit."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rpstn_training.data.sets import penn_action, sub_jhmdb
from rpstn_training.video import overlay as drawing
from rpstn_training.video.encoding import OverlayWriter
from rpstn_training.video.pictures import Pictures
from rpstn_training.video.sources import Frame
from rpstn_training.video.writers import FoundPose

SKELETON = penn_action.SKELETON


def pose_at_corners() -> tuple[np.ndarray, np.ndarray]:
    """A person whose joints are far apart on 300 x 300 pixels."""
    sides = [(80, 60), (40, 110), (40, 160), (80, 190), (80, 230), (80, 270)]
    joints = np.array(
        [[150, 30]] + [[x, y] for left, y in sides for x in (left, 300 - left)], dtype=np.float64
    )
    return joints, np.ones(13)


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_sides_have_their_colours_on_any_ground(ground):
    image = np.full((300, 300, 3), ground, np.uint8)
    joints, scores = pose_at_corners()
    drawing.draw_pose(image, joints, scores, SKELETON)
    assert tuple(image[135, 40]) == drawing.LEFT  # between left elbow and left wrist
    assert tuple(image[135, 260]) == drawing.RIGHT
    assert tuple(image[60, 150]) == drawing.MIDDLE  # between the shoulders
    assert tuple(image[110, 40]) == drawing.LEFT
    assert (image == drawing.EDGE).all(axis=2).any()
    assert (image[280:, :35] == ground).all()


def test_sides_come_from_the_names_else_from_the_pairs():
    """Sub-JHMDB's pairs are right and left, the others' left and right."""
    for skeleton in (SKELETON, sub_jhmdb.SKELETON):
        for name, color in zip(skeleton.joints, drawing.side_colors(skeleton)):
            side = {"left": drawing.LEFT, "right": drawing.RIGHT}
            assert color == side.get(name.split("_")[0], drawing.MIDDLE)
    nameless = replace(SKELETON, joints=tuple("abcdefghijklm"))
    assert drawing.side_colors(nameless) == drawing.side_colors(SKELETON)


def test_unsure_joints_are_hollow_and_their_limbs_thin():
    joints, scores = pose_at_corners()
    scores[5] = 0.1  # left wrist
    sure, unsure = np.zeros((300, 300, 3), np.uint8), np.zeros((300, 300, 3), np.uint8)
    drawing.draw_pose(sure, joints, np.ones(13), SKELETON, line_width=4)
    drawing.draw_pose(unsure, joints, scores, SKELETON, line_width=4, min_score=0.2)

    def width(image, row):
        return int((abs(image[row, 20:60].astype(int) - drawing.LEFT) < 60).all(axis=1).sum())

    assert width(sure, 135) > 2 * width(unsure, 135) > 0  # between elbow and wrist
    assert width(sure, 112) == width(unsure, 112) > 4  # the elbow
    ring = unsure[160, 36:45]
    assert (abs(ring.astype(int) - drawing.LEFT) < 80).all(axis=1).any()
    assert not (unsure[162, 40] == drawing.LEFT).all()  # the inside
    assert (sure[162, 40] == drawing.LEFT).all()


def test_a_joint_of_little_strength_lets_the_picture_through():
    joints, scores = pose_at_corners()
    ground = np.full((300, 300, 3), 100, np.uint8)
    plain, faded, faint = ground.copy(), ground.copy(), ground.copy()
    strength = np.ones(13)
    drawing.draw_pose(plain, joints, scores, SKELETON, line_width=4)
    strength[5] = 0.6  # left wrist
    drawing.draw_pose(faded, joints, scores, SKELETON, line_width=4, strength=strength)
    strength[5] = 0.0
    drawing.draw_pose(faint, joints, scores, SKELETON, line_width=4, strength=strength)
    for row in (135, 160):  # the middle of the forearm, and the wrist
        for image, opacity in ((faded, 0.6), (faint, drawing.FAINTEST)):
            expected = opacity * np.array(drawing.LEFT) + (1 - opacity) * 100
            if row == 160:  # the wrist lies on the end of the forearm
                expected = opacity * np.array(drawing.LEFT) + (1 - opacity) * expected
            np.testing.assert_allclose(image[row, 40], expected, atol=1.01)
    differs = (faded != plain).any(axis=2)
    assert differs[107:175, 30:50].any() and not differs[:100].any() and not differs[:, 60:].any()


def test_what_is_taken_for_right_is_opaque_and_the_rest_clearly_paler():
    probabilities = np.array([0.95, 0.8, 0.79, 0.4, 0.0])
    strength = drawing.strength_of(probabilities, 0.8)
    assert strength[:2].tolist() == [1.0, 1.0]
    np.testing.assert_allclose(strength[2:], [0.6 * 0.79 / 0.8, 0.3, 0.0])
    np.testing.assert_array_equal(drawing.strength_of(probabilities, None), probabilities)


def test_hollow_joints_are_rings_whatever_their_score():
    joints, scores = pose_at_corners()
    hollow = np.zeros(13, dtype=bool)
    hollow[5] = True
    said, scored = np.zeros((300, 300, 3), np.uint8), np.zeros((300, 300, 3), np.uint8)
    drawing.draw_pose(said, joints, scores, SKELETON, hollow=hollow)
    scores[5] = 0.0
    drawing.draw_pose(scored, joints, scores, SKELETON)
    np.testing.assert_array_equal(said, scored)
    drawing.draw_pose(said, joints, np.ones(13), SKELETON)
    assert (said != scored).any()


def test_what_lies_partly_or_wholly_outside_can_be_faint():
    joints, scores = pose_at_corners()
    for shift in ([-60, -40], [400, 0], [0, -400]):
        image = np.zeros((300, 300, 3), np.uint8)
        drawing.draw_pose(image, joints + shift, scores, SKELETON, strength=np.full(13, 0.5))
        assert image.any() == (shift == [-60, -40])


def test_joints_that_are_nowhere_are_left_out():
    joints, _ = pose_at_corners()
    joints[5] = np.nan
    joints[6] = [1e12, -1e12]
    image = np.zeros((300, 300, 3), np.uint8)
    drawing.draw_pose(image, joints, None, SKELETON)
    assert not image[120:180, 20:60].any()  # no left forearm
    blank = np.zeros((300, 300, 3), np.uint8)
    drawing.draw_pose(blank, np.full((13, 2), np.nan), None, SKELETON)
    assert not blank.any()


def test_draw_pose_names_what_does_not_fit():
    joints, scores = pose_at_corners()
    with pytest.raises(
        ValueError, match=r"draw_pose: expected image uint8 \[H, W, 3\], got float64 \[9, 9, 3\]"
    ):
        drawing.draw_pose(np.zeros((9, 9, 3)), joints, scores, SKELETON)
    with pytest.raises(ValueError, match=r"draw_pose: expected joints \[13, 2\] .* got joints \[12, 2\]"):
        drawing.draw_pose(np.zeros((9, 9, 3), np.uint8), joints[1:], scores, SKELETON)
    with pytest.raises(
        ValueError, match=r"OverlayWriter: expected a path ending in \.mp4 or \.webm, got a\.gif"
    ):
        OverlayWriter("a.gif", 25, (8, 8))


PLACE, NOTICE = "frame 3  0.12 s", "a.pt never saw a real person"


@pytest.mark.parametrize("size", [(40, 30), (300, 300), (1280, 720), (701, 333)])
def test_the_strip_lies_below_the_picture_and_has_one_height(size):
    image = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    plain = drawing.overlaid(image, [], SKELETON)
    factor = drawing.enlargement(size)
    height = factor * size[1]
    whole = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(plain[:height], whole)  # nobody is there, and no letter lies over the picture
    named = drawing.overlaid(image, [], SKELETON, place=PLACE)
    noticed = drawing.overlaid(image, [], SKELETON, place=PLACE, notice=NOTICE)
    later = drawing.overlaid(image, [], SKELETON, place="frame 12345  98765.43 s", notice=NOTICE)
    assert np.array_equal(later[:height], whole)
    assert len(noticed) == len(later) and len(plain) == len(named)
    assert 2 * (len(named) - height) == len(noticed) - height
    assert len(noticed) - height < 0.35 * height and (len(named) - height) % 2 == 0
    for bar in (named[height:], noticed[height + len(named) - height :], later[height:]):
        ink = (bar != drawing.STRIP).any(axis=2).any(axis=0)
        assert ink.any() and not ink[-2:].any()  # what is too long is set smaller, not cut off


def test_letters_that_the_font_lacks_do_not_stop_a_video():
    assert drawing.strip(200, 100, [[("vidéo 10:30 \N{SNOWMAN}", drawing.GREY)]]).std() > 0


def test_every_person_has_a_colour_and_a_number():
    ground = np.full((300, 300, 3), 90, np.uint8)
    joints, scores = pose_at_corners()
    box = np.array([20, 10, 280, 285])
    seen = []
    for person in range(7):
        picture = drawing.overlaid(ground, [(joints, scores)], SKELETON, boxes={person: box})
        factor = drawing.enlargement((300, 300))
        shoulders = tuple(picture[60 * factor, 150 * factor].tolist())
        assert shoulders == drawing.person_color(person)
        side = picture[150 * factor, 20 * factor - 3 : 20 * factor + 4]
        assert (side == shoulders).all(axis=1).any()
        assert tuple(picture[135 * factor, 40 * factor]) == drawing.LEFT  # sides keep their colours
        seen.append(shoulders)
    assert seen[6] == seen[0]  # there are six, then the number tells
    others = [*seen[:6], drawing.LEFT, drawing.RIGHT, drawing.MIDDLE]
    apart = [np.linalg.norm(np.subtract(a, b)) for i, a in enumerate(others) for b in others[:i]]
    assert min(apart) > 90
    alone = drawing.overlaid(ground, [(joints, scores)], SKELETON)
    assert tuple(alone[60 * factor, 150 * factor]) == drawing.MIDDLE


def test_the_strip_says_how_unsure_joints_look(monkeypatch):
    said = []
    monkeypatch.setattr(
        drawing, "strip", lambda width, height, texts: said.append(texts) or np.zeros((2, width, 3), np.uint8)
    )
    joints, scores = pose_at_corners()
    ground = np.zeros((300, 300, 3), np.uint8)
    drawing.overlaid(ground, [(joints, scores)], SKELETON, min_score=0.25, place=PLACE, notice=NOTICE)
    drawing.overlaid(ground, [(joints, scores)], SKELETON, strengths=[scores])
    drawing.overlaid(ground, [(joints, scores)], SKELETON, strengths=[scores], sure_from=0.8157)
    drawing.overlaid(ground, [], SKELETON)
    words = [[text for text, _ in line] for texts in said for line in texts]
    assert words == [
        [PLACE, "left", "right", "hollow: unsure (score < 0.25)"],
        [NOTICE],
        ["", "left", "right", "pale: unsure, hollow: hidden"],
        ["", "left", "right", "pale: probability < 0.82, hollow: hidden"],
        ["", "left", "right", "nobody found"],
    ]


@pytest.mark.parametrize(("min_score", "sure_from"), [(None, None), (0.5, None), (None, 0.6)])
def test_pictures_fade_by_probability_and_leave_out_what_is_outside(
    min_score, sure_from, tmp_path, monkeypatch
):
    """With probabilities a low score makes no ring, unless somebody asks for it; hidden joints are rings."""
    joints, scores = pose_at_corners()
    scores[6] = 0.1
    states = ["visible"] * 13
    states[5], states[12] = "hidden", "outside"
    said = np.linspace(0.1, 0.9, 13)
    known = FoundPose(
        frame=0,
        person=0,
        box=np.array([0.0, 0, 9, 9]),
        joints=joints,
        scores=scores,
        probabilities=said,
        states=tuple(states),
    )
    drawn = []
    monkeypatch.setattr(
        drawing, "draw_pose", lambda image, *arguments, **options: drawn.append((arguments, options))
    )
    frame = Frame(number=0, time=0.0, image=np.zeros((480, 480, 3), np.uint8), file_name="a.png")
    plain = replace(known, probabilities=None, states=None)
    source = SimpleNamespace(window=SimpleNamespace(start=None))
    with Pictures([tmp_path / "a.png"], source, SKELETON, min_score, sure_from=sure_from) as pictures:
        pictures.add(frame, [known, plain], with_boxes=False)
    (places, peaks, _), options = drawn[0]
    assert np.isnan(places[12]).all() and np.isfinite(places[:12]).all()
    assert (peaks is None) == (min_score is None)
    strength = said if sure_from is None else np.where(said < 0.6, said, 1.0)  # PALE is 0.6 too
    np.testing.assert_allclose(options["strength"], strength)
    assert np.flatnonzero(options["hollow"]).tolist() == [5, 12]
    (places, peaks, _), options = drawn[1]
    assert np.isfinite(places).all() and peaks is scores
    assert options["strength"] is None and options["hollow"] is None
    assert options["min_score"] == (min_score or drawing.MIN_SCORE)
