"""Everything between a picture with joints and the maps of a network: `Codec`, stored once in a checkpoint and passed
to whatever crops, encodes, decodes or draws.

Positions are pixels of the crop, x right, y down, first pixel centre at 0; heat-map cell (column i, row j) stands for
the crop position (i * stride, j * stride).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .config import Config
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
    """

    input_size: tuple[int, int]
    stride: int
    sigma: float
    box_scale: float = 1.25
    shared_frames: int = 1
    decoding: str = "subpixel"

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
        )

    @property
    def map_size(self) -> tuple[int, int]:
        """Rows and columns of a heat map."""
        width, height = self.input_size
        return height // self.stride, width // self.stride

    def crop(
        self, box: np.ndarray, *, rotation: float = 0.0, scale: float = 1.0, flip: bool = False
    ) -> np.ndarray:
        """The map [2, 3] from the image to the crop of a person's box; arguments as in `crop_matrix`."""
        return crop_matrix(
            box, self.input_size, box_scale=self.box_scale, rotation=rotation, scale=scale, flip=flip
        )

    def encode(self, joints: Tensor) -> Tensor:
        """Target maps [..., K, h, w] of joints [..., K, 2]."""
        return encode(joints, self.map_size, sigma=self.sigma, stride=self.stride)

    def profiles(self, joints: Tensor) -> tuple[Tensor, Tensor]:
        """The factors of `encode`, along rows [..., K, h] and columns [..., K, w]."""
        return profiles(joints, self.map_size, sigma=self.sigma, stride=self.stride)

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Joints [..., K, 2] and scores [..., K] of maps [..., K, h, w]."""
        return decode(heatmaps, stride=self.stride, method=self.decoding)

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

    Raises:
        ValueError: the box is empty or not finite.

    >>> crop_matrix(np.array([0.0, 0.0, 10.0, 10.0]), (21, 21), box_scale=1.0) @ [5.0, 5.0, 1.0]
    array([10., 10.])
    """
    x1, y1, x2, y2 = (float(side) for side in box)
    if not (np.isfinite([x1, y1, x2, y2]).all() and x2 > x1 and y2 > y1):
        raise ValueError(f"crop_matrix: expected a box x1 < x2, y1 < y2, got {[x1, y1, x2, y2]}")
    width, height = size_wh
    factor = scale * min(width / (x2 - x1), height / (y2 - y1)) / box_scale
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


def encode(joints: Tensor, size: tuple[int, int], *, sigma: float, stride: int) -> Tensor:
    """Unit-peak Gaussians about sub-pixel centres.

        heatmap[j, i] = exp(-((i - x / stride)^2 + (j - y / stride)^2) / (2 sigma^2))

    The released code rounds the centre down to a cell, which costs up to three crop pixels; here it is not
    rounded, and the Gaussian is not cut off.

    Args:
        joints (Tensor[..., K, 2]): positions in pixels of the crop; outside it is allowed.
        size: rows and columns (h, w) of the heat map.
        sigma: standard deviation in heat-map cells, > 0.
        stride: crop pixels per heat-map cell.

    Returns:
        Tensor[..., K, h, w] in the dtype and on the device of `joints`.
    """
    down, across = profiles(joints, size, sigma=sigma, stride=stride)
    return down[..., :, None] * across[..., None, :]


def profiles(joints: Tensor, size: tuple[int, int], *, sigma: float, stride: int) -> tuple[Tensor, Tensor]:
    """The factors of the Gaussians of `encode`, along rows [..., K, h] and along columns [..., K, w]."""
    if sigma <= 0:
        raise ValueError(f"encode: expected sigma > 0, got {sigma}")
    rows, columns = (torch.arange(n, dtype=joints.dtype, device=joints.device) for n in size)
    centres = joints / stride
    across = torch.exp(-((columns - centres[..., 0:1]) ** 2) / (2 * sigma**2))
    down = torch.exp(-((rows - centres[..., 1:2]) ** 2) / (2 * sigma**2))
    return down, across


def decode(heatmaps: Tensor, *, stride: int, method: str = "subpixel") -> tuple[Tensor, Tensor]:
    """The place and height of each map's peak.

    Args:
        heatmaps (Tensor[..., K, h, w]): any floating dtype; half types are decoded in float32.
        stride: crop pixels per heat-map cell.
        method: "subpixel" puts, per axis, a parabola through the logarithms of the largest cell and its two
            neighbours, which is exact for Gaussians, and moves at most half a cell; "quarter" moves a
            quarter cell towards the larger neighbour (SimpleBaseline); "argmax" takes the cell. At the
            map's edge, and where the peak is not above zero, the cell itself is taken along that axis.

    Returns:
        points Tensor[..., K, 2] in pixels of the crop, and scores Tensor[..., K], the value of the largest
        cell.
    """
    if method not in ("subpixel", "quarter", "argmax"):
        raise ValueError(f"decode: expected method 'subpixel', 'quarter' or 'argmax', got {method!r}")
    maps = heatmaps.to(torch.promote_types(heatmaps.dtype, torch.float32))
    height, width = maps.shape[-2:]
    flat = maps.flatten(-2)
    scores, cell = flat.max(dim=-1)
    column, row = cell % width, cell // width
    points = torch.stack([column, row], dim=-1).to(maps.dtype)
    if method == "argmax":
        return points * stride, scores

    def offset(position: Tensor, size: int, step: int) -> Tensor:
        inside = (position > 0) & (position < size - 1)
        before = flat.gather(-1, torch.where(inside, cell - step, cell).unsqueeze(-1)).squeeze(-1)
        after = flat.gather(-1, torch.where(inside, cell + step, cell).unsqueeze(-1)).squeeze(-1)
        if method == "quarter":
            return torch.sign(after - before) / 4
        floor = (scores * 1e-3).clamp_min(torch.finfo(maps.dtype).tiny)
        left, peak, right = (torch.log(torch.maximum(value, floor)) for value in (before, scores, after))
        curvature = 2 * peak - left - right
        moved = (right - left) / (2 * curvature.clamp_min(1e-6))
        return torch.where((curvature > 1e-6) & (scores > 0), moved.clamp(-0.5, 0.5), torch.zeros_like(moved))

    offsets = torch.stack([offset(column, width, 1), offset(row, height, width)], dim=-1)
    return (points + offsets) * stride, scores


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
