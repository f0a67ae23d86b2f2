"""Networks for single images: a backbone, a 1x1 convolution to one map per joint, and a relation of the joints."""

from typing import Any

from torch import Tensor, nn

from rpstn_ext.models import relations
from rpstn_ext.models.network import ImageNetwork, Stages


class PoseNetwork(ImageNetwork):
    """Heat maps of single images: with B the backbone and R the relation

        M = R(Conv(B(I)))

    On a ResNet with transposed convolutions and without a relation this is SimpleBaseline (Xiao et al., "Simple
    Baselines for Human Pose Estimation and Tracking"); with the joint relation extractor it is the paper's "SBL-JRE"
    (Table VIII), which has no batch normalisation behind it. State dicts in which the backbone's names stand alone
    (`conv1.weight`, `layer1.0.conv1.weight`), as public files and earlier versions have them, load as those with
    `backbone.` before them.

    Args:
        backbone (nn.Module): images [N, 3, H, W] to features (`rpstn_ext.models.backbones`).
        num_joints (int): K.
        relation (str): what follows the convolution (`rpstn_ext.models.relations.RELATIONS`).
        relation_start (str): "identity" or "random": whether it begins as its normalisation alone, or as nothing.
        relation_norm (bool): batch normalisation behind the relation, also behind "none".
        scale: of the joint relation, a number > 0 or "learnable".
        limbs: pairs of connected joints, for the relation "repose".

    Input: clip (Tensor[B, T, 3, H, W]) or images (Tensor[N, 3, H, W]), RGB normalised by ImageNet's mean and
    deviation. Output: heat maps (Tensor[B, T, K, H/stride, W/stride] or Tensor[N, K, H/stride, W/stride]); of a
    backbone that predicts maps on the way a tuple, with theirs before, in which the relation has no part.

    Raises:
        ValueError: an option is not known, num_joints is below 1; in a call, another shape, or a height or width that
            does not divide by `multiple`.

    Example:
        >>> import torch
        >>> from rpstn_ext.models import backbones
        >>> network = PoseNetwork(backbones.build("resnet18", num_joints=13), 13)
        >>> network(torch.rand(1, 3, 256, 192)).shape
        torch.Size([1, 13, 64, 48])
        >>> network(torch.rand(1, 2, 3, 64, 64)).shape
        torch.Size([1, 2, 13, 16, 16])
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_joints: int,
        *,
        relation: str = "none",
        relation_start: str = "identity",
        relation_norm: bool = False,
        scale: float | str = 1.0,
        limbs: relations.Limbs | None = None,
    ) -> None:
        super().__init__()
        if num_joints < 1:
            raise ValueError(f"PoseNetwork: expected num_joints of at least 1, got {num_joints}")
        self.num_joints, self.stride, self.multiple = num_joints, backbone.stride, backbone.multiple
        self.in_channels = getattr(backbone, "in_channels", 3)
        self.optional_in_files = ("relation", "norm", "final_layer", *backbone.optional_in_files)
        self.ignored_in_files = backbone.ignored_in_files
        self.renamed_in_files = getattr(backbone, "renamed_in_files", ())
        self.per_joint = getattr(backbone, "per_joint", ())
        self.backbone = backbone
        self.final_layer = nn.Conv2d(backbone.channels, num_joints, 1)
        nn.init.normal_(self.final_layer.weight, std=0.001)
        nn.init.zeros_(self.final_layer.bias)
        self.relation = relations.build(
            relation, num_joints, norm=relation_norm, start=relation_start, scale=scale, limbs=limbs
        )
        self.norm = relations.output_norm(num_joints) if self.relation is None and relation_norm else None
        self.register_load_state_dict_pre_hook(_with_backbone)

    def frames(self, images: Tensor) -> Stages:
        if hasattr(self.backbone, "stages"):
            earlier, features = self.backbone.stages(images)
            return *earlier, self.maps_of(features)
        return self.maps_of(self.backbone(images))

    def maps_of(self, features: Tensor) -> Tensor:
        """The maps [N, K, h, w] of the backbone's features [N, C, h, w]."""
        maps = self.final_layer(features)
        if self.relation is not None:
            return self.relation(maps)
        return maps if self.norm is None else self.norm(maps)


def _with_backbone(network: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Gives the backbone's names in a state dict their `backbone.`, where they stand without it."""
    children = {name.partition(".")[0] for name in network.backbone.state_dict()}
    for name in list(state):
        inner = name.removeprefix(prefix)
        if name.startswith(prefix) and inner.partition(".")[0] in children:
            full = f"{prefix}backbone.{inner}"
            if full not in state:
                state[full] = state.pop(name)
