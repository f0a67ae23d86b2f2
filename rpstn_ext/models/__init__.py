"""Networks by name, each a plain `nn.Module` that takes clips (`Network`), and the loading of weights into them."""

import inspect
import typing
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from rpstn_ext.models import backbones, relations
from rpstn_ext.models.backbones import ResNet
from rpstn_ext.models.description import Part
from rpstn_ext.models.loading import Loaded, load, parts, read, unwrapped
from rpstn_ext.models.network import ImageNetwork, Network, Stages, last_stage
from rpstn_ext.models.pose_network import PoseNetwork
from rpstn_ext.models.released import ReleasedRPSTN, released_state
from rpstn_ext.models.rpstn import RPSTN, Trace

__all__ = [
    "BUILDERS",
    "INITIALIZER",
    "RPSTN",
    "ImageNetwork",
    "Loaded",
    "Network",
    "Part",
    "PoseNetwork",
    "ReleasedRPSTN",
    "ResNet",
    "Stages",
    "Trace",
    "build",
    "last_stage",
    "load",
    "names",
    "parts",
    "read",
    "released_state",
    "unwrapped",
    "weights_of",
]


INITIALIZER = "initializer"  # as a feature extractor: the pose initialiser's backbone, one pass for both
_RESNET50, _RESNET101 = Part("resnet50"), Part("resnet101")
_Relation = Literal[*relations.RELATIONS]
_Start = Literal[relations.STARTS]
_Scale = float | Literal["learnable"]
_Limbs = tuple[tuple[int, int], ...]


def _rpstn(
    *,
    num_joints: int,
    pose_initializer: Part | None = _RESNET50,
    feature_extractor: Part | None = _RESNET50,
    width: int = 64,
    channels: int = 256,
    num_convs: int = 4,
    relation: _Relation = "jre",
    relation_start: _Start = "identity",
    relation_input: Literal["maps", "cat"] = "maps",
    scale: _Scale = 1.0,
    limbs: _Limbs | None = None,
    norm_first: bool = True,
    initialize: Literal["first", "every"] = "first",
    supervise_initializer: bool = False,
) -> RPSTN:
    size = {"num_joints": num_joints, "width": width, "channels": channels}
    initializer = None if pose_initializer is None else _initializer(pose_initializer, **size)
    return RPSTN(
        initializer,
        _extractor(feature_extractor, initializer, **size),
        num_joints=num_joints,
        channels=channels,
        num_convs=num_convs,
        relation=relation,
        relation_start=relation_start,
        relation_input=relation_input,
        scale=scale,
        limbs=limbs,
        norm_first=norm_first,
        initialize=initialize,
        supervise_initializer=supervise_initializer,
    )


def _dkd(
    *,
    num_joints: int,
    pose_initializer: Part = _RESNET50,
    feature_extractor: Part = _RESNET50,
    width: int = 64,
    channels: int = 256,
    norm_first: bool = True,
) -> RPSTN:
    return _rpstn(
        num_joints=num_joints,
        pose_initializer=pose_initializer,
        feature_extractor=feature_extractor,
        width=width,
        channels=channels,
        num_convs=3,
        relation="none",
        norm_first=norm_first,
    )


def _released_rpstn(
    *,
    num_joints: int,
    pose_initializer: Part = _RESNET101,
    feature_extractor: Part = _RESNET50,
    width: int = 64,
    channels: int = 256,
    matched_norm: bool = False,
) -> ReleasedRPSTN:
    size = {"num_joints": num_joints, "width": width, "channels": channels}
    return ReleasedRPSTN(
        _initializer(pose_initializer, **size),
        backbones.build(feature_extractor.backbone, **size),
        matched_norm=matched_norm,
    )


def _sbl(
    *,
    num_joints: int,
    backbone: str = "resnet50",
    width: int = 64,
    channels: int = 256,
    relation: _Relation = "none",
    relation_start: _Start = "identity",
    relation_norm: bool = False,
    scale: _Scale = 1.0,
    limbs: _Limbs | None = None,
) -> PoseNetwork:
    return PoseNetwork(
        backbones.build(backbone, num_joints=num_joints, width=width, channels=channels),
        num_joints,
        relation=relation,
        relation_start=relation_start,
        relation_norm=relation_norm,
        scale=scale,
        limbs=limbs,
    )


def _posefix(
    *,
    num_joints: int,
    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet50",
    width: int = 64,
    channels: int = 256,
    relation: _Relation = "none",
    relation_start: _Start = "identity",
    relation_norm: bool = False,
    scale: _Scale = 1.0,
    limbs: _Limbs | None = None,
) -> PoseNetwork:
    return PoseNetwork(
        ResNet(backbone, width=width, channels=channels, in_channels=3 + num_joints),
        num_joints,
        relation=relation,
        relation_start=relation_start,
        relation_norm=relation_norm,
        scale=scale,
        limbs=limbs,
    )


def _initializer(part: Part, *, num_joints: int, width: int, channels: int) -> PoseNetwork:
    backbone = backbones.build(part.backbone, num_joints=num_joints, width=width, channels=channels)
    return PoseNetwork(backbone, num_joints)


def _extractor(part: Part | None, initializer: PoseNetwork | None, **size: int) -> nn.Module | None:
    if part is None:
        return None
    if part.backbone != INITIALIZER:
        return backbones.build(part.backbone, **size)
    if initializer is None or part.weights is not None:
        problem = "without a pose initialiser" if initializer is None else f"with weights {part.weights}"
        raise ValueError(
            f"feature_extractor: expected {INITIALIZER}, the pose initialiser's own backbone, beside one and without "
            f"weights, got it {problem}"
        )
    return initializer.backbone


# Keyword-only arguments, whose annotations are what configuration files are checked by.
BUILDERS: dict[str, Callable[..., Network]] = {
    "rpstn": _rpstn,
    "dkd": _dkd,
    "sbl": _sbl,
    "posefix": _posefix,
    "released_rpstn": _released_rpstn,
}


def names() -> tuple[str, ...]:
    """The names that `build` knows."""
    return tuple(BUILDERS)


def build(name: str, *, num_joints: int, **options: Any) -> Network:
    """A network with fresh weights.

        build("rpstn", num_joints=13, pose_initializer="resnet50", feature_extractor="resnet50", width=64,
              channels=256, num_convs=4, relation="jre", relation_start="identity", relation_input="maps", scale=1.0,
              limbs=None, norm_first=True, initialize="first", supervise_initializer=False)
        build("dkd", num_joints=13, pose_initializer="resnet50", feature_extractor="resnet50", width=64,
              channels=256, norm_first=True)
        build("sbl", num_joints=13, backbone="resnet50", width=64, channels=256, relation="none",
              relation_start="identity", relation_norm=False, scale=1.0, limbs=None)
        build("posefix", num_joints=13, ...)  # the options of sbl, on a ResNet
        build("released_rpstn", num_joints=13, pose_initializer="resnet101", feature_extractor="resnet50", width=64,
              channels=256, matched_norm=False)

    "posefix" refines the poses of another network (Moon et al., "PoseFix: Model-agnostic General Human Pose Refinement
    Network"): its images have K more channels, Gaussians about the joints to be refined.

    All options may be left out; `RPSTN`, `PoseNetwork` and `ReleasedRPSTN` describe them. "dkd" is the network that the
    paper compares itself with (Nie et al., "Dynamic Kernel Distillation for Efficient Pose Estimation in Videos"): an
    `RPSTN` whose propagator has 3 convolutions and that has no relation. `width` and `channels` at their defaults give
    the published networks, smaller ones networks for small machines. A pose initialiser or feature extractor is a
    backbone's name, {"backbone": ..., "weights": ...} or a `Part`, and in "rpstn" None leaves it out, and the
    feature extractor "initializer" is the pose initialiser's own backbone; no file is read here (`weights_of`).

    Raises:
        ValueError: the name or a value is not known.
        TypeError: an option is not known, or num_joints is missing.

    Example:
        >>> sum(p.numel() for p in build("sbl", num_joints=13, backbone="resnet18").parameters())
        15375693
    """
    return _builder(name)(num_joints=num_joints, **_with_parts(name, options))


def weights_of(name: str, **options: Any) -> dict[str, str]:
    """The files that the descriptions of parts name, by part; the options are those of `build`.

    Raises:
        ValueError, TypeError: as `build`.

    Example:
        >>> options = {"pose_initializer": {"backbone": "resnet101", "weights": "mpii.pth"}}
        >>> for part, file in weights_of("rpstn", **options).items():  # and then print(load(network, part, file))
        ...     print(part, file)
        pose_initializer mpii.pth
    """
    described = _with_parts(name, options)
    return {
        part: described[part].weights
        for part in _part_options(name)
        if described.get(part) is not None and described[part].weights is not None
    }


def _builder(name: str) -> Callable[..., Network]:
    if name not in BUILDERS:
        raise ValueError(f"models.build: expected one of {', '.join(BUILDERS)}, got {name!r}")
    return BUILDERS[name]


def _part_options(name: str) -> dict[str, bool]:
    """The options that describe parts, and whether None leaves the part out."""
    hints = typing.get_type_hints(_builder(name))
    return {option: kind != Part for option, kind in hints.items() if kind in (Part, Part | None)}


def _with_parts(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options with every description of a part as a `Part`; unknown options are refused."""
    known = inspect.signature(_builder(name)).parameters
    for option in options:
        if option not in known:
            raise TypeError(
                f"models.build: {name} has no option {option}, expected one of {', '.join(known)}"
            )
    described = dict(options)
    for option, may_lack in _part_options(name).items():
        if option in options and not (may_lack and options[option] is None):
            described[option] = Part.of(options[option], option)
    return described
