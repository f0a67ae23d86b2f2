import torch.nn.functional as F
from torch import Tensor

from rpstn_ext.ops.dynamic_conv2d import dynamic_conv2d
from rpstn_ext.ops.reference import check_match


def dynamic_match(
    features: Tensor,
    kernels: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    padding: str | int | tuple[int, int] = "same",
) -> Tensor:
    """Heat maps from features matched with per-sample kernels: a 1x1 convolution of `dynamic_conv2d` (equation 3).

    With (x) the correlation of `dynamic_conv2d`::

        M[b, k] = bias[k] + sum_c weight[k, c] * (kernels[b, c] (x) features[b, c])

    Args:
        features (Tensor[B, C, H, W]), kernels (Tensor[B, C, kh, kw]), padding: as in `dynamic_conv2d`.
        weight (Tensor[K, C]): 1x1 convolution, row = joint.
        bias (Tensor[K]): its bias.

    Returns:
        Tensor[B, K, H', W']

    Raises:
        ValueError: a shape or the padding does not fit.
        Otherwise as `dynamic_conv2d` and `torch.nn.functional.conv2d`.

    Precision, repeatability and derivatives are those of the two operations it consists of.

    Example:
        >>> import torch
        >>> features, kernels = torch.rand(2, 256, 16, 16), torch.rand(2, 256, 7, 7)
        >>> dynamic_match(features, kernels, torch.rand(13, 256), torch.zeros(13)).shape
        torch.Size([2, 13, 16, 16])
    """
    matched = dynamic_conv2d(features, kernels, padding=padding)
    check_match(matched, weight, bias)
    return F.conv2d(matched, weight[:, :, None, None], bias)
