"""What can stand where the paper has its joint relation extractor R: modules that let the maps of joints mix.

Such a module is called with maps (Tensor[N, K, h, w]) and gives maps of the same shape: batch-normalised where it was
built with `norm`, by another where the call says `norm=other`, and not where it says `apply_norm=False`. Its
normalisation is `norm`. One that can show its matrices has a method `relation(maps)` as `JointRelationExtractor` has.

A new one is a line of `RELATIONS`: a class or function of num_joints and norm (and of what it needs among start, scale
and limbs; what it does not name is refused).
"""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from rpstn_ext.models.relations.base import OUTPUT_NORM_WEIGHT, Relation, output_norm
from rpstn_ext.models.relations.convolved import RefinementHead, StaticMix
from rpstn_ext.models.relations.displacement import (
    Displacement,
    GatedDisplacement,
    MultiplyingDisplacement,
)
from rpstn_ext.models.relations.joint import ConvolvedJointRelation, joint_relation
from rpstn_ext.models.relations.kinematic import KinematicUpdates, Limbs, kinematic_tree
from rpstn_ext.models.relations.non_local import NonLocal

__all__ = [
    "OUTPUT_NORM_WEIGHT",
    "RELATIONS",
    "Limbs",
    "Relation",
    "build",
    "kinematic_tree",
    "options",
    "output_norm",
]


def _none(num_joints: int, *, norm: bool) -> None:
    return None


RELATIONS: dict[str, Callable[..., nn.Module | None]] = {
    "jre": joint_relation,
    "none": _none,
    "non_local": NonLocal,
    "repose": KinematicUpdates,
    "refinement_head": RefinementHead,
    "jre_2convs": ConvolvedJointRelation,
    "displacement": Displacement,
    "displacement_gated": GatedDisplacement,
    "displacement_multiplying": MultiplyingDisplacement,
    "static": StaticMix,
}

STARTS = ("identity", "random")
# What `build` takes besides the joints and the norm: how users know it, and the value that means nothing was asked.
_UNASKED = {"start": ("relation_start", "identity"), "scale": ("scale", 1.0), "limbs": ("limbs", None)}


def options(word: str) -> tuple[str, ...]:
    """Which of start, scale and limbs the relation of that name has.

    Raises:
        ValueError: the word is not known.

    Example:
        >>> options("jre"), options("repose"), options("none")
        (('start', 'scale'), ('start', 'limbs'), ())
    """
    parameters = inspect.signature(RELATIONS[_known(word)]).parameters
    return tuple(name for name in _UNASKED if name in parameters)


def build(
    word: str,
    num_joints: int,
    *,
    norm: bool = True,
    start: str = "identity",
    scale: float | str = 1.0,
    limbs: Limbs | None = None,
) -> nn.Module | None:
    """What the word says, with fresh weights; None where nothing stands there.

    Args:
        word (str): a key of `RELATIONS`. "jre" is the paper's joint relation extractor (equations 6 to 9), "none"
            leaves it out; "non_local", "repose", "refinement_head" and "jre_2convs" stand in its place in Table I;
            "displacement", "displacement_gated", "displacement_multiplying" and "static" are ours.
        num_joints (int): K.
        norm (bool): whether batch normalisation follows (equation 4); its weight starts at 0.1.
        start (str): "identity": the module begins as its normalisation alone, because the last convolution of what it
            adds to the maps is zero; "random": that begins as `nn.Conv2d` does.
        scale: of the joint relation, a number > 0 or "learnable" (`JointRelationExtractor`).
        limbs: of the skeleton, pairs of joints, which "repose" goes along.

    Raises:
        ValueError: a word, a start, a scale or a limb is not known, or the relation of that name has no such option.

    Example:
        >>> import torch
        >>> build("jre", 13)(torch.rand(2, 13, 64, 48)).shape
        torch.Size([2, 13, 64, 48])
    """
    has = options(word)
    if start not in STARTS:
        raise ValueError(f"relation_start: expected one of {', '.join(STARTS)}, got {start!r}")
    given: dict[str, Any] = {"start": start, "scale": scale, "limbs": limbs}
    for option, (name, unasked) in _UNASKED.items():
        if option not in has and given[option] != unasked:
            able = ", ".join(other for other in RELATIONS if option in options(other))
            raise ValueError(
                f"{name}: the relation {word} has none, expected {unasked} or one of {able} as relation, "
                f"got {given[option]!r}"
            )
    return RELATIONS[word](num_joints, norm=norm, **{option: given[option] for option in has})


def _known(word: str) -> str:
    if isinstance(word, str) and word in RELATIONS:
        return word
    advice = ""
    if isinstance(word, bool):
        advice = "; write jre for true, none for false"
    elif near := difflib.get_close_matches(str(word), RELATIONS, n=1):
        advice = f"; did you mean {near[0]}?"
    raise ValueError(f"relation: expected one of {', '.join(RELATIONS)}, got {word!r}{advice}")
