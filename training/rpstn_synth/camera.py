"""Where the camera stands, how it trembles, and the projection of space onto the picture.

World space: the person's, turned by the view and moved; the camera looks along -z. Picture: pixels, x right,
y down, first pixel centre at 0.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

VIEWS = ("front", "back", "left", "right")
_YAW = {"front": 0.0, "back": 180.0, "left": -90.0, "right": 90.0}


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole at `position`, pitched down by `pitch` radians; `shake` [F, 2, 3] moves the finished picture.

    `turn` [3, 3] takes person space to world space.
    """

    position: np.ndarray
    pitch: float
    focal: float
    centre: np.ndarray
    turn: np.ndarray
    shake: np.ndarray
    view: str

    def seen(self, world: np.ndarray) -> np.ndarray:
        """World points [..., 3] in the camera's frame: right, up, distance."""
        cos, sin = np.cos(self.pitch), np.sin(self.pitch)
        x, y, z = np.moveaxis(world - self.position, -1, 0)
        return np.stack([x, cos * y - sin * z, -cos * z - sin * y], -1)

    def project(self, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [..., 2] of the picture without shake, and distances [...]."""
        right, up, distance = np.moveaxis(self.seen(world), -1, 0)
        scale = self.focal / np.maximum(distance, 0.05)
        return np.stack([self.centre[0] + scale * right, self.centre[1] - scale * up], -1), distance

    def shaken(self, points: np.ndarray, frame: int | None = None) -> np.ndarray:
        """Picture points [F, ..., 2] after the camera's shake; with `frame` those [1, ..., 2] of that frame alone."""
        shake = self.shake if frame is None else self.shake[frame : frame + 1]
        moved = np.einsum("fij,f...j->f...i", shake[..., :2], points)
        return moved + shake[..., 2].reshape(len(shake), *(1,) * (points.ndim - 2), 2)


def sample_camera(
    rng: np.random.Generator,
    *,
    points: np.ndarray,
    height: float,
    weights: tuple[float, ...],
    spread: float,
    size: tuple[int, int],
    cut: bool,
) -> Camera:
    """A view of a person whose `points` [F, N, 3] in person space shall be in the picture of `size` (w, h).

    `height` is the standing height. With `cut` the person may run over the border.
    """
    frames = len(points)
    width, tall = size
    view = str(rng.choice(VIEWS, p=np.array(weights) / np.sum(weights)))
    yaw = np.radians(_YAW[view] + np.clip(rng.normal(0, 0.5), -1, 1) * spread)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    distance = rng.uniform(4.2, 7.5)
    eye = rng.uniform(0.9, 2.0)
    world = points @ turn.T
    aim = (world.min((0, 1)) + world.max((0, 1))) / 2
    pitch = float(np.arctan2(eye - aim[1], distance)) * rng.uniform(0.6, 1.0)
    camera = Camera(
        position=np.array([aim[0], eye, aim[2] + distance]),
        pitch=pitch,
        focal=1.0,
        centre=np.zeros(2),
        turn=turn,
        shake=np.zeros((frames, 2, 3)),
        view=view,
    )
    flat, _ = camera.project(world)
    low, high = flat.min((0, 1)), flat.max((0, 1))
    standing = height / distance
    share = rng.uniform(0.50, 0.75)
    room = rng.uniform(0.80, 0.90) if not cut else rng.uniform(1.05, 1.25)
    focal = min(share * tall / standing if not cut else np.inf, *(room * np.array(size) / (high - low)))
    slack = np.maximum(np.array(size) - focal * (high - low), 0.0)
    if cut:
        slack = 0.16 * np.array(size)
    offset = rng.uniform(-0.4, 0.4, 2) * slack
    return Camera(
        position=camera.position,
        pitch=pitch,
        focal=float(focal),
        centre=np.array([width - 1, tall - 1]) / 2 - focal * (low + high) / 2 + offset,
        turn=turn,
        shake=shake_of(rng, frames, size),
        view=view,
    )


def shake_of(rng: np.random.Generator, frames: int, size: tuple[int, int]) -> np.ndarray:
    """Matrices [F, 2, 3]: a smooth random walk of translation, rotation and zoom about the picture's middle."""
    strength = rng.choice([0.15, 0.6, 1.0])
    walk = gaussian_filter1d(rng.normal(size=(frames + 40, 4)).cumsum(0), 2.5, axis=0)[20 : 20 + frames]
    walk -= walk.mean(0)
    walk /= np.maximum(np.abs(walk).max(0), 1e-9)
    amount = (
        strength
        * rng.uniform(0.3, 1.0, 4)
        * np.array([0.020 * size[0], 0.020 * size[1], np.radians(1.8), 0.025])
    )
    x, y, angle, zoom = (walk * amount).T
    scale = np.exp(zoom)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    middle = (np.array(size) - 1) / 2
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    offset = middle + np.stack([x, y], -1) - linear @ middle
    return np.concatenate([linear, offset[..., None]], -1)
