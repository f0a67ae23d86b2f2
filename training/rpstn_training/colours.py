"""Networks that were trained on pictures normalised in another way than ours (`codec.normalise`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rpstn_ext.models import Network, Stages

from .codec import MEAN, STD


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """(colour - mean) / std of red, green and blue on [0, 1], as a network was trained with.

    SimpleBaseline, for example, took OpenCV's blue, green and red for red, green and blue: its red has the mean of
    ImageNet's blue.
    """

    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def to_dict(self) -> dict[str, list[float]]:
        """Plain types, as checkpoints hold them; `from_dict` reads them."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Normalisation":
        return cls(**{name: tuple(float(value) for value in values) for name, values in plain.items()})


class Renormalised(Network):
    """A network behind a change of its images' normalisation: takes ours, as every network here, and gives it its own.

        image' = image * ours.std / its.std + (ours.mean - its.mean) / its.std

    That is done to the image and not folded into the first convolution, where zeros around the image stand for its own
    mean colour: the maps are those of the network where it comes from.

    Args:
        network (Network): trained with `normalisation`; its channels are red, green and blue.
        normalisation (Normalisation): its own.
    """

    def __init__(self, network: Network, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network
        self.temporal, self.num_joints = network.temporal, network.num_joints
        self.stride, self.multiple, self.parts = network.stride, network.multiple, ("network",)
        own_mean, own_std = torch.tensor(normalisation.mean), torch.tensor(normalisation.std)
        scale, offset = torch.tensor(STD) / own_std, (torch.tensor(MEAN) - own_mean) / own_std
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("offset", offset[:, None, None], persistent=False)

    def forward(self, clip: Tensor) -> Stages:
        return self.network(clip * self.scale + self.offset)

    def start(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.start(frame * self.scale + self.offset)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.step(frame * self.scale + self.offset, state)


def renormalised(network: nn.Module, normalisation: Normalisation) -> nn.Module:
    """The network as it is, or `Renormalised` where its normalisation is not ours."""
    return network if normalisation == Normalisation() else Renormalised(network, normalisation)
