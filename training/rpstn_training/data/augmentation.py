"""Random changes of a training clip, drawn once and the same for all its frames."""

from dataclasses import dataclass

import cv2
import numpy as np

from ..config import AugmentationConfig

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
class Draw:
    """One draw; the default changes nothing.

    `rotation` in degrees, clockwise; `scale` enlarges the person; `flip` mirrors. `color` [3, 4] maps R, G,
    B, 1 to R, G, B.
    """

    rotation: float = 0.0
    scale: float = 1.0
    flip: bool = False
    color: np.ndarray | None = None
    occluder: Occluder | None = None


def draw(rng: np.random.Generator, config: AugmentationConfig) -> Draw:
    """Rotation uniform in +-`rotation` degrees, scale uniform in `scale`, flip with probability `flip`,
    colours changed with strength `color`, an occluder with probability `occlusion`.
    """
    return Draw(
        rotation=rng.uniform(-config.rotation, config.rotation),
        scale=rng.uniform(*config.scale),
        flip=bool(rng.random() < config.flip),
        color=_draw_color(rng, config.color) if config.color > 0 else None,
        occluder=_draw_occluder(rng) if rng.random() < config.occlusion else None,
    )


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


def occlude(frames: np.ndarray, occluder: Occluder) -> None:
    """Put the occluder into the frames uint8 [T, 3, h, w] themselves, cut off at the border."""
    height, width = frames.shape[2:]
    sides = np.array([width, height])
    extent = np.maximum(np.rint(occluder.size * sides), 1).astype(int)
    patch = cv2.resize(occluder.texture, (int(extent[0]), int(extent[1])), interpolation=cv2.INTER_CUBIC)
    patch = patch.transpose(2, 0, 1)
    for time, frame in enumerate(frames):
        corner = np.rint((occluder.centre + time * occluder.drift) * sides - extent / 2).astype(int)
        left, top = np.maximum(corner, 0)
        right, bottom = np.minimum(corner + extent, sides)
        if right > left and bottom > top:
            part = patch[:, top - corner[1] : bottom - corner[1], left - corner[0] : right - corner[0]]
            frame[:, top:bottom, left:right] = part
