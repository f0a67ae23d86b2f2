"""Inputs of the operations' tests in one table each, bad inputs with their errors, and the comparison with truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import rpstn_ext as rx

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation: how it is called compiled and plain, and the table of its inputs."""

    name: str  # what stands behind a comma is not part of the function's name
    cases: dict[str, dict[str, Any]]
    inputs: Callable[..., list[Tensor]]
    # Arguments without derivatives.
    constants: Callable[[Sequence[Tensor]], list[Tensor]] = lambda tensors: []
    autocast: int | None = None  # inputs that autocast casts, None for all
    # Results whose exact value is a sum of terms that cancel, and the result as large as the terms.
    cancelling: dict[int, int] = field(default_factory=dict)
    exact_to: int = 400  # roundings of the largest value that float64 may err, plain PyTorch's own included
    with_scale: bool = False  # the last input is the scale

    @property
    def function(self) -> str:
        return self.name.partition(",")[0]

    def call(self, case: dict[str, Any], tensors: Sequence[Tensor]) -> Tensor:
        return self._call(rx, case, tensors)

    def call_reference(self, case: dict[str, Any], tensors: Sequence[Tensor]) -> Tensor:
        return self._call(rx.reference, case, tensors)

    def terms(
        self, case: dict[str, Any], exact: Sequence[Tensor], grad: Tensor, truth: Sequence[Tensor], index: int
    ) -> Tensor | None:
        """What cancels in the sum that result `index` is, or something as large; None where nothing does."""
        if self.with_scale and index == len(exact):
            return _terms_of_scale(self, case, exact, grad)
        return truth[self.cancelling[index]] if index in self.cancelling else None

    def _call(self, module: Any, case: dict[str, Any], tensors: Sequence[Tensor]) -> Tensor:
        options = case["options"]
        if self.with_scale:
            *tensors, scale = tensors
            options = {**options, "scale": scale}
        return getattr(module, self.function)(*tensors, *self.constants(tensors), **options)


def _relation(samples: int, joints: int, height: int, width: int, scale: float = 1.0) -> dict[str, Any]:
    return {"sizes": (samples, joints, height, width), "options": {"scale": scale}}


def _relation_inputs(case: dict[str, Any]) -> list[Tensor]:
    """In float64, for the caller to round. Maps of a size that leaves the softmax neither flat nor one-hot."""
    samples, joints, height, width = case["sizes"]
    heatmaps = torch.randn(samples, joints, height, width, dtype=torch.float64) * (height * width) ** -0.25
    weights = torch.randn(2, joints, joints, dtype=torch.float64) * max(joints, 1) ** -0.5
    biases = torch.randn(2, joints, dtype=torch.float64)
    return [heatmaps, weights[0], biases[0], weights[1], biases[1]]


RELATION = Op(
    name="joint_relation",
    inputs=_relation_inputs,
    cases={
        "no samples": _relation(0, 13, 8, 8),
        "one of each": _relation(1, 1, 1, 1),
        "heat maps of a clip": _relation(5, 13, 64, 64),
        "more than one tile of joints": _relation(2, 27, 11, 13),
        "many joints": _relation(1, 70, 9, 7),
        "a block of columns less one": _relation(2, 7, 1, 63),
        "a block of columns": _relation(2, 7, 1, 64),
        "a block of columns and one": _relation(2, 7, 1, 65),
        "a chunk of columns less one": _relation(1, 14, 1, 1023),
        "a chunk of columns and one": _relation(3, 13, 25, 41),
        "portrait": _relation(2, 17, 64, 48),
        "sixteen joints": _relation(2, 16, 17, 19),
        "more columns than a cluster holds": _relation(1, 13, 64, 600),
        "scaled": _relation(2, 15, 12, 9, scale=-0.3),
        "one-hot weights": _relation(2, 13, 16, 16, scale=500.0),
        "uniform weights": _relation(2, 13, 16, 16, scale=0.0),
    },
)


def _norm(
    samples: int,
    joints: int,
    height: int,
    width: int,
    *,
    training: bool = True,
    offset: float = 0.0,
    **options: Any,
) -> dict[str, Any]:
    sizes = (samples, joints, height, width)
    return {"sizes": sizes, "offset": offset, "options": {"training": training, **options}}


def _norm_inputs(case: dict[str, Any]) -> list[Tensor]:
    heatmaps, *parameters = _relation_inputs(case)
    joints = case["sizes"][1]
    offset = case["offset"] * torch.randn(joints, 1, 1, dtype=torch.float64)
    norm = torch.randn(2, joints, dtype=torch.float64)
    return [heatmaps + offset, *parameters, norm[0], norm[1]]


def _running_statistics(tensors: Sequence[Tensor]) -> list[Tensor]:
    if len(tensors) == 9:  # a bad input brings its own
        return []
    joints = tensors[-1].shape[:1]
    dtype = torch.promote_types(tensors[-1].dtype, torch.float32) if tensors[-1].is_floating_point() else None
    steps = torch.linspace(0, 1, *joints, dtype=dtype, device=tensors[-1].device)
    return [steps - 0.3, steps + 0.2]


NORM = Op(
    name="joint_relation_norm",
    inputs=_norm_inputs,
    constants=_running_statistics,
    autocast=5,
    cancelling={1: 2, 3: 2, 5: 4},  # a constant added to a map before it is normalised changes nothing
    # Of the largest offset: there both this and plain PyTorch round sums of 25,600 that differ by a few, and the truth
    # is no truer than what it is compared with.
    exact_to=8000,
    cases={
        "no samples": _norm(0, 13, 8, 8),
        "no samples, evaluation": _norm(0, 13, 8, 8, training=False),
        "few values": _norm(2, 3, 1, 3),
        "one of each, evaluation": _norm(1, 1, 1, 1, training=False),
        "heat maps of a clip": _norm(5, 13, 64, 64),
        "one sample": _norm(1, 13, 64, 64),
        "one sample, evaluation": _norm(1, 13, 64, 64, training=False),
        "many samples, evaluation": _norm(9, 14, 25, 41, training=False),
        "more than one tile of joints": _norm(2, 27, 11, 13),
        "many joints": _norm(2, 70, 9, 7),
        "a chunk of columns and one": _norm(3, 13, 25, 41),
        "portrait": _norm(2, 17, 64, 48),
        "large offset": _norm(3, 13, 16, 16, offset=10.0, scale=1e-3),
        "scaled": _norm(2, 15, 12, 9, scale=-0.3, eps=0.1),
        "uniform weights": _norm(4, 13, 16, 16, scale=0.0),
    },
)


def _terms_of_scale(op: Op, case: dict[str, Any], exact: Sequence[Tensor], grad: Tensor) -> Tensor:
    """The sum of the magnitudes of what the gradient of the scale is a sum of, one for each entry of the relations."""
    heatmaps, *_, scale = exact
    if heatmaps.numel() == 0:
        return torch.zeros(())
    joints = heatmaps.shape[1]
    entries = scale.expand(heatmaps.shape[0], joints, joints).clone().requires_grad_()
    out = rx.reference._relate(*exact[:5], entries)
    if op.function == "joint_relation_norm":
        options = {"training": case["options"]["training"], "eps": case["options"].get("eps", 1e-5)}
        statistics = [tensor.clone() for tensor in op.constants(exact[:-1])]
        out = F.batch_norm(out, *statistics, exact[5], exact[6], **options)
    return torch.autograd.grad(out, entries, grad)[0].abs().sum()


def _with_scale(op: Op, *names: str) -> Op:
    """`op` with a tensor as scale: one number, the last input."""

    def inputs(case: dict[str, Any]) -> list[Tensor]:
        return [*op.inputs(case), torch.tensor([case["scale"]], dtype=torch.float64)]

    cases = {}
    for name in names:
        case = op.cases[name]
        options = {key: value for key, value in case["options"].items() if key != "scale"}
        scale = case["options"].get("scale", 1.0)
        # Scaled down, so that weights are neither one-hot, where the gradient is next to nothing, nor flat.
        cases[name] = {**case, "options": options, "scale": 0.1 if scale == 1 else scale}
    return replace(
        op,
        name=f"{op.name}, tensor scale",
        cases=cases,
        inputs=inputs,
        with_scale=True,
        autocast=5,
        exact_to=2 * op.exact_to,  # plain PyTorch scales the sums here, and else what it sums
    )


RELATION_WITH_SCALE = _with_scale(
    RELATION,
    "no samples",
    "heat maps of a clip",
    "more than one tile of joints",
    "many joints",
    "a chunk of columns and one",
    "portrait",
    "sixteen joints",
    "more columns than a cluster holds",
    "scaled",
    "uniform weights",
)
NORM_WITH_SCALE = _with_scale(
    NORM,
    "no samples",
    "heat maps of a clip",
    "many samples, evaluation",
    "many joints",
    "a chunk of columns and one",
    "portrait",
    "large offset",
    "scaled",
    "uniform weights",
)


def _conv(
    samples: int, channels: int, height: int, width: int, kernel: tuple[int, int], padding: Any = "same"
) -> dict[str, Any]:
    sizes = (samples, channels, height, width)
    return {"sizes": sizes, "kernel": kernel, "options": {"padding": padding}}


def _conv_inputs(case: dict[str, Any]) -> list[Tensor]:
    features = torch.randn(case["sizes"], dtype=torch.float64)
    kernels = torch.randn(*case["sizes"][:2], *case["kernel"], dtype=torch.float64)
    return [features, kernels]


CONV = Op(
    name="dynamic_conv2d",
    inputs=_conv_inputs,
    cases={
        "no samples": _conv(0, 4, 8, 8, (3, 3)),
        "no channels": _conv(2, 0, 8, 8, (3, 3)),
        "one of each": _conv(1, 1, 1, 1, (1, 1)),
        "the paper's": _conv(2, 6, 64, 64, (7, 7)),
        "portrait": _conv(2, 3, 64, 48, (7, 7)),
        "3 x 3": _conv(2, 5, 17, 19, (3, 3)),
        "5 x 5 valid": _conv(2, 5, 29, 29, (5, 5), "valid"),
        "9 x 9": _conv(1, 3, 23, 31, (9, 9)),
        "even": _conv(2, 3, 9, 11, (4, 6)),
        "tall": _conv(2, 3, 13, 8, (7, 2)),
        "wide": _conv(2, 3, 8, 40, (1, 15)),
        "more padding than kernel": _conv(1, 2, 5, 6, (3, 3), 5),
        "padding of its own": _conv(2, 2, 12, 10, (5, 3), (0, 2)),
        "kernel larger than features": _conv(1, 3, 4, 5, (7, 7)),
        "kernel as large as features": _conv(2, 3, 6, 7, (6, 7), "valid"),
        "a vector of columns less one": _conv(1, 2, 5, 15, (7, 7)),
        "a vector of columns": _conv(1, 2, 5, 16, (7, 7)),
        "a vector of columns and one": _conv(1, 2, 5, 17, (7, 7)),
        "31 x 31": _conv(1, 2, 37, 41, (31, 31)),
        "several tiles": _conv(1, 2, 70, 130, (7, 7)),
        "several tiles valid": _conv(1, 1, 140, 37, (5, 5), "valid"),
        "kernel of several windows": _conv(1, 1, 38, 45, (35, 41)),
        "many small planes": _conv(3, 23, 7, 7, (7, 7)),
        "many tiny planes": _conv(2, 67, 2, 3, (3, 3)),
    },
)


def _match(
    samples: int,
    channels: int,
    height: int,
    width: int,
    kernel: tuple[int, int],
    joints: int,
    padding: Any = "same",
) -> dict[str, Any]:
    return {**_conv(samples, channels, height, width, kernel, padding), "joints": joints}


def _match_inputs(case: dict[str, Any]) -> list[Tensor]:
    joints, channels = case["joints"], case["sizes"][1]
    weight = torch.randn(joints, channels, dtype=torch.float64) * max(channels, 1) ** -0.5
    return [*_conv_inputs(case), weight, torch.randn(joints, dtype=torch.float64)]


MATCH = Op(
    name="dynamic_match",
    inputs=_match_inputs,
    cases={
        "no samples": _match(0, 4, 8, 8, (3, 3), 5),
        "no channels": _match(2, 0, 8, 8, (3, 3), 3),
        "no joints": _match(2, 3, 8, 8, (3, 3), 0),
        "one of each": _match(1, 1, 1, 1, (1, 1), 1),
        "the paper's": _match(2, 19, 64, 64, (7, 7), 13),
        "portrait": _match(2, 9, 64, 48, (7, 5), 17),
        "3 x 3": _match(2, 8, 17, 19, (3, 3), 4),
        "5 x 5 valid": _match(2, 5, 29, 29, (5, 5), 2, "valid"),
        "even": _match(2, 3, 9, 11, (4, 6), 6),
        "more padding than kernel": _match(1, 2, 5, 6, (3, 3), 3, 5),
        "padding of its own": _match(2, 2, 12, 10, (5, 3), 1, (0, 2)),
        "kernel larger than features": _match(1, 3, 4, 5, (7, 7), 7),
        "bands of many columns": _match(1, 4, 6, 530, (3, 5), 14),
        "a band and one row": _match(1, 9, 9, 64, (5, 5), 8),
        "many channels": _match(2, 133, 7, 9, (3, 3), 5),
        "more joints than registers": _match(1, 6, 17, 33, (5, 5), 35),
        "more joints than shared memory": _match(1, 3, 8, 8, (3, 3), 70),
        "several tiles": _match(1, 3, 21, 75, (7, 7), 17),
        "tall": _match(2, 45, 13, 8, (9, 2), 3),
    },
)

OPS = {op.name: op for op in (RELATION, RELATION_WITH_SCALE, NORM, NORM_WITH_SCALE, CONV, MATCH)}
MIDDLE = {
    name: "the paper's" if name.startswith("dynamic") else "a chunk of columns and one" for name in OPS
}  # cases of a size that no path finds special
CASES = [(op, name) for op in OPS.values() for name in op.cases]


# Ways for the same values to lie in memory.
def _strided(tensor: Tensor) -> Tensor:
    wide = tensor.new_full([2 * size for size in tensor.shape], torch.nan)
    view = wide[tuple(slice(1, None, 2) for _ in tensor.shape)]
    return view.copy_(tensor)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda tensor: tensor.contiguous(),
    "strided": _strided,
    "transposed": lambda tensor: tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor.flip(0).flip(0),
    "channels_last": lambda tensor: (
        tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
    ),
    "samples last": lambda tensor: tensor.movedim(0, -1).contiguous().movedim(-1, 0),
}


def results(op: Op, case: dict[str, Any], tensors: Sequence[Tensor], grad: Tensor, call: Any) -> list[Tensor]:
    """The result and the gradients of all inputs, for the incoming gradient `grad`."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    out = call(case, leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.to(out.dtype))]


def assert_as_exact(
    name: str,
    actual: Tensor,
    plain: Tensor,
    truth: Tensor,
    *,
    factor: float,
    terms: Tensor | None = None,
    exact_to: int = 400,
) -> None:
    """`actual` may err `factor` times as much as `plain`, which has its dtype, plus a few roundings of the largest.

    The largest of `truth`, and of `terms` where the truth is a sum in which such terms cancel.

    Raises:
        AssertionError: another shape or dtype, something not finite, or too large an error.
    """
    assert actual.shape == truth.shape, f"{name}: shape {list(actual.shape)}, expected {list(truth.shape)}"
    assert actual.dtype == plain.dtype, f"{name}: {actual.dtype}, expected {plain.dtype}"
    if truth.numel() == 0:
        return
    assert actual.isfinite().all(), f"{name}: not finite"
    error = (actual.double() - truth).abs().max().item()
    plain_error = (plain.double() - truth).abs().max().item()
    # In float64 plain PyTorch is the truth itself: the floor stands for its rounding, too.
    roundings = exact_to if actual.dtype == torch.float64 else 4
    largest = max(tensor.abs().max().item() for tensor in (truth, terms) if tensor is not None)
    floor = roundings * torch.finfo(actual.dtype).eps * largest
    allowed = factor * plain_error + floor
    assert error <= allowed, (
        f"{name}: error {error:.2e}, allowed {allowed:.2e} (plain PyTorch: {plain_error:.2e})"
    )


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
        message="dynamic_conv2d: expected padding of at least 0, got [1, -1, 1, -1]",
        change=lambda tensors: tensors,
        options={"padding": (1, -1)},
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
    "joint_relation": _relation(*RELATION_SIZES),
    "joint_relation, tensor scale": {"sizes": RELATION_SIZES, "options": {}, "scale": 0.7},
    "joint_relation_norm": _norm(*RELATION_SIZES),
    "joint_relation_norm, tensor scale": {**_norm(*RELATION_SIZES), "scale": 0.7},
    "dynamic_conv2d": _conv(*CONV_SIZES, CONV_KERNEL),
    "dynamic_match": _match(*CONV_SIZES, CONV_KERNEL, 4),
}


def good_inputs(op: Op) -> list[Tensor]:
    """What each bad input is a change of, in float32."""
    return [tensor.float() for tensor in op.inputs(GOOD_CASES[op.name])]
