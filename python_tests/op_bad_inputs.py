"""What every operation refuses, and in which words: one table for all backends."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from op_cases import (
    CONV,
    MATCH,
    NORM,
    NORM_WITH_SCALE,
    RELATION,
    RELATION_WITH_SCALE,
    Op,
    conv_case,
    match_case,
    norm_case,
    relation_case,
)
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BadInput:
    op: Op
    error: type[Exception]
    message: str
    change: Callable[[list[Tensor]], list[Tensor]]
    options: dict[str, Any] = field(default_factory=dict)


def _with(index: int, change: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
    return lambda tensors: [change(t) if i == index else t for i, t in enumerate(tensors)]


RELATION_SIZES = (2, 3, 4, 5)  # what the bad inputs are made of
CONV_SIZES, CONV_KERNEL = (2, 3, 6, 5), (3, 3)

BAD_INPUTS = [
    BadInput(
        op=RELATION,
        error=ValueError,
        message="joint_relation: expected heatmaps to have 4 dimensions [B, K, H, W], got shape [3, 4, 5]",
        change=_with(0, lambda t: t[0]),
    ),
    BadInput(
        op=RELATION,
        error=ValueError,
        message="joint_relation: expected weight_g to have shape [3, 3], got [3, 3, 1, 1]",
        change=_with(1, lambda t: t[:, :, None, None]),
    ),
    BadInput(
        op=RELATION,
        error=ValueError,
        message="joint_relation: expected bias_g to have shape [3], got [2]",
        change=_with(2, lambda t: t[:2]),
    ),
    BadInput(
        op=RELATION,
        error=ValueError,
        message="joint_relation: expected weight_o to have shape [3, 3], got [3, 2]",
        change=_with(3, lambda t: t[:, :2]),
    ),
    BadInput(
        op=RELATION,
        error=ValueError,
        message="joint_relation: expected bias_o to have shape [3], got [1, 3]",
        change=_with(4, lambda t: t[None]),
    ),
    BadInput(
        op=RELATION,
        error=TypeError,
        message="joint_relation: expected heatmaps to be float64, float32, float16 or bfloat16, got int64",
        change=_with(0, lambda t: t.long()),
    ),
    BadInput(
        op=RELATION,
        error=TypeError,
        message="joint_relation: expected bias_o to be float64, float32, float16 or bfloat16, got complex64",
        change=_with(4, lambda t: t.to(torch.complex64)),
    ),
    BadInput(
        op=RELATION,
        error=ValueError,
        message="joint_relation: expected scale to be finite, got inf",
        change=lambda tensors: tensors,
        options={"scale": float("inf")},
    ),
    BadInput(
        op=RELATION_WITH_SCALE,
        error=ValueError,
        message="joint_relation: expected scale to be one number, got shape [2]",
        change=_with(5, lambda t: t.repeat(2)),
    ),
    BadInput(
        op=RELATION_WITH_SCALE,
        error=TypeError,
        message="joint_relation: expected scale to be float64, float32, float16 or bfloat16, got int64",
        change=_with(5, lambda t: t.long()),
    ),
    BadInput(
        op=NORM_WITH_SCALE,
        error=ValueError,
        message="joint_relation_norm: expected scale to be one number, got shape [0]",
        change=_with(7, lambda t: t[:0]),
        options={"training": True},
    ),
    BadInput(
        op=NORM,
        error=ValueError,
        message="joint_relation_norm: expected weight_o to have shape [3, 3], got [3, 2]",
        change=_with(3, lambda t: t[:, :2]),
        options={"training": True},
    ),
    BadInput(
        op=NORM,
        error=ValueError,
        message="joint_relation_norm: expected norm_weight to have shape [3], got [2]",
        change=_with(5, lambda t: t[:2]),
        options={"training": True},
    ),
    BadInput(
        op=NORM,
        error=ValueError,
        message="joint_relation_norm: expected running_mean to have shape [3], got [4]",
        change=lambda tensors: [*tensors, torch.zeros(4), torch.ones(3)],
        options={"training": True},
    ),
    BadInput(
        op=NORM,
        error=TypeError,
        message="joint_relation_norm: expected norm_bias to be float64, float32, float16 or bfloat16, got int64",
        change=_with(6, lambda t: t.long()),
        options={"training": True},
    ),
    BadInput(
        op=NORM,
        error=ValueError,
        message="joint_relation_norm: expected eps to be finite and at least 0, got -1",
        change=lambda tensors: tensors,
        options={"training": True, "eps": -1.0},
    ),
    BadInput(
        op=NORM,
        error=ValueError,
        message="joint_relation_norm: expected scale to be finite, got nan",
        change=lambda tensors: tensors,
        options={"training": False, "scale": float("nan")},
    ),
    BadInput(
        op=NORM,
        error=ValueError,
        message="joint_relation_norm: expected more than one value per joint in training, "
        "got heatmaps of shape [1, 3, 1, 1]",
        change=_with(0, lambda t: t[:1, :, :1, :1]),
        options={"training": True},
    ),
    BadInput(
        op=CONV,
        error=ValueError,
        message="dynamic_conv2d: expected features to have 4 dimensions [B, C, H, W], got shape [3, 6, 5]",
        change=_with(0, lambda t: t[0]),
    ),
    BadInput(
        op=CONV,
        error=ValueError,
        message="dynamic_conv2d: expected kernels to have 4 dimensions [B, C, kh, kw], got shape [3, 3, 3]",
        change=_with(1, lambda t: t[0]),
    ),
    BadInput(
        op=CONV,
        error=ValueError,
        message="dynamic_conv2d: expected kernels to have the samples and channels [2, 3] of features, "
        "got shape [1, 3, 3, 3]",
        change=_with(1, lambda t: t[:1]),
    ),
    BadInput(
        op=CONV,
        error=TypeError,
        message="dynamic_conv2d: expected kernels to be float64, float32, float16 or bfloat16, got uint8",
        change=_with(1, lambda t: t.to(torch.uint8)),
    ),
    BadInput(
        op=CONV,
        error=ValueError,
        message="dynamic_conv2d: expected kernels of at least 1 x 1 that fit into the padded features [6, 5], "
        "got [3, 6]",
        change=_with(1, lambda t: t.repeat(1, 1, 1, 2)),
        options={"padding": "valid"},
    ),
    BadInput(
        op=CONV,
        error=ValueError,
        message="dynamic_conv2d: expected kernels of at least 1 x 1 that fit into the padded features [6, 5], "
        "got [0, 3]",
        change=_with(1, lambda t: t[:, :, :0]),
        options={"padding": 0},
    ),
    BadInput(
        op=CONV,
        error=ValueError,
        message="dynamic_conv2d: expected padding of 0 to 2147483647, got [1, -1, 1, -1]",
        change=lambda tensors: tensors,
        options={"padding": (1, -1)},
    ),
    *(
        BadInput(
            op=op,
            error=ValueError,
            message=f"{op.name}: expected padding of 0 to 2147483647, got [{', '.join([str(most)] * 4)}]",
            change=lambda tensors: tensors,
            options={"padding": most},
        )
        for op in (CONV, MATCH)
        for most in (2**31, 2**62, 2**70)
    ),
    *(
        BadInput(
            op=op,
            error=ValueError,
            message=f"{op.name}: expected kernels to have 4 dimensions [B, C, kh, kw], got shape [{size}]",
            change=_with(1, lambda t, size=size: t.flatten()[:size] if size else t.sum()),
            options={"padding": padding},
        )
        for op in (CONV, MATCH)
        for size, padding in ((3, "same"), ("", "same"), (3, 1))
    ),
    BadInput(
        op=CONV,
        error=ValueError,
        message="dynamic_conv2d: expected kernels of at least 1 x 1 that fit into the padded features [6, 7], "
        "got [3, 0]",
        change=_with(1, lambda t: t[..., :0]),
        options={"padding": (0, 1)},
    ),
    *(
        BadInput(
            op=CONV,
            error=ValueError,
            message='dynamic_conv2d: expected padding to be "same", "valid", an int or two ints, '
            f"got {padding!r}",
            change=lambda tensors: tensors,
            options={"padding": padding},
        )
        for padding in (True, (1, False), numpy.True_, 1.0, (1, numpy.float32(1)), None)
    ),
    BadInput(
        op=CONV,
        error=ValueError,
        message='dynamic_conv2d: expected padding to be "same", "valid", an int or two ints, got \'full\'',
        change=lambda tensors: tensors,
        options={"padding": "full"},
    ),
    BadInput(
        op=CONV,
        error=ValueError,
        message='dynamic_conv2d: expected padding to be "same", "valid", an int or two ints, got (1, 2, 3)',
        change=lambda tensors: tensors,
        options={"padding": (1, 2, 3)},
    ),
    BadInput(
        op=MATCH,
        error=ValueError,
        message="dynamic_match: expected kernels to have the samples and channels [2, 3] of features, "
        "got shape [1, 3, 3, 3]",
        change=_with(1, lambda t: t[:1]),
    ),
    BadInput(
        op=MATCH,
        error=ValueError,
        message="dynamic_match: expected weight to have shape [K, 3], got [4, 2]",
        change=_with(2, lambda t: t[:, :2]),
    ),
    BadInput(
        op=MATCH,
        error=ValueError,
        message="dynamic_match: expected weight to have shape [K, 3], got [4, 3, 1, 1]",
        change=_with(2, lambda t: t[:, :, None, None]),
    ),
    BadInput(
        op=MATCH,
        error=ValueError,
        message="dynamic_match: expected bias to have shape [4], got [3]",
        change=_with(3, lambda t: t[:3]),
    ),
    BadInput(
        op=MATCH,
        error=TypeError,
        message="dynamic_match: expected weight to be float64, float32, float16 or bfloat16, got int64",
        change=_with(2, lambda t: t.long()),
    ),
    BadInput(
        op=MATCH,
        error=ValueError,
        message='dynamic_match: expected padding to be "same", "valid", an int or two ints, got \'full\'',
        change=lambda tensors: tensors,
        options={"padding": "full"},
    ),
]


GOOD_CASES = {
    "joint_relation": relation_case(*RELATION_SIZES),
    "joint_relation, tensor scale": {"sizes": RELATION_SIZES, "options": {}, "scale": 0.7},
    "joint_relation_norm": norm_case(*RELATION_SIZES),
    "joint_relation_norm, tensor scale": {**norm_case(*RELATION_SIZES), "scale": 0.7},
    "dynamic_conv2d": conv_case(*CONV_SIZES, CONV_KERNEL),
    "dynamic_match": match_case(*CONV_SIZES, CONV_KERNEL, 4),
}


def good_inputs(op: Op) -> list[Tensor]:
    """What each bad input is a change of, in float32."""
    return [tensor.float() for tensor in op.inputs(GOOD_CASES[op.name])]
