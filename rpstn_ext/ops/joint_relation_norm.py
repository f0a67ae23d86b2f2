from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

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
    processes: reference.Processes | None = None,
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
        processes (reference.Processes): in training by several processes, whose samples together are the batch; once
            forward they tell each other 2 K + 1 numbers, once backward 2 K. One without samples takes part. Gradients
            of parameters are this process's share, to be added up.

    Returns:
        Tensor[B, K, H, W]: contiguous, in the widest dtype among `heatmaps` and the four parameters of
        `joint_relation`; under autocast in autocast's.

    Raises:
        ValueError: a shape does not fit, the number `scale` or `eps` is not finite, or in training there is one value
            per joint, of all processes together.
        TypeError: a dtype is not one of the four.
        RuntimeError: an argument is on another device than `heatmaps`.

    The statistics are known from K x K sums before any map is written, so that normalising costs no pass of its own;
    they are sums about each map's mean, exact also where the maps have a large offset. Sums and the normalisation are
    float32 at least, also for half types and under autocast, and float64 for float64. Results are the same bits on
    every run; on CUDA those of half types may differ by a rounding with where the maps lie in memory: whether rows
    begin at multiples of 16 bytes. In training a sample's result depends on its batch, by definition. Kept for the
    derivative: the heat maps and B * K * (K + 2) numbers. Differentiable any number of times; with `processes` once,
    and the maps are read once more forward and backward. `torch.func.grad` needs `use_backend("reference")`.

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
            processes=processes,
        )
    number, scale_tensor = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
    if training and processes is not None:
        maps_and_weights = reference.one_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o)
        out, mean, var, count = _OfAllProcesses.apply(
            *maps_and_weights, norm_weight, norm_bias, scale_tensor, eps, number, processes
        )
        reference.move_shared_statistics(running_mean, running_var, mean, var, count, heatmaps, momentum)
        return out
    relation = (heatmaps, weight_g, bias_g, weight_o, bias_o)
    norm = (norm_weight, norm_bias, running_mean, running_var)
    if training and not torch.compiler.is_compiling():
        return torch.ops.rpstn_ext.joint_relation_norm_training.default(
            *relation, *norm, eps, momentum, number, scale_tensor
        )[0]
    out, mean, var = torch.ops.rpstn_ext.joint_relation_norm.default(
        *relation, *norm, training, eps, number, scale_tensor
    )
    if training and heatmaps.numel() > 0:  # operations that a compiler makes part of its graph
        reference.move_statistics(running_mean, running_var, mean, var, heatmaps, momentum)
    return out


class _OfAllProcesses(torch.autograd.Function):
    """The result by the statistics of all processes' samples, these (mean, biased variance), and their number."""

    @staticmethod
    def forward(
        ctx: Any,
        heatmaps: Tensor,
        weight_g: Tensor,
        bias_g: Tensor,
        weight_o: Tensor,
        bias_o: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        scale_tensor: Tensor | None,
        eps: float,
        number: float,
        processes: reference.Processes,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ops, relation = torch.ops.rpstn_ext, (weight_g, bias_g, weight_o, bias_o)
        moments, own = ops.joint_relation_norm_sums(heatmaps, *relation, number, scale_tensor)
        count = heatmaps.numel() // max(heatmaps.shape[1], 1)
        mean, var, count = reference.of_all(
            processes.gather(torch.cat([own.flatten(), own.new_full((1,), count)]))
        )
        norm = (norm_weight, norm_bias, mean, var)
        out, *_ = ops.joint_relation_norm_forward(
            heatmaps, *relation, *norm, False, eps, number, scale_tensor
        )
        ctx.save_for_backward(heatmaps, moments, mean, var, count, *relation, norm_weight, scale_tensor)
        ctx.eps, ctx.number, ctx.processes = eps, number, processes
        ctx.mark_non_differentiable(mean, var, count)
        return out, mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        heatmaps, moments, mean, var, count, *relation, norm_weight, scale_tensor = ctx.saved_tensors
        ops, factor = torch.ops.rpstn_ext, (ctx.number, scale_tensor)
        own = ops.joint_relation_norm_gradient_sums(grad, heatmaps, moments, mean, *relation, *factor)
        totals = torch.cat([ctx.processes.add_up(own.sum(dim=0).flatten()), count[None]])
        kept, norm = (grad, heatmaps, moments, mean, var), (norm_weight, True, ctx.eps)
        needs = (ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:8]))
        grads = ops.joint_relation_norm_backward(*kept, *relation, *norm, *factor, *needs, totals)
        grads = [of if needed else None for of, needed in zip(grads, ctx.needs_input_grad)]
        return *grads, None, None, None
