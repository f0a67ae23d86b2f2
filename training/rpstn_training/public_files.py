"""Public files of weights, recognised by their names and shapes (`public_families`), as checkpoints of ours."""

import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from rpstn_ext import models

from .codec import Codec
from .colours import Normalisation
from .data.records import Skeleton
from .data.sets import SKELETONS, named_skeleton
from .errors import UserError
from .public_families import CLASSIFIERS, FAMILIES, Family
from .train import checkpoint as checkpoints
from .train.checkpoint import Checkpoint

_SKELETON_OF = {17: "coco", 16: "mpii"}  # what public files of so many joints were trained on


def open_weights(
    path: str | Path,
    *,
    family: str | None = None,
    skeleton: str | None = None,
    input_size: tuple[int, int] | None = None,
) -> Checkpoint:
    """The checkpoint in a file of ours, or the one that a public file stands for (`convert`).

    `skeleton` must be that of a file of ours; the other two are for public files.
    """
    content = checkpoints.read_tensors(path)
    if not checkpoints.is_ours(content):
        return convert(content, path, family=family, skeleton=skeleton, input_size=input_size)
    checkpoint = checkpoints.of_content(content, path)
    if skeleton is not None and (asked := named_skeleton(skeleton)).joints != checkpoint.skeleton.joints:
        raise UserError(
            f"--skeleton: expected {checkpoint.skeleton.name} ({len(checkpoint.skeleton.joints)} joints), which "
            f"{path} was trained with, got {skeleton} ({len(asked.joints)} joints); leave it out"
        )
    return checkpoint


def convert(
    content: Mapping[str, Any],
    path: str | Path,
    *,
    family: str | None = None,
    skeleton: str | None = None,
    input_size: tuple[int, int] | None = None,
) -> Checkpoint:
    """A checkpoint of what a public file holds, with its choices in words under `source["choices"]`.

    The network takes red, green and blue: where the file's was trained on blue, green and red, the channels of its
    first convolution change places, which is exact. Other means and deviations than ours go along (`colours`).

    Args:
        content: what the file at `path` holds.
        family: a key of `FAMILIES`; None: recognised by names.
        skeleton: a name of `data.sets.SKELETONS`; None: COCO's of 17 joints and MPII's of 16.
        input_size: width and height in pixels; None: as the file's name says (HEIGHTxWIDTH, as these authors write),
            else 192x256 for COCO and 256x256 for others.

    Raises:
        UserError: the file is of no family, of several, or not the whole of its network; the skeleton has another
            number of joints, or the size does not divide.
    """
    found = recognise(content, path, family=family)
    kind, joints = found.family, len(found.maps)
    chosen, why = _skeleton(path, found, skeleton)
    network = _network(path, found)
    size, by = _size(path, kind, chosen, network, input_size)
    order = slice(None, None, -1 if kind.bgr else 1)
    normalisation = Normalisation(mean=kind.mean[order], std=kind.std[order])
    codec = Codec(
        input_size=size,
        stride=network.stride,
        sigma=3.0 if max(size) >= 384 else kind.sigma,
        box_scale=kind.box_scale,
        shared_frames=kind.shared_frames,
        decoding=kind.decoding,
        geometry=kind.geometry,
    )
    choices = [
        f"{kind.title}, {_backbones(found.options)}, {'as asked' if family else 'by its names'}",
        f"skeleton {chosen.name} of {joints} joints, {why}",
        f"input {size[0]} wide and {size[1]} high, {by}",
        f"targets of sigma {codec.sigma:g}, {codec.decoding} decoding, {codec.geometry} geometry, boxes x "
        f"{codec.box_scale:g}, as theirs",
        kind.colours,
    ]
    return Checkpoint(
        model_name=found.model,
        model_options=found.options,
        model_state=network.state_dict(),
        skeleton=chosen,
        codec=codec,
        config=None,
        selected_on=None,
        epoch=0,
        step=0,
        best_score=None,
        metrics=[],
        source={
            "file": Path(path).name,
            "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
            "family": kind.title,
            "facts": kind.source,
            "choices": choices,
        },
        normalisation=normalisation,
        path=str(path),
    )


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a public file is: its family, the network's name and options for `rpstn_ext.models.build`, the tensors by
    the names that `Family.marks` have, and the name of the convolution to the maps.
    """

    family: Family
    model: str
    options: dict[str, Any]
    tensors: dict[str, Tensor]
    head: str

    @property
    def maps(self) -> Tensor:
        """The weight of that convolution, whose first axis is K."""
        return self.tensors[self.head]


def recognise(content: Mapping[str, Any], path: str | Path, *, family: str | None = None) -> Found:
    """Which network's weights a file holds, by names and shapes; arguments and errors as in `convert`."""
    tensors, mmpose = _tensors(content, path)
    name = _by_names(tensors, mmpose, path) if family is None else _known(family)
    kind = FAMILIES[name]
    _require(path, tensors, kind, name)
    try:
        model, options = kind.describe(tensors)
    except ValueError as error:
        raise UserError(f"{path}: as {kind.title}: {str(error).removeprefix('released_state: ')}") from error
    return Found(family=kind, model=model, options=options, tensors=tensors, head=kind.joints(tensors))


def _network(path: str | Path, found: Found) -> models.Network:
    """The network with the file's weights, all of them, for red, green and blue."""
    kind, state = found.family, dict(found.tensors)
    if kind.bgr:
        state |= {first: state[first].flip(1) for first in kind.images}
    network = models.build(found.model, num_joints=len(found.maps), **found.options)
    try:
        loaded = models.load(network, "", kind.translate(state))
    except ValueError as error:
        words = str(error).removeprefix("models.load: state dict: ")
        raise UserError(f"{path}: as {kind.title}: {words}") from error
    lacking = [name for name in loaded.kept if not name.endswith("num_batches_tracked")]
    if lacking or loaded.left_over:
        raise UserError(
            f"{path}: expected the whole of a {kind.title}, got one without {', '.join(lacking[:3]) or 'nothing'} and "
            f"with {', '.join(loaded.left_over[:3]) or 'nothing'} besides"
        )
    return network


def _backbones(options: Mapping[str, Any]) -> str:
    names = ("backbone", "pose_initializer", "feature_extractor")
    return " and ".join(str(options[name]) for name in names if name in options)


def _tensors(content: Mapping[str, Any], path: str | Path) -> tuple[dict[str, Tensor], bool]:
    """The tensors by names without "module.", "backbone." and "head.", and whether they had both of the latter."""
    content = models.unwrapped(content)
    state = {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    if not state:
        raise UserError(
            f"{path}: expected names to tensors, perhaps within state_dict, model_state or model, got "
            f"{', '.join(map(str, list(content)[:3])) or 'an empty file'}"
        )
    heads = [name for name in state if name.startswith(("head.", "keypoint_head."))]
    if not heads or not any(name.startswith("backbone.") for name in state):
        return state, False
    return {re.sub(r"^(backbone|(keypoint_)?head)\.", "", name): value for name, value in state.items()}, True


def _by_names(tensors: Mapping[str, Tensor], mmpose: bool, path: str | Path) -> str:
    for marks, title in CLASSIFIERS.items():
        if all(mark in tensors for mark in marks):
            raise UserError(
                f"{path}: expected a network that finds joints, got {title}; the file goes as it is into a part of a "
                "network that is to be trained, for example feature_extractor: {backbone: resnet50, weights: FILE}"
            )
    possible = {name: set(kind.marks) for name, kind in FAMILIES.items() if kind.mmpose == mmpose}
    fitting = {name: marks for name, marks in possible.items() if marks <= tensors.keys()}
    found = [name for name, marks in fitting.items() if not any(marks < other for other in fitting.values())]
    if len(found) > 1:
        both = " and ".join(f"{name} ({min(fitting[name] - _others(fitting, name))})" for name in found)
        raise UserError(
            f"{path}: expected the names of one family, got those of {both}; a file holds one network's weights"
        )
    if found:
        return found[0]
    name = max(possible, key=lambda name: len(possible[name] & tensors.keys()))
    missing = ", ".join(mark for mark in FAMILIES[name].marks if mark not in tensors)
    raise UserError(
        f"{path}: expected the names of one of {', '.join(FAMILIES)}, got {len(tensors)} tensors ({_first(tensors)}); "
        f"for the nearest, {name}, it lacks {missing}"
    )


def _others(fitting: Mapping[str, set[str]], name: str) -> set[str]:
    return set().union(*(marks for other, marks in fitting.items() if other != name))


def _known(family: str) -> str:
    if family not in FAMILIES:
        near = difflib.get_close_matches(family, FAMILIES, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise UserError(f"--family: expected one of {', '.join(FAMILIES)}, got {family}{hint}")
    return family


def _require(path: str | Path, tensors: Mapping[str, Tensor], kind: Family, name: str) -> None:
    """Raise UserError where what a description is read from is missing, or no weight of a layer."""
    missing = [mark for mark in kind.marks if mark not in tensors]
    if missing:
        raise UserError(
            f"{path}: expected the names of {name}, got {len(tensors)} tensors ({_first(tensors)}) without "
            f"{', '.join(missing)}"
        )
    flat = [mark for mark in kind.marks if tensors[mark].dim() < 2]
    if flat:
        shape = list(tensors[flat[0]].shape)
        raise UserError(f"{path}: expected weights of the shapes of {name}, got {flat[0]} {shape}")


def _first(tensors: Mapping[str, Tensor]) -> str:
    named = [f"{name} {list(value.shape)}" for name, value in list(tensors.items())[:3]]
    return "; ".join(named) + ("; ..." if len(tensors) > len(named) else "")


def _skeleton(path: str | Path, found: Found, asked: str | None) -> tuple[Skeleton, str]:
    """The skeleton, and why it is that one."""
    joints, shape = len(found.maps), f"{found.head} {list(found.maps.shape)}"
    if asked is not None:
        skeleton = named_skeleton(asked)
        if len(skeleton.joints) != joints:
            raise UserError(
                f"{path}: expected maps of the {len(skeleton.joints)} joints of --skeleton {asked}, got {joints} "
                f"({shape})"
            )
        return skeleton, "as asked"
    if joints in _SKELETON_OF:
        return SKELETONS[_SKELETON_OF[joints]], f"as public files of {joints} joints have"
    fitting = [name for name, skeleton in SKELETONS.items() if len(skeleton.joints) == joints]
    advice = f"with so many there is {' and '.join(fitting)}" if fitting else "none that is known has so many"
    raise UserError(
        f"{path}: expected --skeleton NAME, because {joints} joints ({shape}) are not those of COCO or MPII, got none; "
        f"{advice}"
    )


def _size(
    path: str | Path, kind: Family, skeleton: Skeleton, network: models.Network, asked: tuple[int, int] | None
) -> tuple[tuple[int, int], str]:
    """Width and height of the input, and why they are these."""
    multiple = network.multiple
    if asked is not None:
        if any(side < multiple or side % multiple for side in asked):
            raise UserError(
                f"--input-size: expected a width and a height that are multiples of {multiple} for {kind.title}, got "
                f"{asked[0]}x{asked[1]}"
            )
        return asked, "as asked"
    if kind.positions:
        return kind.input_size, "for which it has positions"
    for height, width in re.findall(r"(?<!\d)(\d{2,4})x(\d{2,4})(?!\d)", Path(path).name):
        size = int(width), int(height)
        if all(side and side % multiple == 0 for side in size):
            return size, f"as {height}x{width} in the file's name says"
    if kind.input_size is not None:
        return kind.input_size, "as its published files have"
    return (
        (192, 256) if skeleton.name == "coco" else (256, 256)
    ), f"as files for {skeleton.name} have; or give it"
