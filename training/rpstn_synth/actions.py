"""What an action is, and what the programs of all actions share.

A program is a function of the phase u [F] (in cycles, it repeats with 1), the proportions and a style, and
returns a `Motion`. The programs stand in `gym.py` and `sport.py`, their table in `programs.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from .body import Arm, Motion, Proportions, rotation


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one person does it: `amplitude` about 1, `stance` about 1 (width), `lean` in degrees, `quirk` in 0..1."""

    amplitude: float
    stance: float
    lean: float
    quirk: tuple[float, float, float]


Program = Callable[[np.ndarray, Proportions, Style], Motion]


@dataclass(frozen=True, kw_only=True)
class Action:
    """`seconds` of one cycle (shortest, longest); weights of the views front, back, left, right; `spread` of
    the yaw about a view in degrees; names of the props, see `props.py`.
    """

    program: Program
    seconds: tuple[float, float]
    views: tuple[float, float, float, float] = (1, 1, 1, 1)
    spread: float = 35.0
    props: tuple[str, ...] = ()
    handed: bool = False  # may be mirrored for a left-hander
    once: bool = False  # the end does not lead back to the beginning: played once, then held
    outdoor: float = 0.5


def keys(u: np.ndarray, *poses: tuple[float, ...]) -> np.ndarray:
    """Smooth periodic curve through `poses`, each (phase, value, value, ...): [F] or [F, values]."""
    table = np.array(poses, dtype=np.float64)
    wrapped = np.concatenate([table[-2:] - _step(table), table, table[:2] + _step(table)])
    curve = PchipInterpolator(wrapped[:, 0], wrapped[:, 1:], axis=0)(u % 1.0)
    return curve[:, 0] if curve.shape[1] == 1 else curve


def _step(table: np.ndarray) -> np.ndarray:
    return np.eye(1, table.shape[1])  # one cycle later, the same values


def wave(u: np.ndarray, cycles: float = 1.0) -> np.ndarray:
    """0 at u = 0, 1 half a cycle on."""
    return (1 - np.cos(2 * np.pi * cycles * u)) / 2


def points(u: np.ndarray, x=0.0, y=0.0, z=0.0) -> np.ndarray:
    """[F, 3] from numbers and [F] arrays."""
    return np.stack(np.broadcast_arrays(x, y, z, u * 0.0)[:3], -1).astype(np.float64)


def angles(u: np.ndarray, elevation=0.0, plane=0.0, twist=0.0, elbow=0.0) -> Arm:
    """An `Arm` by joint angles, from numbers and [F] arrays."""
    return Arm(angles=np.stack(np.broadcast_arrays(elevation, plane, twist, elbow, u * 0.0)[:4], -1))


def reach(
    u: np.ndarray, wrist: np.ndarray, pole: tuple[float, float, float], *, on_chest: bool = False
) -> Arm:
    """An `Arm` by the place of its wrist."""
    return Arm(wrist=wrist, pole=points(u, *pole), on_chest=on_chest)


def feet(
    u: np.ndarray,
    body: Proportions,
    *,
    half: float = 0.07,
    left: tuple = (0.0, 0.0, 0.0),
    right: tuple = (0.0, 0.0, 0.0),
    open_toes: float = 15.0,
) -> np.ndarray:
    """Ankles [F, 2, 3], `half` apart from the middle, plus (x, y, z) of each; all shares of the height.

    y counts from where the foot stands on the floor.
    """
    h = body.height
    both = [
        points(u, side * half * h + of[0] * h, body.ankle + of[1] * h, of[2] * h)
        for side, of in ((1, left), (-1, right))
    ]
    return np.stack(both, 1)


def toes(
    u: np.ndarray, left: float = 15.0, right: float = 15.0, pitch_left=0.0, pitch_right=0.0
) -> np.ndarray:
    """Directions of the feet [F, 2, 3]: turned out by degrees, tip raised by `pitch` degrees."""
    both = []
    for side, turn, pitch in ((1, left, pitch_left), (-1, right, pitch_right)):
        t, p = np.radians(turn), np.radians(pitch)
        both.append(points(u, side * np.sin(t) * np.cos(p), np.sin(p), np.cos(t) * np.cos(p)))
    return np.stack(both, 1)


def knees_forward(u: np.ndarray, out: float = 0.25) -> np.ndarray:
    return np.stack([points(u, out, 0, 1), points(u, -out, 0, 1)], 1)


def stand(
    body: Proportions, ankles: np.ndarray, x: np.ndarray, z: np.ndarray, crouch: np.ndarray, lift=0.0
) -> np.ndarray:
    """Hip centre [F, 3] at x and z, as high as the legs allow less `crouch` (share of the height) plus `lift`.

    So feet on the floor stay there: what is asked of the legs is within their reach.
    """
    sides = np.array([body.hip, -body.hip])
    level = (ankles[..., 0] - x[:, None] - sides) ** 2 + (ankles[..., 2] - z[:, None]) ** 2
    longest = 0.985 * body.leg
    room = ankles[..., 1] + np.sqrt(np.maximum(longest**2 - level, (0.3 * longest) ** 2))
    y = room.min(axis=1) - crouch * body.height + lift
    return np.stack([x, y, z], -1)


def euler(u: np.ndarray, forward=0.0, right=0.0, turn=0.0) -> np.ndarray:
    """[F, 3] degrees forward, to the right, turn to the left."""
    return points(u, forward, right, turn)


def upright(u: np.ndarray, forward=0.0, right=0.0, turn=0.0) -> np.ndarray:
    """Rotation of the pelvis [F, 3, 3]."""
    return rotation(*euler(u, forward, right, turn).T)
