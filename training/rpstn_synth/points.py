"""The anatomical points of a drawn body, of which every data set's joints are a choice, and what shows each."""

from collections.abc import Sequence

import numpy as np

from .body import Figure, Proportions
from .person import FOREARM, HAIR, HEAD, PROP, SHANK, THIGH, TORSO, UPPER_ARM, face

JOINTS = (  # Penn Action's, in its order
    "head",
    *(
        f"{side}_{joint}"
        for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
)
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
POINTS = (*JOINTS, *_FACE, "head_top", "neck", "thorax", "belly", "pelvis")
_ALIASES = {"upper_neck": "neck", "head_bottom": "neck", "chest": "thorax"}

# Parts of the surface that belong to a point: seen there, they show it.
_HEAD_PARTS = {HEAD, HAIR}
_OWN = {
    **dict.fromkeys(("head", "head_top", *_FACE), _HEAD_PARTS),
    "neck": {TORSO, *_HEAD_PARTS},
    "thorax": {TORSO},
    "belly": {TORSO},
    "pelvis": {TORSO, *THIGH},
}
for _side, _name in enumerate(("left", "right")):
    _OWN[f"{_name}_shoulder"] = {TORSO, UPPER_ARM[_side]}
    _OWN[f"{_name}_elbow"] = {UPPER_ARM[_side], FOREARM[_side]}
    _OWN[f"{_name}_wrist"] = {FOREARM[_side]}
    _OWN[f"{_name}_hip"] = {TORSO, THIGH[_side]}
    _OWN[f"{_name}_knee"] = {THIGH[_side], SHANK[_side]}
    _OWN[f"{_name}_ankle"] = {SHANK[_side]}
# A point lies this deep under the surface that shows it at most, as a share of the height: more, and the
# surface is the near side of a trunk, or of a head, that hides its far side. The face is on the surface.
_DEEPEST = {
    "nose": 0.022,
    "left_eye": 0.022,
    "right_eye": 0.022,
    "left_ear": 0.045,
    "right_ear": 0.045,
    "head_top": 0.06,
}

OWN = np.zeros((len(POINTS), max(PROP, HAIR) + 1), bool)  # [point, part]
for _row, _name in enumerate(POINTS):
    OWN[_row, sorted(_OWN[_name])] = True
DEEPEST = np.array([_DEEPEST.get(name, 0.11) for name in POINTS])


def anatomy(figure: Figure, body: Proportions) -> np.ndarray:
    """The points [F, P, 3] in the order of `POINTS`, in person space.

    The neck is where the head sits on it, the thorax the middle of the line of the shoulders, the belly the waist.
    """
    pairs = (figure.shoulders, figure.elbows, figure.wrists, figure.hips, figure.knees, figure.ankles)
    neck = 0.3 * figure.chest + 0.7 * figure.chin  # the upper end of the drawn trunk
    single = (figure.crown, neck, figure.chest, figure.waist, figure.pelvis)
    return np.concatenate([figure.head[:, None], *pairs, face(figure, body), np.stack(single, 1)], 1)


def columns(joints: Sequence[str]) -> np.ndarray:
    """Places in `POINTS` of the joints of a data set, by their names."""
    return np.array([POINTS.index(_ALIASES.get(name, name)) for name in joints])
