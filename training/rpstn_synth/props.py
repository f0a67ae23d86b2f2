"""What people hold, lie on or hang from: surfaces in person space, by name."""

from collections.abc import Callable

import numpy as np

from .body import Figure, Proportions, across, turned, unit
from .mesh import Mesh, box, join, rod, tube
from .person import PROP

_STEEL, _RUBBER, _WOOD = np.array([150, 150, 155.0]), np.array([40, 38, 40.0]), np.array([96, 140, 190.0])


def _along_x(figure: Figure, centre: np.ndarray, half: float) -> tuple[np.ndarray, np.ndarray]:
    aside = np.array([half, 0, 0])
    return centre + aside, centre - aside


def _barbell(centre: np.ndarray, axis: np.ndarray, rng: np.random.Generator) -> Mesh:
    """A bar with plates at [F, 3] along the unit vectors `axis`."""
    half, plate = 0.85, rng.uniform(0.13, 0.215)
    colour = rng.uniform(30, 210, 3) if rng.random() < 0.6 else _RUBBER
    parts = [
        rod(
            (centre - half * axis, centre + half * axis),
            [
                (0, 0.001),
                (0.004, 0.02),
                *((w, 0.015) for w in np.linspace(0.06, 0.94, 16)),
                (0.996, 0.02),
                (1, 0.001),
            ],
            part=PROP,
            colour=_STEEL,
            segments=6,
        )
    ]
    disc = [
        (0, 0.004),
        (0.01, 0.3 * plate),
        (0.02, 0.62 * plate),
        (0.03, plate),
        (0.97, plate),
        (0.98, 0.62 * plate),
        (0.99, 0.3 * plate),
        (1, 0.004),
    ]
    for sign in (-1, 1):
        at = centre + sign * 0.62 * axis
        parts.append(rod((at, at + sign * 0.07 * axis), disc, part=PROP, colour=colour, segments=20))
    return join(parts)


def _plain_barbell(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh:
    centre = figure.extras["bar"]
    return _barbell(centre + _grip(figure, body), np.broadcast_to([1.0, 0, 0], centre.shape), rng)


def _grip(figure: Figure, body: Proportions) -> np.ndarray:
    """From the wrists to the middle of the fists."""
    return 0.45 * (figure.fingers - figure.wrists).mean(1)


def _shoulder_bar(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh | None:
    if not figure.extras["loaded"].any():
        return None
    h = body.height
    centre = figure.chest + turned(figure.chest_frame, np.array([0, 0.012 * h, -0.058 * h * body.girth]))
    return _barbell(centre, figure.chest_frame[:, :, 0], rng)


def _bench(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh:
    top = float(figure.extras["bench"][0, 1])
    long = body.trunk + body.neck + body.head + 0.12
    colour = rng.uniform(25, 150, 3)
    parts = [
        box((0, top - 0.035, 0.06 - long / 2), (0.30, 0.07, long), part=PROP, colour=colour, cells=(4, 1, 14))
    ]
    for z in (-0.05, 0.12 - long):
        parts.append(
            box(
                (0, (top - 0.07) / 2, z), (0.24, top - 0.07, 0.06), part=PROP, colour=_RUBBER, cells=(4, 4, 1)
            )
        )
    return join(parts)


def _mat(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh:
    long = 1.15 * body.height
    return box(
        (0, 0.006, 0.42 * body.height - long / 2),
        (0.7, 0.012, long),
        part=PROP,
        colour=rng.uniform(40, 210, 3),
        cells=(6, 1, 18),
    )


def _high_bar(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh:
    bar = figure.extras["bar"][:1] + np.array([0, 0.03, 0])
    half = rng.uniform(0.62, 1.0)
    ends = _along_x(figure, bar, half)
    colour = rng.uniform(40, 170, 3)
    parts = [rod(ends, [(w, 0.017) for w in np.linspace(0, 1, 20)], part=PROP, colour=colour)]
    for end in ends:
        foot = end * np.array([1, 0, 1])
        parts.append(
            rod(
                (end + np.array([0, 0.05, 0]), foot),
                [(w, 0.03) for w in np.linspace(0, 1, 24)],
                part=PROP,
                colour=colour,
            )
        )
    return join(parts)


def _stick(
    start: np.ndarray, direction: np.ndarray, length: float, profile: list, colour: np.ndarray
) -> Mesh:
    return rod((start, start + length * direction), profile, part=PROP, colour=colour)


def _bat(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh:
    stick = figure.extras["stick"]
    start = figure.extras["hands"] + _grip(figure, body) - 0.10 * stick
    shape = [
        (0, 0.002),
        (0.01, 0.022),
        (0.03, 0.014),
        (0.3, 0.013),
        (0.45, 0.019),
        (0.6, 0.028),
        (0.75, 0.033),
        (0.9, 0.034),
        (0.98, 0.03),
        (1, 0.003),
    ]
    return _stick(start, stick, 0.84, shape, _WOOD if rng.random() < 0.5 else rng.uniform(30, 210, 3))


def _club(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh:
    stick = figure.extras["stick"]
    start = figure.extras["hands"] + _grip(figure, body) - 0.08 * stick
    address = 0.435 * body.height / 0.85
    shaft = _stick(
        start,
        stick,
        address,
        [(0, 0.014), (0.25, 0.012), (0.26, 0.008), *((w, 0.007) for w in np.linspace(0.35, 1, 9))],
        _STEEL * 0.8,
    )
    tip = start + address * stick
    toe = across(np.cross(stick, np.array([1.0 if hand == 1 else -1.0, 0, 0])) + 0.01, stick)
    head = rod(
        (tip - 0.02 * toe, tip + 0.10 * toe),
        [(0, 0.004), (0.1, 0.022), (0.6, 0.03), (0.9, 0.026), (1, 0.003)],
        part=PROP,
        colour=_RUBBER,
    )
    return join([shaft, head])


def _racket(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh:
    wrist = figure.wrists[:, hand]
    forearm = unit(figure.fingers[:, hand] - wrist)
    cock = np.radians(figure.extras["cock"])
    lifted = across(0.8 * figure.chest_frame[:, :, 1] + 0.6 * figure.chest_frame[:, :, 2], forearm)
    stick = np.cos(cock) * forearm + np.sin(cock) * lifted
    start = wrist + 0.35 * (figure.fingers[:, hand] - wrist)
    colour = rng.uniform(30, 220, 3)
    handle = _stick(
        start - 0.06 * stick,
        stick,
        0.36,
        [(0, 0.002), (0.02, 0.017), (0.5, 0.016), (0.55, 0.011), (1, 0.011)],
        _RUBBER,
    )
    aside = across(np.cross(stick, lifted) + 0.2 * lifted, stick)
    flat = np.cross(stick, aside)
    middle = start + 0.46 * stick
    angle = np.linspace(0, 2 * np.pi, 25)[None, :, None]
    rim = middle[:, None] + 0.165 * np.cos(angle) * stick[:, None] + 0.125 * np.sin(angle) * aside[:, None]
    outward = unit(rim - middle[:, None])
    direction = unit(-0.165 * np.sin(angle) * stick[:, None] + 0.125 * np.cos(angle) * aside[:, None])
    parts = [
        handle,
        tube(
            rim, 0.012 * outward, 0.012 * np.cross(direction, outward), segments=5, part=PROP, colour=colour
        ),
    ]
    for share in np.linspace(-0.75, 0.75, 6):
        reach = np.sqrt(1 - share**2)
        for centre, axis, length in (
            (middle + 0.165 * share * stick, aside, 0.125 * reach),
            (middle + 0.125 * share * aside, stick, 0.165 * reach),
        ):
            parts.append(
                rod(
                    (centre - length * axis, centre + length * axis),
                    [(w, 0.0022) for w in (0, 0.33, 0.67, 1)],
                    part=PROP,
                    colour=np.full(3, 215.0),
                    segments=3,
                    towards=flat,
                )
            )
    return join(parts)


def _ball(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh:
    """A bowling ball in the hand; once let go it rolls on along the floor."""
    radius = 0.108
    held = figure.extras["held"][:, 0] > 0.5
    centre = figure.fingers[:, hand] + 0.7 * radius * unit(figure.fingers[:, hand] - figure.wrists[:, hand])
    for frame in range(1, len(centre)):
        if not held[frame]:
            step = np.array([0.0, 0.0, 0.30])
            centre[frame] = centre[frame - 1] + step
            centre[frame, 1] = max(radius, centre[frame - 1, 1] - 0.06)
    if not held[0]:  # already on its way
        centre = np.where(np.cumprod(~held)[:, None] > 0, np.array([0.0, -3.0, 0.0]), centre)
    angle = np.linspace(0, np.pi, 11)
    up = np.broadcast_to([0.0, 1, 0], centre.shape)
    axis = np.broadcast_to([1.0, 0, 0], centre.shape)
    profile = [((1 - np.cos(a)) / 2, max(radius * np.sin(a), 0.001)) for a in angle]
    return rod(
        (centre - radius * axis, centre + radius * axis),
        profile,
        part=PROP,
        colour=rng.uniform(20, 200, 3),
        segments=16,
        towards=up,
    )


def _rope(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh:
    spin = figure.extras["spin"]
    left, right = figure.fingers[:, 0], figure.fingers[:, 1]
    way = np.linspace(0, 1, 36)[None, :, None]
    middle = (left + right) / 2
    floor = np.where(spin[:, 1:2] < 0, (middle[:, 1:2] - 0.015) / np.maximum(-spin[:, 1:2], 0.75), 1.0)
    bow = np.sin(np.pi * way) ** 0.55 * np.minimum(floor, 0.62 * body.height)[:, None]
    wide = (left - right)[:, None] * (0.5 - way) * (1 + 0.5 * np.sin(np.pi * way))
    line = middle[:, None] + wide + bow * spin[:, None]
    along = unit(np.gradient(line, axis=1))
    first = across(np.broadcast_to([0.2, 0.3, 0.9], along.shape), along)
    return tube(
        line,
        0.008 * first,
        0.008 * np.cross(along, first),
        segments=4,
        part=PROP,
        colour=rng.uniform(20, 220, 3),
    )


def _guitar(figure: Figure, body: Proportions, hand: int, rng: np.random.Generator) -> Mesh:
    """Body as a flat tube with a waist, its axis along the neck."""
    frame = figure.chest_frame
    centre = figure.chest + turned(frame, figure.extras["centre"])
    neck = np.einsum("fij,fj->fi", frame, figure.extras["neck"])
    front = across(frame[:, :, 2], neck)
    aside = np.cross(front, neck)
    at = np.array([-0.25, -0.245, -0.20, -0.12, -0.04, 0.04, 0.10, 0.16, 0.205, 0.21])
    wide = np.array([0.002, 0.10, 0.17, 0.185, 0.155, 0.125, 0.14, 0.135, 0.08, 0.002])
    deep = np.array([0.002, 0.04, 0.045, 0.045, 0.045, 0.045, 0.045, 0.045, 0.04, 0.002])
    wood = _WOOD * rng.uniform(0.4, 1.0) if rng.random() < 0.7 else rng.uniform(20, 190, 3)
    segments = 20
    # Square-shouldered rings: points of an ellipse pushed outwards, so that top and back are flat.
    shell = tube(
        centre[:, None] + at[:, None] * neck[:, None],
        aside[:, None] * -wide[None, :, None],
        front[:, None] * -deep[None, :, None],
        segments=segments,
        part=PROP,
        colour=wood,
    )
    vertices = shell.vertices.reshape(len(centre), len(at), segments, 3)
    middle = (centre[:, None] + at[:, None] * neck[:, None])[:, :, None]
    thick = ((vertices - middle) * front[:, None, None]).sum(-1, keepdims=True)
    flat = np.clip(1.6 * thick, -deep[None, :, None, None], deep[None, :, None, None])
    vertices = vertices + (flat - thick) * front[:, None, None]
    shell = Mesh(
        vertices=vertices.reshape(shell.vertices.shape),
        quads=shell.quads,
        part=shell.part,
        colour=shell.colour,
    )
    top = centre + 0.045 * front
    hole = rod(
        (top + 0.001 * front, top + 0.006 * front),
        [(0, 0.045), (0.9, 0.045), (1, 0.002)],
        part=PROP,
        colour=np.array([20, 24, 30.0]),
        segments=12,
    )
    start = centre + 0.02 * neck + 0.045 * front
    board = rod(
        (start, start + 0.72 * neck),
        [
            (0, 0.002),
            (0.01, 0.025),
            *((w, 0.024) for w in np.linspace(0.1, 0.86, 12)),
            (0.88, 0.042),
            (0.99, 0.036),
            (1, 0.002),
        ],
        part=PROP,
        colour=_WOOD * 0.35,
        segments=6,
    )
    parts = [shell, hole, board]
    if figure.extras["seat"].any():
        seat = float(figure.pelvis[0, 1]) - 0.06 * body.height * body.girth
        parts.append(
            box(
                (0, seat / 2, -0.05),
                (0.42, seat, 0.40),
                part=PROP,
                colour=rng.uniform(40, 160, 3),
                cells=(6, 6, 6),
            )
        )
    return join(parts)


Builder = Callable[[Figure, Proportions, int, np.random.Generator], Mesh | None]
# (figure, proportions, hand that leads: 0 left or 1 right, source of chance) -> surface
PROPS: dict[str, Builder] = {
    "barbell": _plain_barbell,
    "shoulder_bar": _shoulder_bar,
    "bench": _bench,
    "mat": _mat,
    "high_bar": _high_bar,
    "bat": _bat,
    "club": _club,
    "racket": _racket,
    "ball": _ball,
    "rope": _rope,
    "guitar": _guitar,
}
