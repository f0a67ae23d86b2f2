"""Parameters and multiply-adds of a network, truly and as the paper's tables count them, without running it for real:
it goes through PyTorch's meta device, which knows shapes alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import rpstn_ext
from rpstn_ext.models import Network

from .building import outline
from .config import ModelConfig
from .data.records import Skeleton

MI, GI = 2**20, 2**30

# What the tools by which the paper counts see of a network.
Kind = Literal["convolution", "norm", "linear", "relu", "pool"]
_KINDS: dict[type[nn.Module], Kind] = {
    nn.Conv2d: "convolution",
    nn.ConvTranspose2d: "convolution",
    nn.BatchNorm2d: "norm",
    nn.Linear: "linear",
    nn.ReLU: "relu",
    nn.MaxPool2d: "pool",
    nn.AdaptiveAvgPool2d: "pool",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Whole numbers of one part: parameters, each once, and multiply-adds in all frames together."""

    parameters: int
    multiply_adds: int


@dataclass(frozen=True, kw_only=True)
class Call:
    """A layer that was called, with what it took and gave of one frame.

    part (str): a key of `Counts.parts`. frames (int): on how many it was called, at once or one after the other.
    weights, biases (int): its parameters. inputs, outputs, pixels (int): numbers in, numbers out, pixels out.
    multiply_adds (int): of one frame.
    """

    part: str
    kind: Kind
    frames: int
    weights: int
    biases: int
    inputs: int
    outputs: int
    pixels: int
    multiply_adds: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """A network's counts for one clip of `frames` frames of `size` (width, height) pixels, by part, and the layers that
    were called.
    """

    joints: int
    stride: int
    size: tuple[int, int]
    frames: int
    parts: Mapping[str, Part]
    calls: tuple[Call, ...]

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts.values())

    @property
    def multiply_adds(self) -> int:
        return sum(part.multiply_adds for part in self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        parts = {
            name: {"parameters": part.parameters, "multiply_adds": part.multiply_adds}
            for name, part in self.parts.items()
        }
        return {
            "joints": self.joints,
            "size": list(self.size),
            "frames": self.frames,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "parts": parts,
        }


def count_model(
    model: ModelConfig, skeleton: Skeleton, size: tuple[int, int], frames: int, maps_per_joint: int = 1
) -> Counts:
    """`count` of the network that a configuration describes, for the joints of the skeleton with so many maps each.

    Raises UserError where it cannot be built; ValueError where the network does not take that size.
    """
    return count(outline(model, skeleton, maps_per_joint), size, frames)


def count(network: Network, size: tuple[int, int], frames: int) -> Counts:
    """Parameters and multiply-adds of `network` for a clip of `frames` frames of `size` (width, height) pixels.

    Multiply-adds are those of convolutions (transposed ones: weights times pixels of the input), of the dynamic
    convolution, of matrix products, the relation's among them, and of linear layers and attention, as
    `torch.utils.flop_counter` counts them. Sums, norms and activations are none. The network's parameters must be on
    the meta device (`building.outline`), so that nothing is computed.

    Raises:
        ValueError: the network does not take that size, or is not on the meta device.

    Example:
        >>> from rpstn_training.building import outline
        >>> from rpstn_training.config import ModelConfig
        >>> from rpstn_training.data.sets.penn_action import SKELETON
        >>> described = ModelConfig(name="sbl", options={"backbone": "resnet18"})
        >>> counts = count(outline(described, SKELETON), (256, 256), 1)
        >>> counts.parameters, counts.multiply_adds
        (15375693, 3858759680)
    """
    if any(value.device.type != "meta" for value in network.parameters()):
        raise ValueError(
            "count: expected a network on the meta device, got one with memory; use building.outline"
        )
    width, height = size
    names = {"": "other", **dict(_parts(network))}
    calls: list[Call] = []
    training = network.training
    network.eval()
    counter = FlopCounterMode(display=False)
    with ExitStack() as stack:
        # A layer with a hook is called as it stands in the equations: nothing is fused with it.
        for path, module in network.named_modules():
            if type(module) in _KINDS:
                hook = _Watch(names[_within(path, names)], calls)
                stack.callback(module.register_forward_hook(hook).remove)
        stack.callback(network.train, training)
        stack.enter_context(torch.no_grad())
        stack.enter_context(counter)
        network(torch.empty(1, frames, network.in_channels, height, width, device="meta"))
    return Counts(
        joints=network.num_joints,
        stride=network.stride,
        size=size,
        frames=frames,
        parts=_by_part(network, names, counter.get_flop_counts()),
        calls=tuple(calls),
    )


class _Watch:
    """A forward hook that notes the calls of a layer."""

    def __init__(self, part: str, calls: list[Call]) -> None:
        self.part, self.calls = part, calls

    def __call__(self, module: nn.Module, arguments: tuple[Tensor, ...], out: Tensor) -> None:
        (values,) = arguments
        frames = out.shape[0]
        weights = getattr(module, "weight", None)
        biases = getattr(module, "bias", None)
        inputs, outputs, pixels = values[0].numel(), out[0].numel(), out.shape[2:].numel()
        number = 0 if weights is None else weights.numel()
        products = 0
        if isinstance(module, nn.ConvTranspose2d):
            products = number * values.shape[2:].numel()
        elif isinstance(module, nn.Conv2d):
            products = number * pixels
        elif isinstance(module, nn.Linear):
            products = outputs * module.in_features
        self.calls.append(
            Call(
                part=self.part,
                kind=_KINDS[type(module)],
                frames=frames,
                weights=number,
                biases=0 if biases is None else biases.numel(),
                inputs=inputs,
                outputs=outputs,
                pixels=pixels,
                multiply_adds=products,
            )
        )


def _parts(network: nn.Module, before: str = "") -> Iterator[tuple[str, str]]:
    """Path and name of each part: the network's children, and of those that are networks or matchers theirs. A network
    or matcher is a part too, of what it does beside them.
    """
    for name, child in network.named_children():
        path = f"{before}{name}"
        matcher = isinstance(child, rpstn_ext.DynamicMatcher)
        yield path, "dynamic_conv2d" if matcher else path.removeprefix("matcher.")
        if matcher or isinstance(child, Network):
            yield from _parts(child, f"{path}.")


def _within(path: str, paths: Iterable[str]) -> str:
    """The innermost of `paths` that `path` is, or is inside; "", the whole, where it is in none."""
    return max((found for found in paths if f"{path}.".startswith(f"{found}.")), key=len, default="")


def _by_part(
    network: nn.Module, names: Mapping[str, str], operations: Mapping[str, Mapping[Any, int]]
) -> dict[str, Part]:
    parameters = dict.fromkeys(names, 0)
    for path, value in network.named_parameters():  # each once, however many names it has
        parameters[_within(path, names)] += value.numel()
    root = type(network).__name__
    done: dict[str, int] = {}
    own: dict[str, int] = {}
    for path in sorted(names, key=len, reverse=True):  # what is inside comes before what is outside
        inside = [name for name in done if name.startswith(f"{path}.") or not path]
        within = sum(done[name] for name in inside if _within(name.rpartition(".")[0], names) == path)
        seen = operations.get(f"{root}.{path}" if path else root)
        # A network whose layers another calls one by one does nothing beside them.
        done[path] = within if seen is None else sum(seen.values()) // 2
        own[path] = done[path] - within
    return {
        name: Part(parameters=parameters[path], multiply_adds=own[path])
        for path, name in names.items()
        if parameters[path] or own[path]
    }


@dataclass(frozen=True, kw_only=True)
class Counting:
    """How numbers of the paper were counted: its "Params" are in 2^20, its "FLOPs" in 2^30.

    rule: "unique": every parameter once. "calls": what the HRNet repository's summary does, which adds up the layers
        that are called, once per call and frame: parameters of convolutions, norms and linear layers; FLOPs as weights
        times pixels of the output, also of transposed convolutions, for which that is four times too much. Matrix
        products and the dynamic convolution are no layers and count nothing. "mmcv": multiply-adds of convolutions and
        linear layers, one more per bias, two per number that a norm takes, one per number that an activation gives or
        a pooling takes.
    released: for "calls", whether the network is the released code's: with its further 1x1 convolution V on the
        features of all frames but the first, its norms of maps (before the relation, within it, behind it), and
        without the norms of the propagator, which are not in the sum.
    relation: for "calls" and FLOPs, whether the two convolutions of the relation are in the sum.
    truncated: whether digits were cut off instead of rounded.
    """

    rule: Literal["unique", "calls", "mmcv"]
    released: bool = False
    relation: bool = True
    truncated: bool = False

    def parameters(self, counts: Counts) -> float:
        """In 2^20."""
        if self.rule != "calls":
            return counts.parameters / MI
        total = 0
        for call in counts.calls:
            left_out = self.released and call.kind == "norm" and call.part in _NORMS_OF_OURS
            if call.kind in ("convolution", "norm", "linear") and not left_out:
                total += call.frames * (call.weights + call.biases)
        if self.released:
            total += _released_parameters(counts)
        return total / MI

    def flops(self, counts: Counts) -> float:
        """In 2^30."""
        if self.rule == "mmcv":
            return sum(call.frames * _mmcv(call) for call in counts.calls) / GI
        total = 0
        for call in counts.calls:
            counted = self.relation or call.part != "relation"
            if call.kind == "convolution" and counted:
                total += call.frames * call.weights * call.pixels
            elif call.kind == "linear":
                total += call.frames * call.multiply_adds
        if self.released:
            width, height = counts.size
            total += (counts.frames - 1) * _V_WEIGHTS * (width // counts.stride) * (height // counts.stride)
        return total / GI

    def printed(self, value: float, like: str) -> str:
        """`value` with as many digits as the paper's number `like` has."""
        digits = len(like.partition(".")[2])
        if self.truncated:
            value = int(value * 10**digits) / 10**digits
        return f"{value:.{digits}f}"


_NORMS_OF_OURS = ("propagator", "relation", "norm", "first_norm")
_V_WEIGHTS, _V_BIASES = 256 * 256, 256


def _released_parameters(counts: Counts) -> int:
    """Of the released code's layers that the network here has not, once per call: V; the norm of maps, of the first
    frame's once and of the others' before and behind the relation; the norm within the relation.
    """
    later = counts.frames - 1
    norm = 2 * counts.joints
    calls = 1 + 2 * later
    if any(call.part == "relation" for call in counts.calls):
        calls += counts.frames
    return later * (_V_WEIGHTS + _V_BIASES) + calls * norm


def _mmcv(call: Call) -> int:
    if call.kind in ("convolution", "linear"):
        return call.multiply_adds + (call.outputs if call.biases else 0)
    if call.kind == "norm":
        return 2 * call.inputs
    return call.outputs if call.kind == "relu" else call.inputs
