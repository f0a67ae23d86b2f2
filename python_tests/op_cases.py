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

    def gradient_groups(self, inputs: int) -> list[list[int]]:
        """Inputs whose gradients are asked for together or not at all."""
        if self.name.startswith("dynamic"):
            return [[i] for i in range(inputs)]
        return [[0], list(range(1, inputs))]

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


def relation_case(samples: int, joints: int, height: int, width: int, scale: float = 1.0) -> dict[str, Any]:
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
        "no samples": relation_case(0, 13, 8, 8),
        "one of each": relation_case(1, 1, 1, 1),
        "heat maps of a clip": relation_case(5, 13, 64, 64),
        "more than one tile of joints": relation_case(2, 27, 11, 13),
        "many joints": relation_case(1, 70, 9, 7),
        "many joints and chunks": relation_case(2, 90, 33, 29),
        "a block of columns less one": relation_case(2, 7, 1, 63),
        "a block of columns": relation_case(2, 7, 1, 64),
        "a block of columns and one": relation_case(2, 7, 1, 65),
        "a chunk of columns less one": relation_case(1, 14, 1, 1023),
        "a chunk of columns and one": relation_case(3, 13, 25, 41),
        "portrait": relation_case(2, 17, 64, 48),
        "sixteen joints": relation_case(2, 16, 17, 19),
        "more columns than a cluster holds": relation_case(1, 13, 64, 600),
        "scaled": relation_case(2, 15, 12, 9, scale=-0.3),
        "one-hot weights": relation_case(2, 13, 16, 16, scale=500.0),
        "uniform weights": relation_case(2, 13, 16, 16, scale=0.0),
    },
)


def norm_case(
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
        "no samples": norm_case(0, 13, 8, 8),
        "no samples, evaluation": norm_case(0, 13, 8, 8, training=False),
        "few values": norm_case(2, 3, 1, 3),
        "one of each, evaluation": norm_case(1, 1, 1, 1, training=False),
        "heat maps of a clip": norm_case(5, 13, 64, 64),
        "one sample": norm_case(1, 13, 64, 64),
        "one sample, evaluation": norm_case(1, 13, 64, 64, training=False),
        "many samples, evaluation": norm_case(9, 14, 25, 41, training=False),
        "more than one tile of joints": norm_case(2, 27, 11, 13),
        "many joints": norm_case(2, 70, 9, 7),
        "many joints and chunks": norm_case(5, 90, 33, 29),
        "a chunk of columns and one": norm_case(3, 13, 25, 41),
        "portrait": norm_case(2, 17, 64, 48),
        "large offset": norm_case(3, 13, 16, 16, offset=10.0, scale=1e-3),
        "scaled": norm_case(2, 15, 12, 9, scale=-0.3, eps=0.1),
        "uniform weights": norm_case(4, 13, 16, 16, scale=0.0),
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


def conv_case(
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
        "no samples": conv_case(0, 4, 8, 8, (3, 3)),
        "no channels": conv_case(2, 0, 8, 8, (3, 3)),
        "one of each": conv_case(1, 1, 1, 1, (1, 1)),
        "the paper's": conv_case(2, 6, 64, 64, (7, 7)),
        "portrait": conv_case(2, 3, 64, 48, (7, 7)),
        "3 x 3": conv_case(2, 5, 17, 19, (3, 3)),
        "5 x 5 valid": conv_case(2, 5, 29, 29, (5, 5), "valid"),
        "9 x 9": conv_case(1, 3, 23, 31, (9, 9)),
        "even": conv_case(2, 3, 9, 11, (4, 6)),
        "tall": conv_case(2, 3, 13, 8, (7, 2)),
        "wide": conv_case(2, 3, 8, 40, (1, 15)),
        "more padding than kernel": conv_case(1, 2, 5, 6, (3, 3), 5),
        "padding of its own": conv_case(2, 2, 12, 10, (5, 3), (0, 2)),
        "kernel larger than features": conv_case(1, 3, 4, 5, (7, 7)),
        "kernel as large as features": conv_case(2, 3, 6, 7, (6, 7), "valid"),
        "a vector of columns less one": conv_case(1, 2, 5, 15, (7, 7)),
        "a vector of columns": conv_case(1, 2, 5, 16, (7, 7)),
        "a vector of columns and one": conv_case(1, 2, 5, 17, (7, 7)),
        "31 x 31": conv_case(1, 2, 37, 41, (31, 31)),
        "several tiles": conv_case(1, 2, 70, 130, (7, 7)),
        "several tiles valid": conv_case(1, 1, 140, 37, (5, 5), "valid"),
        "planes in bands": conv_case(1, 2, 530, 130, (5, 3)),
        "planes in bands, more padding than kernel": conv_case(1, 2, 260, 260, (2, 3), (4, 5)),
        "a large kernel over bands": conv_case(1, 1, 540, 130, (21, 3), "valid"),
        "one row of many columns": conv_case(1, 1, 1, 70000, (1, 5)),
        "kernel of several windows": conv_case(1, 1, 38, 45, (35, 41)),
        "many small planes": conv_case(3, 23, 7, 7, (7, 7)),
        "many tiny planes": conv_case(2, 67, 2, 3, (3, 3)),
    },
)


def match_case(
    samples: int,
    channels: int,
    height: int,
    width: int,
    kernel: tuple[int, int],
    joints: int,
    padding: Any = "same",
) -> dict[str, Any]:
    return {**conv_case(samples, channels, height, width, kernel, padding), "joints": joints}


def _match_inputs(case: dict[str, Any]) -> list[Tensor]:
    joints, channels = case["joints"], case["sizes"][1]
    weight = torch.randn(joints, channels, dtype=torch.float64) * max(channels, 1) ** -0.5
    return [*_conv_inputs(case), weight, torch.randn(joints, dtype=torch.float64)]


MATCH = Op(
    name="dynamic_match",
    inputs=_match_inputs,
    cases={
        "no samples": match_case(0, 4, 8, 8, (3, 3), 5),
        "no channels": match_case(2, 0, 8, 8, (3, 3), 3),
        "no joints": match_case(2, 3, 8, 8, (3, 3), 0),
        "one of each": match_case(1, 1, 1, 1, (1, 1), 1),
        "the paper's": match_case(2, 19, 64, 64, (7, 7), 13),
        "portrait": match_case(2, 9, 64, 48, (7, 5), 17),
        "3 x 3": match_case(2, 8, 17, 19, (3, 3), 4),
        "5 x 5 valid": match_case(2, 5, 29, 29, (5, 5), 2, "valid"),
        "even": match_case(2, 3, 9, 11, (4, 6), 6),
        "more padding than kernel": match_case(1, 2, 5, 6, (3, 3), 3, 5),
        "padding of its own": match_case(2, 2, 12, 10, (5, 3), 1, (0, 2)),
        "kernel larger than features": match_case(1, 3, 4, 5, (7, 7), 7),
        "bands of many columns": match_case(1, 4, 6, 530, (3, 5), 14),
        "a band and one row": match_case(1, 9, 9, 64, (5, 5), 8),
        "planes in bands": match_case(1, 9, 530, 130, (5, 3), 4),
        "planes in bands, more padding than kernel": match_case(2, 2, 260, 260, (2, 3), 3, (4, 5)),
        "many channels": match_case(2, 133, 7, 9, (3, 3), 5),
        "more joints than registers": match_case(1, 6, 17, 33, (5, 5), 35),
        "more joints than shared memory": match_case(1, 3, 8, 8, (3, 3), 70),
        "several tiles": match_case(1, 3, 21, 75, (7, 7), 17),
        "tall": match_case(2, 45, 13, 8, (9, 2), 3),
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


def _misaligned(tensor: Tensor) -> Tensor:
    """Dense, and no vector of it begins where vectors do."""
    memory = tensor.new_full([tensor.numel() + 1], torch.nan)
    return memory[1:].view(tensor.shape).copy_(tensor)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda tensor: tensor.contiguous(),
    "misaligned": _misaligned,
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
