"""Skeletons drawn over pictures.

Left limbs are orange, right ones blue: colours that people with any colour vision tell apart (Okabe and Ito, 2008). The
middle is white, or has the colour of the person. Everything has a dark edge, so that it shows on light ground too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import cv2
import numpy as np

from ..data.records import Skeleton

LEFT, RIGHT, MIDDLE = (255, 159, 0), (86, 180, 255), (255, 255, 255)  # RGB
EDGE = (20, 20, 20)
STRIP, GREY = (32, 32, 32), (190, 190, 190)
# Of persons: green, yellow, purple, red, sea, pink; the seventh begins again. Okabe and Ito's, made lighter, and
# two more; none is near the colours of the sides.
PERSONS = ((0, 200, 140), (250, 240, 80), (214, 130, 255), (255, 70, 60), (0, 230, 230), (255, 60, 175))
MIN_SCORE = 0.2
FAINTEST = 0.2  # opacity
PALE = 0.6  # opacity, at most, of a joint that is taken for wrong

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SHIFT = 4  # cv2 draws at sixteenths of a pixel
_READABLE = 480  # pixels on the shorter side
_REACH = 1 << 15  # pixels; farther away the sixteenths no longer fit what cv2 computes with


Text = tuple[str, tuple[int, int, int]]  # and its colour, RGB


def person_color(person: int) -> tuple[int, int, int]:
    return PERSONS[person % len(PERSONS)]


def side_colors(skeleton: Skeleton) -> list[tuple[int, int, int]]:
    """RGB of each joint by its side of the body; `flip_pairs` say which joints have one."""
    colors = [MIDDLE] * len(skeleton.joints)
    for pair in skeleton.flip_pairs:
        for joint, color in zip(pair, (LEFT, RIGHT)):
            colors[joint] = color
    for joint, name in enumerate(
        skeleton.joints
    ):  # a name that says its side is right, whatever the pair's order
        for word, color in (("left", LEFT), ("right", RIGHT)):
            if name.startswith(word):
                colors[joint] = color
    return colors


def strength_of(probabilities: np.ndarray, sure_from: float | None) -> np.ndarray:
    """How opaque joints of these probabilities are: wholly from `sure_from` on (`Calibration.joint_threshold`), below
    it the paler the less probable, and never more than PALE. Without a threshold, as opaque as they are probable.

    >>> strength_of(np.array([0.9, 0.8, 0.4]), 0.8).tolist()
    [1.0, 1.0, 0.3]
    """
    if sure_from is None:
        return probabilities
    return np.where(probabilities >= sure_from, 1.0, PALE * probabilities / sure_from)


def draw_pose(
    image: np.ndarray,
    joints: np.ndarray,
    scores: np.ndarray | None,
    skeleton: Skeleton,
    *,
    min_score: float = MIN_SCORE,
    strength: np.ndarray | None = None,
    hollow: np.ndarray | None = None,
    line_width: float | None = None,
    middle: tuple[int, int, int] = MIDDLE,
) -> None:
    """Draw one person into `image`, in place.

    A joint with a score of `min_score` or more is a filled disc, one below it a hollow ring; a limb with such
    an end is a thin line. Limbs between a side and the middle take the side's colour, limbs across the middle's.
    What has little strength lets the picture through: a joint by its own, a limb by the smaller of its ends'.

    Args:
        image (uint8 ndarray[H, W, 3]): RGB, writable.
        joints (ndarray[K, 2]): pixels of the image, x right, y down, first pixel centre at 0; a joint that is
            not finite is left out. Outside the image is allowed.
        scores (ndarray[K] or None): heights of the heat maps' peaks; None draws every joint as found.
        min_score: see above.
        strength (ndarray[K] or None): how opaque the joints are, from 0 to 1; never less than FAINTEST.
        hollow (bool ndarray[K] or None): joints that are rings whatever their score.
        line_width: pixels; by default it follows the size of the picture and of the person.
        middle: RGB of what has no side.

    Raises:
        ValueError: a shape or a dtype does not fit.
    """
    joints = np.asarray(joints, dtype=np.float64)
    count = len(skeleton.joints)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"draw_pose: expected image uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    if joints.shape != (count, 2) or (scores is not None and np.shape(scores) != (count,)):
        given = "" if scores is None else f" and scores {list(np.shape(scores))}"
        raise ValueError(
            f"draw_pose: expected joints [{count}, 2] and scores [{count}] of {skeleton.name}, "
            f"got joints {list(joints.shape)}{given}"
        )
    placed = np.isfinite(joints).all(axis=1)
    sure = placed if scores is None else placed & (np.asarray(scores) >= min_score)
    if hollow is not None:
        sure = sure & ~hollow
    opacity = np.ones(count) if strength is None else np.clip(strength, FAINTEST, 1.0)
    width = line_width or _line_width(image, joints[placed])
    points = [_fixed(point) if ok else (0, 0) for point, ok in zip(joints, placed)]
    colors = [middle if color == MIDDLE else color for color in side_colors(skeleton)]

    limbs = [(a, b) for a, b in skeleton.limbs if placed[a] and placed[b]]
    limbs.sort(key=lambda limb: bool(sure[limb[0]] and sure[limb[1]]))  # what is sure lies on top
    edge, thin = max(width * 0.4, 1.0), max(width * 0.35, 1.0)
    for a, b in limbs:
        inner = width if sure[a] and sure[b] else thin
        color = _limb_color(colors[a], colors[b], middle)
        with _faded(image, joints[[a, b]], inner + 2 * edge, min(opacity[a], opacity[b])):
            for thickness, shade in ((inner + 2 * edge, EDGE), (inner, color)):
                cv2.line(image, points[a], points[b], shade, max(round(thickness), 1), cv2.LINE_AA, _SHIFT)
    radius = max(width * 1.1, 2.0)
    for joint in np.flatnonzero(placed):
        place, color = points[joint], colors[joint]
        with _faded(image, joints[[joint]], radius + thin + 2 * edge, opacity[joint]):
            if sure[joint]:
                _disc(image, place, radius + edge, EDGE)
                _disc(image, place, radius, color)
                continue
            for thickness, shade in ((thin + 2 * edge, EDGE), (thin, color)):
                cv2.circle(
                    image, place, round(radius * 16), shade, max(round(thickness), 1), cv2.LINE_AA, _SHIFT
                )


def draw_box(
    image: np.ndarray, box: np.ndarray, label: str = "", *, color: tuple[int, int, int] = MIDDLE
) -> None:
    """Draw a person's box x1, y1, x2, y2 into `image` (uint8 [H, W, 3] RGB), in place, with a label at its top."""
    width = max(_line_width(image) * 0.4, 2.0)
    first, last = _fixed(np.asarray(box[:2], dtype=np.float64)), _fixed(np.asarray(box[2:], dtype=np.float64))
    for thickness, shade in ((width + 2, EDGE), (width, color)):
        cv2.rectangle(image, first, last, shade, max(round(thickness), 1), cv2.LINE_AA, _SHIFT)
    if label:
        size = _text_height(image.shape)
        x, y = max(float(box[0]), 0) + size * 0.4, max(float(box[1]), 0) + size * 1.4
        draw_text(image, label, (x, y), color)


def strip(width: int, height: int, texts: Sequence[Sequence[Text]]) -> np.ndarray:
    """A dark bar of `width` pixels for below a picture of that width and `height`: uint8 [h, width, 3] RGB, h even and
    the same whatever the texts of a line are. A line that is too long is set smaller.
    """
    size = _text_height((height, width))
    tall = 2 * round(0.85 * size)
    bar = np.full((tall * len(texts), width, 3), STRIP, np.uint8)
    gap = 0.9 * size
    for line, pieces in enumerate(texts):
        pieces = [(text.encode("ascii", "replace").decode(), color) for text, color in pieces if text]
        long = sum(_text_width(text, size) + gap for text, _ in pieces) + 0.2 * gap
        set_in = size * min(1.0, 0.97 * width / max(long, 1.0))
        x, y = 0.6 * gap * set_in / size, (line + 0.5) * tall + 0.3 * set_in
        for text, color in pieces:
            _put(bar, text, (x, y), color, set_in)
            x += _text_width(text, set_in) + gap * set_in / size
    return bar


def draw_text(image: np.ndarray, text: str, place: tuple[float, float], color: tuple[int, int, int]) -> int:
    """Write `text` with its lower left corner at `place`, in place; returns its width in pixels."""
    size = _text_height(image.shape)
    step = max(round(size / 14), 1)
    around = [(dx, dy) for dx in (-step, 0, step) for dy in (-step, 0, step) if dx or dy]
    for dx, dy in around:  # a thicker pen would set the letters farther apart
        _put(image, text, (place[0] + dx, place[1] + dy), EDGE, size)
    _put(image, text, place, color, size)
    return round(_text_width(text, size))


def _put(
    image: np.ndarray, text: str, place: tuple[float, float], color: tuple[int, int, int], size: float
) -> None:
    point = round(place[0]), round(place[1])
    cv2.putText(image, text, point, _FONT, size / 22, color, max(round(size / 14), 1), cv2.LINE_AA)


def _text_width(text: str, size: float) -> float:
    return cv2.getTextSize(text, _FONT, size / 22, max(round(size / 14), 1))[0][0]


def overlaid(
    image: np.ndarray,
    poses: Iterable[tuple[np.ndarray, np.ndarray]],
    skeleton: Skeleton,
    *,
    min_score: float = MIN_SCORE,
    boxes: Mapping[int, np.ndarray] | None = None,
    strengths: Sequence[np.ndarray | None] | None = None,
    hollow: Sequence[np.ndarray | None] | None = None,
    sure_from: float | None = None,
    place: str = "",
    notice: str = "",
) -> np.ndarray:
    """A copy of `image`, enlarged by a whole number where it has few pixels, with poses (joints [K, 2], scores [K])
    and persons' boxes by their number, in the order of the poses, both in pixels of `image`. Of each pose `strengths`
    and `hollow` say how it is drawn (`draw_pose`), and `sure_from` what the strengths are by (`strength_of`). Box,
    number and the middle of a body have the colour of the person.

    Below it is a strip, so that no letter lies over a person: `place` (frame and time), what the colours mean, and in
    a line of its own the `notice`, where there is one.
    """
    factor = enlargement((image.shape[1], image.shape[0]))
    picture = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    shift = (factor - 1) / 2  # of the first pixel's centre
    poses = list(poses)
    nothing = [None] * len(poses)
    colors = [person_color(person) for person in boxes or {}] or [MIDDLE] * len(poses)
    for (person, box), color in zip((boxes or {}).items(), colors):
        draw_box(picture, box * factor + shift, str(person), color=color)
    for (joints, scores), color, strength, rings in zip(
        poses, colors, strengths or nothing, hollow or nothing, strict=True
    ):
        draw_pose(
            picture,
            joints * factor + shift,
            scores,
            skeleton,
            min_score=min_score,
            strength=strength,
            hollow=rings,
            middle=color,
        )
    height, width = picture.shape[:2]
    faded = any(strength is not None for strength in strengths or ())
    pale = "unsure" if sure_from is None else f"probability < {sure_from:.2f}"
    unsure = f"pale: {pale}, hollow: hidden" if faded else f"hollow: unsure (score < {min_score:g})"
    legend = [(place, MIDDLE), ("left", LEFT), ("right", RIGHT), (unsure if poses else "nobody found", GREY)]
    return np.vstack([picture, strip(width, height, [legend, *([[(notice, GREY)]] if notice else [])])])


def enlargement(size_wh: tuple[int, int]) -> int:
    """How many times larger than the frames their overlay is, 1 to 4: lines on few pixels hide the person."""
    return min(max(round(_READABLE / min(size_wh)), 1), 4)


def fit(image: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """`image` itself if it has this size, else scaled to fit into it, in the middle of black."""
    height, width = image.shape[:2]
    if (width, height) == tuple(size_wh):
        return image
    factor = min(size_wh[0] / width, size_wh[1] / height)
    inner = max(round(width * factor), 1), max(round(height * factor), 1)
    scaled = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    left, top = (size_wh[0] - inner[0]) // 2, (size_wh[1] - inner[1]) // 2
    canvas = np.zeros((size_wh[1], size_wh[0], 3), dtype=np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = scaled
    return canvas


def _line_width(image: np.ndarray, joints: np.ndarray | None = None) -> float:
    """By the picture's shorter side, less for a person who is small in it."""
    width = min(image.shape[:2]) / 140
    if joints is not None and len(joints) > 1:
        width = min(width, float(np.linalg.norm(np.ptp(joints, axis=0))) / 45)
    return max(width, 1.0)


def _text_height(shape: Sequence[int]) -> float:
    """Of a picture of this shape, height and width first."""
    return float(np.clip(min(shape[:2]) / 28, 9, 60))


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.rint(np.clip(point, -_REACH, _REACH) * (1 << _SHIFT)).astype(int).tolist()
    return x, y


def _limb_color(
    first: tuple[int, int, int], second: tuple[int, int, int], middle: tuple[int, int, int]
) -> tuple[int, int, int]:
    if first == second or second == middle:
        return first
    return second if first == middle else middle


@contextmanager
def _faded(image: np.ndarray, points: np.ndarray, reach: float, opacity: float) -> Iterator[None]:
    """What is drawn in the block, within `reach` pixels of the points [N, 2], has this opacity."""
    low = np.clip(np.floor(points.min(axis=0) - reach - 1), 0, image.shape[1::-1]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + reach + 2), low, image.shape[1::-1]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    if opacity >= 1 or part.size == 0:
        yield
        return
    before = part.copy()
    yield
    part[...] = cv2.addWeighted(part, float(opacity), before, 1 - float(opacity), 0)


def _disc(image: np.ndarray, place: tuple[int, int], radius: float, color: tuple[int, int, int]) -> None:
    cv2.circle(image, place, round(radius * (1 << _SHIFT)), color, cv2.FILLED, cv2.LINE_AA, _SHIFT)
