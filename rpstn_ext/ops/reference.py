"""The operations in plain PyTorch: truth of the tests, fallback without a compiled library, exportable.

Same names, signatures, errors and autocast rule as the compiled operations; half types are computed in float32 and
rounded once; any order of derivative by automatic differentiation. The documentation stands with the public functions.

`torch.export` and `torch.onnx.export` get other steps to the same result. A convolution with groups = B * C, quick as
it is, has the batch in an attribute of its node, where ONNX can only hold a number. Milliseconds of `dynamic_match`,
C = 256, K = 13, 7x7 kernels, 64x64 cells, B = 1, on one core of a Xeon (torch 2.13, onnxruntime 1.32):

    form                                                                   torch   onnxruntime
    `_grouped`: groups = B * C, no ONNX with a dynamic batch                   7             -
    `_folded`: the 1x1 convolution of every tap's products, then col2im       11            10
    `_tapped`: the sum over taps of moved features, then the 1x1              47            84
    im2col (unfold), a product per channel, then the 1x1                     165           242
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rpstn_ext.ops.checks import (
    check_dynamic_conv2d,
    check_dynamic_match,
    check_joint_relation,
    check_joint_relation_norm,
    resolve_padding,
)


class Processes(Protocol):
    """What processes that share a batch tell each other: small tensors, alike in all of them, each time by all."""

    def gather(self, own: Tensor) -> Tensor:
        """Of all processes [processes, n] what this one has [n], in one order everywhere."""

    def add_up(self, own: Tensor) -> Tensor:
        """The sum over all processes of what this one has [n]."""


def joint_relation(
    heatmaps: Tensor,
    weight_g: Tensor,
    bias_g: Tensor,
    weight_o: Tensor,
    bias_o: Tensor,
    *,
    scale: float | Tensor = 1.0,
) -> Tensor:
    check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale)
    tensors = one_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o)
    with without_autocast(heatmaps):
        return _relate(*tensors, _number(scale)).to(tensors[0].dtype)


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
    processes: Processes | None = None,
) -> Tensor:
    norm = (norm_weight, norm_bias, running_mean, running_var)
    check_joint_relation_norm(
        *(heatmaps, weight_g, bias_g, weight_o, bias_o, *norm),
        training=training and processes is None,
        eps=eps,
        scale=scale,
    )
    tensors = one_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o)
    with without_autocast(heatmaps):
        related = _relate(*tensors, _number(scale))
        weight, bias, mean, var = (tensor.to(related.dtype) for tensor in norm)
        if training and processes is not None:
            out, *found = normalise_together(related, weight, bias, eps, processes)
            move_shared_statistics(running_mean, running_var, *found, heatmaps, momentum)
            return out.to(tensors[0].dtype)
        if training and related.numel() > 0:
            var, mean = torch.var_mean(related, dim=(0, 2, 3), correction=0)
            move_statistics(running_mean, running_var, mean.detach(), var.detach(), related, momentum)
        # Spelled out: the third derivative of F.batch_norm is wrong.
        factor = weight * torch.rsqrt(var + eps)
        out = (related - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None]
        return out.to(tensors[0].dtype)


def move_statistics(
    running_mean: Tensor, running_var: Tensor, mean: Tensor, var: Tensor, heatmaps: Tensor, momentum: float
) -> None:
    """Moves the running statistics by `momentum` towards the batch's, the variance with Bessel's correction.

    `mean` and `var` need no gradient: without a guard against gradients this is a third cheaper.
    """
    samples, _, height, width = heatmaps.shape
    count = samples * height * width
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)


def move_shared_statistics(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    var: Tensor,
    count: Tensor,
    own: Tensor,
    momentum: float,
) -> None:
    """The same by the statistics of all processes. Raises ValueError where they have one value per channel.

    own (Tensor[B, C, H, W]): this process's samples.
    """
    if own.numel() <= own.shape[1] and count == 1:  # no process has more than one: rare, so looked at
        raise ValueError(
            f"joint_relation_norm: expected more than one value per joint in training, got heatmaps of shape "
            f"{list(own.shape)}"
        )
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)


def of_all(processes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C], biased variance [C] and number of values of all processes' samples.

    processes (Tensor[processes, 2 C + 1]): of each mean, biased variance and number of values; anything where it has
        none. Nothing is subtracted but means, so that a large offset takes no digits.
    """
    channels = processes.shape[1] // 2
    means, variances, counts = processes.split([channels, channels, 1], dim=1)
    count = counts.sum()
    shares = counts / count
    mean = (shares * means).sum(dim=0)
    return mean, (shares * (variances + (means - mean).square())).sum(dim=0), count


def normalise_together(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, processes: Processes
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Batch normalisation of x (Tensor[B, C, H, W]) by the statistics of all processes' samples, these (mean, biased
    variance), and their number. Differentiable once.
    """
    return _NormaliseTogether.apply(x, weight, bias, eps, processes)


class _NormaliseTogether(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        processes: Processes,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        own = wide.new_zeros(2 * channels + 1)
        if x.numel() > 0:
            var, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
            torch.cat([mean, var, mean.new_full((1,), x.numel() // channels)], out=own)
        mean, var, count = of_all(processes.gather(own))
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps), count)
        ctx.processes = processes
        ctx.mark_non_differentiable(mean, var, count)
        return F.batch_norm(x, mean, var, weight, bias, eps=eps), mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        wide = grad.to(mean.dtype)
        normalised = (x.to(mean.dtype) - mean[:, None, None]) * scale[:, None, None]
        own = torch.stack([wide.sum(dim=(0, 2, 3)), (wide * normalised).sum(dim=(0, 2, 3))])
        grad_bias, grad_weight = own if weight is not None else (None, None)
        total = ctx.processes.add_up(own.flatten()).view_as(own)
        of_mean, of_scale = (total / count)[..., None, None]
        factor = scale if weight is None else scale * weight
        grad_x = (wide - of_mean - normalised * of_scale) * factor[:, None, None]
        return grad_x.to(x.dtype), grad_weight, grad_bias, None, None


def _number(scale: float | Tensor) -> float | Tensor:
    return scale.reshape(()) if isinstance(scale, Tensor) else scale


def _relate(
    heatmaps: Tensor,
    weight_g: Tensor,
    bias_g: Tensor,
    weight_o: Tensor,
    bias_o: Tensor,
    scale: float | Tensor,
) -> Tensor:
    """`joint_relation` of tensors of one dtype, not yet rounded to it."""
    weight_g, bias_g, weight_o, bias_o = (_accumulated(t) for t in (weight_g, bias_g, weight_o, bias_o))
    values = _accumulated(heatmaps).flatten(2)
    if isinstance(scale, Tensor):
        gram = values @ values.mT
        if gram.shape[2] > 0:
            # The softmax does not see it; without it the gradient of the scale is a sum of large numbers that cancel.
            gram = gram - gram.detach().amax(dim=2, keepdim=True)
        relation = scale.to(values.dtype) * gram
    else:
        relation = scale * values @ values.mT
    weights = torch.softmax(relation, dim=2)
    messages = weights @ (weight_g @ values + bias_g[:, None])
    return (weight_o @ messages + bias_o[:, None] + values).reshape(heatmaps.shape)


def dynamic_conv2d(
    features: Tensor, kernels: Tensor, *, padding: str | int | tuple[int, int] = "same"
) -> Tensor:
    sides = resolve_padding("dynamic_conv2d", padding, kernels)
    check_dynamic_conv2d(features, kernels, sides)
    features, kernels = one_dtype(features, kernels)
    correlate = _tapped if torch.compiler.is_exporting() else _grouped
    with without_autocast(features):
        return correlate(_accumulated(features), _accumulated(kernels), sides).to(features.dtype)


def dynamic_match(
    features: Tensor,
    kernels: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    padding: str | int | tuple[int, int] = "same",
) -> Tensor:
    sides = resolve_padding("dynamic_match", padding, kernels)
    check_dynamic_match(features, kernels, weight, bias, sides)
    tensors = one_dtype(features, kernels, weight, bias)
    with without_autocast(features):
        features, kernels, weight, bias = (_accumulated(tensor) for tensor in tensors)
        if torch.compiler.is_exporting() and weight.numel() > 0:
            return _folded(features, kernels, weight, bias, sides).to(tensors[0].dtype)
        matched = _grouped(features, kernels, sides)
        maps = weight @ matched.flatten(2) + bias[:, None]  # a 1x1 convolution, also of no channels
        return maps.unflatten(2, matched.shape[2:]).to(tensors[0].dtype)


def _grouped(features: Tensor, kernels: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
    """The dynamic convolution as one convolution whose groups are the planes."""
    top, left, bottom, right = sides
    padded = F.pad(features, (left, right, top, bottom))
    samples, channels, height, width = padded.shape
    kernel_height, kernel_width = kernels.shape[2:]
    out_size = (samples, channels, height - kernel_height + 1, width - kernel_width + 1)
    if samples * channels == 0:  # conv2d wants at least one group
        return features.new_zeros(out_size) + 0 * (features.sum() + kernels.sum())
    planes = padded.reshape(1, samples * channels, height, width)
    filters = kernels.reshape(samples * channels, 1, kernel_height, kernel_width)
    return F.conv2d(planes, filters, groups=samples * channels).reshape(out_size)


def _tapped(features: Tensor, kernels: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
    """`_grouped` for a dynamic batch: the sum over a kernel's taps of the moved features."""
    top, left, bottom, right = sides
    padded = F.pad(features, (left, right, top, bottom))
    rows, columns = kernels.shape[2:]
    height, width = padded.shape[2] - rows + 1, padded.shape[3] - columns + 1
    total = torch.zeros_like(padded[:, :, :height, :width])
    for row in range(rows):
        for column in range(columns):
            moved = padded[:, :, row : row + height, column : column + width]
            total = total + kernels[:, :, row : row + 1, column : column + 1] * moved
    return total


def _folded(
    features: Tensor, kernels: Tensor, weight: Tensor, bias: Tensor, sides: tuple[int, int, int, int]
) -> Tensor:
    """`dynamic_match` for a dynamic batch: each tap's product with all pixels, kh * kw * K maps of them, which col2im
    moves to their places and adds. The 1x1 convolution comes first, so that K maps are moved and not C.
    """
    top, left, bottom, right = sides
    rows, columns = kernels.shape[2:]
    taps = (
        kernels.flip(2, 3).flatten(2).mT.unsqueeze(1)
    )  # [B, 1, kh * kw, C], the last first: col2im moves onward
    products = (weight[:, None] * taps).flatten(1, 2) @ features.flatten(2)  # [B, K * kh * kw, H * W]
    size = features.shape[2] + rows - 1, features.shape[3] + columns - 1
    maps = F.fold(products, size, (rows, columns))
    reach = (columns - 1 - left, columns - 1 - right, rows - 1 - top, rows - 1 - bottom)
    return F.pad(maps, tuple(-cells for cells in reach)) + bias[:, None, None]


def one_dtype(*tensors: Tensor) -> list[Tensor]:
    """Under autocast its dtype, as for a convolution (float64 stays); then the widest dtype among the tensors."""
    device = tensors[0].device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        lower = torch.get_autocast_dtype(device)
        tensors = tuple(tensor if tensor.dtype == torch.float64 else tensor.to(lower) for tensor in tensors)
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]


def _accumulated(tensor: Tensor) -> Tensor:
    """`tensor` in the dtype of its sums: float32 for half types, else its own."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def without_autocast(tensor: Tensor) -> AbstractContextManager:
    """Autocast switched off for the device of `tensor`."""
    device = tensor.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
