"""Proportions and kinematics of a person: joint angles and targets in, joints and frames in space out.

Person space, metres: x to the person's own left, y up with the floor at 0, z forward. Rotations are
matrices [F, 3, 3] that act on columns; angles are in degrees. All functions work on the F frames of a clip
at once. Sides come in pairs, left first.
"""

from dataclasses import dataclass, field, replace

import numpy as np

SIDES = (1.0, -1.0)  # left, right along x
_MIRROR = np.diag([-1.0, 1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """Lengths in metres; the average person is that of Drillis and Contini (1966)."""

    height: float
    shoulder: float  # half the distance of the shoulder joints
    hip: float  # half the distance of the hip joints
    trunk: float  # hip centre to the line of the shoulders
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shank: float
    ankle: float  # height of the ankle joint above the sole
    foot: float
    neck: float  # line of the shoulders to the chin
    head: float  # chin to crown
    girth: float  # factor of all thicknesses

    @property
    def arm(self) -> float:
        return self.upper_arm + self.forearm

    @property
    def leg(self) -> float:
        return self.thigh + self.shank


def sample_proportions(rng: np.random.Generator) -> Proportions:
    """One adult; every length differs by a few per cent from the average."""
    height = rng.uniform(1.58, 1.90)
    broad = rng.normal(0.0, 0.05)

    def of_height(share: float, spread: float = 0.03) -> float:
        return float(height * share * (1 + spread * np.clip(rng.normal(), -2, 2)))

    return Proportions(
        height=height,
        shoulder=of_height(0.108) * (1 + broad),
        hip=of_height(0.055, 0.06),
        trunk=of_height(0.288),
        upper_arm=of_height(0.175),
        forearm=of_height(0.150),
        hand=of_height(0.085),
        thigh=of_height(0.243),
        shank=of_height(0.243),
        ankle=of_height(0.042),
        foot=of_height(0.150),
        neck=of_height(0.042, 0.1),
        head=of_height(0.132, 0.04),
        girth=float(1.0 + 0.10 * np.clip(rng.normal() + broad * 8, -1.6, 2.4)),
    )


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm over F frames, by joint angles or by where the wrist is.

    `angles` [F, 4]: elevation (0 hanging, 90 level, 180 up), plane of elevation (0 to the side, 90 to the
    front, beyond 90 across the chest), direction in which the elbow bends (0 on in the sense of the
    elevation, 90 on in the sense of the plane), elbow (0 straight).
    `wrist` [F, 3] in person space, or in the frame of the chest when `on_chest`; `pole` [F, 3] is the
    direction, in the frame of the chest, to which the elbow points.
    """

    angles: np.ndarray | None = None
    wrist: np.ndarray | None = None
    pole: np.ndarray | None = None
    on_chest: bool = False


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What an action's program returns: F frames of one person.

    `pelvis` [F, 3] hip centre and `pelvis_rotation`; `bend` [F, 3] of the chest against the pelvis and
    `head` [F, 3] of the head against the chest: forward, to the right, turn to the left, in degrees.
    `ankles` [F, 2, 3], `toes` [F, 2, 3] directions of the feet, `knees` [F, 2, 3] directions to which the
    knees point, all in person space. `extras` [F, ...] are what props need.
    """

    pelvis: np.ndarray
    pelvis_rotation: np.ndarray
    bend: np.ndarray
    head: np.ndarray
    arms: tuple[Arm, Arm]
    ankles: np.ndarray
    toes: np.ndarray
    knees: np.ndarray
    extras: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The solved body: points [F, 3] or [F, 2, 3] (left, right) and frames [F, 3, 3] in person space."""

    pelvis: np.ndarray
    waist: np.ndarray
    chest: np.ndarray  # middle of the line of the shoulders
    chin: np.ndarray
    crown: np.ndarray
    head: np.ndarray  # centre of the head
    shoulders: np.ndarray
    elbows: np.ndarray
    wrists: np.ndarray
    fingers: np.ndarray
    hips: np.ndarray
    knees: np.ndarray
    ankles: np.ndarray
    toes: np.ndarray  # directions
    soles: np.ndarray  # directions from the ankle to the sole
    pelvis_frame: np.ndarray
    chest_frame: np.ndarray
    head_frame: np.ndarray
    elbow_poles: np.ndarray
    knee_poles: np.ndarray
    extras: dict[str, np.ndarray]


def rotation(forward=0.0, right=0.0, turn=0.0) -> np.ndarray:
    """Matrices [F, 3, 3]: first lean forward, then to the right, then turn to the left (degrees)."""
    a, b, c = np.broadcast_arrays(*(np.radians(np.atleast_1d(angle)) for angle in (forward, right, turn)))
    zero, one = np.zeros_like(a), np.ones_like(a)

    def matrix(*rows: tuple[np.ndarray, ...]) -> np.ndarray:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    sin, cos = np.sin, np.cos
    about_x = matrix((one, zero, zero), (zero, cos(a), -sin(a)), (zero, sin(a), cos(a)))
    about_z = matrix((cos(b), -sin(b), zero), (sin(b), cos(b), zero), (zero, zero, one))
    about_y = matrix((cos(c), zero, sin(c)), (zero, one, zero), (-sin(c), zero, cos(c)))
    return about_y @ about_z @ about_x


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def across(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The unit vector of the part of `vectors` at right angles to the unit vectors `axis`."""
    return unit(vectors - (vectors * axis).sum(-1, keepdims=True) * axis)


def turned(frames: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """`frames` [F, 3, 3] applied to `vectors` [F, 3] or [3]."""
    return np.einsum("fij,fj->fi", frames, np.broadcast_to(vectors, (len(frames), 3)))


def two_bones(
    root: np.ndarray, target: np.ndarray, first: float, second: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Middle and end joint [F, 3] of a limb that reaches from `root` for `target` and bends to `pole`.

    A target out of reach is approached as far as the limb allows.
    """
    axis = unit(target - root)
    distance = np.linalg.norm(target - root, axis=-1, keepdims=True)
    distance = np.clip(distance, abs(first - second) + 0.15 * min(first, second), 0.998 * (first + second))
    cosine = (first**2 + distance**2 - second**2) / (2 * first * distance)
    sine = np.sqrt(np.maximum(0.0, 1 - cosine**2))
    middle = root + first * (cosine * axis + sine * across(pole, axis))
    return middle, root + distance * axis


def solve(motion: Motion, body: Proportions) -> Figure:
    """Forward kinematics of trunk, head and free arms, two-bone inverse kinematics of the rest."""
    pelvis_frame = np.broadcast_to(motion.pelvis_rotation, (len(motion.pelvis), 3, 3))
    half = pelvis_frame @ rotation(*(motion.bend / 2).T)
    chest_frame = pelvis_frame @ rotation(*motion.bend.T)
    head_frame = chest_frame @ rotation(*motion.head.T)
    up = np.array([0.0, 1.0, 0.0])

    waist = motion.pelvis + 0.30 * body.trunk * turned(pelvis_frame, up)
    middle = waist + 0.25 * body.trunk * turned(half, up)
    chest = middle + 0.45 * body.trunk * turned(chest_frame, up)
    neck_frame = chest_frame @ rotation(*(motion.head / 2).T)
    chin = chest + turned(neck_frame, np.array([0.0, body.neck, 0.012 * body.height]))
    crown = chin + turned(head_frame, np.array([0.0, body.head, 0.008 * body.height]))

    arms = [_arm(arm, side, chest, chest_frame, body) for arm, side in zip(motion.arms, SIDES)]
    shoulders, elbows, wrists, elbow_poles = (np.stack(part, 1) for part in zip(*arms))

    hips = np.stack(
        [motion.pelvis + turned(pelvis_frame, np.array([side * body.hip, 0, 0])) for side in SIDES], 1
    )
    legs = [
        two_bones(hips[:, s], motion.ankles[:, s], body.thigh, body.shank, motion.knees[:, s]) for s in (0, 1)
    ]
    knees, ankles = (np.stack(part, 1) for part in zip(*legs))
    toes = unit(motion.toes)
    return Figure(
        pelvis=motion.pelvis,
        waist=waist,
        chest=chest,
        chin=chin,
        crown=crown,
        head=0.45 * chin + 0.55 * crown,
        shoulders=shoulders,
        elbows=elbows,
        wrists=wrists,
        fingers=wrists + body.hand * unit(wrists - elbows),
        hips=hips,
        knees=knees,
        ankles=ankles,
        toes=toes,
        soles=across(ankles - knees, toes),
        pelvis_frame=pelvis_frame,
        chest_frame=chest_frame,
        head_frame=head_frame,
        elbow_poles=elbow_poles,
        knee_poles=motion.knees,
        extras=motion.extras,
    )


def _arm(
    arm: Arm, side: float, chest: np.ndarray, chest_frame: np.ndarray, body: Proportions
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shoulder, elbow, wrist and the elbow's pole [F, 3]. The shoulder joint rises with the arm."""
    at_rest = chest + turned(chest_frame, np.array([side * body.shoulder, -0.012 * body.height, 0.0]))
    if arm.wrist is not None:
        target = chest + turned(chest_frame, arm.wrist) if arm.on_chest else arm.wrist
        pole = turned(chest_frame, arm.pole)
        direction = turned(chest_frame.swapaxes(1, 2), unit(target - at_rest))
        shoulder = at_rest + _shrug(direction, side, body, chest_frame)
        return shoulder, *two_bones(shoulder, target, body.upper_arm, body.forearm, pole), pole

    elevation, plane, twist, bend = np.radians(arm.angles.T)[..., None]
    out, up, front = np.array([side, 0, 0]), np.array([0, 1.0, 0]), np.array([0, 0, 1.0])
    level = np.cos(plane) * out + np.sin(plane) * front
    upper = np.sin(elevation) * level - np.cos(elevation) * up
    onward = np.cos(elevation) * level + np.sin(elevation) * up
    inward = -np.sin(plane) * out + np.cos(plane) * front
    bent = np.cos(twist) * onward + np.sin(twist) * inward
    lower = np.cos(bend) * upper + np.sin(bend) * bent
    shoulder = at_rest + _shrug(upper, side, body, chest_frame)
    elbow = shoulder + body.upper_arm * turned(chest_frame, upper)
    return shoulder, elbow, elbow + body.forearm * turned(chest_frame, lower), -turned(chest_frame, bent)


def _shrug(direction: np.ndarray, side: float, body: Proportions, chest_frame: np.ndarray) -> np.ndarray:
    raised = (1 + direction[:, 1:2]) / 2
    return turned(chest_frame, raised**2 * np.array([-0.018 * side, 0.034, 0.0]) * body.height)


def mirrored(motion: Motion) -> Motion:
    """The same motion done the other way round: a left-hander's."""

    def flip(vectors: np.ndarray) -> np.ndarray:
        return vectors * np.array([-1.0, 1.0, 1.0])

    def arm(of: Arm) -> Arm:
        return replace(
            of,
            wrist=None if of.wrist is None else flip(of.wrist),
            pole=None if of.pole is None else flip(of.pole),
        )

    return Motion(
        pelvis=flip(motion.pelvis),
        pelvis_rotation=_MIRROR @ motion.pelvis_rotation @ _MIRROR,
        bend=motion.bend * np.array([1.0, -1.0, -1.0]),
        head=motion.head * np.array([1.0, -1.0, -1.0]),
        arms=(arm(motion.arms[1]), arm(motion.arms[0])),
        ankles=flip(motion.ankles[:, ::-1]),
        toes=flip(motion.toes[:, ::-1]),
        knees=flip(motion.knees[:, ::-1]),
        extras={
            name: flip(value) if value.shape[-1] == 3 else value for name, value in motion.extras.items()
        },
    )
