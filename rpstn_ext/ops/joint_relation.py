import torch
from torch import Tensor

from rpstn_ext import _library
from rpstn_ext.ops import reference


def joint_relation(
    heatmaps: Tensor,
    weight_g: Tensor,
    bias_g: Tensor,
    weight_o: Tensor,
    bias_o: Tensor,
    *,
    scale: float | Tensor = 1.0,
) -> Tensor:
    """Lets the joints of each sample exchange messages by how alike their heat maps are.

    With X a sample's heat maps as K x N, N = H*W (RPSTN, equations 6 to 9)::

        S = scale * X X^T      P = softmax of each row of S      Z = Wo (P (Wg X + bg)) + bo + X

    The sample is read twice: once for X X^T, once for Z = A X + c with A = Wo P Wg + I and c = Wo P bg + bo, which are
    K x K and K. The released code normalises the columns of S and scrambles pixels after the product; this follows
    the paper.

    Args:
        heatmaps (Tensor[B, K, H, W]): one map per joint; float64, float32, float16 or bfloat16, any strides.
        weight_g (Tensor[K, K]): 1x1 convolution of the messages, row = output joint.
        bias_g (Tensor[K]): its bias.
        weight_o (Tensor[K, K]): 1x1 convolution of the output, row = output joint.
        bias_o (Tensor[K]): its bias.
        scale (float or Tensor): factor of the relation before the softmax, finite; the paper has 1. A tensor of one
            number, of any of the four dtypes, gets its gradient; its value is read where it lies, without waiting for
            the device, and not checked.

    Returns:
        Tensor[B, K, H, W]: contiguous, in the widest dtype among the arguments but `scale`; under autocast in
        autocast's.

    Raises:
        ValueError: a shape does not fit, or the number `scale` is not finite.
        TypeError: a dtype is not one of the four.
        RuntimeError: an argument is on another device than `heatmaps`.

    Sums are float32 at least, also for half types and under autocast, and float64 for float64. Results are the same
    bits on every run and for a sample alone or in any batch. Differentiable any number of times. `torch.func.grad`
    needs `use_backend("reference")`.

    Example:
        >>> import torch
        >>> heatmaps = torch.rand(2, 13, 64, 64)
        >>> identity, zero = torch.eye(13), torch.zeros(13)
        >>> joint_relation(heatmaps, identity, zero, identity, zero).shape
        torch.Size([2, 13, 64, 64])
    """
    if _library.compiled(heatmaps.device.type):
        number, scale_tensor = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
        return torch.ops.rpstn_ext.joint_relation.default(
            heatmaps, weight_g, bias_g, weight_o, bias_o, number, scale_tensor
        )
    return reference.joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale=scale)
