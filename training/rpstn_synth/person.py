"""Skin and clothes over a solved body: the textured surface of one person."""

from dataclasses import dataclass

import numpy as np

from .body import Figure, Proportions, across, unit
from .mesh import Mesh, chain_rings, join, tube

# Parts of the surface. The two sides of a limb follow each other, left first.
TORSO, HEAD = 0, 1
UPPER_ARM, FOREARM, THIGH, SHANK = (2, 3), (4, 5), (6, 7), (8, 9)
PROP = 10
HAIR = 11  # that hangs down; what lies on the head is HEAD

_SKINS = (
    (190, 216, 250),
    (165, 196, 236),
    (140, 175, 220),
    (110, 148, 198),
    (78, 112, 162),
    (52, 76, 118),
    (40, 56, 86),
)
_HAIRS = (
    (28, 26, 24),
    (35, 45, 66),
    (48, 70, 104),
    (90, 140, 186),
    (150, 196, 226),
    (60, 86, 150),
    (150, 150, 152),
)


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """Colours (BGR, 0 to 255) and cuts. Lengths of sleeves and trousers run from 0 (root) to 2 (wrist, ankle)."""

    skin: np.ndarray
    hair: np.ndarray
    hair_length: float  # 0 bald, 1 short, 2 long
    shirt: np.ndarray  # [3, 3]: ground and two colours of the pattern
    pattern: str
    scale: float
    sleeve: float
    hem: float
    trousers: np.ndarray
    leg: float
    loose: float
    stripe: bool
    shoes: np.ndarray
    socks: float
    seed: int


def _colour(rng: np.random.Generator) -> np.ndarray:
    """A cloth's colour: hue at will, often pale or dark."""
    hue, saturation, value = rng.uniform(0, 6), rng.choice([0.08, 0.45, 0.8]), rng.uniform(0.12, 0.95)
    ramp = np.clip(np.abs((hue + np.array([4.0, 2.0, 0.0])) % 6 - 3) - 1, 0, 1)
    return 255 * value * (1 - saturation * (1 - ramp))


def sample_outfit(rng: np.random.Generator) -> Outfit:
    skin = np.array(_SKINS[rng.integers(len(_SKINS))]) * rng.uniform(0.92, 1.05)
    return Outfit(
        skin=np.clip(skin, 0, 255),
        hair=np.array(_HAIRS[rng.integers(len(_HAIRS))]) * rng.uniform(0.8, 1.1),
        hair_length=float(rng.choice([0.0, 1.0, 1.0, 1.0, 2.0])),
        shirt=np.stack([_colour(rng) for _ in range(3)]),
        pattern=str(
            rng.choice(["plain", "plain", "hoops", "pinstripe", "check", "halves", "band", "blotches"])
        ),
        scale=rng.uniform(0.7, 1.5),
        sleeve=float(rng.choice([0.0, 0.55, 0.6, 0.7, 1.92])),
        hem=rng.uniform(-0.035, 0.03),
        trousers=_colour(rng),
        leg=float(rng.choice([0.5, 0.7, 0.9, 1.93, 1.93])),
        loose=rng.uniform(0.0, 1.0),
        stripe=bool(rng.random() < 0.35),
        shoes=_colour(rng) if rng.random() < 0.6 else np.full(3, rng.uniform(190, 245)),
        socks=float(rng.choice([1.86, 1.75, 1.4])),
        seed=int(rng.integers(2**31)),
    )


def _cloth(outfit: Outfit, along: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Shirt colours [..., 3] at `along` (share of the height, up) and `angle` about the body (0 front)."""
    ground, second, _ = outfit.shirt
    fine, coarse = 0.045 * outfit.scale, 0.09 * outfit.scale
    if outfit.pattern == "hoops":
        mask = (along / coarse) % 1 < 0.45
    elif outfit.pattern == "pinstripe":
        mask = (angle / (0.7 * outfit.scale)) % 1 < 0.35
    elif outfit.pattern == "check":
        mask = ((along / coarse) % 1 < 0.5) ^ ((angle / (0.9 * outfit.scale)) % 1 < 0.5)
    elif outfit.pattern == "halves":
        mask = np.broadcast_to(np.sin(angle) > 0, np.broadcast_shapes(along.shape, angle.shape))
    elif outfit.pattern == "band":
        mask = np.abs(along - 0.17) < 0.035 * outfit.scale
    elif outfit.pattern == "blotches":
        mask = np.sin(along / fine + 3 * np.sin(2 * angle)) + np.sin(3 * angle + along / fine * 0.7) > 0.5
    else:
        mask = np.zeros(np.broadcast_shapes(along.shape, angle.shape), bool)
    return np.where(
        np.broadcast_to(mask, np.broadcast_shapes(along.shape, angle.shape))[..., None], second, ground
    )


def _profile(table: tuple[tuple[float, ...], ...], at: np.ndarray) -> list[np.ndarray]:
    rows = np.array(table)
    return [np.interp(at, rows[:, 0], column) for column in rows.T[1:]]


# Share of the height above the hip centre; half width, half depth, shift to the front: shares of the height.
_TRUNK = (
    (-0.068, 0.004, 0.004, 0.000),
    (-0.062, 0.045, 0.040, 0.000),
    (-0.040, 0.082, 0.060, -0.004),
    (0.000, 0.094, 0.068, -0.006),
    (0.050, 0.086, 0.062, -0.002),
    (0.095, 0.076, 0.056, 0.002),
    (0.150, 0.083, 0.061, 0.004),
    (0.205, 0.096, 0.067, 0.004),
    (0.245, 0.101, 0.062, 0.000),
    (0.275, 0.096, 0.052, -0.004),
    (0.292, 0.072, 0.042, -0.006),
    (0.304, 0.042, 0.036, -0.004),
    (0.315, 0.033, 0.034, 0.000),
    (0.352, 0.030, 0.033, 0.006),
)
# From the chin (0) to the crown (1): half width, half depth, shift to the front, shares of the head's length.
_HEAD = (
    (-0.04, 0.02, 0.02, 0.14),
    (0.00, 0.17, 0.16, 0.14),
    (0.10, 0.24, 0.27, 0.09),
    (0.25, 0.29, 0.35, 0.04),
    (0.50, 0.33, 0.41, 0.00),
    (0.70, 0.33, 0.42, -0.03),
    (0.85, 0.27, 0.35, -0.04),
    (0.95, 0.17, 0.22, -0.04),
    (1.00, 0.02, 0.02, -0.04),
)
# From the root (0) over the middle joint (1) to the end (2): radius, shift to the pole; shares of the height.
_ARM = (
    (-0.20, 0.004, 0.0),
    (-0.16, 0.020, 0.0),
    (-0.06, 0.031, 0.0),
    (0.10, 0.034, 0.0),
    (0.35, 0.031, 0.0),
    (0.65, 0.027, 0.0),
    (0.95, 0.0235, 0.0),
    (1.20, 0.025, 0.0),
    (1.50, 0.022, 0.0),
    (1.85, 0.0165, 0.0),
    (2.00, 0.0155, 0.0),
)
_LEG = (
    (-0.12, 0.040, 0.000),
    (0.00, 0.055, 0.000),
    (0.20, 0.054, 0.000),
    (0.55, 0.045, 0.003),
    (0.90, 0.035, 0.003),
    (1.00, 0.034, 0.004),
    (1.15, 0.032, -0.004),
    (1.35, 0.035, -0.010),
    (1.60, 0.028, -0.006),
    (1.85, 0.021, 0.000),
    (2.00, 0.021, 0.000),
    (2.06, 0.018, 0.000),
)


# Where things are on the head: share of the way from the chin to the crown, and radians from the front.
_NOSE, _EYES, _EARS = 0.40, (0.55, 0.42), (0.48, 1.6)
_NOSE_LENGTH = 0.09  # of the head's length


def build(figure: Figure, body: Proportions, outfit: Outfit) -> Mesh:
    """The whole surface of the person over the clip."""
    rng = np.random.default_rng(outfit.seed)
    parts = [_torso(figure, body, outfit), _head(figure, body, outfit)]
    if outfit.hair_length > 1.5:
        parts.append(_long_hair(figure, body, outfit))
    for side in (0, 1):
        parts += [
            _arm(figure, body, outfit, side),
            _hand(figure, body, outfit, side),
            _leg(figure, body, outfit, side),
            _foot(figure, body, outfit, side),
        ]
    mesh = join(parts)
    grain = rng.normal(1.0, 0.035, (len(mesh.quads), 1))
    return Mesh(
        vertices=mesh.vertices, quads=mesh.quads, part=mesh.part, colour=np.clip(mesh.colour * grain, 4, 250)
    )


def _between(rings: np.ndarray, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the quads' centres lie: [R - 1, 1] along and [1, S] about the axis, in radians from -pi to pi."""
    angle = (np.arange(segments) + 0.5) * (2 * np.pi / segments)
    return ((rings[1:] + rings[:-1]) / 2)[:, None], ((angle + np.pi) % (2 * np.pi) - np.pi)[None]


def _torso(figure: Figure, body: Proportions, outfit: Outfit) -> Mesh:
    h, segments = body.height, 26
    at = np.concatenate(
        [np.linspace(-0.068, -0.04, 4), np.linspace(-0.025, 0.27, 20), np.linspace(0.28, 0.352, 7)]
    )
    wide, deep, shift = _profile(_TRUNK, at)
    thick = np.where(at < 0.26, body.girth, 1 + 0.4 * (body.girth - 1))
    wide, deep = wide * thick, deep * thick
    stretch = body.trunk / (0.288 * h)
    # The line of the trunk: below the hips straight down, then waist, middle of the shoulders, chin.
    up = figure.pelvis_frame[:, :, 1]
    knots = np.stack(
        [
            figure.pelvis - 0.068 * h * up,
            figure.pelvis,
            figure.waist,
            figure.chest,
            0.3 * figure.chest + 0.7 * figure.chin,
        ],
        1,
    )
    heights = np.array([-0.068, 0.0, 0.30 * 0.288, 0.288, 0.288 + 0.7 * body.neck / h])
    centres = _along(heights, knots, at)
    share = np.clip((at - 0.02) / 0.20, 0, 1)
    share = (share * share * (3 - 2 * share))[None, :, None]
    left = unit((1 - share) * figure.pelvis_frame[:, None, :, 0] + share * figure.chest_frame[:, None, :, 0])
    front = (1 - share) * figure.pelvis_frame[:, None, :, 2] + share * figure.chest_frame[:, None, :, 2]
    front = across(front, left)
    broad = np.interp(at, [-0.07, 0.1, 0.25], [body.hip / (0.055 * h), 1, body.shoulder / (0.108 * h)])
    centres = centres + front * (shift * h * stretch)[None, :, None]
    height, angle = _between(at, segments)
    colour = _cloth(outfit, height, angle)
    # A print on the chest; a collar; skin above it, deeper in front.
    chest = (np.abs(angle) < 0.5) & (np.abs(height - 0.19) < 0.03)
    if outfit.pattern in ("plain", "halves"):
        colour = np.where(chest[..., None], outfit.shirt[2], colour)
    colour = np.where(
        (height < outfit.hem)[..., None] | np.zeros_like(angle, bool)[..., None], outfit.trousers, colour
    )
    belt = (np.abs(height - outfit.hem) < 0.008)[..., None]
    colour = np.where(belt, 0.7 * outfit.trousers, colour)
    neckline = 0.300 - 0.022 * np.exp(-((angle / 0.7) ** 2))
    colour = np.where((height > neckline)[..., None], outfit.skin, colour)
    return tube(
        centres,
        front * (deep * h)[None, :, None],
        left * (wide * broad * h)[None, :, None],
        segments=segments,
        part=TORSO,
        colour=colour,
    )


def _along(knots: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Points [F, R, 3] at the heights `at` on the line through `values` [F, N, 3] at the heights `knots`."""
    right = np.clip(np.searchsorted(knots, at), 1, len(knots) - 1)
    share = ((at - knots[right - 1]) / (knots[right] - knots[right - 1]))[None, :, None]
    return (1 - share) * values[:, right - 1] + share * values[:, right]


def _head(figure: Figure, body: Proportions, outfit: Outfit) -> Mesh:
    segments = 22
    at = np.concatenate([[-0.04, 0.0], np.linspace(0.06, 0.90, 15), [0.95, 0.985, 1.0]])
    wide, deep, shift = _profile(_HEAD, at)
    line = figure.crown - figure.chin
    frame = figure.head_frame
    front, left = frame[:, None, :, 2], frame[:, None, :, 0]
    centres = figure.chin[:, None] + at[:, None] * line[:, None] + front * (shift * body.head)[None, :, None]
    height, angle = _between(at, segments)
    turn = np.abs(angle)
    skin, hair = outfit.skin, outfit.hair
    colour = np.broadcast_to(skin, (len(at) - 1, segments, 3)).copy()
    if outfit.hair_length > 0:
        line_of_hair = np.interp(turn, [0.0, 0.6, 1.1, 1.5, 2.0, np.pi], [0.84, 0.82, 0.72, 0.50, 0.20, 0.10])
        colour[height > line_of_hair] = hair
    else:
        colour[(height > 0.45) & (height < 0.62) & (turn > 1.9)] = 0.75 * skin + 0.25 * hair
    eyes = (np.abs(height - _EYES[0]) < 0.045) & (np.abs(turn - _EYES[1]) < 0.17)
    colour[eyes] = (45, 40, 38)
    colour[(np.abs(height - 0.645) < 0.03) & (np.abs(turn - _EYES[1]) < 0.25)] = (
        0.5 * hair + 0.2 * skin
    )  # brows
    colour[(np.abs(height - 0.20) < 0.03) & (turn < 0.35)] = skin * (0.62, 0.58, 0.80)  # mouth
    colour[(np.abs(height - _EARS[0]) < 0.10) & (np.abs(turn - _EARS[1]) < 0.15)] = 0.85 * skin  # ears
    first = np.broadcast_to(front * (deep * body.head)[None, :, None], centres.shape)
    mesh = tube(
        centres, first, left * (wide * body.head)[None, :, None], segments=segments, part=HEAD, colour=colour
    )
    vertices = mesh.vertices.reshape(len(centres), len(at), segments, 3).copy()
    nose = np.exp(-(((at - _NOSE) / 0.08) ** 2))[None, :, None] * body.head * _NOSE_LENGTH
    vertices[:, :, 0] += nose * front
    return Mesh(
        vertices=vertices.reshape(mesh.vertices.shape), quads=mesh.quads, part=mesh.part, colour=mesh.colour
    )


def face(figure: Figure, body: Proportions) -> np.ndarray:
    """Nose, left and right eye, left and right ear [F, 5, 3] on the surface of the drawn head, in person space."""
    front, left = figure.head_frame[:, :, 2], figure.head_frame[:, :, 0]
    points = []
    for height, turn, out in (
        (_NOSE, 0.0, _NOSE_LENGTH),
        *((_EYES[0], side * _EYES[1], 0.0) for side in (1, -1)),
        *((_EARS[0], side * _EARS[1], 0.0) for side in (1, -1)),
    ):
        wide, deep, shift = (value * body.head for value in _profile(_HEAD, np.array(height)))
        along = figure.chin + height * (figure.crown - figure.chin)
        ahead = shift + deep * np.cos(turn) + out * body.head
        points.append(along + ahead * front + wide * np.sin(turn) * left)
    return np.stack(points, 1)


def _long_hair(figure: Figure, body: Proportions, outfit: Outfit) -> Mesh:
    """A tail from the back of the head down to the shoulder blades, hanging by its weight."""
    at = np.linspace(0, 1, 9)
    back = -figure.head_frame[:, :, 2]
    start = 0.25 * figure.chin + 0.75 * figure.crown + 0.36 * body.head * back
    hang = unit(0.55 * back - figure.chest_frame[:, :, 1] * 0.4 + np.array([0, -1.1, 0]))
    end = start + hang * body.head * 1.15
    middle = (start + end) / 2 + 0.18 * body.head * back
    way = at[None, :, None]
    centres = (1 - way) ** 2 * start[:, None] + 2 * way * (1 - way) * middle[:, None] + way**2 * end[:, None]
    radius = body.head * np.array([0.02, 0.14, 0.17, 0.18, 0.17, 0.16, 0.13, 0.09, 0.01])
    along = unit(np.gradient(centres, axis=1))
    first = across(np.broadcast_to(back[:, None], along.shape), along)
    size = radius[None, :, None]
    return tube(
        centres, first * size, np.cross(along, first) * size, segments=10, part=HAIR, colour=outfit.hair
    )


def _limb_colours(
    outfit: Outfit, at: np.ndarray, angle: np.ndarray, end: float, cloth: np.ndarray
) -> np.ndarray:
    return np.where(
        (at < end)[..., None],
        cloth,
        np.broadcast_to(outfit.skin, (*np.broadcast_shapes(at.shape, angle.shape), 3)),
    )


def _arm(figure: Figure, body: Proportions, outfit: Outfit, side: int) -> Mesh:
    h, segments = body.height, 12
    at = np.concatenate(
        [[-0.20, -0.16], np.linspace(-0.08, 0.85, 9), [0.93, 1.0, 1.07], np.linspace(1.15, 2.0, 8)]
    )
    radius, _ = _profile(_ARM, at)
    radius = radius * body.girth * h + np.where(at < outfit.sleeve, 0.003 * h * (1 + outfit.loose), 0)
    chain = (figure.shoulders[:, side], figure.elbows[:, side], figure.wrists[:, side])
    centres, first, second, _ = chain_rings(chain, figure.elbow_poles[:, side], at)
    way, angle = _between(at, segments)
    cloth = _cloth(outfit, 0.27 - 0.16 * way, angle)
    size = radius[None, :, None]
    return tube(
        centres,
        first * size,
        second * size,
        segments=segments,
        part=np.where(way[:, 0] < 1, UPPER_ARM[side], FOREARM[side]),
        colour=_limb_colours(outfit, way, angle, outfit.sleeve, cloth),
    )


def _hand(figure: Figure, body: Proportions, outfit: Outfit, side: int) -> Mesh:
    h = body.height
    at = np.array([0.0, 0.12, 0.35, 0.6, 0.85, 1.0])
    wide = np.array([0.014, 0.019, 0.023, 0.022, 0.016, 0.002]) * h
    wrist, tip = figure.wrists[:, side], figure.fingers[:, side]
    along = unit(tip - wrist)
    first = across(figure.elbow_poles[:, side], along)
    second = np.cross(along, first)
    centres = wrist[:, None] + at[:, None] * (tip - wrist)[:, None]
    return tube(
        centres,
        first[:, None] * wide[None, :, None],
        second[:, None] * 0.7 * wide[None, :, None],
        segments=8,
        part=FOREARM[side],
        colour=outfit.skin * 0.97,
    )


def _leg(figure: Figure, body: Proportions, outfit: Outfit, side: int) -> Mesh:
    h, segments = body.height, 14
    at = np.concatenate(
        [np.linspace(-0.12, 0.86, 12), [0.94, 1.0, 1.06, 1.14], np.linspace(1.22, 2.0, 9), [2.06]]
    )
    radius, shift = _profile(_LEG, at)
    radius = radius * body.girth
    covered = at < outfit.leg
    wide_leg = np.interp(at, [-0.12, 0.5, 1.0, 1.9], [0.046, 0.050, 0.040, 0.031]) * (
        0.92 + 0.22 * outfit.loose
    )
    radius = np.where(covered, np.maximum(radius + 0.003, wide_leg), radius) * h
    chain = (figure.hips[:, side], figure.knees[:, side], figure.ankles[:, side])
    centres, first, second, _ = chain_rings(chain, figure.knee_poles[:, side], at)
    centres = centres + first * (shift * h)[None, :, None]
    way, angle = _between(at, segments)
    cloth = np.broadcast_to(outfit.trousers, (len(at) - 1, segments, 3)).copy()
    if outfit.stripe:  # down the outer seam; the angle grows to the person's right
        cloth[:, np.abs(angle[0] - (np.pi / 2) * (1 if side else -1)) < 0.35] = outfit.shirt[1]
    colour = _limb_colours(outfit, way, angle, outfit.leg, cloth)
    colour = np.where(((way > outfit.socks) & (way > outfit.leg))[..., None], (225, 228, 230), colour)
    size = radius[None, :, None]
    return tube(
        centres,
        first * size,
        second * size,
        segments=segments,
        part=np.where(way[:, 0] < 1, THIGH[side], SHANK[side]),
        colour=colour,
    )


def _foot(figure: Figure, body: Proportions, outfit: Outfit, side: int) -> Mesh:
    h, segments = body.height, 10
    ankle, toe, sole = figure.ankles[:, side], figure.toes[:, side], figure.soles[:, side]
    at = np.array([-0.30, -0.28, -0.20, -0.05, 0.15, 0.35, 0.52, 0.64, 0.70]) * body.foot
    high = np.array([0.003, 0.017, 0.022, 0.024, 0.019, 0.014, 0.012, 0.009, 0.002]) * h
    wide = np.array([0.003, 0.016, 0.019, 0.020, 0.022, 0.026, 0.026, 0.019, 0.003]) * h
    depth = body.ankle - high
    centres = ankle[:, None] + at[:, None] * toe[:, None] + depth[:, None] * sole[:, None]
    colour = np.broadcast_to(outfit.shoes, (len(at) - 1, segments, 3)).copy()
    colour[:, 3:7] = 0.35 * outfit.shoes + 0.65 * np.array([215, 218, 220])  # the sole
    return tube(
        centres,
        -sole[:, None] * high[None, :, None],
        np.cross(toe, -sole)[:, None] * wide[None, :, None],
        segments=segments,
        part=SHANK[side],
        colour=colour,
    )
