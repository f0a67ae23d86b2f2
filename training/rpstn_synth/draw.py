"""Drawing surfaces: light, shadow, and a picture that knows which quad is on top of every pixel.

Each quad is filled with its number, farthest first, at twice the size of the picture. From these numbers
follow the colours, the soft edge (by averaging 2x2) and what hides a joint.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .camera import Camera
from .mesh import Mesh

SUPERSAMPLING = 2
_SUBPIXEL_BITS = 3


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The quads on top: `index` int32 [h, w], -1 where there is none, of a part of the picture at twice its
    size whose upper left pixel is `corner` (x, y), even.
    """

    index: np.ndarray
    corner: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Projected:
    """A mesh as the camera sees it in one frame: `corners` [Q, 4, 2] pixels, `distance` [Q] metres, `facing` bool
    [Q], `colour` uint8 [Q, 3] with light.
    """

    corners: np.ndarray
    distance: np.ndarray
    facing: np.ndarray
    colour: np.ndarray
    part: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Light:
    """`towards` [3] the lamp in world space; `ambient` 0 to 1; `tint` [3] BGR about 1."""

    towards: np.ndarray
    ambient: float
    tint: np.ndarray


def sample_light(rng: np.random.Generator) -> Light:
    side, high = rng.uniform(-1.2, 1.2), rng.uniform(0.7, 1.6)
    towards = np.array([side, high, rng.uniform(0.2, 1.0)])
    return Light(
        towards=towards / np.linalg.norm(towards),
        ambient=rng.uniform(0.38, 0.62),
        tint=1 + rng.uniform(-0.08, 0.08, 3),
    )


def project(mesh: Mesh, camera: Camera, light: Light, frame: int) -> Projected:
    """Where the quads of a mesh in world space are in the picture, which face the camera, and how bright they are."""
    world = mesh.vertices[frame : frame + 1]
    flat, distance = camera.project(world)
    flat = camera.shaken(flat, frame)[0]
    q = world[0, mesh.quads]
    normal = np.cross(q[:, 2] - q[:, 0], q[:, 3] - q[:, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    centre = q.mean(1)
    facing = (normal * (camera.position - centre)).sum(-1) > 0
    lamp = np.clip(normal @ light.towards * 0.75 + 0.25, 0, 1)  # a large lamp reaches round the edge
    sky = 0.82 + 0.18 * normal[..., 1]
    near_floor = 0.88 + 0.12 * np.clip(centre[..., 1] / 0.5, 0, 1)
    brightness = (light.ambient * sky + (1.08 - light.ambient) * lamp) * near_floor
    colour = mesh.colour * brightness[..., None] * light.tint
    return Projected(
        corners=flat[mesh.quads],
        distance=distance[0, mesh.quads].mean(1),
        facing=facing,
        colour=np.clip(colour, 0, 255).astype(np.uint8),
        part=mesh.part,
    )


def rasterise(shown: Projected, size: tuple[int, int]) -> Drawing:
    """Fill the quads that face the camera, farthest first."""
    corners = shown.corners
    low, high = corners.min(1), corners.max(1)
    inside = shown.facing & (high > -2).all(1) & (low < np.array(size) + 1).all(1)
    chosen = np.flatnonzero(inside)
    if not len(chosen):
        return Drawing(index=np.full((2, 2), -1, np.int32), corner=np.zeros(2, int))
    chosen = chosen[np.argsort(-shown.distance[chosen], kind="stable")]
    start = np.clip(np.floor(low[chosen].min(0)).astype(int) - 1, 0, None)
    end = np.minimum(np.ceil(high[chosen].max(0)).astype(int) + 2, size)
    width, tall = np.maximum(end - start, 1) * SUPERSAMPLING
    index = np.full((tall, width), -1, np.int32)
    # Pixel centres: x of the picture lies at 2x + 0.5 of the large one.
    large = (corners[chosen] - start + 0.5) * SUPERSAMPLING - 0.5
    pixels = np.round(large * 2**_SUBPIXEL_BITS).astype(np.int32)
    fill = cv2.fillConvexPoly
    for number, polygon in zip(chosen.tolist(), pixels):
        fill(index, polygon, number, cv2.LINE_8, _SUBPIXEL_BITS)
    return Drawing(index=index, corner=start)


def compose(image: np.ndarray, drawing: Drawing, colour: np.ndarray) -> None:
    """Lay the drawing over `image` uint8 [H, W, 3] in place, edges softened."""
    index = drawing.index
    table = np.concatenate([colour, np.zeros((1, 3), np.uint8)])
    table = np.concatenate([table, np.full((len(table), 1), 255, np.uint8)], 1)
    table[-1] = 0
    large = table[index]  # -1 is the last row: nothing
    tall, width = index.shape[0] // SUPERSAMPLING, index.shape[1] // SUPERSAMPLING
    small = cv2.resize(large, (width, tall), interpolation=cv2.INTER_AREA)
    x, y = drawing.corner
    under = image[y : y + tall, x : x + width]
    keep = cv2.cvtColor(255 - small[..., 3], cv2.COLOR_GRAY2BGR)
    cv2.add(cv2.multiply(under, keep, scale=1 / 255), small[..., :3], dst=under)


def shadow(
    lines: np.ndarray, radius: np.ndarray, camera: Camera, light: Light, frame: int, size: tuple[int, int]
) -> np.ndarray:
    """How much of the light reaches the floor: uint8 [H, W], 255 in full, for bones `lines` [N, 2, 3] in world
    space of `radius` [N] metres.
    """
    step = light.towards[[0, 2]] / light.towards[1]
    floor = lines.copy()
    floor[..., [0, 2]] -= np.clip(lines[..., 1:2], 0, None) * step
    floor[..., 1] = 0
    flat, distance = camera.project(floor)
    flat = camera.shaken(np.broadcast_to(flat, (len(camera.shake), *flat.shape)))[frame]
    mask = np.zeros((size[1] // 2, size[0] // 2), np.uint8)
    thick = np.maximum(np.round(0.7 * radius * camera.focal / distance.mean(1)), 1).astype(int)
    limit = 8 * max(size)
    for (a, b), wide in zip(np.clip(flat / 2, -limit, limit).round().astype(int).tolist(), thick.tolist()):
        cv2.line(mask, a, b, 255, wide)
    sigma = max(0.9, 0.012 * size[1])
    mask = cv2.GaussianBlur(mask, (0, 0), sigma)
    return 255 - cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)
