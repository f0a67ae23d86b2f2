"""Programs of what people do every day: walk, run, stand about, jump, pick something up."""

import numpy as np

from .actions import (
    Style,
    angles,
    euler,
    feet,
    keys,
    knees_forward,
    points,
    reach,
    stand,
    toes,
    upright,
    wave,
)
from .body import Motion, Proportions


def _step(
    u: np.ndarray,
    *,
    stance: float,
    lift: tuple[tuple[float, float], ...],
    pitch: tuple[tuple[float, float], ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One foot over a cycle that begins when it lands: how far it is ahead of the hips (share of the stride), how
    high (share of the height), and how far its tip is raised (degrees). On the floor it stays where it is.
    """
    p = u % 1.0
    swing = np.clip((p - stance) / (1 - stance), 0, 1)
    ahead = stance * (0.5 - np.where(p < stance, p / stance, 1 - swing * swing * (3 - 2 * swing)))
    return ahead, keys(u, *lift), keys(u, *pitch)


def _strides(u: np.ndarray, body: Proportions, stride: float, half: float, **step) -> tuple:
    """Ankles relative to hips at z = 0, pitches of both feet, and the way walked [F], which is 0 on average."""
    sides = [_step(u + shift, **step) for shift in (0.0, 0.5)]
    ankles = feet(
        u,
        body,
        half=half,
        left=(0, sides[0][1], stride * sides[0][0]),
        right=(0, sides[1][1], stride * sides[1][0]),
    )
    way = stride * body.height * (u - u.mean())
    return ankles, (sides[0][2], sides[1][2]), way


def _onward(way: np.ndarray, *parts: np.ndarray) -> list[np.ndarray]:
    """Points [F, ..., 3] carried along by the way walked."""
    moved = []
    for part in parts:
        part = part.copy()
        part[..., 2] += way.reshape(-1, *(1,) * (part.ndim - 2))
        moved.append(part)
    return moved


def walk(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    ankles, pitch, way = _strides(
        u,
        body,
        0.74 * style.amplitude,
        0.045 * style.stance,
        stance=0.6,
        lift=((0.0, 0.004), (0.08, 0.0), (0.40, 0.0), (0.58, 0.035), (0.72, 0.070), (0.86, 0.025)),
        pitch=((0.0, 16), (0.10, 0), (0.40, 0), (0.58, -34), (0.70, -40), (0.86, 2)),
    )
    swing = np.cos(2 * np.pi * u)  # 1 when the left foot is ahead
    sway = 0.010 * body.height * np.sin(2 * np.pi * u)
    pelvis = stand(body, ankles, sway, 0 * u, 0.006 + 0 * u)
    strong = (0.7 + 0.6 * style.quirk[0]) * style.amplitude
    arms = tuple(
        angles(u, 4 + side * -22 * strong * swing, 84, 0, 16 + 10 * strong * (1 - side * swing))
        for side in (1, -1)
    )
    pelvis, ankles = _onward(way, pelvis, ankles)
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 3, 2 * np.sin(2 * np.pi * u), -5 * swing),
        bend=euler(u, 1 + style.lean, -2 * np.sin(2 * np.pi * u), 10 * strong * swing),
        head=euler(u, 2 + 18 * (style.quirk[1] > 0.75), 0, -5 * swing + 30 * (style.quirk[2] - 0.5)),
        arms=arms,
        ankles=ankles,
        toes=toes(u, 8, 8, *pitch),
        knees=knees_forward(u, 0.05),
    )


def run(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    ankles, pitch, way = _strides(
        u,
        body,
        1.15 * style.amplitude,
        0.03,
        stance=0.36,
        lift=((0.0, 0.015), (0.08, 0.0), (0.25, 0.0), (0.36, 0.05), (0.56, 0.23), (0.72, 0.16), (0.90, 0.04)),
        pitch=((0.0, 10), (0.08, 0), (0.24, 0), (0.36, -45), (0.56, -75), (0.75, -20), (0.90, 8)),
    )
    swing = np.cos(2 * np.pi * (u - 0.05))
    bob = 0.012 * np.cos(4 * np.pi * (u - 0.18))  # lowest in the middle of each stance
    reachable = stand(body, ankles, 0 * u, 0 * u, 0.0 * u)
    pelvis = reachable.copy()
    pelvis[:, 1] = np.minimum(reachable[:, 1], body.ankle + 0.95 * body.leg - bob * body.height)
    arms = tuple(
        angles(u, side * -42 * style.amplitude * swing, 80, 0, 88 - 14 * side * swing) for side in (1, -1)
    )
    pelvis, ankles = _onward(way, pelvis, ankles)
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 7, 0, -7 * swing),
        bend=euler(u, 4 + style.lean, 0, 15 * swing),
        head=euler(u, -9, 0, -8 * swing),
        arms=arms,
        ankles=ankles,
        toes=toes(u, 4, 4, *pitch),
        knees=knees_forward(u, 0.04),
    )


def stand_about(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    """Standing at ease: hands hanging, on the hips, at a telephone, waving, or talking."""
    h = body.height
    shift = 0.020 * np.sin(2 * np.pi * u) + 0.02 * (style.quirk[1] - 0.5)
    ankles = feet(u, body, half=0.06 * style.stance, left=(0, 0, 0.05 * (style.quirk[0] - 0.5)))
    pelvis = stand(body, ankles, shift * h, 0 * u, 0.010 + 0.004 * np.cos(4 * np.pi * u))
    look = 25 * np.sin(2 * np.pi * u * 0.5 + 6 * style.quirk[2])
    down = 0.0
    hanging = tuple(angles(u, 7 + 2 * side * np.sin(2 * np.pi * u), 25, 30, 14) for side in (1, -1))
    left, right = hanging
    pose = int(5 * style.quirk[0])
    if pose == 1:  # hands on the hips
        left, right = (
            reach(
                u,
                points(u, side * 1.10 * body.shoulder, -0.80 * body.trunk, 0.02 * h),
                (side * 1.0, -0.1, -0.6),
                on_chest=True,
            )
            for side in (1, -1)
        )
    elif pose == 2:  # looking at a telephone
        down = 26.0
        look = 0.2 * look
        right = angles(u, 22, 60, 55, 112 + 3 * np.sin(4 * np.pi * u))
    elif pose == 3:  # waving
        wag = np.sin(8 * np.pi * u)
        right = angles(u, 112 + 5 * wag, 15, 0, 55 + 24 * wag)
    elif pose == 4:  # talking with the hands
        left, right = (
            angles(
                u, 16 + 8 * np.sin(6 * np.pi * u + side), 65, 45, 82 + 22 * np.sin(6 * np.pi * u + 2 * side)
            )
            for side in (1, -1)
        )
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 1, 70 * shift, 0.2 * look),
        bend=euler(u, 2 + style.lean, -70 * shift, 0.2 * look),
        head=euler(u, 2 + down, 0, look),
        arms=(left, right),
        ankles=ankles,
        toes=toes(u, 14, 20),
        knees=knees_forward(u, 0.25),
    )


def jump(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    """Straight up from both feet, with a swing of the arms."""
    crouch, lean, hop, raised, tip = keys(
        u,
        (0.00, 0.02, 5, 0.0, 15, 0),
        (0.22, 0.16, 34, 0.0, -45, 0),
        (0.32, 0.10, 22, 0.0, 20, 0),
        (0.40, 0.00, 4, 0.04, 130, -40),
        (0.50, 0.00, 0, 0.19 * style.amplitude, 165, -50),
        (0.60, 0.01, 4, 0.05, 120, -35),
        (0.68, 0.12, 24, 0.0, 55, 0),
        (0.82, 0.05, 10, 0.0, 20, 0),
    ).T
    ankles = feet(u, body, half=0.065 * style.stance, left=(0, hop, 0), right=(0, hop, 0))
    pelvis = stand(body, ankles, 0 * u, -0.35 * crouch * body.height, crouch + 0.004)
    arms = tuple(angles(u, raised, 82, 20, 18 + 25 * style.quirk[0] + 0.1 * raised) for _ in (0, 1))
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, lean),
        bend=euler(u, 0.4 * lean + style.lean),
        head=euler(u, -0.9 * lean),
        arms=arms,
        ankles=ankles,
        toes=toes(u, 10, 10, tip, tip),
        knees=knees_forward(u, 0.2),
    )


def pick(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    """Down to the floor with the right hand, and up again."""
    h = body.height
    down = wave(u) ** 0.8
    ankles = feet(u, body, half=0.075 * style.stance, left=(0, 0, 0.11), right=(0, 0, -0.06))
    deep = (0.16 + 0.06 * style.quirk[0]) * down
    pelvis = stand(body, ankles, 0 * u, -0.10 * h * down, 0.01 + deep)
    floor = points(u, -0.06 * h, 0.05 * h, 0.24 * h)
    hip = points(u, -1.35 * body.shoulder, 0.46 * h, 0.06 * h)
    way = down[:, None]
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 3 + 52 * down),
        bend=euler(u, style.lean + 30 * down, 0, 12 * down),
        head=euler(u, 6 - 22 * down),
        arms=(
            angles(u, 8 + 42 * down, 60, 30, 16 + 30 * down),
            reach(u, way * floor + (1 - way) * hip, (-0.6, 0, -1)),
        ),
        ankles=ankles,
        toes=toes(u, 10, 14, 0, -8 * down),
        knees=knees_forward(u, 0.2),
    )
