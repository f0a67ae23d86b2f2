"""How many floating-point operations the compiled operations count as, for `torch.utils.flop_counter.FlopCounterMode`.

As everywhere in that counter, a multiply-add is two operations, a sum of one map or a softmax none, and padding counts
as pixels do. The numbers are those of the equations, as the reference computes them: the compiled operations
fold products (the forward pass of `joint_relation` does half of these) and compute some anew for the derivative,
and a network has the same count whatever serves it. With N = H * W and N' = H' * W':

    joint_relation, joint_relation_norm   4 K^2 N multiply-adds a sample: M M^T, Conv_g, W_r times it, Conv_o
    their derivative                      twice that, as of every product of two; 6 K^2 N for the heat maps alone,
                                          4 K^2 N for the parameters alone
    dynamic_conv2d                        C kh kw N' a sample, and as many for each gradient
    dynamic_match                         the same, and K C N' for the 1x1 convolution and for each of its gradients
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula

Shape = Sequence[int]


def _relation(heatmaps: Shape, *_: Any, out_shape: Any = None) -> int:
    samples, joints, height, width = heatmaps
    return 2 * samples * 4 * joints * joints * height * width


def _relation_backward(grad_out: Shape, *others: Any, out_shape: Any = None) -> int:
    need_heatmaps, need_parameters = others[-2:]
    samples, joints, height, width = grad_out
    # Of Conv_o and Conv_g, W_r times a map and M M^T those derivatives that lead to what is needed.
    products = {(True, True): 8, (True, False): 6, (False, True): 4, (False, False): 0}
    return 2 * samples * products[bool(need_heatmaps), bool(need_parameters)] * joints**2 * height * width


def _correlation(out: Shape, kernels: Shape) -> int:
    samples, _, height, width = out
    _, channels, kernel_height, kernel_width = kernels
    return 2 * samples * channels * kernel_height * kernel_width * height * width


def _convolution_1x1(out: Shape, weight: Shape) -> int:
    samples, _, height, width = out
    joints, channels = weight
    return 2 * samples * joints * channels * height * width


def _dynamic_conv2d(features: Shape, kernels: Shape, *_: Any, out_shape: Any = None) -> int:
    return _correlation(out_shape, kernels)


def _dynamic_conv2d_backward(
    grad_out: Shape,
    features: Shape,
    kernels: Shape,
    top: int,
    left: int,
    bottom: int,
    right: int,
    need_features: bool,
    need_kernels: bool,
    *,
    out_shape: Any = None,
) -> int:
    return (need_features + need_kernels) * _correlation(grad_out, kernels)


def _dynamic_match(features: Shape, kernels: Shape, weight: Shape, *_: Any, out_shape: Any = None) -> int:
    return _correlation(out_shape, kernels) + _convolution_1x1(out_shape, weight)


def _dynamic_match_backward(
    grad_out: Shape,
    features: Shape,
    kernels: Shape,
    weight: Shape,
    top: int,
    left: int,
    bottom: int,
    right: int,
    need_features: bool,
    need_kernels: bool,
    need_weight: bool,
    need_bias: bool,
    *,
    out_shape: Any = None,
) -> int:
    gradients = need_features + need_kernels
    through_1x1 = need_weight + (gradients > 0)
    return gradients * _correlation(grad_out, kernels) + through_1x1 * _convolution_1x1(grad_out, weight)


FORMULAS: dict[str, Callable[..., int]] = {
    "joint_relation": _relation,
    "joint_relation_forward": _relation,
    "joint_relation_backward": _relation_backward,
    "joint_relation_norm": _relation,
    "joint_relation_norm_forward": _relation,
    "joint_relation_norm_training": _relation,
    "joint_relation_norm_backward": _relation_backward,
    "dynamic_conv2d": _dynamic_conv2d,
    "dynamic_conv2d_backward": _dynamic_conv2d_backward,
    "dynamic_match": _dynamic_match,
    "dynamic_match_backward": _dynamic_match_backward,
}


def register() -> None:
    """Tells torch the formulas of the operations that a compiled library has registered; once, however often called."""
    for name, formula in FORMULAS.items():
        operation = getattr(torch.ops.rpstn_ext, name, None)
        if operation is not None and operation not in flop_registry:
            register_flop_formula(operation)(formula)
