"""What the maps of a network tell of each joint beside its place: the numbers from which `calibration` judges.

EVIDENCE names the E numbers of a joint. Lengths are in units of a person's size in the crop, the longer side of the
input divided by `Codec.box_scale`, so they are the same for large and small people:

    peak         the score that `Codec.decode` gives, the height of the map's peak
    second       largest value farther than three standard deviations of a target from that cell, over the peak
    mass         sum of the positive cells, over that of a Gaussian (or disc) of this peak, at most LARGEST
    edge         distance of the place from the border of the crop
    neighbours   mean peak of the joints to which limbs lead
    partner      peak of the same joint on the other side of the body, the joint's own where there is none
    together     distance from that joint, at most LARGEST; 1 where there is none
    limbs        mean length of the limbs that end here
    everybody    mean peak over all joints
    across, down where the joint is, from the middle of all
    outside      distance of the place from the picture's edge, above zero outside the picture
"""

import math

import numpy as np
import torch
from torch import Tensor

from .codec import Codec
from .data.records import Skeleton

EVIDENCE = (
    *("peak", "second", "mass", "edge", "neighbours", "partner", "together", "limbs", "everybody"),
    *("across", "down", "outside"),
)
LARGEST = 4.0
_SMALLEST = 1e-3  # peak that ratios are taken over


def evidence(
    maps: Tensor,
    points: Tensor,
    scores: Tensor,
    codec: Codec,
    skeleton: Skeleton,
    outside: np.ndarray,
) -> np.ndarray:
    """The E numbers of each joint, float64 [..., K, E].

    Args:
        maps (Tensor[..., K', h, w]): as the network gives them.
        points (Tensor[..., K, 2]), scores (Tensor[..., K]): what `codec.decode` found in them, pixels of the crop.
        outside (ndarray[..., K]): signed distance of each from the edge of the picture (`beyond`), in pixels of the
            crop.
    """
    size = max(codec.input_size) / codec.box_scale
    second, mass = (value.double().cpu().numpy() for value in _of_maps(maps, codec))
    peak = scores.double().cpu().numpy()
    places = points.double().cpu().numpy()
    width, height = codec.input_size
    edge = np.minimum(places, np.array([width - 1, height - 1]) - places).min(axis=-1) / size

    joints = len(skeleton.joints)
    limbs = np.zeros((joints, joints))
    for first, last in skeleton.limbs:
        limbs[first, last] = limbs[last, first] = 1
    degrees = np.maximum(limbs.sum(axis=1), 1)
    apart = np.linalg.norm(places[..., :, None, :] - places[..., None, :, :], axis=-1) / size
    partner = skeleton.flip_order()
    alone = partner == np.arange(joints)
    together = np.where(alone, 1.0, np.minimum(apart[..., np.arange(joints), partner], LARGEST))
    from_middle = (places - places.mean(axis=-2, keepdims=True)) / size
    columns = [
        *(peak, second, mass, edge),
        peak @ limbs.T / degrees,
        peak[..., partner],
        together,
        (apart * limbs).sum(axis=-1) / degrees,
        np.broadcast_to(peak.mean(axis=-1, keepdims=True), peak.shape),
        *(from_middle[..., 0], from_middle[..., 1]),
        outside / size,
    ]
    return np.stack(columns, axis=-1)


def beyond(points: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """How far points [..., 2] lie outside a picture of this size, below zero inside it: pixels, along x or y.

    >>> beyond(np.array([[0.0, 5.0], [-3.0, 5.0], [4.0, 12.0]]), (9, 11))
    array([-0.,  3.,  2.])
    """
    last = np.array(size_wh) - 1.0
    return np.maximum(-points, points - last).max(axis=-1)


def _of_maps(maps: Tensor, codec: Codec) -> tuple[Tensor, Tensor]:
    """second and mass, each Tensor[..., K]."""
    shown = codec.responses(maps).float()
    if codec.decoding == "integral":  # the maps are logarithms
        shown = shown.flatten(-2).softmax(dim=-1).view_as(shown)
    height, width = shown.shape[-2:]
    reach, full = 3 * codec.sigma, 2 * math.pi * codec.sigma**2
    if codec.maps == "offset":
        reach, full = 2 * codec.radius, math.pi * codec.radius**2
    flat = shown.flatten(-2)
    peak, cell = flat.max(dim=-1)
    column, row = (cell % width)[..., None], (cell // width)[..., None]
    far_x = (torch.arange(width, device=flat.device) - column).abs() > reach
    far_y = (torch.arange(height, device=flat.device) - row).abs() > reach
    far = (far_y[..., :, None] | far_x[..., None, :]).flatten(-2)
    second = torch.where(far, flat, flat.new_tensor(-math.inf)).amax(dim=-1)
    over = peak.clamp_min(_SMALLEST)
    mass = flat.clamp_min(0).sum(dim=-1) / (full * over)
    return (second / over).clamp(-LARGEST, LARGEST), mass.clamp_max(LARGEST)
