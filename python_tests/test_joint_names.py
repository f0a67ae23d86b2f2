"""Names of joints: what is left and right, in every usual spelling."""

import pytest

from rpstn_training.data.forms import joint_names
from rpstn_training.data.records import Skeleton
from rpstn_training.data.sets import coco, conventions


@pytest.mark.parametrize(
    ("name", "other", "plain"),
    [
        ("left_eye", "right_eye", "left_eye"),
        ("eye_R", "eye_L", "right_eye"),
        ("rWrist", "lWrist", "right_wrist"),
        ("Left Ear", "Right Ear", "left_ear"),
        ("l-toe", "r-toe", "left_toe"),
        ("tail", "tail", "tail"),
        ("LEye", "REye", "left_eye"),
        ("leftEye", "rightEye", "left_eye"),
        ("EyeL", "EyeR", "left_eye"),
        ("RBigToe", "LBigToe", "right_big_toe"),
        ("thumb.02.L", "thumb.02.R", "left_thumb_02"),
        ("LEFT_EYE", "RIGHT_EYE", "left_eye"),
        ("左眼", "右眼", "left_眼"),
        ("L1", "R1", "left_1"),
        ("leftovers", "leftovers", "left_overs"),
        ("head_top", "head_top", "head_top"),
    ],
)
def test_sides_of_a_name(name, other, plain):
    assert joint_names.mirrored(name) == other and joint_names.mirrored(other) == name
    assert joint_names.plain(name) == plain


def test_a_side_without_a_border_needs_its_partner():
    names = ("lankle", "nose", "rankle", "righteye", "lefteye", "leftovers", "lip", "rip")
    assert joint_names.mirror_pairs(names) == ((0, 2), (3, 4))


def test_cocos_tolerances_in_every_spelling():
    assert coco.tolerances(("LEye", "nose", "hip.r")) == (0.025, 0.026, 0.107)
    assert coco.tolerances(("LEye", "tail")) is None


def lines(joints, pairs=(), flip=0.5, sigmas=()):
    skeleton = Skeleton(
        name="custom",
        joints=joints,
        limbs=(),
        flip_pairs=pairs,
        groups={},
        torso=(0, 1),
        torso_paper=(0, 1),
        sigmas=sigmas,
    )
    return conventions(skeleton, flip)


def test_conventions_are_shown_and_missing_pairs_are_warned_of():
    warning, pairs, torso, sigmas = lines(("eye1", "eye2"))
    assert "no joints are pairs of left and right" in warning and "data.options.flip_pairs" in warning
    assert (pairs, torso) == ("Flip pairs: none", "Torso of PCK: eye1 to eye2")
    assert sigmas == "Tolerances of AP: none, so there is no AP; data.options.sigmas gives some"
    assert lines(("eye1", "eye2"), flip=0.0)[0] == "Flip pairs: none"
    warning, pairs, *_ = lines(("l_eye", "r_eye", "nose", "l_ear"), ((0, 1),))
    assert "no partner on the other side for l_ear," in warning
    assert pairs == "Flip pairs: l_eye/r_eye; by themselves: nose, l_ear"
    whole = lines(("l_eye", "r_eye", "nose"), ((0, 1),), sigmas=(0.1, 0.1, 0.25))
    assert whole[0].startswith("Flip pairs") and whole[-1].endswith("l_eye 0.1, r_eye 0.1, nose 0.25")
