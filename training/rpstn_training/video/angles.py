"""Angles of joints and how fast they and the joints move, in the plane of the picture.

With p, q, r the places of three joints, the angle at q is theta = atan2(|u x v|, u . v), u = p - q, v = r - q, in
degrees from 0 to 180. It is the angle that the picture shows: a limb that points at the camera looks shorter, and its
angles are not those of the body.

    elbow_flexion, knee_flexion    180 - theta at elbow or knee: 0 for a straight limb
    hip_flexion                    180 - theta at the hip, between shoulder and knee: 0 where they are in line
    shoulder_elevation             theta at the shoulder, between hip and elbow: 0 for an arm along the trunk
    trunk_lean                     atan2(x, -y) of the way from the hips' middle to the shoulders': 0 upright, 90 lying
                                   with the head to the picture's right, -90 to its left, 180 head down

None of the first four says to which side a joint is bent. A speed is the derivative by central differences at the times
of the frames (numpy.gradient, also for frames that are not evenly spaced; at a stretch's ends the difference to the one
neighbour): px/s of a joint's way sqrt(x'^2 + y'^2), degrees/s of an angle, and nothing for a stretch of one frame.
"""

import numpy as np

from ..data.forms.joint_names import plain
from .filters import of_each_stretch
from .recording import Person, Recording

_OF_A_SIDE = {  # name: joints p, q, r, and whether 180 degrees are the rest
    "shoulder_elevation": ("hip", "shoulder", "elbow", False),
    "elbow_flexion": ("shoulder", "elbow", "wrist", True),
    "hip_flexion": ("shoulder", "hip", "knee", True),
    "knee_flexion": ("hip", "knee", "ankle", True),
}
ANGLES: dict[str, tuple[tuple[str, str, str], bool]] = {
    f"{side}_{name}": ((f"{side}_{p}", f"{side}_{q}", f"{side}_{r}"), straight)
    for name, (p, q, r, straight) in _OF_A_SIDE.items()
    for side in ("left", "right")
}
LEAN = "trunk_lean"


def angles(person: Person, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Angle to degrees float64 [N], NaN where a joint of it is missing; `names` are the skeleton's joints.

    Angles of joints that the skeleton lacks are not there.
    """
    place = {plain(name): joint for joint, name in enumerate(names)}
    found = {}
    for angle, (joints, straight) in ANGLES.items():
        if all(name in place for name in joints):
            p, q, r = (person.joints[:, place[name]] for name in joints)
            u, v = p - q, r - q
            across = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
            theta = np.degrees(np.arctan2(np.abs(across), (u * v).sum(axis=1)))
            found[angle] = 180 - theta if straight else theta
    trunk = ["left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    if all(name in place for name in trunk):
        ends = person.joints[:, [place[name] for name in trunk]]
        x, y = (ends[:, :2].mean(axis=1) - ends[:, 2:].mean(axis=1)).T
        found[LEAN] = np.degrees(np.arctan2(x, -y))
    return found


def angular_speeds(
    person: Person, found: dict[str, np.ndarray], recording: Recording
) -> dict[str, np.ndarray]:
    """Angle to degrees/s float64 [N]; `found` are the person's `angles`. A lean that passes 180 goes on beyond."""
    speeds = {}
    for name, values in found.items():
        speed = of_each_stretch(
            values[:, None],
            person.rows,
            lambda part, rows, round=name == LEAN: _derivative(
                np.unwrap(part, period=360) if round else part, recording.times[rows]
            ),
        )
        speeds[name] = speed[:, 0]
    return speeds


def joint_speeds(person: Person, recording: Recording) -> np.ndarray:
    """Speeds of the joints, px/s float64 [N, K], NaN where a joint is missing or has no neighbour in time."""
    velocity = of_each_stretch(
        person.joints, person.rows, lambda part, rows: _derivative(part, recording.times[rows])
    )
    return np.hypot(velocity[..., 0], velocity[..., 1])


def _derivative(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    if len(values) < 2:
        return np.full_like(values, np.nan)
    return np.gradient(values, times, axis=0)
