"""Maps at a fraction of their size, on which a convolution reaches from one joint of a person to another."""

import torch.nn.functional as F
from torch import Tensor

FACTOR = 4  # 64x64 becomes 16x16


def pooled(maps: Tensor, factor: int = FACTOR) -> Tensor:
    """Maps (Tensor[N, K, h, w]) averaged over 4x4 cells, fewer at the bottom and right: [N, K, ceil(h/4), ceil(w/4)].
    4 is the factor.

    Example:
        >>> import torch
        >>> pooled(torch.ones(1, 1, 5, 9)).shape, pooled(torch.ones(1, 1, 5, 9)).sum().item()
        (torch.Size([1, 1, 2, 3]), 6.0)
    """
    return F.avg_pool2d(maps, factor, ceil_mode=True)


def upsampled(maps: Tensor, size: tuple[int, int], factor: int = FACTOR) -> Tensor:
    """Coarse maps brought back to `size` (h, w) by bilinear interpolation; each cell lies where `pooled` took it from.

    Example:
        >>> import torch
        >>> upsampled(torch.rand(1, 2, 2, 3), (5, 9)).shape
        torch.Size([1, 2, 5, 9])
    """
    height, width = size
    return F.interpolate(maps, scale_factor=factor, mode="bilinear")[..., :height, :width]
