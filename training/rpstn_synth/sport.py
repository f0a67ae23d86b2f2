"""Programs of throwing, swinging and serving, and of playing the guitar. All for a right-hander."""

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
from .body import Arm, Motion, Proportions, unit


def _arm(u: np.ndarray, *poses: tuple[float, ...]) -> Arm:
    """Keyed joint angles: phase, elevation, plane, direction of the elbow's bend, elbow."""
    return angles(u, *keys(u, *poses).T)


def baseball_pitch(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h, a = body.height, style.amplitude
    # phase, turn of the pelvis, pelvis forward, crouch, left foot forward and up, trunk forward, turn of the chest
    turn, z, crouch, step, knee, lean, twist, right_up = keys(
        u,
        (0.00, -75, 0.00, 0.01, 0.00, 0.00, 4, -5, 0),
        (0.15, -80, 0.00, 0.02, 0.02, 0.20, 6, -8, 0),
        (0.26, -85, 0.01, 0.03, 0.05, 0.30 * a, 8, -15, 0),
        (0.38, -70, 0.12, 0.06, 0.30, 0.08, 4, -25, 0),
        (0.46, -30, 0.24, 0.06, 0.44, 0.00, 0, -25, 0),
        (0.54, 10, 0.32, 0.05, 0.45, 0.00, 22, 15, 0.02),
        (0.64, 35, 0.38, 0.06, 0.45, 0.00, 50, 25, 0.12),
        (0.76, 15, 0.40, 0.03, 0.45, 0.00, 28, 10, 0.06),
        (0.92, -40, 0.15, 0.02, 0.20, 0.02, 8, 0, 0.02),
    ).T
    right_z = keys(u, (0, 0), (0.5, 0), (0.64, 0.10), (0.78, 0.30), (0.94, 0.02))
    ankles = feet(u, body, half=0.06, left=(0, knee, step), right=(0, right_up, right_z))
    standing = ankles.copy()
    standing[:, 0, 1] = np.minimum(standing[:, 0, 1], body.ankle)
    standing[:, 0, [0, 2]] = np.where(knee[:, None] > 0.03, standing[:, 1, [0, 2]], standing[:, 0, [0, 2]])
    pelvis = stand(body, ankles, 0 * u, z * h, crouch)
    pelvis[:, 1] = np.minimum(pelvis[:, 1], body.ankle + 0.985 * body.leg - crouch * h)
    throwing = _arm(
        u,
        (0.00, 30, 75, 30, 110),
        (0.26, 38, 85, 30, 115),
        (0.38, 45, 10, -20, 60),
        (0.46, 92, -18, 0, 88),
        (0.52, 100, 10, 10, 95),
        (0.56, 112, 60, 40, 25),
        (0.64, 60, 125, 60, 15),
        (0.78, 35, 110, 30, 30),
        (0.93, 30, 80, 30, 100),
    )
    glove = _arm(
        u,
        (0.00, 32, 85, 40, 112),
        (0.26, 40, 90, 40, 112),
        (0.38, 72, 30, 60, 30),
        (0.46, 85, 35, 60, 15),
        (0.56, 45, 50, 60, 100),
        (0.64, 25, 20, 20, 110),
        (0.78, 20, 30, 20, 70),
        (0.93, 30, 80, 30, 105),
    )
    pivot = np.radians(turn * 0.8)
    foot = points(u, np.sin(pivot), 0, np.cos(pivot))
    planted = keys(u, (0, -75), (0.3, -75), (0.46, -10), (0.8, -10), (0.95, -70))
    front = points(u, np.sin(np.radians(planted)), -0.1 * (knee > 0.1), np.cos(np.radians(planted)))
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 0.4 * lean, 0, turn),
        bend=euler(u, 0.6 * lean, 0, twist),
        head=euler(u, -0.5 * lean, 0, np.clip(-(turn + twist), -65, 65)),
        arms=(glove, throwing),
        ankles=ankles,
        toes=np.stack([front, foot - points(u, 0, 4 * right_up)], 1),
        knees=np.stack([front + points(u, 0.1), foot + points(u, 0.2)], 1),
    )


def _with_both_hands(
    u: np.ndarray, body: Proportions, hands: np.ndarray, stick: np.ndarray, poles: tuple
) -> tuple[Arm, Arm]:
    """Both wrists at the handle at `hands` [F, 3] (person space); the right hand lies nearer to the head."""
    apart = 0.022 * body.height * unit(stick)
    left, right = poles
    return reach(u, hands - apart, left), reach(u, hands + apart, right)


def baseball_swing(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    turn, twist, lean, shift, crouch, step = keys(
        u,
        (0.00, -5, -22, 12, -0.02, 0.045, 0.00),
        (0.18, -12, -28, 12, -0.04, 0.05, 0.00),
        (0.30, -12, -34, 12, 0.00, 0.05, 0.05),
        (0.40, 25, -20, 10, 0.03, 0.05, 0.06),
        (0.48, 60, 10, 6, 0.04, 0.04, 0.06),
        (0.58, 78, 40, 2, 0.04, 0.03, 0.06),
        (0.72, 80, 45, 2, 0.04, 0.03, 0.06),
        (0.90, 10, -10, 10, 0.00, 0.04, 0.01),
    ).T
    x, y, z = keys(
        u,
        (0.00, -0.10, 0.755, 0.09),
        (0.18, -0.13, 0.765, 0.07),
        (0.30, -0.16, 0.770, 0.04),
        (0.40, -0.08, 0.66, 0.20),
        (0.48, 0.12, 0.58, 0.27),
        (0.58, 0.27, 0.68, 0.08),
        (0.72, 0.20, 0.83, -0.06),
        (0.90, -0.02, 0.74, 0.16),
    ).T
    stick = unit(
        keys(
            u,
            (0.00, -0.35, 0.90, -0.25),
            (0.18, -0.20, 0.90, -0.40),
            (0.30, 0.10, 0.80, -0.60),
            (0.40, -0.90, 0.10, 0.10),
            (0.48, -0.10, -0.15, 1.00),
            (0.58, 0.95, 0.10, 0.25),
            (0.72, 0.10, 0.30, -1.00),
            (0.90, -0.30, 0.90, 0.10),
        )
    )
    half = 0.13 * style.stance
    ankles = feet(
        u, body, half=half, left=(step, keys(u, (0.0, 0), (0.2, 0), (0.27, 0.04), (0.34, 0), (0.9, 0)), 0)
    )
    pelvis = stand(body, ankles, shift * h, -0.02 * h + 0 * u, crouch)
    hands = points(u, x * h, y * h, z * h)
    pivot = np.clip(turn, 0, 80)
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, lean * 0.5, 0, turn),
        bend=euler(u, lean * 0.6 + style.lean, 0, twist * 0.75),
        head=euler(u, 4, 0, np.clip(70 - turn - twist * 0.75, -75, 80)),
        arms=_with_both_hands(u, body, hands, stick, ((0.5, -0.9, 0.2), (-0.8, -0.7, -0.2))),
        ankles=ankles,
        toes=toes(u, 12 + 0.35 * pivot[0] * 0, 8, 0, -0.5 * pivot),
        knees=np.stack([points(u, 0.3 + 0 * u, 0, 1), points(u, -0.25 + pivot / 75, 0, 1)], 1),
        extras={"stick": stick, "hands": hands},
    )


def golf_swing(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h, a = body.height, style.amplitude
    turn, twist, lean, shift = keys(
        u,
        (0.00, 0, 0, 34, 0.00),
        (0.12, 0, 0, 34, 0.00),
        (0.32, -32, -48 * a, 31, -0.02),
        (0.38, -34, -52 * a, 31, -0.02),
        (0.48, 25, -8, 33, 0.03),
        (0.53, 45, 12, 30, 0.04),
        (0.66, 75, 38, 6, 0.06),
        (0.84, 80, 40, 2, 0.06),
        (0.95, 15, 5, 26, 0.01),
    ).T
    x, y, z = keys(
        u,
        (0.00, 0.00, 0.435, 0.215),
        (0.12, 0.00, 0.435, 0.215),
        (0.22, -0.22, 0.55, 0.16),
        (0.34, -0.19, 0.83, 0.05),
        (0.38, -0.18, 0.84, 0.04),
        (0.48, -0.02, 0.445, 0.20),
        (0.54, 0.20, 0.52, 0.15),
        (0.66, 0.20, 0.84, -0.02),
        (0.84, 0.17, 0.86, -0.06),
        (0.95, 0.05, 0.48, 0.20),
    ).T
    stick = unit(
        keys(
            u,
            (0.00, 0.02, -0.85, 0.50),
            (0.12, 0.02, -0.85, 0.50),
            (0.22, -0.90, 0.30, 0.00),
            (0.34, 0.55, 0.55, -0.55),
            (0.38, 0.65, 0.40, -0.50),
            (0.48, -0.05, -0.85, 0.50),
            (0.54, 0.95, -0.10, 0.10),
            (0.66, -0.40, 0.45, -0.75),
            (0.84, -0.55, 0.00, -0.80),
            (0.95, 0.20, -0.80, 0.45),
        )
    )
    ankles = feet(u, body, half=0.105 * style.stance)
    pelvis = stand(body, ankles, shift * h, -0.04 * h * (lean / 34), 0.02 + 0 * u)
    hands = points(u, x * h, y * h, z * h)
    rise = np.clip(turn - 20, 0, 60)
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, lean * 0.62, 0, turn),
        bend=euler(u, lean * 0.5, 0, twist),
        head=euler(u, 12, 0, np.clip(-(turn + twist) * 0.8, -65, 65)),
        arms=_with_both_hands(u, body, hands, stick, ((0.6, -0.9, 0.0), (-0.6, -0.9, 0.0))),
        ankles=ankles,
        toes=toes(u, 18, 8, 0, -0.7 * rise),
        knees=np.stack([points(u, 0.25, 0, 1), points(u, -0.25 + rise / 70, 0, 1)], 1),
        extras={"stick": stick, "hands": hands},
    )


def bowl(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h, a = body.height, style.amplitude
    z, crouch, lean, left_z, left_y, right_z, right_y, right_x = keys(
        u,
        (0.00, 0.00, 0.02, 8, 0.00, 0.00, 0.00, 0.00, 0.00),
        (0.12, 0.06, 0.02, 10, 0.00, 0.00, 0.16, 0.05, 0.00),
        (0.20, 0.16, 0.02, 12, 0.00, 0.00, 0.28, 0.00, 0.00),
        (0.30, 0.32, 0.02, 16, 0.28, 0.06, 0.28, 0.00, 0.00),
        (0.38, 0.44, 0.03, 20, 0.56, 0.00, 0.28, 0.02, 0.00),
        (0.46, 0.62, 0.06, 28, 0.58, 0.00, 0.56, 0.05, 0.00),
        (0.54, 0.80, 0.09, 38, 0.86, 0.02, 0.60, 0.00, 0.00),
        (0.62, 0.94, 0.14, 46 * a, 1.04, 0.00, 0.64, 0.03, 0.14),
        (0.72, 1.00, 0.14, 42, 1.08, 0.00, 0.74, 0.08, 0.22),
        (0.86, 1.02, 0.08, 22, 1.08, 0.00, 0.80, 0.04, 0.16),
        (0.99, 1.02, 0.03, 8, 1.08, 0.00, 1.00, 0.00, 0.02),
    ).T
    away = 0.5  # the middle of the run lies at the origin
    ankles = feet(
        u, body, half=0.05, left=(0, left_y, left_z - away), right=(right_x, right_y, right_z - away)
    )
    pelvis = stand(body, ankles, 0 * u, (z - away) * h, crouch)
    swing, elbow = keys(
        u,
        (0.00, 20, 95),
        (0.14, 25, 80),
        (0.24, 45, 15),
        (0.36, -5, 5),
        (0.50, -62 * a, 3),
        (0.58, -45, 3),
        (0.65, 20, 3),
        (0.72, 95, 15),
        (0.82, 135, 40),
        (0.92, 60, 30),
        (0.99, 20, 90),
    ).T
    other = keys(
        u,
        (0.00, 20, 60),
        (0.14, 25, 60),
        (0.3, 30, 15),
        (0.5, 62, 0),
        (0.66, 78, -10),
        (0.8, 45, 0),
        (0.97, 18, 40),
    )
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(
            u, 0.6 * lean, 0, keys(u, (0, 0), (0.35, -8), (0.5, -18), (0.7, 6), (0.9, 0))
        ),
        bend=euler(u, 0.55 * lean, keys(u, (0, 0), (0.5, 6), (0.65, 10), (0.9, 0))),
        head=euler(u, -0.75 * lean),
        arms=(angles(u, other[:, 0], other[:, 1], 40, 18), angles(u, swing, 86, 0, elbow)),
        ankles=ankles,
        toes=toes(u, 5, 5, -120 * left_y, -350 * right_y),
        knees=knees_forward(u, 0.05),
        extras={"held": (((u % 1.0) < 0.66).astype(float))[:, None]},
    )


def strum_guitar(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    strum = np.sin(2 * np.pi * u)
    sway = np.sin(2 * np.pi * u * 0.5 + 6 * style.quirk[2])
    seat = style.quirk[0] < 0.35
    low = -body.trunk
    fret = 0.02 * h * np.round(2.5 * wave(u, 0.25) + 0.0) * style.quirk[1]
    # In the frame of the chest: body of the guitar before the belly, its neck to the left and up.
    centre = points(u, -0.06 * h, low * 0.62, 0.105 * h * body.girth)
    neck = unit(points(u, 1.0, 0.30 + 0.25 * style.quirk[2], 0.18))
    left = (
        centre
        + neck * ((0.36 * h - fret)[:, None] if np.ndim(fret) else 0.36 * h)
        + points(u, 0, -0.02 * h, -0.012 * h)
    )
    right = centre + points(u, -0.012 * h, (0.012 + 0.034 * style.amplitude * strum) * h, 0.05 * h)
    if seat:
        ankles = feet(
            u, body, half=0.09, left=(0, 0, 0.26), right=(0, 0.012 * (1 + np.sin(4 * np.pi * u)) * 0, 0.24)
        )
        pelvis = points(u, 0, 0.275 * h, 0)
        knees = np.stack([points(u, 0.2, 1, 0.7), points(u, -0.25, 1, 0.7)], 1)
    else:
        ankles = feet(u, body, half=0.085 * style.stance, left=(0, 0, 0.03))
        pelvis = stand(body, ankles, 0.012 * h * sway, 0 * u, 0.012 + 0.006 * np.cos(2 * np.pi * u))
        knees = knees_forward(u, 0.25)
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 3, 1.5 * sway),
        bend=euler(u, 8 + style.lean, 2.5 * sway),
        head=euler(u, 14 + 5 * np.sin(2 * np.pi * u), -4 * sway, 22 * (0.5 + 0.5 * np.sin(np.pi * u * 0.5))),
        arms=(
            reach(u, left, (0.35, -1, -0.1), on_chest=True),
            reach(u, right, (-1, -0.45, -0.55), on_chest=True),
        ),
        ankles=ankles,
        toes=toes(u, 18, 18),
        knees=knees,
        extras={"centre": centre, "neck": neck, "seat": np.full((len(u), 1), float(seat))},
    )


def tennis_forehand(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    turn, twist, lean, shift, crouch, left_z = keys(
        u,
        (0.00, 0, 0, 14, 0.00, 0.07, 0.00),
        (0.14, -20, -14, 14, -0.02, 0.06, 0.02),
        (0.32, -48, -32, 12, -0.05, 0.07, 0.10),
        (0.42, -25, -30, 14, 0.00, 0.08, 0.16),
        (0.50, 10, 0, 12, 0.04, 0.05, 0.16),
        (0.60, 38, 25, 8, 0.06, 0.03, 0.16),
        (0.74, 42, 28, 8, 0.06, 0.03, 0.15),
        (0.90, 8, 4, 12, 0.01, 0.06, 0.03),
    ).T
    ankles = feet(
        u,
        body,
        half=0.125 * style.stance,
        left=(
            -0.02,
            keys(u, (0, 0), (0.3, 0), (0.36, 0.03), (0.42, 0), (0.78, 0), (0.86, 0.03), (0.94, 0)),
            left_z,
        ),
    )
    pelvis = stand(body, ankles, shift * h * 0.5, left_z * 0.4 * h, crouch)
    racket = _arm(
        u,
        (0.00, 28, 70, 40, 85),
        (0.14, 45, 30, 30, 80),
        (0.30, 72, -18, 10, 55),
        (0.40, 52, -28, 40, 25),
        (0.50, 50, 52, 60, 22),
        (0.60, 92, 110, 40, 45),
        (0.72, 108, 132, 40, 95),
        (0.90, 40, 85, 40, 90),
    )
    other = _arm(
        u,
        (0.00, 32, 80, 50, 90),
        (0.14, 50, 90, 50, 70),
        (0.30, 80, 92, 50, 20),
        (0.42, 80, 60, 50, 15),
        (0.52, 45, 45, 50, 90),
        (0.64, 38, 60, 50, 110),
        (0.90, 32, 80, 50, 92),
    )
    stick = keys(  # of the racket, against the forearm: see props.py
        u, (0.0, 30), (0.3, 70), (0.4, 60), (0.5, 55), (0.62, 25), (0.75, 10), (0.9, 30)
    )
    pivot = np.clip(turn, 0, 45)
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 0.4 * lean, 0, turn),
        bend=euler(u, 0.6 * lean + style.lean, 0, twist),
        head=euler(u, -4, 0, np.clip(-(turn + twist), -70, 70)),
        arms=(other, racket),
        ankles=ankles,
        toes=toes(u, 12, 22, 0, -0.9 * pivot),
        knees=np.stack([points(u, 0.25, 0, 1), points(u, -0.35 + pivot / 60, 0, 1)], 1),
        extras={"cock": stick[:, None]},
    )


def tennis_serve(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h, a = body.height, style.amplitude
    turn, twist, lean, crouch, z, hop, kick = keys(
        u,
        (0.00, -55, -8, 6, 0.02, 0.00, 0.00, 0.00),
        (0.16, -58, -10, 4, 0.03, 0.00, 0.00, 0.00),
        (0.32, -62, -18, -10, 0.07 * a, 0.03, 0.00, 0.00),
        (0.40, -60, -22, -14, 0.09 * a, 0.05, 0.00, 0.00),
        (0.48, -20, -5, 2, 0.01, 0.09, 0.04, 0.04),
        (0.54, 10, 8, 14, 0.00, 0.13, 0.05, 0.10),
        (0.64, 30, 18, 42, 0.04, 0.18, 0.00, 0.16),
        (0.76, 15, 5, 24, 0.03, 0.18, 0.00, 0.04),
        (0.92, -45, -5, 8, 0.02, 0.03, 0.00, 0.00),
    ).T
    step = keys(u, (0, 0), (0.40, 0), (0.54, 0.10), (0.62, 0.14), (0.80, 0.14), (0.94, 0))
    ankles = feet(
        u,
        body,
        half=0.06,
        left=(-0.02, hop, 0.10 + 0.8 * step),
        right=(-0.02, hop + kick, -0.08 + 0.6 * step),
    )
    level = ankles.copy()
    level[..., 1] = (body.ankle + hop * h)[:, None]
    pelvis = stand(body, level, 0 * u, z * h + 0.01 * h, crouch)
    racket = _arm(
        u,
        (0.00, 35, 75, 40, 60),
        (0.14, 15, 60, 20, 25),
        (0.24, 45, -20, 20, 20),
        (0.36, 88, -12, 5, 100),
        (0.43, 100, -8, 10, 125),
        (0.49, 140, 15, 10, 70),
        (0.54, 165, 50, 10, 8),
        (0.60, 115, 85, 40, 12),
        (0.68, 50, 118, 50, 25),
        (0.80, 30, 100, 40, 50),
        (0.94, 34, 76, 40, 60),
    )
    toss = _arm(
        u,
        (0.00, 38, 80, 30, 40),
        (0.14, 22, 80, 20, 10),
        (0.28, 120, 70, 0, 5),
        (0.38, 158, 60, 0, 4),
        (0.46, 120, 60, 20, 40),
        (0.54, 50, 70, 40, 105),
        (0.66, 28, 60, 40, 95),
        (0.80, 30, 60, 40, 60),
        (0.94, 36, 80, 30, 42),
    )
    pivot = np.radians(keys(u, (0, -60), (0.42, -60), (0.56, -5), (0.78, -5), (0.95, -60)))
    foot = points(u, np.sin(pivot), 0, np.cos(pivot))
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 0.45 * lean, 0, turn),
        bend=euler(
            u, 0.6 * lean, keys(u, (0, 0), (0.3, 4), (0.4, 8), (0.54, -10), (0.7, 0), (0.95, 0)), twist
        ),
        head=euler(
            u,
            keys(u, (0, 0), (0.2, -15), (0.38, -38), (0.54, -30), (0.66, -5), (0.95, 0)),
            0,
            np.clip(-(turn + twist), -70, 70),
        ),
        arms=(toss, racket),
        ankles=ankles,
        toes=np.stack([foot + points(u, 0.25, -8 * hop), foot - points(u, 0.2, 9 * kick + 8 * hop)], 1),
        knees=np.stack([foot + points(u, 0.2), foot - points(u, 0.2)], 1),
        extras={"cock": keys(u, (0, 20), (0.24, 10), (0.43, 60), (0.54, 12), (0.62, 15), (0.9, 20))[:, None]},
    )
