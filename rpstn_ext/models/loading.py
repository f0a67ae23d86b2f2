"""Weights from files into a network or a part of it: the whole of something, or an error and nothing."""

import os
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rpstn_ext.models.network import alike

HEAD = "final_layer"  # the convolution to one map per joint, in our networks as in public files
AFTER_HEAD = ("relation", "norm")  # children of ours behind it, for the same number of joints
_COUNTER = "num_batches_tracked"  # of a batch normalisation; PyTorch wrote none before 0.4.1
_SHOWN = 3  # names in an error message, of each kind


@dataclass(frozen=True)
class Loaded:
    """What `load` did; as text, its sentence.

    loaded: names in the network that were set. kept: names of the part that are as before. left_over: names in the file
    that were not used, as they are here, without "module." and "backbone.".
    """

    part: str
    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    left_over: tuple[str, ...]
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def parts(network: nn.Module) -> dict[str, nn.Module]:
    """What takes weights of its own: the whole network, named "", and its parts by name.

    Example:
        >>> from rpstn_ext import models
        >>> network = models.build("rpstn", num_joints=13, pose_initializer="resnet18", feature_extractor="resnet18")
        >>> list(parts(network))
        ['', 'pose_initializer', 'feature_extractor']
    """
    return {"": network, **{name: getattr(network, name) for name in network.parts}}


def load(network: nn.Module, part: str, file: str | os.PathLike[str] | Mapping[str, Any]) -> Loaded:
    """Puts the weights of a file into a network or a part of it: the whole of something, never what happens to fit.

    Understood are state dicts of ours, torchvision's ResNets, and public files of SimpleBaseline, HRNet, pytorch-pose's
    hourglasses, mmpose's S-ViPNAS and ViTPose (a backbone's `renamed_in_files`); as they are or inside
    {"state_dict": ...}, {"model_state": ...} or {"model": ...}, with or without "module." before each name. What counts
    as whole, the largest first:

    1. everything of the part; without the relation of a network for images where the file has none;
    2. of a network for images: the whole backbone, where the file has no `final_layer` or one for another number of
       joints;
    3. of a backbone: all but its transposed convolutions, where the file is a classifier's and has none.

    Of a backbone that predicts maps on the way, what is made for a number of joints (`per_joint`) is part of the whole
    only where the file is for the same number.

    What the part has beyond that keeps its values. Of the file may be left over: a classifier's `fc`, and the
    `final_layer`, `relation` and `norm` of a network for images. The sentence names both. A file in which no batch
    normalisation has a `num_batches_tracked`, because it is old, is as whole as others; so is one of an RPSTN without
    `first_norm`, whose statistics are then those of the norm of all frames.

    Args:
        network (nn.Module): from `build`; changed in place, and as before after an error.
        part (str): a name of `parts(network)`, "" for the whole network.
        file: a file that `torch.save` wrote (read with weights_only=True), or what it holds.

    Raises:
        ValueError: the part is not known, the file is not one of tensors, or it is not the whole of anything; the
            message counts and lists what is missing, unknown and of another shape.
        OSError: the file cannot be read.

    Example:
        >>> from rpstn_ext import models
        >>> donor = models.build("sbl", num_joints=16, backbone="resnet18", width=8, channels=16)
        >>> network = models.build("rpstn", num_joints=13, pose_initializer="resnet18",
        ...                        feature_extractor="resnet18", width=8, channels=16)
        >>> print(load(network, "feature_extractor", donor.state_dict()))  # doctest: +NORMALIZE_WHITESPACE
        state dict: 138 tensors into all of feature_extractor; left over of the file: final_layer (2 tensors,
            feature_extractor has none)
    """
    known = parts(network)
    if part not in known:
        names = ", ".join(name or '"" (the whole network)' for name in known)
        raise ValueError(f"models.load: expected part to be one of {names}, got {part!r}")
    module, what = known[part], part or "the network"
    source, given = _read(file, getattr(module, "renamed_in_files", ()))
    like = getattr(module, "alike_in_files", {})
    made = alike(like, given)
    given |= made
    state = module.state_dict()
    own = {_public(name): name for name in state}

    head = _head(own, state, given)
    lacking = _lacking(module, own, given, head)
    per_joint = getattr(module, "per_joint", ())
    if per_joint and (other := _other_joints(module.num_joints, given)):
        head, lacking = other, [*lacking, *per_joint]
    counted = any(name.endswith(_COUNTER) for name in given)
    wanted = {
        name: state[full]
        for name, full in own.items()
        if _group(name) not in lacking and (counted or not name.endswith(_COUNTER))
    }
    found = _whole(what, lacking, per_joint)
    problems = _problems(wanted, given, (*module.ignored_in_files, *lacking))
    if problems:
        raise ValueError(
            f"models.load: {source}: expected {found} ({len(wanted)} tensors), got {len(given)} tensors with "
            f"{', '.join(problems)}; {_advice(network, part, given)}"
        )

    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(given[name])
    prefix = f"{part}." if part else ""
    loaded = tuple(prefix + own[name] for name in wanted)
    kept = tuple(prefix + own[name] for name in own if name not in wanted)
    left_over = tuple(name for name in given if name not in wanted)
    sentence = f"{source}: {len(loaded)} tensors into {found}"
    if lacking:
        why = {group: head if _of(group, given) else "the file has none" for group in lacking}
        sentence += f"; kept as before: {', '.join(f'{group} ({why[group]})' for group in lacking)}"
    for group in dict.fromkeys(map(_group, made)):
        sentence += f"; {group} as {like[group]} (the file has none)"
    if left_over:
        why = {
            group: f"{len(_of(group, given))} tensors, {head if _of(group, own) else f'{what} has none'}"
            for group in dict.fromkeys(map(_group, left_over))
        }
        sentence += f"; left over of the file: {', '.join(f'{group} ({why[group]})' for group in why)}"
    return Loaded(part, loaded, kept, left_over, sentence)


def read(file: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file holds that `torch.save` wrote: names to tensors, or to what holds them. Nothing in it is executed.

    Raises:
        ValueError: it is no such file or not a whole one, it holds more than tensors and plain values, or no names.
        OSError: the file cannot be read.

    Example:
        >>> import io
        >>> buffer = io.BytesIO()
        >>> torch.save({"conv1.weight": torch.rand(8, 3, 7, 7)}, buffer)
        >>> _ = buffer.seek(0)
        >>> list(read(buffer))  # a file's name in practice
        ['conv1.weight']
    """
    expected = f"models.read: {file}: expected a file that torch.save wrote, of tensors alone,"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of a foreign file, the message says shorter
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except EOFError as error:
        raise ValueError(f"{expected} got one that is empty or ends too early") from error
    except Exception as error:  # a damaged file can raise anything
        asked = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if asked is None:
            raise ValueError(f"{expected} got one that is truncated or something else") from error
        raise ValueError(
            f"{expected} got one that asks for {asked[1]}, which was not run; save its state_dict alone"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"models.read: {file}: expected names to tensors, got {type(content).__name__}; save a state_dict"
        )
    return dict(content)


def unwrapped(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The names to tensors within what a file holds, {"state_dict": ...}, {"model_state": ...} or {"model": ...}."""
    for wrapper in ("state_dict", "model_state", "model"):
        if isinstance(content.get(wrapper), Mapping):
            return content[wrapper]
    return content


def _read(
    file: str | os.PathLike[str] | Mapping[str, Any], renamed: Iterable[tuple[str, str]]
) -> tuple[str, dict[str, Tensor]]:
    """What to call the file in messages, and its tensors by their public names."""
    source, content = "state dict", file
    if not isinstance(file, Mapping):
        source = os.fspath(file)
        content = read(file)
    content = unwrapped(content)
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others or not content:
        got = f"{len(others)} other values ({_first(others)})" if others else "an empty file"
        raise ValueError(
            f"models.load: {source}: expected names to tensors, perhaps within state_dict, model_state or model, got "
            f"{got}"
        )
    given: dict[str, Tensor] = {}
    for name, value in content.items():
        public = _public(name.removeprefix("module."))
        for theirs, ours in renamed:
            if public.startswith(theirs):
                public = ours + public.removeprefix(theirs)
                break
        if public in given:
            raise ValueError(f"models.load: {source}: expected each weight once, got {public} with two names")
        given[public] = value
    return source, given


def _public(name: str) -> str:
    """A name as public files have it, in which a backbone stands for the whole."""
    return ".".join(step for step in name.split(".") if step != "backbone")


def _group(name: str) -> str:
    return name.partition(".")[0]


def _of(group: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if _group(name) == group]


def _head(own: Mapping[str, str], state: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Why the file's final_layer cannot serve here; empty where it can, or is wrong in another way."""
    names = _of(HEAD, given)
    if not names:
        return f"the file has no {HEAD}"
    ours = {name: state[full].shape for name, full in own.items() if _group(name) == HEAD}
    theirs = {name: given[name].shape for name in names}
    if not ours or set(ours) != set(theirs):
        return ""
    joints = {shape[:1] for shape in theirs.values()}
    here = next(iter(ours.values()))[0]
    same_but_joints = all(shape[1:] == ours[name][1:] for name, shape in theirs.items())
    if len(joints) != 1 or () in joints or (here,) in joints or not same_but_joints:
        return ""
    return f"for {joints.pop()[0]} joints, here {here}"


def _other_joints(here: int, given: Mapping[str, Tensor]) -> str:
    """For which number of joints the file is; empty where it is ours, or cannot be seen."""
    shape = given[f"{HEAD}.weight"].shape if f"{HEAD}.weight" in given else ()
    return f"for {shape[0]} joints, here {here}" if shape[:1] not in ((), (here,)) else ""


def _lacking(module: nn.Module, own: Mapping[str, str], given: Mapping[str, Tensor], head: str) -> list[str]:
    """The children of the module that the file does not bring, of those that it may lack."""
    lacking: list[str] = []
    for group in module.optional_in_files:
        if not _of(group, own):
            continue
        of_head = group == HEAD or group in AFTER_HEAD
        if _of(group, given) and not (of_head and head):
            break
        if not of_head and _of(HEAD, given):  # maps are made of something that the file should have
            break
        lacking.append(group)
    return lacking


def _whole(what: str, lacking: list[str], per_joint: tuple[str, ...]) -> str:
    if not {HEAD, *AFTER_HEAD, *per_joint}.issuperset(lacking):
        return f"the trunk of {what}"
    if HEAD in lacking:
        return f"the whole backbone of {what}"
    return f"{what} but its {' and '.join(lacking)}" if lacking else f"all of {what}"


def _problems(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], ignored: tuple[str, ...]
) -> list[str]:
    """What keeps the file from being the whole of what is wanted, and nothing unknown besides."""
    groups = {_group(name) for name in wanted}
    missing = [name for name in wanted if name not in given]
    unknown = [
        name
        for name in given
        if name not in wanted and (_group(name) in groups or _group(name) not in ignored)
    ]
    other = [
        f"{name} {_form(given[name])}, here {_form(value)}"
        for name, value in wanted.items()
        if name in given and _form(given[name]) != _form(value)
    ]
    return [
        f"{len(names)} {kind} ({_first(names)})"
        for names, kind in ((missing, "missing"), (unknown, "unknown"), (other, "of another shape"))
        if names
    ]


def _form(value: Tensor) -> str:
    return f"{list(value.shape)}" if value.is_floating_point() else f"{list(value.shape)} {value.dtype}"


def _first(names: list[str]) -> str:
    return "; ".join(names[:_SHOWN]) + ("; ..." if len(names) > _SHOWN else "")


def _advice(network: nn.Module, part: str, given: Mapping[str, Tensor]) -> str:
    whole = any(_group(name) in network.parts for name in given)
    if part and whole:
        return "it is a file of a network with parts, load it into the whole network"
    if not part and network.parts and not whole:
        first = network.parts[0]
        child = getattr(network, first)
        backbone = getattr(child, "backbone", child).name
        return (
            "a file of a network without parts goes into a part, "
            f"for example {first}: {{backbone: {backbone}, weights: FILE}}"
        )
    return "describe the part as it was when the file was written, or choose another file"
