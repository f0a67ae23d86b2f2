"""Relations fitted to maps that stay as they are, and what a fitted one does with other matrices than its own.

A head stands where R stands in a network: it gets the maps in front of the network's last normalisation and ends with
that normalisation, which begins as the trained network has it. So every head that starts as the identity begins as the
network itself, and what it gains is its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rpstn_ext.models import relations

from ..codec import Codec
from ..train.losses import joint_loss

CONTROL = "control"
TWICE = "control_twice"


@dataclass(frozen=True)
class Head:
    """A relation of `rpstn_ext.models.relations` and how it starts; `relation` None: two normalisations and nothing
    else, which no network has as an option.
    """

    relation: str | None
    start: str = "identity"


HEADS = {
    CONTROL: Head("none"),
    TWICE: Head(None),
    "static": Head("static"),
    "jre": Head("jre"),
    "jre_random": Head("jre", "random"),
    "refinement_head": Head("refinement_head"),
    "non_local": Head("non_local"),
    "displacement": Head("displacement"),
    "displacement_gated": Head("displacement_gated"),
    "displacement_multiplying": Head("displacement_multiplying"),
}


class _Twice(nn.Module):
    """What the paper's JRE brings besides the relation, once more: a normalisation behind a normalisation."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.first, self.norm = _copied(norm), relations.output_norm(norm.num_features)
        self.norm.load_state_dict(norm.state_dict())
        with torch.no_grad():
            self.first.weight.fill_(1.0), self.first.bias.zero_()
            self.norm.running_mean.zero_(), self.norm.running_var.fill_(1.0)

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(self.first(maps))


def build_head(name: str, norm: nn.BatchNorm2d) -> nn.Module:
    """A new head for maps in front of `norm`, a network's last normalisation, of which it gets a copy."""
    head = HEADS[name]
    if head.relation is None:
        return _Twice(norm)
    relation = relations.build(head.relation, norm.num_features, start=head.start)
    if relation is None:
        return _copied(norm)
    relation.norm.load_state_dict(norm.state_dict())
    return relation


def _copied(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    copy = relations.output_norm(norm.num_features)
    copy.load_state_dict(norm.state_dict())
    return copy


def fit(
    head: nn.Module,
    maps: Callable[[Tensor], Tensor],
    joints: Tensor,
    weights: Tensor,
    codec: Codec,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> float:
    """Adam on the loss of a training, batches drawn at random by the seed; the loss of the last tenth of the steps.

    Args:
        head: changed in place, and left in evaluation mode.
        maps: numbers of frames (Tensor[n]) to their maps (Tensor[n, K, h, w]).
        joints (Tensor[N, K, 2]): pixels of the crop.
        weights (Tensor[N, K]): 1 for joints that count.
    """
    optimizer = torch.optim.Adam(head.parameters(), lr=learning_rate)
    random = torch.Generator().manual_seed(seed)
    losses = []
    head.train()
    for _ in range(steps):
        chosen = torch.randint(len(joints), (batch_size,), generator=random)
        loss = joint_loss(head(maps(chosen)), joints[chosen], weights[chosen], codec=codec)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    head.eval()
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


CONTROLS = ("another frame's", "identity", "left out")


def with_other_weights(relation: nn.Module, maps: Tensor, control: str, *, away: int) -> Tensor:
    """What a trained JRE makes of maps [N, K, h, w] with other relational weights than those of the frame itself:
    those of the frame `away` places on, each joint for itself, or without the relation.
    """
    if control == "left out":
        return relation.norm(maps)
    _, weights = relation.relation(maps)
    if control == "another frame's":
        weights = weights.roll(away, dims=0)
    elif control == "identity":
        weights = torch.eye(maps.shape[1], dtype=weights.dtype, device=weights.device).expand_as(weights)
    else:
        raise ValueError(
            f"with_other_weights: expected one of {', '.join(CONTROLS)} as control, got {control!r}"
        )
    messages = (weights @ relation.conv_g(maps).flatten(2)).view_as(maps)
    return relation.norm(relation.conv_o(messages) + maps)
