"""The paper's joint relation extractor as a relation, and the one that its Table I puts behind two convolutions."""

from torch import Tensor, nn

from rpstn_ext.models.relations.base import OUTPUT_NORM_WEIGHT, convolution_before_relu
from rpstn_ext.modules import JointRelationExtractor


def joint_relation(
    num_joints: int, *, norm: bool, start: str = "identity", scale: float | str = 1.0
) -> JointRelationExtractor:
    """The relation "jre": equations 6 to 9, with `norm` equation 4; its normalisation's weight starts at 0.1.

    Example:
        >>> sum(p.numel() for p in joint_relation(13, norm=False).parameters())  # 2 K^2 weights and 2 K biases
        364
    """
    relation = JointRelationExtractor(num_joints, norm=norm, scale=scale, start=start)
    if norm:
        nn.init.constant_(relation.norm.weight, OUTPUT_NORM_WEIGHT)
    return relation


class ConvolvedJointRelation(nn.Module):
    """The relation "jre_2convs", "RPSTN-JRE-2Convs" of Table I: two further convolutions on the pseudo maps, then
    JRE. With E = C_2(ReLU(C_1(M)))

        Z = Conv_o(W_r Conv_g(E)) + E,      W_r = softmax of the rows of scale * E E^T

    The paper gives neither size nor activation: 3x3 from K to K and a ReLU between them are ours. The two begin at
    random, because what the row asks is how JRE works on maps that are mixed; `start` is that of JRE.

    Args, input and output: as `joint_relation`.

    Example:
        >>> import torch
        >>> ConvolvedJointRelation(13, norm=True)(torch.rand(2, 13, 16, 12)).shape
        torch.Size([2, 13, 16, 12])
    """

    def __init__(
        self, num_joints: int, *, norm: bool, start: str = "identity", scale: float | str = 1.0
    ) -> None:
        super().__init__()
        self.joints = joint_relation(num_joints, norm=norm, start=start, scale=scale)
        self.convs = nn.Sequential(
            convolution_before_relu(num_joints, num_joints, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(num_joints, num_joints, 3, padding=1),
        )

    @property
    def norm(self) -> nn.Module | None:
        return self.joints.norm

    def forward(self, maps: Tensor, *, apply_norm: bool = True, norm: nn.Module | None = None) -> Tensor:
        return self.joints(self.convs(maps), apply_norm=apply_norm, norm=norm)

    def relation(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Correlation and relational weights [N, K, K] of the convolved maps, as `JointRelationExtractor.relation`."""
        return self.joints.relation(self.convs(maps))
