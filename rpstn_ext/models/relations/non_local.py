"""The non-local block, which relates pixels."""

import torch.nn.functional as F
from torch import Tensor, nn

from rpstn_ext.models.relations.base import Relation, start_at_zero

_LANES = 8  # attention kernels of GPUs take rows of so many channels, others fall back to all pairs in memory


class NonLocal(Relation):
    """The relation "non_local", "RPSTN-NL" of Table I: the block of Fig. 4 (Wang et al., "Non-local Neural Networks",
    embedded Gaussian) on the maps. With X [HW, K] the maps as rows of pixels

        Z = W(softmax of the rows of (theta X)(phi X)^T, times g X) + X

    theta, phi and g are 1x1 convolutions from K to max(K // 2, 1) channels, W one back to K. Halving is the block's
    own rule; the paper does not say what it takes for K maps. The block's normalisation behind W is left out: `norm`
    follows the sum, as behind every relation here. The HW x HW matrix (4096^2 at 64x64) is not kept in memory where
    PyTorch has an attention kernel for the device: on a CPU 8 samples of 64x64 take 28 MiB forward and backward in
    float32 (PyTorch 2.13), where one such matrix for each would be 512 MiB.

    Args:
        num_joints, norm: as `Relation`.
        start (str): "identity": W begins at zero.

    Example:
        >>> import torch
        >>> maps = torch.rand(2, 13, 16, 12)
        >>> torch.equal(NonLocal(13, norm=False)(maps), maps)
        True
    """

    def __init__(self, num_joints: int, *, norm: bool, start: str = "identity") -> None:
        super().__init__(num_joints, norm=norm)
        self.inner = max(num_joints // 2, 1)
        self.theta = nn.Conv2d(num_joints, self.inner, 1)
        self.phi = nn.Conv2d(num_joints, self.inner, 1)
        self.g = nn.Conv2d(num_joints, self.inner, 1)
        self.W = nn.Conv2d(self.inner, num_joints, 1)
        start_at_zero(self.W, start)

    def related(self, maps: Tensor) -> Tensor:
        query, key, value = (
            F.pad(conv(maps).flatten(2).mT, (0, -self.inner % _LANES)).unsqueeze(1)
            for conv in (self.theta, self.phi, self.g)
        )
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        attended = attended[:, 0, :, : self.inner].mT.unflatten(2, maps.shape[2:])
        return self.W(attended) + maps
