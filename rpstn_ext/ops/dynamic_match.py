import torch
from torch import Tensor

from rpstn_ext import _library
from rpstn_ext.ops import reference
from rpstn_ext.ops.checks import resolve_padding


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
        Tensor[B, K, H', W']: contiguous, in the widest dtype among the arguments; under autocast in autocast's.

    Raises:
        ValueError: a shape or the padding does not fit.
        TypeError: a dtype is not one of the four.
        RuntimeError: an argument is on another device than `features`.

    Nothing of the size [B, C, H', W'] is made or kept: features are read once and K maps written; the gradients
    compute the correlation again. Sums are float32 at least and float64 for float64, also between the two steps.
    Results are the same bits on every run and for a sample alone or in any batch. Differentiable any number of times.
    `torch.func.grad` needs `use_backend("reference")`.

    Example:
        >>> import torch
        >>> features, kernels = torch.rand(2, 256, 16, 16), torch.rand(2, 256, 7, 7)
        >>> dynamic_match(features, kernels, torch.rand(13, 256), torch.zeros(13)).shape
        torch.Size([2, 13, 16, 16])
    """
    if _library.compiled(features.device.type):
        top, left, bottom, right = resolve_padding("dynamic_match", padding, kernels)
        return torch.ops.rpstn_ext.dynamic_match.default(
            features, kernels, weight, bias, top, left, bottom, right
        )
    return reference.dynamic_match(features, kernels, weight, bias, padding=padding)
