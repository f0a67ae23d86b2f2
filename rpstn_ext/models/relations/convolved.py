"""Relations that are convolutions and nothing else: what an explicit relation is to be compared with."""

import torch.nn.functional as F
from torch import Tensor, nn

from rpstn_ext.models.relations.base import Relation, convolution_before_relu, start_at_zero


class RefinementHead(Relation):
    """The relation "refinement_head", "RPSTN-RF-Head" of Table I: "a refinement head with 2 convolutional layers".

        Z = C_2(ReLU(C_1(M))) + M

    The paper says no more: 3x3 from K to K, the ReLU and the sum are ours, so that it refines maps that are there.

    Args:
        num_joints, norm: as `Relation`.
        start (str): "identity": C_2 begins at zero.

    Example:
        >>> import torch
        >>> maps = torch.rand(2, 13, 16, 12)
        >>> torch.equal(RefinementHead(13, norm=False)(maps), maps)
        True
    """

    def __init__(self, num_joints: int, *, norm: bool, start: str = "identity") -> None:
        super().__init__(num_joints, norm=norm)
        self.conv1 = convolution_before_relu(num_joints, num_joints, 3)
        self.conv2 = nn.Conv2d(num_joints, num_joints, 3, padding=1)
        start_at_zero(self.conv2, start)

    def related(self, maps: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(maps))) + maps


class StaticMix(Relation):
    """The relation "static", a control and no row of the paper: JRE with the same weights for every picture.

        Z = C(M) + M,      C a 1x1 convolution from K to K

    Args:
        num_joints, norm: as `Relation`.
        start (str): "identity": C begins at zero.

    Example:
        >>> sum(p.numel() for p in StaticMix(13, norm=False).parameters())
        182
    """

    def __init__(self, num_joints: int, *, norm: bool, start: str = "identity") -> None:
        super().__init__(num_joints, norm=norm)
        self.conv = nn.Conv2d(num_joints, num_joints, 1)
        start_at_zero(self.conv, start)

    def related(self, maps: Tensor) -> Tensor:
        return self.conv(maps) + maps
