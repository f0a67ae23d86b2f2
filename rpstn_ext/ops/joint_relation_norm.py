import torch
from torch import Tensor

from rpstn_ext import _library
from rpstn_ext.ops import reference


def joint_relation_norm(
    heatmaps: Tensor,
    weight_g: Tensor,
    bias_g: Tensor,
    weight_o: Tensor,
    bias_o: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    scale: float | Tensor = 1.0,
) -> Tensor:
    """Batch normalisation of `joint_relation`: BN(R(M)), equation 4 of RPSTN.

    Args:
        heatmaps (Tensor[B, K, H, W]): one map per joint.
        weight_g, bias_g, weight_o, bias_o, scale: as in `joint_relation`.
        norm_weight, norm_bias (Tensor[K]): scale and shift of the normalised maps.
        running_mean, running_var (Tensor[K]): statistics of evaluation; **moved in place** when `training`, by
            `momentum` towards the batch's mean and unbiased variance, as `torch.nn.functional.batch_norm` does.
        training (bool): normalise by the batch's statistics (True) or the running ones (False).
        momentum (float): share of the batch in the running statistics, 0 to 1.
        eps (float): added to the variance.

    Returns:
        Tensor[B, K, H, W]: contiguous, in the widest dtype among `heatmaps` and the four parameters of
        `joint_relation`; under autocast in autocast's.

    Raises:
        ValueError: a shape does not fit, the number `scale` or `eps` is not finite, or in training there is one value
            per joint.
        TypeError: a dtype is not one of the four.
        RuntimeError: an argument is on another device than `heatmaps`.

    The statistics are known from K x K sums before any map is written, so that normalising costs no pass of its own;
    they are sums about each map's mean, exact also where the maps have a large offset. Sums and the normalisation are
    float32 at least, also for half types and under autocast, and float64 for float64. Results are the same bits on
    every run; in training a sample's result depends on its batch, by definition. Kept for the derivative: the heat
    maps and B * K * (K + 2) numbers. Differentiable any number of times. `torch.func.grad` needs
    `use_backend("reference")`.

    Example:
        >>> import torch
        >>> heatmaps, identity, zero, one = torch.rand(2, 13, 8, 8), torch.eye(13), torch.zeros(13), torch.ones(13)
        >>> out = joint_relation_norm(heatmaps, identity, zero, identity, zero, one, zero, zero.clone(), one.clone(),
        ...                           training=True)
        >>> bool(out.mean().abs() < 1e-5)
        True
    """
    if not _library.compiled(heatmaps.device.type):
        return reference.joint_relation_norm(
            heatmaps,
            weight_g,
            bias_g,
            weight_o,
            bias_o,
            norm_weight,
            norm_bias,
            running_mean,
            running_var,
            training=training,
            momentum=momentum,
            eps=eps,
            scale=scale,
        )
    number, scale_tensor = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
    out, mean, var = torch.ops.rpstn_ext.joint_relation_norm.default(
        heatmaps,
        weight_g,
        bias_g,
        weight_o,
        bias_o,
        norm_weight,
        norm_bias,
        running_mean,
        running_var,
        training,
        eps,
        number,
        scale_tensor,
    )
    if training and heatmaps.numel() > 0:
        reference.move_statistics(running_mean, running_var, mean, var, heatmaps, momentum)
    return out
