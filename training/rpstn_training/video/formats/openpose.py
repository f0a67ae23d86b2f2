"""openpose/NAME_000000000000_keypoints.json: a file per frame, in the form of OpenPose's --write_json.

Where the skeleton has both shoulders, elbows, wrists, hips, knees and ankles the joints are BODY_25: Neck and MidHip
are the middles of the shoulders and of the hips, as OpenPose labels them, with the lower one of the two confidences;
what the skeleton lacks (a nose, eyes, feet) is 0, 0, 0, and what BODY_25 lacks (the top of the head) is left out. Other
skeletons keep their own joints in their own order. "layout" and "joints" in every file say which. The third number of a
joint is the probability that it is right, or the score where the weights are not calibrated; a missing joint is
0, 0, 0. person_id is [the person's number]. "states", which OpenPose does not know, are those of the
joints in the same order, null for what the skeleton does not have as a joint of its own.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...data.forms.joint_names import plain
from ..digits import PIXEL_DIGITS, SCORE_DIGITS
from ..recording import Recording
from ..writers import FoundPose

BODY_25 = (
    *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip"),
    *("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar"),
    *("LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel"),
)
_MIDDLES = {"Neck": ("left_shoulder", "right_shoulder"), "MidHip": ("left_hip", "right_hip")}
_NEEDED = [
    f"{side}_{part}"
    for side in ("left", "right")
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
]
_EMPTY = (
    *("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"),
    *("pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d"),
)


def names() -> tuple[str, ...]:
    return ("openpose",)


def write(recording: Recording, path: Path) -> None:
    path.mkdir()
    stem = Path(str(recording.info.get("source", "video"))).stem or "video"
    own = {plain(name): joint for joint, name in enumerate(recording.skeleton.joints)}
    as_body = all(name in own for name in _NEEDED)
    joints = BODY_25 if as_body else recording.skeleton.joints
    sources = [_sources(name, own) if as_body else (joint,) for joint, name in enumerate(joints)]
    said = {"version": 1.3, "layout": "BODY_25" if as_body else "own", "joints": joints}
    for frame, poses in recording.by_frame():
        content = said | {"time": frame.time, "people": [_person(pose, sources) for pose in poses]}
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        (path / f"{stem}_{frame.number:012d}_keypoints.json").write_text(text + "\n", encoding="utf-8")


def _sources(name: str, own: dict[str, int]) -> tuple[int, ...]:
    """Which of the skeleton's joints make this one: none, one, or two whose middle it is."""
    wanted = _MIDDLES.get(name, (plain(name),))
    return tuple(own[part] for part in wanted) if all(part in own for part in wanted) else ()


def _person(pose: FoundPose, sources: list[tuple[int, ...]]) -> dict[str, Any]:
    confidence = pose.scores if pose.probabilities is None else pose.probabilities
    keypoints: list[float] = []
    for joints in sources:
        place = pose.joints[list(joints)]
        if not joints or np.isnan(place).any():
            keypoints += (0.0, 0.0, 0.0)
            continue
        x, y = np.round(place.mean(axis=0), PIXEL_DIGITS).tolist()
        keypoints += (x, y, round(float(min(confidence[list(joints)])), SCORE_DIGITS))
    person: dict[str, Any] = {"person_id": [pose.person], "pose_keypoints_2d": keypoints}
    person |= {name: [] for name in _EMPTY}
    if pose.states is not None:
        person["states"] = [pose.states[joints[0]] if len(joints) == 1 else None for joints in sources]
    return person
