"""Relations that look for a joint at an offset from the others."""

import torch
from torch import Tensor, nn

from rpstn_ext.models.relations.base import Relation, start_at_zero
from rpstn_ext.models.relations.coarse import pooled, upsampled
from rpstn_ext.modules import relational_weights

CELLS = 16  # coarse cells along the longer side at most, so that a kernel reaches as far over a person on any maps
SIZE = 21  # of the kernels, in coarse cells: 10 to each side, nearly any other joint


def factor(maps: Tensor) -> int:
    """By what maps (Tensor[N, K, h, w]) are pooled.

    Example:
        >>> factor(torch.rand(1, 2, 64, 48)), factor(torch.rand(1, 2, 24, 24)), factor(torch.rand(1, 2, 16, 12))
        (4, 2, 1)
    """
    return -(-max(maps.shape[2:]) // CELLS)


class Displacement(Relation):
    """The relation "displacement": where the joints are says where a joint should be; no row of the paper (Tompson et
    al., "Joint Training of a Convolutional Network and a Graphical Model for Human Pose Estimation").

        Z = D + M,      D = up(C(pool(M)))

    A mixture of maps can only have peaks where another joint has one; C, a convolution of 21x21 from K to K on pooled
    maps, moves them. They are pooled to 16 cells at most along the longer side (`factor`), 64x64 by 4 and 24x24 by 2:
    a crop is as large as its person, so an offset is a share of the crop, whatever its maps' resolution.

    In a small study (docs/study.md), with hidden joints in the loss, it finds 4.6 [1.2, 8.2] points more of them when
    fitted to the maps of a trained image network, 1.1 [-1.2, 3.3] to those of an RPSTN, and 1.0 [-0.4, 2.5] when all of
    the image network is trained with it. It takes 12 % of a training step of the demo's network and 5 % of a streaming
    step, on one thread of a CPU.

    Args:
        num_joints, norm: as `Relation`.
        start (str): "identity": C begins at zero.

    Example:
        >>> import torch
        >>> relation, maps = Displacement(13, norm=False), torch.zeros(1, 13, 64, 64)
        >>> maps[0, 3, 32:36, 32:36] = 1
        >>> with torch.no_grad():
        ...     relation.conv.weight[5, 3, 10 - 2, 10] = 1  # joint 5 is 2 x 4 cells below joint 3
        >>> [index.tolist() for index in relation(maps)[0, 5].eq(relation(maps)[0, 5].max()).nonzero()][0]
        [41, 33]
    """

    def __init__(self, num_joints: int, *, norm: bool, start: str = "identity") -> None:
        super().__init__(num_joints, norm=norm)
        self.conv = nn.Conv2d(num_joints, num_joints, SIZE, padding=SIZE // 2)
        start_at_zero(self.conv, start)

    def related(self, maps: Tensor) -> Tensor:
        return maps + self.displaced(maps)

    def displaced(self, maps: Tensor) -> Tensor:
        """D [N, K, h, w]."""
        by = factor(maps)
        return upsampled(self.conv(pooled(maps, by)), maps.shape[2:], by)


class GatedDisplacement(Displacement):
    """The relation "displacement_gated": `Displacement` where the relation gives a joint's weight to others.

        Z_k = (1 - W_r,kk) D_k + M_k,      W_r = softmax of the rows of M M^T (equation 6)

    Args, input and output: as `Displacement`.

    Example:
        >>> relation = GatedDisplacement(13, norm=True)
        >>> [tuple(matrix.shape) for matrix in relation.relation(torch.rand(2, 13, 16, 12))]
        [(2, 13, 13), (2, 13, 13)]
    """

    def related(self, maps: Tensor) -> Tensor:
        _, weights = self.relation(maps)
        gate = 1 - weights.diagonal(dim1=1, dim2=2)
        return maps + gate.to(maps.dtype)[:, :, None, None] * self.displaced(maps)

    def relation(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The correlation M M^T and W_r, two Tensor[N, K, K], as `JointRelationExtractor.relation`."""
        return relational_weights(maps)


class MultiplyingDisplacement(Displacement):
    """The relation "displacement_multiplying": evidence added in the logarithm, as independent sources of it combine.

        Z = exp(log(M + e) + D') - e    where M >= 0,      D' = 8 tanh(D / 8)

    and M + e (exp(D') - 1) where M is negative, which has no logarithm: the two meet at 0. e = 0.01 of a unit peak, so
    that a joint can appear where its own map has nothing. D' keeps the factor within exp(8). Both numbers are ours.

    Args, input and output: as `Displacement`.

    Example:
        >>> maps = torch.rand(2, 13, 16, 12)
        >>> torch.equal(MultiplyingDisplacement(13, norm=False)(maps), maps)
        True
    """

    FLOOR = 0.01
    LIMIT = 8.0

    def related(self, maps: Tensor) -> Tensor:
        evidence = self.LIMIT * torch.tanh(self.displaced(maps) / self.LIMIT)
        return maps + (maps.clamp(min=0) + self.FLOOR) * torch.expm1(evidence)
