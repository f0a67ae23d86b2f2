import torch
from torch import Tensor

from rpstn_ext import _library
from rpstn_ext.ops import reference
from rpstn_ext.ops.checks import resolve_padding


def dynamic_conv2d(
    features: Tensor, kernels: Tensor, *, padding: str | int | tuple[int, int] = "same"
) -> Tensor:
    """Correlates every channel of every sample with its own kernel (RPSTN, equation 3 without its 1x1 convolution).

    With zeros outside, py rows of padding at the top and px columns at the left::

        out[b, c, y, x] = sum_ij kernels[b, c, i, j] * features[b, c, y + i - py, x + j - px]

    Args:
        features (Tensor[B, C, H, W]): float64, float32, float16 or bfloat16, any strides.
        kernels (Tensor[B, C, kh, kw]): at least 1 x 1, no larger than the padded features.
        padding: "same" (the size stays; of an even kernel's odd number of zero rows or columns the extra one is at
            the bottom or right), "valid" (none), rows and columns on each side as one int, or as (rows, columns);
            each of 0 to 2**31 - 1.

    Returns:
        Tensor[B, C, H', W']: contiguous, H' = H + rows of padding - kh + 1 and W' likewise, in the wider dtype of the
        two arguments; under autocast in autocast's.

    Raises:
        ValueError: a shape or the padding does not fit.
        TypeError: a dtype is not one of the four.
        RuntimeError: `kernels` is on another device than `features`, or memory is refused.

    Sums are float32 at least and float64 for float64. Results are the same bits on every run and for a sample alone
    or in any batch. Differentiable any number of times: the derivatives are the same three maps.
    On the CPU a NaN in a pixel, or in its gradient, reaches only the taps of the kernel's gradient that meet it.
    `torch.func.grad` needs `use_backend("reference")`.

    Example:
        >>> import torch
        >>> features = torch.ones(1, 2, 4, 4)
        >>> dynamic_conv2d(features, torch.ones(1, 2, 3, 3))[0, 0, 0]
        tensor([4., 6., 6., 4.])
    """
    if _library.compiled(features.device.type):
        top, left, bottom, right = resolve_padding("dynamic_conv2d", padding, kernels)
        return torch.ops.rpstn_ext.dynamic_conv2d.default(features, kernels, top, left, bottom, right)
    return reference.dynamic_conv2d(features, kernels, padding=padding)
