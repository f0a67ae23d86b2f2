"""Surfaces of small quads that move: tubes of elliptic rings, boxes, and their union.

Points are in person space (see `body.py`), for the F frames of a clip at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .body import across, unit


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """`vertices` [F, V, 3]; `quads` int [Q, 4] counter-clockwise from outside; `part` int [Q]; `colour` [Q, 3]
    BGR, 0 to 255. What does not move has F = 1.
    """

    vertices: np.ndarray
    quads: np.ndarray
    part: np.ndarray
    colour: np.ndarray


def join(meshes: Sequence[Mesh]) -> Mesh:
    frames = max(len(mesh.vertices) for mesh in meshes)
    starts = np.cumsum([0] + [mesh.vertices.shape[1] for mesh in meshes[:-1]])
    return Mesh(
        vertices=np.concatenate(
            [np.broadcast_to(mesh.vertices, (frames, *mesh.vertices.shape[1:])) for mesh in meshes], 1
        ),
        quads=np.concatenate([mesh.quads + start for mesh, start in zip(meshes, starts)]),
        part=np.concatenate([mesh.part for mesh in meshes]),
        colour=np.concatenate([mesh.colour for mesh in meshes]),
    )


def tube(
    centres: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    segments: int,
    part: int | np.ndarray,
    colour: np.ndarray,
) -> Mesh:
    """Rings about `centres` [F, R, 3] with the half axes `first` and `second` [F, R, 3].

    Half axes and the direction of the tube make a right-handed system, in this order. `part` may differ by
    ring [R - 1]; `colour` is [3] or [R - 1, segments, 3], counted from `first` on towards `second`.
    """
    rings = centres.shape[1]
    angle = np.arange(segments) * (2 * np.pi / segments)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    vertices = centres[:, :, None] + cos * first[:, :, None] + sin * second[:, :, None]
    ring, segment = np.meshgrid(np.arange(rings - 1), np.arange(segments), indexing="ij")
    following = (segment + 1) % segments
    quads = np.stack(
        [
            ring * segments + segment,
            ring * segments + following,
            (ring + 1) * segments + following,
            (ring + 1) * segments + segment,
        ],
        -1,
    )
    return Mesh(
        vertices=vertices.reshape(len(vertices), -1, 3),
        quads=quads.reshape(-1, 4),
        part=np.broadcast_to(np.reshape(part, (-1, 1)), (rings - 1, segments)).reshape(-1),
        colour=np.broadcast_to(colour, (rings - 1, segments, 3)).reshape(-1, 3).astype(np.float64),
    )


def rod(
    ends: tuple[np.ndarray, np.ndarray],
    profile: Sequence[tuple[float, float]],
    *,
    part: int,
    colour: np.ndarray,
    segments: int = 8,
    towards: np.ndarray | None = None,
) -> Mesh:
    """A straight round bar between two points [F, 3]; `profile` lists (share of the way, radius in metres)."""
    start, end = (np.asarray(point, dtype=np.float64) for point in ends)
    way, radius = np.array(profile).T
    axis = unit(end - start)
    aside = np.broadcast_to([0.31, 0.17, 0.93] if towards is None else towards, axis.shape)
    first = across(aside, axis)
    second = np.cross(axis, first)
    centres = start[:, None] + way[:, None] * (end - start)[:, None]
    size = radius[None, :, None]
    return tube(
        centres, first[:, None] * size, second[:, None] * size, segments=segments, part=part, colour=colour
    )


def chain_rings(
    chain: tuple[np.ndarray, np.ndarray, np.ndarray],
    pole: np.ndarray,
    where: np.ndarray,
    bend: float = 0.16,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rings of a limb of two bones: centres, its two cross directions and the direction along it [F, R, 3].

    `where` [R] runs from 0 (root) over 1 (middle joint) to 2 (end). Directions turn smoothly within `bend`
    of the middle joint. The first cross direction leans to `pole` [F, 3].
    """
    root, middle, end = (point[:, None] for point in chain)
    w = where[None, :, None]
    centres = np.where(w < 1, root + w * (middle - root), middle + (w - 1) * (end - middle))
    share = np.clip((w - 1 + bend) / (2 * bend), 0, 1)
    share = share * share * (3 - 2 * share)
    along = unit((1 - share) * unit(middle - root) + share * unit(end - middle))
    first = across(np.broadcast_to(pole[:, None], along.shape), along)
    return centres, first, np.cross(along, first), along


def box(
    centre: Sequence[float],
    size: Sequence[float],
    *,
    part: int,
    colour: np.ndarray,
    cells: tuple[int, int, int],
) -> Mesh:
    """A still box with edges along x, y, z, of `cells` quads along each edge; `colour` [3]."""
    corner, size = np.array(centre) - np.array(size) / 2, np.array(size, dtype=np.float64)
    faces = []
    for axis in range(3):
        for end in (0, 1):
            # In this order the two edges and the outward direction make a right-handed system.
            u, v = ((axis + 1) % 3, (axis + 2) % 3) if end else ((axis + 2) % 3, (axis + 1) % 3)
            grid = np.zeros((cells[u] + 1, cells[v] + 1, 3))
            grid[..., axis] = end
            grid[..., u] = np.linspace(0, 1, cells[u] + 1)[:, None]
            grid[..., v] = np.linspace(0, 1, cells[v] + 1)
            i, j = np.meshgrid(np.arange(cells[u]), np.arange(cells[v]), indexing="ij")
            at = i * (cells[v] + 1) + j
            quads = np.stack([at, at + cells[v] + 1, at + cells[v] + 2, at + 1], -1).reshape(-1, 4)
            faces.append(
                Mesh(
                    vertices=(corner + grid * size).reshape(1, -1, 3),
                    quads=quads,
                    part=np.full(len(quads), part),
                    colour=np.tile(np.asarray(colour, dtype=np.float64), (len(quads), 1)),
                )
            )
    return join(faces)
