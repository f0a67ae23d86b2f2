"""The training loss, against target heat maps or against the joints themselves."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rpstn_ext.models import Stages

from ..codec import Codec, mean_place

_FEWEST = 1e-6  # of the summed weights: without a joint that counts the loss is 0, not 0 / 0


def heatmap_loss(
    stages: Stages, targets: Tensor, weights: Tensor, *, normaliser: Tensor | None = None
) -> Tensor:
    """Mean squared error of heat maps over the joints that count (equation 5 of the paper), summed over the stages.

        loss = sum_s sum_btk weights[b,t,k] * sum_yx (stage_s - targets)^2  /  (h * w * normaliser)

    With all weights 1 it is the per-element mean over frames, joints and cells. Dividing by the sum of the
    weights, not by the number of joints, keeps the size of a step independent of how many joints are hidden
    in a batch.

    Of UDP's three maps a joint (`codec.encode_offsets`) offsets count in the disc alone, each like the disc map:

        sum_yx (disc error)^2 + disc * ((across error)^2 + (down error)^2)        Huang et al. have half of it

    Args:
        stages (Tensor[B, T, K, h, w] or [B, T, 3 K, h, w], or several of them): the maps, or those of each stage of a
            network that is supervised at several depths.
        targets: the wanted maps, of the same shape.
        weights (Tensor[B, T, K]): 1 for joints that count (visible ones), 0 for others.
        normaliser (scalar Tensor): `weights.sum()` of all that one step is made of; where a batch comes in parts
            (accumulation, several ranks) the parts' losses and gradients then add up to those of the whole. None: these
            weights' own.

    Returns a scalar in float32 at least; exactly 0, with a gradient of zeros, when all weights are 0.
    """
    total = targets.new_zeros(())
    for maps in _stages(stages):
        three = maps.shape[:-2] == (*weights.shape[:-1], 3 * weights.shape[-1])
        if maps.shape != targets.shape or (weights.shape != maps.shape[:-2] and not three):
            raise ValueError(
                f"heatmap_loss: expected targets like heatmaps {list(maps.shape)} and weights "
                f"{list(maps.shape[:-2])}, got {list(targets.shape)} and {list(weights.shape)}"
            )
        errors = (maps.to(targets.dtype) - targets).square()
        if three:
            in_disc, across, down = errors.unflatten(-3, (-1, 3)).unbind(dim=-3)
            errors = in_disc + targets[..., ::3, :, :] * (across + down)
        total = total + (weights * errors.mean(dim=(-2, -1))).sum()
    return total / _normaliser(weights, normaliser)


def joint_loss(
    stages: Stages,
    joints: Tensor,
    weights: Tensor,
    *,
    codec: Codec,
    visible: Tensor | None = None,
    normaliser: Tensor | None = None,
) -> Tensor:
    """`heatmap_loss` against the Gaussians that `codec.encode` would draw about the joints, without drawing them.

    A Gaussian is a product of a column and a row, so heatmaps - targets takes one pass over the heat maps; the
    gradient is that difference times a factor per joint. Nothing cancels, as it would in
    sum H^2 - 2 sum H G + sum G^2, which was slower besides: with its gradient, 8 x 5 x 15 maps of 64 x 64 took 6.2 ms
    that way, 2.9 ms this way and 8.1 ms with explicit targets, on one core.

    Args:
        stages (Tensor[B, T, K, h, w], or several of them): predicted maps, of any floating dtype.
        joints (Tensor[B, T, K, 2]): pixels of the crop, x right, y down. No gradient.
        weights (Tensor[B, T, K]): 1 for joints that count, 0 for others. No gradient.
        codec: what the targets are, and the size of the maps.
        visible (Tensor[B, T, K]): more than 0 where a joint is to be seen (`Codec.hidden`); None: all are.
        normaliser: as in `heatmap_loss`.

    Maps of UDP's disc and offsets, of which there are three for each joint, are drawn, and given to `heatmap_loss`.

    Returns a scalar of the joints' dtype. It can be differentiated once.
    """
    if codec.maps == "offset":
        return heatmap_loss(stages, codec.encode(joints), weights.to(joints.dtype), normaliser=normaliser)
    down, across = codec.profiles(joints, visible)
    weights = weights.to(joints.dtype)
    shares = weights / _normaliser(weights, normaliser)
    total = joints.new_zeros(())
    for maps in _stages(stages):
        if joints.shape != (*maps.shape[:-2], 2) or weights.shape != maps.shape[:-2]:
            raise ValueError(
                f"joint_loss: expected joints {[*maps.shape[:-2], 2]} and weights {list(maps.shape[:-2])} for heatmaps "
                f"{list(maps.shape)}, got {list(joints.shape)} and {list(weights.shape)}"
            )
        if maps.shape[-2:] != codec.map_size:
            raise ValueError(
                f"joint_loss: expected heatmaps of {list(codec.map_size)} cells as the codec has them, got "
                f"{list(maps.shape)}"
            )
        total = total + _JointLoss.apply(maps.to(joints.dtype), down, across, shares)
    return total


def integral_loss(
    stages: Stages, joints: Tensor, weights: Tensor, *, codec: Codec, normaliser: Tensor | None = None
) -> Tensor:
    """The loss of PoseFix (Moon et al., "PoseFix: Model-agnostic General Human Pose Refinement Network"), whose maps
    are logarithms of where a joint is, up to a constant; `codec.decode` with "integral" takes the mean place.

        p = softmax over the cells of a map
        loss = sum_s sum_btk weights[b,t,k] * (-sum_cells target log p + |mean_x - x| + |mean_y - y|) / normaliser

    The target is the joint's place, shared out to the four cells about it; the means and distances are in cells, as
    theirs. They halve the sum of the two distances; here the halves are written out.

    Arguments and result as in `joint_loss`; it can be differentiated any number of times.
    """
    places = joints / joints.new_tensor(codec.cell)
    rows, columns = codec.map_size
    highest = places.new_tensor([columns - 1, rows - 1])
    inside = places.clamp(places.new_zeros(2), highest)
    corner = inside.floor().clamp(max=(highest - 1).clamp(min=0))
    share = inside - corner
    first = corner.long()
    second = torch.minimum(first + 1, highest.long())
    cells = torch.stack(
        [first[..., 1] * columns + first[..., 0], first[..., 1] * columns + second[..., 0]]
        + [second[..., 1] * columns + first[..., 0], second[..., 1] * columns + second[..., 0]],
        dim=-1,
    )
    right, down = share.unbind(-1)
    target = torch.stack(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], dim=-1
    )
    shares = weights.to(joints.dtype) / _normaliser(weights, normaliser)
    total = joints.new_zeros(())
    for maps in _stages(stages):
        if joints.shape != (*maps.shape[:-2], 2) or maps.shape[-2:] != codec.map_size:
            raise ValueError(
                f"integral_loss: expected heatmaps of {list(codec.map_size)} cells for joints {list(joints.shape)}, "
                f"got {list(maps.shape)}"
            )
        logs = maps.to(joints.dtype).flatten(-2).log_softmax(dim=-1)
        entropy = -(target * logs.gather(-1, cells)).sum(dim=-1)
        distance = (mean_place(logs.exp().unflatten(-1, codec.map_size)) - places).abs().mean(dim=-1)
        total = total + (shares * (entropy + distance)).sum()
    return total


def _stages(stages: Stages) -> tuple[Tensor, ...]:
    return (stages,) if isinstance(stages, Tensor) else stages


def _normaliser(weights: Tensor, given: Tensor | None) -> Tensor:
    return (weights.sum() if given is None else given).clamp(min=_FEWEST)


class _JointLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, heatmaps: Tensor, down: Tensor, across: Tensor, shares: Tensor) -> Tensor:
        differences = torch.addcmul(heatmaps, down[..., :, None], across[..., None, :], value=-1)
        errors = torch.linalg.vector_norm(differences, dim=(-2, -1)).square()
        rows, columns = heatmaps.shape[-2:]
        shares = shares / (rows * columns)
        ctx.save_for_backward(differences, shares)
        return (shares * errors).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        differences, shares = ctx.saved_tensors
        return differences * (2 * grad * shares)[..., None, None], None, None, None
