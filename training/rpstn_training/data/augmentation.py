"""Random changes of a training clip, drawn once and the same for all its frames."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ..config import AugmentationConfig

_NEAREST, _FARTHEST = 0.5, 1.5  # sides of the person's box, from its centre to that of a box elsewhere
_QUALITIES = (10, 60)  # of a JPEG: blocks and false colours that one sees
_GREY = np.array([0.299, 0.587, 0.114])  # luma of R, G, B


@dataclass(frozen=True, kw_only=True)
class Occluder:
    """A rectangle that drifts over the crop; lengths are shares of the crop's sides.

    `centre` and `size` (x, y), `drift` (x, y) per frame, `texture` uint8 [n, m, 3] stretched over it.
    """

    centre: np.ndarray
    size: np.ndarray
    drift: np.ndarray
    texture: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How a camera spoils a clip; the default does not.

    `power` that grey levels, as shares of 255, are raised to; `light` [n, m] brightness at places spread over the crop;
    `shrink` the factor by which it is made coarser; `blur` a standard deviation in pixels; `noise` one in grey levels,
    with a `noise_seed`, other noise in each frame; `quality` of a JPEG.
    """

    power: float = 1.0
    light: np.ndarray | None = None
    shrink: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    quality: int | None = None


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One draw; the default changes nothing.

    `rotation` in degrees, clockwise; `scale` enlarges the person; `flip` mirrors; `shift` (x, y) moves the box by so
    many of its widths and heights; `elsewhere` says that it may miss the person, and joints outside it count too.
    `color` [3, 4] maps R, G, B, 1 to R, G, B.
    """

    rotation: float = 0.0
    scale: float = 1.0
    flip: bool = False
    shift: np.ndarray | None = None
    elsewhere: bool = False
    color: np.ndarray | None = None
    occluder: Occluder | None = None
    camera: Camera | None = None


def draw(rng: np.random.Generator, config: AugmentationConfig) -> Draw:
    """Rotation uniform in +-`rotation` degrees, scale uniform in `scale`, flip with probability `flip`,
    colours changed with strength `color`, an occluder with probability `occlusion`; then the shift of the box, uniform
    in +-`shift`, and the faults of a camera; with probability `elsewhere` the box lies beside the person instead, half
    of its width or height away or more. What is off draws nothing.
    """
    drawn = Draw(
        rotation=rng.uniform(-config.rotation, config.rotation),
        scale=rng.uniform(*config.scale),
        flip=bool(rng.random() < config.flip),
        color=_draw_color(rng, config.color) if config.color > 0 else None,
        occluder=_draw_occluder(rng) if rng.random() < config.occlusion else None,
        shift=rng.uniform(-config.shift, config.shift, 2) if config.shift > 0 else None,
        camera=_draw_camera(rng, config),
    )
    if config.elsewhere > 0 and rng.random() < config.elsewhere:
        away = rng.uniform(-_FARTHEST, _FARTHEST, 2)
        away[rng.integers(2)] = rng.choice((-1, 1)) * rng.uniform(_NEAREST, _FARTHEST)
        drawn = replace(drawn, elsewhere=True, shift=away)
    return drawn


def _draw_camera(rng: np.random.Generator, config: AugmentationConfig) -> Camera | None:
    """Each fault between none and the strongest that the configuration allows."""
    drawn: dict[str, Any] = {}
    if config.gamma > 0:
        drawn["power"] = (1 + config.gamma) ** rng.uniform(-1, 1)
    if config.light > 0:
        drawn["light"] = 1 + config.light * rng.uniform(-1, 1, (3, 3))
    if config.shrink > 1:
        drawn["shrink"] = config.shrink ** rng.random()
    if config.blur > 0:
        drawn["blur"] = config.blur * rng.random()
    if config.noise > 0:
        drawn |= {"noise": config.noise * rng.random(), "noise_seed": int(rng.integers(2**31))}
    if config.jpeg > 0 and rng.random() < config.jpeg:
        drawn["quality"] = int(rng.integers(*_QUALITIES, endpoint=True))
    return Camera(**drawn) if drawn else None


def _draw_color(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Saturation, contrast about mid-grey and brightness within +-strength, each channel within half that."""
    saturation, contrast, brightness = 1 + strength * rng.uniform(-1, 1, 3)
    gains = 1 + strength / 2 * rng.uniform(-1, 1, 3)
    mix = saturation * np.eye(3) + (1 - saturation) * _GREY
    about_grey = np.column_stack([contrast * mix, np.full(3, 127.5 * (1 - contrast))])
    return brightness * gains[:, None] * about_grey


def _draw_occluder(rng: np.random.Generator) -> Occluder:
    patches = rng.integers(1, 9, 2)  # 1 x 1 is a flat colour
    return Occluder(
        centre=rng.uniform(0.15, 0.85, 2),
        size=rng.uniform(0.15, 0.45, 2),
        drift=rng.uniform(-0.03, 0.03, 2),
        texture=rng.integers(0, 256, (*patches, 3), dtype=np.uint8),
    )


def recolor(image: np.ndarray, color: np.ndarray) -> np.ndarray:
    """An image uint8 [h, w, 3] with `color` [3, 4] applied to each pixel, rounded and clipped to 0..255."""
    return cv2.transform(image, color)


def occlude(frames: np.ndarray, occluder: Occluder) -> np.ndarray:
    """Put the occluder into the frames uint8 [T, 3, h, w] themselves, cut off at the border; where it lies: left, top,
    right and bottom [T, 4] in pixels, of which right and bottom are the first that are free.
    """
    height, width = frames.shape[2:]
    sides = np.array([width, height])
    extent = np.maximum(np.rint(occluder.size * sides), 1).astype(int)
    patch = cv2.resize(occluder.texture, (int(extent[0]), int(extent[1])), interpolation=cv2.INTER_CUBIC)
    patch = patch.transpose(2, 0, 1)
    places = np.empty((len(frames), 4), int)
    for time, frame in enumerate(frames):
        corner = np.rint((occluder.centre + time * occluder.drift) * sides - extent / 2).astype(int)
        left, top = np.maximum(corner, 0)
        right, bottom = np.minimum(corner + extent, sides)
        places[time] = left, top, right, bottom
        if right > left and bottom > top:
            part = patch[:, top - corner[1] : bottom - corner[1], left - corner[0] : right - corner[0]]
            frame[:, top:bottom, left:right] = part
    return places


def photograph(frames: np.ndarray, camera: Camera) -> None:
    """Give the frames uint8 [T, 3, h, w] themselves the camera's faults, in the order in which light meets them."""
    height, width = frames.shape[2:]
    rng = np.random.default_rng(camera.noise_seed)
    curve = np.rint(255 * (np.arange(256) / 255) ** camera.power).astype(np.uint8)
    light = None
    if camera.light is not None:
        light = cv2.resize(camera.light, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    coarse = tuple(max(1, round(side / camera.shrink)) for side in (width, height))
    for frame in frames:
        image = curve[cv2.merge(list(frame))]
        if light is not None:
            image = np.clip(np.rint(image * light[..., None]), 0, 255).astype(np.uint8)
        if coarse != (width, height):
            small = cv2.resize(image, coarse, interpolation=cv2.INTER_AREA)
            image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        if camera.blur > 0:
            image = cv2.GaussianBlur(image, (0, 0), camera.blur)
        if camera.noise > 0:
            grain = camera.noise * rng.standard_normal(image.shape, dtype=np.float32)
            image = np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)
        if camera.quality is not None:
            written = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])[1]
            image = cv2.imdecode(written, cv2.IMREAD_COLOR)
        cv2.split(image, list(frame))
