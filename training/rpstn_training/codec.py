"""Everything between a picture with joints and the maps of a network: `Codec`, stored once in a checkpoint and passed
to whatever crops, encodes, decodes or draws.

Positions are pixels of the crop, x right, y down, first pixel centre at 0; heat-map cell (column i, row j) stands for
the crop position (i * a, j * b). For a crop of W x H pixels, maps of w x h cells and a person's box of so many pixels:

    geometry   a              b              crop pixels per image pixel    a map mirrored, for the mirrored crop
    plain      stride         stride         min(W / box, H / box)          is (stride - 1) pixels too far left
    udp        (W-1)/(w-1)    (H-1)/(h-1)    min((W-1) / box, (H-1) / box)  fits

"udp" counts lengths from first to last pixel centre, as Huang et al., "The Devil is in the Details: Delving into
Unbiased Data Processing for Human Pose Estimation", do; theirs fits width and height apart, which stretches a person
by up to 0.2 %.

The crops that SimpleBaseline and HRNet trained their public networks with have the centre of the box at (W/2, H/2);
here it is at ((W-1)/2, (H-1)/2), in both geometries. That moves the picture by half a pixel, and the maps with it, so
they say the same of the picture: nothing has to be made good for such networks. UDP has the centre where it is here.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .config import MAPS_PER_JOINT, Config
from .errors import UserError


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How a person becomes the input of a network, and its maps joints again.

    Args:
        input_size (width, height): of the crop, in pixels.
        stride: pixels of the crop per heat-map cell.
        sigma: standard deviation of a target's Gaussian, in cells.
        box_scale: the crop shows the person's box so many times enlarged.
        shared_frames: frames of a clip that are cropped by one box around all of theirs; 1: each by its own.
        decoding: how a peak becomes a position, see `decode`.
        geometry: "plain" or "udp", what a cell stands for (above).
        maps: "gaussian", one map for each joint (`encode`), or "offset", three (`encode_offsets`). A network's K is the
            number of its maps.
        radius: of the discs of "offset", in cells.
        hidden: height of the Gaussian of a joint that is known but not to be seen; others have 1.

    Raises:
        ValueError: the geometry or the maps are not known, or "udp" has maps of less than two cells a side.
    """

    input_size: tuple[int, int]
    stride: int
    sigma: float
    box_scale: float = 1.25
    shared_frames: int = 1
    decoding: str = "subpixel"
    geometry: str = "plain"
    maps: str = "gaussian"
    radius: float = 3.5
    hidden: float = 1.0

    def __post_init__(self) -> None:
        if self.maps not in MAPS_PER_JOINT:
            raise ValueError(f"Codec: expected maps 'gaussian' or 'offset', got {self.maps!r}")
        if self.geometry not in ("plain", "udp"):
            raise ValueError(f"Codec: expected geometry 'plain' or 'udp', got {self.geometry!r}")
        if self.geometry == "udp" and min(self.map_size) < 2:
            raise ValueError(
                f"Codec: expected maps of at least 2x2 cells with geometry 'udp', got {list(self.map_size)}"
            )

    @classmethod
    def of(cls, config: Config, network: nn.Module) -> "Codec":
        """That of a configuration and the network it describes, which must be able to divide the input."""
        data, multiple = config.data, network.multiple
        if any(side % multiple for side in data.input_size):
            raise UserError(
                f"data.input_size: expected width and height that are multiples of {multiple} for this network, got "
                f"{list(data.input_size)}"
            )
        return cls(
            input_size=data.input_size,
            stride=network.stride,
            sigma=config.heatmap.sigma,
            box_scale=data.box_scale,
            shared_frames=data.clip_length if data.box == "clip" else 1,
            decoding=config.heatmap.decode,
            geometry=config.heatmap.geometry,
            maps=config.heatmap.maps,
            radius=config.heatmap.radius,
            hidden=config.heatmap.hidden,
        )

    @property
    def map_size(self) -> tuple[int, int]:
        """Rows and columns of a heat map."""
        width, height = self.input_size
        return height // self.stride, width // self.stride

    @property
    def cell(self) -> tuple[float, float]:
        """Pixels of the crop from one cell to the next, along x and along y."""
        if self.geometry == "plain":
            return self.stride, self.stride
        (width, height), (rows, columns) = self.input_size, self.map_size
        return (width - 1) / (columns - 1), (height - 1) / (rows - 1)

    def crop(
        self, box: np.ndarray, *, rotation: float = 0.0, scale: float = 1.0, flip: bool = False
    ) -> np.ndarray:
        """The map [2, 3] from the image to the crop of a person's box; arguments as in `crop_matrix`."""
        return crop_matrix(
            box,
            self.input_size,
            box_scale=self.box_scale,
            rotation=rotation,
            scale=scale,
            flip=flip,
            between_centres=self.geometry == "udp",
        )

    @property
    def maps_per_joint(self) -> int:
        return MAPS_PER_JOINT[self.maps]

    def encode(self, joints: Tensor, visible: Tensor | None = None) -> Tensor:
        """Target maps [..., K, h, w], or three for each joint, [..., 3 K, h, w], of joints [..., K, 2].

        visible (Tensor[..., K]): more than 0 where a joint is to be seen; None: all are.
        """
        if self.maps == "offset":
            return encode_offsets(joints, self.map_size, radius=self.radius, stride=self.cell)
        down, across = self.profiles(joints, visible)
        return down[..., :, None] * across[..., None, :]

    def responses(self, maps: Tensor) -> Tensor:
        """Of maps as `encode` gives them those [..., K, h, w] that are high where the joints are."""
        return maps.unflatten(-3, (-1, self.maps_per_joint))[..., 0, :, :]

    def profiles(self, joints: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The factors of Gaussian maps, along rows [..., K, h], with the height in them, and columns [..., K, w]."""
        down, across = profiles(joints, self.map_size, sigma=self.sigma, stride=self.cell)
        if visible is not None and self.hidden != 1:
            down = torch.where(visible[..., None] > 0, down, self.hidden * down)
        return down, across

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Joints [..., K, 2] and scores [..., K] of maps as `encode` gives them."""
        if self.maps == "offset":
            return decode_offsets(heatmaps, radius=self.radius, stride=self.cell, sigma=self.sigma)
        return decode(heatmaps, stride=self.cell, method=self.decoding, sigma=self.sigma)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as checkpoints hold them; `from_dict` reads them."""
        return dataclasses.asdict(self) | {"input_size": list(self.input_size)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Codec":
        width, height = plain["input_size"]
        return cls(**{**plain, "input_size": (int(width), int(height))})


def crop_matrix(
    box: np.ndarray,
    size_wh: tuple[int, int],
    *,
    box_scale: float = 1.25,
    rotation: float = 0.0,
    scale: float = 1.0,
    flip: bool = False,
    between_centres: bool = False,
) -> np.ndarray:
    """Matrix [2, 3] float64 that takes the image to the crop: centre of the box to centre of the crop.

    The box is widened or heightened to the crop's aspect, enlarged `box_scale` times, and fills the crop;
    so one factor serves both axes and nothing is stretched.

    Args:
        box (ndarray[4]): x1, y1, x2, y2 with x2 > x1 and y2 > y1, pixels of the image.
        size_wh (tuple[int, int]): width and height of the crop.
        rotation: degrees, clockwise on the screen, about the box's centre.
        scale: further enlargement of the person, 1.4 makes everything 1.4 times as large.
        flip: mirror left and right after all else.
        between_centres: the crop's width and height are those between its outermost pixel centres, one pixel less each.

    Raises:
        ValueError: the box is empty or not finite.

    >>> crop_matrix(np.array([0.0, 0.0, 10.0, 10.0]), (21, 21), box_scale=1.0) @ [5.0, 5.0, 1.0]
    array([10., 10.])
    """
    x1, y1, x2, y2 = (float(side) for side in box)
    if not (np.isfinite([x1, y1, x2, y2]).all() and x2 > x1 and y2 > y1):
        raise ValueError(f"crop_matrix: expected a box x1 < x2, y1 < y2, got {[x1, y1, x2, y2]}")
    width, height = size_wh
    less = 1 if between_centres else 0
    factor = scale * min((width - less) / (x2 - x1), (height - less) / (y2 - y1)) / box_scale
    cosine, sine = factor * np.cos(np.deg2rad(rotation)), factor * np.sin(np.deg2rad(rotation))
    linear = np.array([[cosine, -sine], [sine, cosine]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.empty((2, 3))
    matrix[:, :2] = linear
    matrix[:, 2] = centre - linear @ [(x1 + x2) / 2, (y1 + y2) / 2]
    if flip:
        matrix[0] = -matrix[0]
        matrix[0, 2] += width - 1
    return matrix


def encode(
    joints: Tensor, size: tuple[int, int], *, sigma: float, stride: float | tuple[float, float]
) -> Tensor:
    """Unit-peak Gaussians about sub-pixel centres.

        heatmap[j, i] = exp(-((i - x / stride)^2 + (j - y / stride)^2) / (2 sigma^2))

    The released code rounds the centre down to a cell, which costs up to three crop pixels; here it is not
    rounded, and the Gaussian is not cut off.

    Args:
        joints (Tensor[..., K, 2]): positions in pixels of the crop; outside it is allowed.
        size: rows and columns (h, w) of the heat map.
        sigma: standard deviation in heat-map cells, > 0.
        stride: crop pixels per heat-map cell; two numbers where x and y differ.

    Returns:
        Tensor[..., K, h, w] in the dtype and on the device of `joints`.
    """
    down, across = profiles(joints, size, sigma=sigma, stride=stride)
    return down[..., :, None] * across[..., None, :]


def profiles(
    joints: Tensor, size: tuple[int, int], *, sigma: float, stride: float | tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """The factors of the Gaussians of `encode`, along rows [..., K, h] and along columns [..., K, w]."""
    if sigma <= 0:
        raise ValueError(f"encode: expected sigma > 0, got {sigma}")
    rows, columns = (torch.arange(n, dtype=joints.dtype, device=joints.device) for n in size)
    wide, high = _pair(stride)
    across = torch.exp(-((columns - joints[..., 0:1] / wide) ** 2) / (2 * sigma**2))
    down = torch.exp(-((rows - joints[..., 1:2] / high) ** 2) / (2 * sigma**2))
    return down, across


def _pair(stride: float | tuple[float, float]) -> tuple[float, float]:
    return stride if isinstance(stride, tuple) else (stride, stride)


def decoding_in_words(maps: str, method: str) -> str:
    """How maps of that kind are decoded, for a protocol."""
    return f"{method} decoding" if maps == "gaussian" else "decoding by disc and offsets"


METHODS = ("subpixel", "quarter", "argmax", "dark", "integral")
_FLOOR = 1e-3  # of the peak: what is taken for the logarithm of smaller values, and of those below zero
_FLAT = 1e-6  # curvature of logarithms per squared cell that counts as none


def decode(
    heatmaps: Tensor,
    *,
    stride: float | tuple[float, float],
    method: str = "subpixel",
    sigma: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The place and height of each map's peak.

    Args:
        heatmaps (Tensor[..., K, h, w]): any floating dtype; half types are decoded in float32.
        stride: crop pixels per heat-map cell; two numbers where x and y differ.
        method: "subpixel" puts, per axis, a parabola through the logarithms of the largest cell and its two
            neighbours, which is exact for Gaussians, and moves at most half a cell; "quarter" moves a
            quarter cell towards the larger neighbour (SimpleBaseline); "argmax" takes the cell; "dark" smooths the map
            and goes to the top of the parabola of both axes (`_taylor_step`). At the map's edge, and where the peak is
            not above zero, the cell itself is taken along that axis. "integral" is for maps that are logarithms up to a
            constant (`losses.integral_loss`): the mean place (`mean_place`) of their softmax over the cells; the score
            is the softmax's largest value.
        sigma: standard deviation of the targets in cells, for "dark".

    Returns:
        points Tensor[..., K, 2] in pixels of the crop, and scores Tensor[..., K], the value of the largest
        cell.
    """
    if method not in METHODS:
        raise ValueError(f"decode: expected method {' or '.join(map(repr, METHODS))}, got {method!r}")
    if method == "dark" and (sigma is None or sigma <= 0):
        raise ValueError(f"decode: expected sigma > 0 with method 'dark', got {sigma}")
    maps = heatmaps.to(torch.promote_types(heatmaps.dtype, torch.float32))
    height, width = maps.shape[-2:]
    wide, high = _pair(stride)
    flat = maps.flatten(-2)
    if method == "integral":
        shares = flat.softmax(dim=-1)
        return mean_place(shares.view_as(maps)) * maps.new_tensor([wide, high]), shares.amax(dim=-1)
    scores, cell = flat.max(dim=-1)
    column, row = cell % width, cell // width

    def offset(position: Tensor, size: int, step: int) -> Tensor:
        inside = (position > 0) & (position < size - 1)
        before = flat.gather(-1, torch.where(inside, cell - step, cell).unsqueeze(-1)).squeeze(-1)
        after = flat.gather(-1, torch.where(inside, cell + step, cell).unsqueeze(-1)).squeeze(-1)
        if method == "quarter":
            return torch.sign(after - before) / 4
        floor = (scores * _FLOOR).clamp_min(torch.finfo(maps.dtype).tiny)
        left, peak, right = (torch.log(torch.maximum(value, floor)) for value in (before, scores, after))
        curvature = 2 * peak - left - right
        moved = (right - left) / (2 * curvature.clamp_min(_FLAT))
        return torch.where(
            (curvature > _FLAT) & (scores > 0), moved.clamp(-0.5, 0.5), torch.zeros_like(moved)
        )

    x, y = column.to(maps.dtype), row.to(maps.dtype)
    if method != "argmax":
        right, down = offset(column, width, 1), offset(row, height, width)
        if method == "dark":
            right, down = _taylor_step(flat, row, column, (height, width), sigma, (right, down))
        x, y = x + right, y + down
    return torch.stack([x * wide, y * high], dim=-1), scores


def mean_place(shares: Tensor) -> Tensor:
    """The mean cell, x and y, Tensor[..., 2], of maps [..., h, w] that each sum to 1.

    >>> mean_place(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.25, 0.75]]))
    tensor([1.7500, 1.0000])
    """
    rows, columns = (torch.arange(n, dtype=shares.dtype, device=shares.device) for n in shares.shape[-2:])
    return torch.stack([shares.sum(dim=-2) @ columns, shares.sum(dim=-1) @ rows], dim=-1)


def _taylor_step(
    flat: Tensor,
    row: Tensor,
    column: Tensor,
    size: tuple[int, int],
    sigma: float,
    at_the_edge: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """The step from the largest cell to the peak, in cells along x and y, as DarkPose has it (Zhang et al.,
    "Distribution-Aware Coordinate Representation for Human Pose Estimation", equations 6 to 9):

        m = log(G * map),   step = -H^-1 g          with g and H the gradient and the Hessian of m at the largest cell

    G is a Gaussian of the targets' sigma, cut off at 3 sigma. It makes a Gaussian of a Gaussian with the same centre,
    and of a map with several bumps one with fewer. Scaling the smooth map back to the old maximum, as the paper does,
    adds a constant to m and changes no step; the score is that of the map as it was.

    Unlike there, differences reach one cell, not two; a step needs a peak (H negative definite) and goes one cell at
    most; and where G would reach over the map's edge the map is taken as it is: with zeros beyond the edge a peak two
    cells from it comes out a fifth of a cell too far inside (sigma 2). A peak on the edge has the step `at_the_edge`.

    flat (Tensor[..., h * w]): the maps; row, column (int64 Tensor[...]): of their largest cells.
    """
    height, width = size
    radius = math.ceil(3 * sigma)
    half = radius + 1  # of the part of the map that the 3x3 smoothed cells about the largest are made of
    steps = torch.arange(-half, half + 1, device=flat.device)
    rows = (row[..., None] + steps).clamp(0, height - 1)
    columns = (column[..., None] + steps).clamp(0, width - 1)
    cells = rows[..., :, None] * width + columns[..., None, :]
    part = flat.gather(-1, cells.flatten(-2)).unflatten(-1, cells.shape[-2:])
    distances = steps - steps[half - 1 : half + 2, None]  # [3, part]
    kernels = torch.exp(-distances.to(flat.dtype).square() / (2 * sigma**2)) * (distances.abs() <= radius)
    kernels = kernels / kernels.sum(dim=1, keepdim=True)
    fits = (row >= half) & (row < height - half) & (column >= half) & (column < width - half)
    near = part[..., half - 1 : half + 2, half - 1 : half + 2]
    near = torch.where(fits[..., None, None], kernels @ part @ kernels.mT, near)

    floor = (near[..., 1:2, 1:2] * _FLOOR).clamp_min(torch.finfo(flat.dtype).tiny)
    m = torch.log(torch.maximum(near, floor))
    dx, dy = (m[..., 1, 2] - m[..., 1, 0]) / 2, (m[..., 2, 1] - m[..., 0, 1]) / 2
    dxx = m[..., 1, 2] - 2 * m[..., 1, 1] + m[..., 1, 0]
    dyy = m[..., 2, 1] - 2 * m[..., 1, 1] + m[..., 0, 1]
    dxy = (m[..., 2, 2] - m[..., 2, 0] - m[..., 0, 2] + m[..., 0, 0]) / 4
    determinant = dxx * dyy - dxy * dxy
    peaked = (dxx < -_FLAT) & (determinant > _FLAT**2)
    safe = torch.where(peaked, determinant, torch.ones_like(determinant))
    right, down = (dxy * dy - dyy * dx) / safe, (dxy * dx - dxx * dy) / safe
    inner = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    right, down = (torch.where(peaked, step.clamp(-1, 1), torch.zeros_like(step)) for step in (right, down))
    return torch.where(inner, right, at_the_edge[0]), torch.where(inner, down, at_the_edge[1])


def encode_offsets(
    joints: Tensor, size: tuple[int, int], *, radius: float, stride: float | tuple[float, float]
) -> Tensor:
    """Three maps for each joint, in this order, as UDP's "classification and offset" form has them: the disc of the
    cells at most `radius` from the joint, and the joint's offset from every cell of it, along x and y, in radii.

        dx = (x / stride - i) / radius                   dy = (y / stride - j) / radius
        disc[j, i] = 1 where dx^2 + dy^2 <= 1, else 0    across[j, i] = dx * disc[j, i], down[j, i] = dy * disc[j, i]

    Arguments as in `encode`; radius in heat-map cells. Returns Tensor[..., 3 K, h, w].
    """
    rows, columns = (torch.arange(n, dtype=joints.dtype, device=joints.device) for n in size)
    wide, high = _pair(stride)
    dx = ((joints[..., 0:1] / wide - columns) / radius)[..., None, :]
    dy = ((joints[..., 1:2] / high - rows) / radius)[..., :, None]
    disc = (dx.square() + dy.square() <= 1).to(joints.dtype)
    return torch.stack([disc, dx * disc, dy * disc], dim=-3).flatten(-4, -3)


def decode_offsets(
    maps: Tensor, *, radius: float, stride: float | tuple[float, float], sigma: float
) -> tuple[Tensor, Tensor]:
    """The joints that maps as those of `encode_offsets` show: from the cell in which the disc, smoothed by a Gaussian
    of `sigma` cells, is highest, the offset in that cell. UDP smooths the offsets too, which draws those of a clean
    disc towards zero where its edge is near.

    Arguments and results as in `decode`, maps Tensor[..., 3 K, h, w]; scores are the disc's value in that cell.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    discs, across, down = maps.unflatten(-3, (-1, 3)).unbind(dim=-3)
    smooth = discs.contiguous()
    for _ in range(2):  # along the columns, then along the rows
        cells = torch.arange(smooth.shape[-1], dtype=maps.dtype, device=maps.device)
        distance = cells - cells[:, None]
        far = (
            distance.abs() > 4 * sigma
        )  # where it is denormal, with which products take thirty times as long
        kernel = (-(distance.square()) / (2 * sigma**2)).masked_fill(far, -torch.inf).softmax(dim=1)
        smooth = nn.functional.linear(smooth, kernel).mT.contiguous()
    cell = smooth.flatten(-2).argmax(dim=-1)
    score, right, below = (
        values.flatten(-2).gather(-1, cell[..., None])[..., 0] for values in (discs, across, down)
    )
    columns, (wide, high) = discs.shape[-1], _pair(stride)
    x, y = cell % columns + radius * right, cell // columns + radius * below
    return torch.stack([x * wide, y * high], dim=-1), score


# Mean and standard deviation of ImageNet's RGB channels on [0, 1]: public backbones were trained with them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(frames: Tensor) -> Tensor:
    """RGB bytes to the float32 images that the networks expect.

    frames (Tensor[..., 3, H, W]): uint8, 0 to 255, RGB.
    Returns a float32 tensor of the same shape on the same device: (frames / 255 - MEAN) / STD per channel.
    Raises `TypeError` when the frames are not bytes, because floats may be scaled already.
    """
    if frames.dtype != torch.uint8:
        raise TypeError(f"normalise: expected frames of dtype torch.uint8, got {frames.dtype}")
    scale = torch.tensor([1 / (255 * std) for std in STD], device=frames.device)
    offset = torch.tensor([mean / std for mean, std in zip(MEAN, STD)], device=frames.device)
    return frames * scale[:, None, None] - offset[:, None, None]
