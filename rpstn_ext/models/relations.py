"""What can stand where the paper has its joint relation extractor R: modules that let the maps of joints mix.

Such a module is called with maps (Tensor[N, K, h, w]) and gives maps of the same shape, batch-normalised, or not where
the call says `apply_norm=False`. One that can show its matrices has a method `relation(maps)` as
`JointRelationExtractor` has.
"""

from collections.abc import Callable

from torch import nn

from rpstn_ext.modules import JointRelationExtractor

__all__ = ["RELATIONS", "build", "output_norm"]

# Weight that the normalisation of output maps starts with: about the standard deviation of a target heat map. From the
# usual 1 the first thousand steps of Adam do little but shrink it.
OUTPUT_NORM_WEIGHT = 0.1

STARTS = ("identity", "random")


def output_norm(num_joints: int) -> nn.BatchNorm2d:
    """The batch normalisation that heat maps leave a network through; its weight starts at 0.1."""
    norm = nn.BatchNorm2d(num_joints)
    nn.init.constant_(norm.weight, OUTPUT_NORM_WEIGHT)
    return norm


def _jre(num_joints: int, *, start: str, scale: float | str) -> nn.Module:
    relation = JointRelationExtractor(num_joints, norm=True, scale=scale, start=start)
    nn.init.constant_(relation.norm.weight, OUTPUT_NORM_WEIGHT)
    return relation


def _none(num_joints: int, *, start: str, scale: float | str) -> None:
    return None


RELATIONS: dict[str, Callable[..., nn.Module | None]] = {"jre": _jre, "none": _none}


def build(
    word: str, num_joints: int, *, start: str = "identity", scale: float | str = 1.0
) -> nn.Module | None:
    """What the word says, with fresh weights; None where nothing stands there.

    Args:
        word (str): a key of `RELATIONS`: "jre" is the paper's joint relation extractor with batch normalisation
            (equations 4 and 6 to 9), "none" leaves it out.
        num_joints (int): K.
        start (str): "identity": the module begins as its normalisation alone (Conv_o of equation 9 is zero);
            "random": Conv_o begins as `nn.Conv2d` does.
        scale: of the relation, a number > 0 or "learnable" (`JointRelationExtractor`).

    Raises:
        ValueError: a word, a start or a scale is not known.

    Example:
        >>> import torch
        >>> build("jre", 13)(torch.rand(2, 13, 64, 48)).shape
        torch.Size([2, 13, 64, 48])
    """
    if not isinstance(word, str) or word not in RELATIONS:
        advice = "; write jre for true, none for false" if isinstance(word, bool) else ""
        raise ValueError(f"relation: expected one of {', '.join(RELATIONS)}, got {word!r}{advice}")
    if start not in STARTS:
        raise ValueError(f"relation_start: expected one of {', '.join(STARTS)}, got {start!r}")
    return RELATIONS[word](num_joints, start=start, scale=scale)
