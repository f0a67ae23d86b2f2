"""Programs of the exercises: jumps, squats, and what is done on the floor, on a bench or at a bar."""

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
from .body import Motion, Proportions, rotation


def jumping_jacks(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    open_ = wave(u) ** 0.9
    hop = 0.035 * np.abs(np.sin(2 * np.pi * u)) * style.amplitude
    spread = 0.055 + 0.15 * style.stance * open_
    ankles = feet(u, body, half=0.0, left=(spread, hop, 0), right=(-spread, hop, 0))
    pelvis = stand(body, ankles, 0 * u, 0 * u, 0.012 + 0.012 * np.cos(4 * np.pi * u))
    raised = 12 + (120 + 38 * style.amplitude) * open_
    elbow = 12 + 22 * style.quirk[0] + 20 * np.sin(np.pi * open_) ** 2
    arms = tuple(angles(u, raised + 6 * side * (style.quirk[1] - 0.5), 8, 20, elbow) for side in (1, -1))
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 2 + style.lean),
        bend=euler(u, 2),
        head=euler(u, -4),
        arms=arms,
        ankles=ankles,
        toes=toes(u, 20, 20, -400 * hop, -400 * hop),
        knees=knees_forward(u, 0.5),
        extras={"h": points(u, h)},
    )


def jump_rope(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    hop = 0.045 * style.amplitude * np.maximum(np.sin(2 * np.pi * u), 0)
    skip = 0.05 * style.quirk[0] * np.sin(np.pi * u)  # from foot to foot, for some
    ankles = feet(
        u,
        body,
        half=0.04,
        left=(0, hop + np.maximum(skip, 0), -0.02),
        right=(0, hop + np.maximum(-skip, 0), 0.01),
    )
    low = ankles.copy()
    low[..., 1] = (body.ankle + hop * h)[:, None]
    pelvis = stand(body, low, 0 * u, 0 * u, 0.018 + 0.02 * np.maximum(-np.sin(2 * np.pi * u), 0))
    turn = 2 * np.pi * u
    wrists = [
        points(
            u,
            side * (0.175 + 0.02 * np.cos(turn)) * h,
            -body.trunk * 0.78 + 0.025 * h * np.sin(turn),
            (0.09 + 0.03 * np.cos(turn)) * h,
        )
        for side in (1, -1)
    ]
    spin = points(u, 0, -np.sin(turn + 0.5 * np.pi), np.cos(turn + 0.5 * np.pi))
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 2),
        bend=euler(u, 4 + style.lean),
        head=euler(u, 2),
        arms=(
            reach(u, wrists[0], (0.25, -0.5, -1), on_chest=True),
            reach(u, wrists[1], (-0.25, -0.5, -1), on_chest=True),
        ),
        ankles=ankles,
        toes=toes(u, 8, 8, -500 * hop, -500 * hop),
        knees=knees_forward(u, 0.1),
        extras={"spin": spin},
    )


def squat(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    down = wave(u)
    half = 0.085 + 0.04 * style.stance
    ankles = feet(u, body, half=half)
    depth = 0.22 + 0.05 * style.amplitude * style.quirk[0]
    pelvis = stand(body, ankles, 0 * u, -0.105 * h * down, depth * down)
    loaded = style.quirk[1] > 0.45
    if loaded:  # a bar across the shoulders
        wrists = [points(u, side * body.shoulder * 1.75, 0.02 * h, -0.015 * h) for side in (1, -1)]
        arms = tuple(reach(u, w, (s * 0.6, -1, -0.5), on_chest=True) for w, s in zip(wrists, (1, -1)))
    else:
        arms = tuple(angles(u, 12 + 78 * down, 78, 60, 15 - 8 * down) for _ in (0, 1))
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 3 + 36 * down),
        bend=euler(u, 2 + 6 * down + style.lean),
        head=euler(u, -32 * down),
        arms=arms,
        ankles=ankles,
        toes=toes(u, 22, 22),
        knees=knees_forward(u, 0.45),
        extras={"loaded": np.full((len(u), 1), float(loaded))},
    )


def clean_and_jerk(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    top = body.ankle + body.leg + body.trunk + 0.94 * body.arm
    rack = body.ankle + body.leg + body.trunk * 0.97
    # phase, crouch, hips back, trunk forward, height of the bar, its distance to the front
    plan = keys(
        u,
        (0.00, 0.235, -0.13, 52, 0.125 * h, 0.115 * h),
        (0.06, 0.235, -0.13, 52, 0.125 * h, 0.115 * h),
        (0.20, 0.10, -0.12, 50, 0.30 * h, 0.10 * h),
        (0.30, 0.00, 0.00, 2, 0.50 * h, 0.10 * h),
        (0.38, 0.19, -0.03, 10, rack - 0.20 * h, 0.11 * h),
        (0.50, 0.00, 0.00, 0, rack, 0.095 * h),
        (0.58, 0.00, 0.00, 0, rack, 0.095 * h),
        (0.64, 0.06, 0.00, 0, rack - 0.06 * h, 0.095 * h),
        (0.72, 0.045, 0.00, 2, top - 0.05 * h, 0.02 * h),
        (0.78, 0.00, 0.00, 2, top, 0.01 * h),
        (0.90, 0.00, 0.00, 2, top, 0.01 * h),
        (0.95, 0.06, -0.06, 20, 0.50 * h, 0.17 * h),
    ).T
    crouch, back, forward, height, front = plan
    split = keys(u, (0.0, 0), (0.66, 0), (0.72, 1), (0.80, 0.6), (0.86, 0), (0.95, 0)) * style.quirk[0]
    ankles = feet(u, body, half=0.085 * style.stance, left=(0, 0, 0.12 * split), right=(0, 0, -0.12 * split))
    pelvis = stand(body, ankles, 0 * u, back * h, crouch)
    bar = points(u, 0, height, front)
    raised = np.clip((height - 0.5 * h) / (rack - 0.5 * h), 0, 1)
    grip = body.shoulder * 1.45
    arms = []
    for side in (1, -1):
        wrist = bar + points(u, side * grip)
        pole = points(u, side * 0.5, -0.4, -1 + 1.7 * raised * (height < top - 0.25 * h))
        arm = reach(u, wrist, (0, 0, -1))
        arms.append(type(arm)(wrist=wrist, pole=pole))
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, forward),
        bend=euler(u, 0.08 * forward),
        head=euler(u, -0.7 * forward - 3),
        arms=tuple(arms),
        ankles=ankles,
        toes=toes(u, 18, 18, 0, -40 * split),
        knees=knees_forward(u, 0.45),
        extras={"bar": bar},
    )


def pushup(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    down = wave(u)
    low, high = 0.14 * h, 0.95 * body.arm + 0.035 * h
    shoulder = high + (low - high) * down * min(style.amplitude, 1.0)
    toe = 0.085 * h
    length = body.leg * 0.985 + body.trunk
    slope = np.arcsin((shoulder - toe) / length)
    sag = 2 + 6 * style.quirk[0]
    ankles = np.stack([points(u, side * 0.045 * h, toe, -0.55 * length) for side in (1, -1)], 1)
    along = points(u, 0, np.sin(slope), np.cos(slope))
    middle = ankles.mean(1)
    pelvis = middle + 0.98 * body.leg * along + points(u, 0, 0.012 * h)
    hands_z = -0.55 * length + length * np.cos(np.arcsin((0.5 * (low + high) - toe) / length))
    arms = []
    for side in (1, -1):
        wrist = points(u, side * body.shoulder * (1.15 + 0.25 * style.stance), 0.035 * h, hands_z - 0.01 * h)
        arms.append(reach(u, wrist, (side * 1.0, -0.9, -0.6)))
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=rotation(90 - np.degrees(slope)),
        bend=euler(u, -sag),
        head=euler(u, -18 + 10 * style.quirk[1]),
        arms=tuple(arms),
        ankles=ankles,
        toes=np.stack([points(u, 0.05 * side, -1, 0.35) for side in (1, -1)], 1),
        knees=np.stack([points(u, 0.1 * side, -1, 0.2) for side in (1, -1)], 1),
    )


def situp(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    up = wave(u) ** 1.2
    floor = 0.062 * h * body.girth
    far = 0.29 * h
    ankles = np.stack([points(u, side * 0.06 * h, body.ankle, far) for side in (1, -1)], 1)
    pelvis = points(u, 0, floor + 0.008 * h * up, 0.015 * h * up)
    lean = -86 + 46 * up * style.amplitude
    behind_head = style.quirk[0] > 0.4
    arms = []
    for side in (1, -1):
        if behind_head:
            wrist = points(u, side * 0.062 * h, 0.085 * h, -0.02 * h + 0.05 * h * up)
            arms.append(reach(u, wrist, (side, 0.25, 0.35 + 0.0 * side), on_chest=True))
        else:  # crossed on the chest
            wrist = points(u, -side * 0.05 * h, -0.075 * h, 0.085 * h)
            arms.append(reach(u, wrist, (side, -1, 0.1), on_chest=True))
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=rotation(lean),
        bend=euler(u, 4 + 48 * up),
        head=euler(u, 8 + 18 * up),
        arms=tuple(arms),
        ankles=ankles,
        toes=toes(u, 6, 6),
        knees=np.stack([points(u, 0.1 * side, 1, 0.1) for side in (1, -1)], 1),
    )


def bench_press(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    down = wave(u)
    bench = 0.25 * h
    back = 0.065 * h * body.girth
    pelvis = points(u, 0, bench + back + 0.008 * h, 0)
    ankles = np.stack([points(u, side * 0.13 * h, body.ankle, 0.20 * h) for side in (1, -1)], 1)
    shoulder = bench + back + 0.02 * h
    low, high = shoulder + 0.075 * h, shoulder + 0.96 * body.arm
    bar = points(
        u,
        0,
        high + (low - high) * down * min(style.amplitude, 1.0),
        -0.93 * body.trunk + 0.17 * body.trunk * down,
    )
    arms = tuple(
        reach(u, bar + points(u, side * body.shoulder * (1.35 + 0.35 * style.stance)), (side, -0.75, -0.8))
        for side in (1, -1)
    )
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=rotation(-90 + 0 * u),
        bend=euler(u, -3 + 3 * down),
        head=euler(u, 4),
        arms=arms,
        ankles=ankles,
        toes=toes(u, 15, 15),
        knees=np.stack([points(u, 0.35 * side, 0.7, 1) for side in (1, -1)], 1),
        extras={"bar": bar, "bench": points(u, 0, bench)},
    )


def pullup(u: np.ndarray, body: Proportions, style: Style) -> Motion:
    h = body.height
    up = wave(u)
    bar = 0.09 * h + body.ankle + body.leg + body.trunk + 0.97 * body.arm
    chest = bar - 0.95 * body.arm - 0.02 * h + (0.95 * body.arm - 0.085 * h) * up * min(style.amplitude, 1.0)
    swing = 5 * np.sin(2 * np.pi * u + 1.0) * style.quirk[0]
    tuck = style.quirk[1]
    pelvis = points(u, 0, chest - body.trunk, -0.03 * h * up)
    behind = (0.10 + 0.22 * tuck) * h + 0.002 * h * swing
    down = np.sqrt((0.97 * body.leg) ** 2 - behind**2) - 0.10 * h * tuck
    ankles = np.stack(
        [pelvis + points(u, side * 0.035 * h, -down, -behind - 0.02 * h * side) for side in (1, -1)], 1
    )
    grip = body.shoulder * (1.15 + 0.45 * style.stance)
    arms = tuple(
        reach(u, points(u, side * grip, bar - 0.012 * h, 0.02 * h), (side, -0.9, 0.15)) for side in (1, -1)
    )
    return Motion(
        pelvis=pelvis,
        pelvis_rotation=upright(u, 6 + swing),
        bend=euler(u, -6 - 6 * up),
        head=euler(u, -10 - 10 * up),
        arms=arms,
        ankles=ankles,
        toes=toes(u, 5, 5, -55, -55),
        knees=knees_forward(u, 0.1),
        extras={"bar": points(u, 0, bar, 0.02 * h)},
    )
