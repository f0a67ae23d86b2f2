"""The operations' cases: sizes, inputs, who competes, and the least work that any of them must do."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import rpstn_ext as rx
from rpstn_ext._onednn import SMALLEST_KERNEL, hanging_convolution

Function = Callable[..., Tensor]
JOINTS = 13  # maps that dynamic_match makes
OPS = ("joint_relation", "joint_relation_norm", "dynamic_conv2d", "dynamic_match")
DTYPES = ("float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class Case:
    """One size of one operation. `maps` is K of the relation, C of the convolutions; `kernel` 0 where there is none."""

    op: str
    samples: int
    maps: int
    height: int
    width: int
    kernel: int = 0
    valid: bool = False
    dtype: str = "float32"

    @property
    def sizes(self) -> str:
        text = f"{self.samples}x{self.maps}x{self.height}x{self.width}"
        if self.kernel:
            text += f" {self.kernel}x{self.kernel}" + (" valid" if self.valid else "")
        return text if self.dtype == "float32" else f"{text} {self.dtype}"

    @property
    def elements(self) -> int:
        return self.samples * self.maps * self.height * self.width


def case_of(text: str) -> Case:
    """`op:16x13x64x64`, with `:7` for a kernel of 7 x 7 and `:bfloat16` for a dtype behind it."""
    try:
        op, sizes, *more = text.split(":")
        samples, maps, height, width = (int(size) for size in sizes.split("x"))
        kernel = next((int(word) for word in more if word.isdigit()), 7 if op.startswith("dynamic") else 0)
        dtype = next((word for word in more if not word.isdigit()), "float32")
        if op not in OPS or dtype not in DTYPES:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected op:BxKxHxW[:kernel][:dtype], such as dynamic_conv2d:8x256x64x64:7:bfloat16, got {text}"
        ) from None
    return Case(op, samples, maps, height, width, kernel, dtype=dtype)


class Contender(NamedTuple):
    function: Function
    channels_last: bool = False


def inputs(case: Case, device: str) -> list[Tensor]:
    """Differentiable inputs; the generator's state decides their values."""
    dtype = getattr(torch, case.dtype)
    shape = (case.samples, case.maps, case.height, case.width)

    def normal(*sizes: int, factor: float = 1.0) -> Tensor:
        return (torch.randn(*sizes, device=device) * factor).to(dtype)

    if case.op.startswith("joint_relation"):
        k = case.maps
        heatmaps = (torch.rand(shape, device=device) * 0.1).to(dtype)
        parameters = [normal(k, k, factor=0.2), normal(k), normal(k, k, factor=0.2), normal(k)]
        norm = [normal(k), normal(k)] if case.op == "joint_relation_norm" else []
        return [heatmaps, *parameters, *norm]
    tensors = [normal(*shape), normal(case.samples, case.maps, case.kernel, case.kernel)]
    if case.op == "dynamic_match":
        tensors += [normal(JOINTS, case.maps, factor=0.1), normal(JOINTS)]
    return tensors


def contenders(case: Case, device: str, *, compiled: bool) -> dict[str, Contender]:
    """Ours, our own yardstick ("ours, ..."), and the rivals, without those that hang."""
    found = {name: Contender(function) for name, function in _functions(case, device).items()}
    if case.op == "dynamic_conv2d":
        found["channels_last"] = Contender(found["per sample"].function, channels_last=True)
    found = {name: contender for name, contender in found.items() if name not in hanging(case, device)}
    if compiled:
        for name in ("plain", "folded"):
            if name in found:
                function = torch.compile(found[name].function, fullgraph=True, dynamic=False)
                found[f"compiled {name}"] = Contender(function)
    return found


def hanging(case: Case, device: str) -> dict[str, str]:
    """Rivals that would never end on this machine, and why."""
    concerned = device == "cpu" and case.dtype == "float16" and case.kernel >= SMALLEST_KERNEL
    reason = hanging_convolution() if concerned else None
    return {} if reason is None else dict.fromkeys(("grouped", "per sample", "channels_last"), reason)


def _functions(case: Case, device: str) -> dict[str, Function]:
    padding = "valid" if case.valid else "same"
    if case.op == "joint_relation":
        return {"ours": rx.joint_relation, "plain": rx.reference.joint_relation, "folded": folded_relation}
    if case.op == "joint_relation_norm":
        return {
            "ours": _normalised(rx.joint_relation_norm, case, device),
            "plain": _normalised(rx.reference.joint_relation_norm, case, device),
            "folded": lambda *t: F.batch_norm(folded_relation(*t[:5]), None, None, *t[5:], training=True),
            "ours, without norm": lambda *t: rx.joint_relation(*t[:5]),
        }
    if case.op == "dynamic_conv2d":
        return {
            "ours": lambda f, k: rx.dynamic_conv2d(f, k, padding=padding),
            "plain": lambda f, k: rx.reference.dynamic_conv2d(f, k, padding=padding),
            "grouped": lambda f, k: grouped_conv(f, k, padding),
            "per sample": lambda f, k: conv_per_sample(f, k, padding),
        }
    return {
        "ours": lambda f, k, w, b: rx.dynamic_match(f, k, w, b, padding=padding),
        "plain": lambda f, k, w, b: rx.reference.dynamic_match(f, k, w, b, padding=padding),
        "grouped": lambda f, k, w, b: F.conv2d(grouped_conv(f, k, padding), w[:, :, None, None], b),
        "ours, unfused": lambda f, k, w, b: F.conv2d(
            rx.dynamic_conv2d(f, k, padding=padding), w[:, :, None, None], b
        ),
    }


def exact_function(case: Case, device: str) -> Function:
    """Plain PyTorch for float64; convolutions of a few channels at a time, as theirs hold each pixel once per tap."""
    if case.kernel == 0:
        return _functions(case, device)["plain"]
    padding = "valid" if case.valid else "same"

    def convolve(features: Tensor, kernels: Tensor) -> Tensor:
        planes, filters = (t.reshape(1, -1, *t.shape[2:]).split(32, dim=1) for t in (features, kernels))
        parts = [grouped_conv(f, k, padding) for f, k in zip(planes, filters)]
        return torch.cat(parts, dim=1).reshape(*features.shape[:2], *parts[0].shape[2:])

    if case.op == "dynamic_conv2d":
        return convolve
    return lambda f, k, w, b: F.conv2d(convolve(f, k), w[:, :, None, None], b)


def _normalised(function: Function, case: Case, device: str) -> Function:
    """In training, with running statistics of its own."""
    mean, var = torch.zeros(case.maps, device=device), torch.ones(case.maps, device=device)
    return lambda *tensors: function(*tensors, mean, var, training=True)


def folded_relation(
    heatmaps: Tensor, weight_g: Tensor, bias_g: Tensor, weight_o: Tensor, bias_o: Tensor
) -> Tensor:
    """The compiled operation's algebra in PyTorch: two batched products over the columns instead of five."""
    values = heatmaps.flatten(2)
    mixing = weight_o @ torch.softmax(torch.bmm(values, values.mT), dim=2)
    offset = mixing @ bias_g + bias_o
    identity = torch.eye(heatmaps.shape[1], device=heatmaps.device, dtype=heatmaps.dtype)
    mixing = mixing @ weight_g + identity
    return torch.baddbmm(offset[:, :, None], mixing, values).view_as(heatmaps)


def grouped_conv(features: Tensor, kernels: Tensor, padding: str) -> Tensor:
    """One convolution with a group per sample and channel: the released code's way, for odd kernels."""
    samples, channels = features.shape[:2]
    filters = kernels.reshape(samples * channels, 1, *kernels.shape[2:])
    planes = features.reshape(1, samples * channels, *features.shape[2:])
    out = F.conv2d(planes, filters, padding=padding, groups=samples * channels)
    return out.reshape(samples, channels, *out.shape[2:])


def conv_per_sample(features: Tensor, kernels: Tensor, padding: str) -> Tensor:
    channels = features.shape[1]
    parts = [
        F.conv2d(f, k.unsqueeze(1), padding=padding, groups=channels)
        for f, k in zip(features.split(1), kernels.unbind())
    ]
    return torch.cat(parts)


def floor_work(case: Case, tensors: list[Tensor], out: Tensor, direction: str) -> tuple[float, float]:
    """Bytes that must move and multiply-adds that must be made (DESIGN, sections 4.1 to 4.4).

    Forward reads the inputs and writes the result; backward reads the inputs and the result's gradient and writes the
    gradients. A Gram matrix is symmetric: half its products.
    """
    read = sum(tensor.nbytes for tensor in tensors)
    moved = read + out.nbytes if direction == "forward" else 2 * read + out.nbytes
    maps, pixels = case.maps, case.samples * case.height * case.width
    if case.kernel == 0:
        return moved, (1.5 if direction == "forward" else 3) * maps * maps * pixels
    out_pixels = case.samples * out.shape[2] * out.shape[3]
    conv = maps * case.kernel**2 * out_pixels
    mix = JOINTS * maps * out_pixels if case.op == "dynamic_match" else 0
    return moved, conv + mix if direction == "forward" else 2 * (conv + mix)


def bar_cases(device: str) -> list[Case]:
    """The sizes that DESIGN's section 5 names."""
    if device == "cpu":
        relation = [Case("joint_relation", samples, 13, 64, 64) for samples in (1, 16, 64, 256)]
        norm = [Case("joint_relation_norm", samples, 13, 64, 64) for samples in (16, 64)]
        conv = [Case("dynamic_conv2d", 4, 256, 64, 64, kernel) for kernel in (3, 5, 7)]
        return [*relation, *norm, *conv, replace(conv[-1], op="dynamic_match")]
    large = [
        Case("joint_relation", n, 13, 64, 64, dtype=t) for n in (256, 1024) for t in ("float32", "bfloat16")
    ]
    norm = [replace(case, op="joint_relation_norm") for case in large]
    conv = [Case("dynamic_conv2d", 8, 256, 64, 64, 7, dtype=t) for t in ("float32", "bfloat16")]
    return [
        Case("joint_relation", 1, 13, 64, 64),
        *large,
        *norm,
        *conv,
        *(replace(case, op="dynamic_match") for case in conv),
    ]


def grid_cases(device: str) -> Iterator[Case]:
    """The published grid: each data set's joints at its map size, small to large batches, all kernel sizes."""
    batches = (1, 4, 16, 64, 256, 1024)
    for joints, height, width in ((13, 64, 64), (14, 64, 64), (15, 96, 72), (17, 64, 48)):
        for samples in batches:
            yield Case("joint_relation", samples, joints, height, width)
        for samples in (1, 16, 64):
            yield Case("joint_relation_norm", samples, joints, height, width)
    samples = (1, 4) if device == "cpu" else (1, 8, 32)
    for op in ("dynamic_conv2d", "dynamic_match"):
        for count in samples:
            for kernel in (3, 5, 7, 9, 15, 31):
                yield Case(op, count, 256, 64, 64, kernel)
            for channels, height, width in ((64, 64, 64), (256, 64, 48), (64, 96, 72)):
                yield Case(op, count, channels, height, width, 7)
        for count in (1, 28):
            yield Case(op, count, 256, 29, 29, 5, valid=True)
