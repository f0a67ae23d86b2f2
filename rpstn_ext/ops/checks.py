"""Argument checks of the plain PyTorch operations; same classes and words as csrc/checks.h and csrc/<op>.h."""

import math
from collections.abc import Sequence
from numbers import Integral

from torch import SymInt, Tensor, bfloat16, float16, float32, float64

FLOATING = (float64, float32, float16, bfloat16)
MOST_PADDING = 2**31 - 1


def check_joint_relation(
    heatmaps: Tensor,
    weight_g: Tensor,
    bias_g: Tensor,
    weight_o: Tensor,
    bias_o: Tensor,
    scale: float | Tensor,
    op: str = "joint_relation",
) -> None:
    check_dims(op, "heatmaps", heatmaps, "[B, K, H, W]")
    joints = heatmaps.shape[1]
    parameters = {"weight_g": weight_g, "bias_g": bias_g, "weight_o": weight_o, "bias_o": bias_o}
    for name, parameter in parameters.items():
        check_shape(op, name, parameter, [joints, joints] if name.startswith("weight") else [joints])
    check_tensors(op, {"heatmaps": heatmaps, **parameters})
    if isinstance(scale, Tensor):
        if scale.numel() != 1:
            raise ValueError(f"{op}: expected scale to be one number, got shape {_text(scale.shape)}")
        check_tensors(op, {"heatmaps": heatmaps, "scale": scale})
    elif not math.isfinite(scale):
        raise ValueError(f"{op}: expected scale to be finite, got {scale}")


def check_joint_relation_norm(
    heatmaps: Tensor,
    weight_g: Tensor,
    bias_g: Tensor,
    weight_o: Tensor,
    bias_o: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    eps: float,
    scale: float | Tensor,
) -> None:
    op = "joint_relation_norm"
    check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, op)
    norm = {
        "norm_weight": norm_weight,
        "norm_bias": norm_bias,
        "running_mean": running_mean,
        "running_var": running_var,
    }
    for name, parameter in norm.items():
        check_shape(op, name, parameter, heatmaps.shape[1:2])
    check_tensors(op, {"heatmaps": heatmaps, **norm})
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"{op}: expected eps to be finite and at least 0, got {eps:g}")
    samples, _, height, width = heatmaps.shape
    if training and samples * height * width == 1:
        raise ValueError(
            f"{op}: expected more than one value per joint in training, got heatmaps of shape {_text(heatmaps.shape)}"
        )


def check_dynamic_conv2d(
    features: Tensor, kernels: Tensor, padding: Sequence[int], op: str = "dynamic_conv2d"
) -> None:
    """`padding`: rows and columns of zeros at the top, left, bottom and right."""
    check_dims(op, "features", features, "[B, C, H, W]")
    check_dims(op, "kernels", kernels, "[B, C, kh, kw]")
    if kernels.shape[:2] != features.shape[:2]:
        raise ValueError(
            f"{op}: expected kernels to have the samples and channels [{features.shape[0]}, {features.shape[1]}] "
            f"of features, got shape {_text(kernels.shape)}"
        )
    check_tensors(op, {"features": features, "kernels": kernels})
    top, left, bottom, right = padding
    padded = [features.shape[2] + top + bottom, features.shape[3] + left + right]
    size = kernels.shape[2:]
    if size[0] < 1 or size[1] < 1 or size[0] > padded[0] or size[1] > padded[1]:
        raise ValueError(
            f"{op}: expected kernels of at least 1 x 1 that fit into the padded features {_text(padded)}, "
            f"got {_text(size)}"
        )


def check_dynamic_match(
    features: Tensor, kernels: Tensor, weight: Tensor, bias: Tensor, padding: Sequence[int]
) -> None:
    """`padding`: rows and columns of zeros at the top, left, bottom and right."""
    op = "dynamic_match"
    check_dynamic_conv2d(features, kernels, padding, op)
    if weight.dim() != 2 or weight.shape[1] != features.shape[1]:
        raise ValueError(
            f"{op}: expected weight to have shape [K, {features.shape[1]}], got {_text(weight.shape)}"
        )
    check_shape(op, "bias", bias, weight.shape[:1])
    check_tensors(op, {"features": features, "kernels": kernels, "weight": weight, "bias": bias})


def check_dims(op: str, name: str, tensor: Tensor, layout: str) -> None:
    if tensor.dim() != 4:
        raise ValueError(
            f"{op}: expected {name} to have 4 dimensions {layout}, got shape {_text(tensor.shape)}"
        )


def check_shape(op: str, name: str, tensor: Tensor, shape: Sequence[int]) -> None:
    if list(tensor.shape) != list(shape):
        raise ValueError(f"{op}: expected {name} to have shape {_text(shape)}, got {_text(tensor.shape)}")


def check_tensors(op: str, tensors: dict[str, Tensor]) -> None:
    """All floating, all on the device of the first."""
    first, reference = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATING:
            raise TypeError(
                f"{op}: expected {name} to be float64, float32, float16 or bfloat16, "
                f"got {str(tensor.dtype).removeprefix('torch.')}"
            )
    for name, tensor in tensors.items():
        if tensor.device != reference.device:
            raise RuntimeError(
                f"{op}: expected {name} on {reference.device} like {first}, got {tensor.device}"
            )


def resolve_padding(
    op: str, padding: str | int | tuple[int, int], kernels: Tensor
) -> tuple[int, int, int, int]:
    """`padding` as rows and columns of zeros (top, left, bottom, right).

    "same" keeps the size; an even kernel has its extra row or column of zeros at the bottom or right. Integers of any
    library are taken, truth values are not.
    """
    if isinstance(padding, str) and padding == "same":
        size = kernels.shape
        rows, columns = (size[2] - 1, size[3] - 1) if len(size) == 4 else (0, 0)
        if rows < 0 or columns < 0:  # here, too, the operation says what is wrong with the kernels
            return 0, 0, 0, 0
        return rows // 2, columns // 2, rows - rows // 2, columns - columns // 2
    if isinstance(padding, str) and padding == "valid":
        return 0, 0, 0, 0
    if type(padding) is int and 0 <= padding <= MOST_PADDING:  # what follows costs two microseconds
        return padding, padding, padding, padding
    pair = padding if isinstance(padding, tuple | list) else (padding, padding)
    if len(pair) != 2 or not all(_is_integer(number) for number in pair):
        raise ValueError(f'{op}: expected padding to be "same", "valid", an int or two ints, got {padding!r}')
    rows, columns = (number if isinstance(number, SymInt) else int(number) for number in pair)
    if not (0 <= rows <= MOST_PADDING and 0 <= columns <= MOST_PADDING):
        raise ValueError(
            f"{op}: expected padding of 0 to {MOST_PADDING}, got {_text((rows, columns, rows, columns))}"
        )
    return rows, columns, rows, columns


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral | SymInt) and not isinstance(value, bool)


def _text(shape: Sequence[int]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"
