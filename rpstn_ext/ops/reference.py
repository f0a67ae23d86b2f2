"""The operations in plain PyTorch: truth of the tests, fallback without a compiled library, exportable.

Same names, signatures, errors and autocast rule as the compiled operations; any order of derivative by automatic
differentiation. The documentation stands with the public functions.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from rpstn_ext.ops.checks import check_dynamic_conv2d, check_joint_relation, check_shape, resolve_padding


def joint_relation(
    heatmaps: Tensor,
    weight_g: Tensor,
    bias_g: Tensor,
    weight_o: Tensor,
    bias_o: Tensor,
    *,
    scale: float = 1.0,
) -> Tensor:
    check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale)
    heatmaps, *parameters = _one_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o)
    with _without_autocast(heatmaps):
        weight_g, bias_g, weight_o, bias_o = (_accumulated(parameter) for parameter in parameters)
        values = _accumulated(heatmaps).flatten(2)
        weights = torch.softmax(scale * values @ values.mT, dim=2)
        messages = weights @ (weight_g @ values + bias_g[:, None])
        out = weight_o @ messages + bias_o[:, None] + values
        return out.to(heatmaps.dtype).reshape(heatmaps.shape)


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
    scale: float = 1.0,
) -> Tensor:
    related = joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale=scale)
    return F.batch_norm(related, running_mean, running_var, norm_weight, norm_bias, training, momentum, eps)


def dynamic_conv2d(
    features: Tensor, kernels: Tensor, *, padding: str | int | tuple[int, int] = "same"
) -> Tensor:
    top, left, bottom, right = resolve_padding(padding, kernels.shape[-2:])
    check_dynamic_conv2d(features, kernels, (top, left, bottom, right))
    features, kernels = _one_dtype(features, kernels)
    padded = F.pad(features, (left, right, top, bottom))
    samples, channels, height, width = padded.shape
    kernel_height, kernel_width = kernels.shape[2:]
    out_size = (samples, channels, height - kernel_height + 1, width - kernel_width + 1)
    if samples * channels == 0:  # conv2d wants at least one group
        return features.new_zeros(out_size) + 0 * (features.sum() + kernels.sum())
    with _without_autocast(features):
        planes = padded.reshape(1, samples * channels, height, width)
        filters = kernels.reshape(samples * channels, 1, kernel_height, kernel_width)
        return F.conv2d(planes, filters, groups=samples * channels).reshape(out_size)


def dynamic_match(
    features: Tensor,
    kernels: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    padding: str | int | tuple[int, int] = "same",
) -> Tensor:
    matched = dynamic_conv2d(features, kernels, padding=padding)
    check_match(matched, weight, bias)
    return F.conv2d(matched, weight[:, :, None, None], bias)


def check_match(matched: Tensor, weight: Tensor, bias: Tensor) -> None:
    """`weight` [K, C] fits the C channels of `matched`, `bias` [K] fits `weight`."""
    if weight.dim() != 2 or weight.shape[1] != matched.shape[1]:
        raise ValueError(
            f"dynamic_match: expected weight to have shape [K, {matched.shape[1]}], got {list(weight.shape)}"
        )
    check_shape("dynamic_match", "bias", bias, weight.shape[:1])


def _one_dtype(*tensors: Tensor) -> list[Tensor]:
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


def _without_autocast(tensor: Tensor) -> AbstractContextManager:
    device = tensor.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
