"""SimpleBaseline pose network (Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking")."""

from torch import Tensor, nn

from rpstn_ext.models.resnet import ResNet
from rpstn_ext.modules import JointRelationExtractor

# Weight that the normalisation of output maps starts with: about the standard deviation of a target heat map. From the
# usual 1 the first thousand steps of Adam do little but shrink it.
OUTPUT_NORM_WEIGHT = 0.1


class SimpleBaseline(ResNet):
    """A ResNet, three transposed convolutions that end at a quarter of the input, and a 1x1 convolution to K maps.

    Public SimpleBaseline checkpoints load by name, torchvision's ResNets into the trunk.

    Args:
        num_joints (int | None): K; None leaves the last convolution out, for use as a feature extractor.
        depth: "resnet18", "resnet34", "resnet50" or "resnet101".
        width (int): channels of the ResNet's first convolution, 64 in the standard networks.
        channels (int): channels of the transposed convolutions, 256 in the paper.
        relation (bool): a joint relation extractor with batch normalisation on the maps (the paper's "SBL-JRE").
        scale: of that extractor.

    Input: images (Tensor[B, 3, H, W]), RGB normalised by ImageNet's mean and deviation, H and W multiples of 32.
    Output: heat maps (Tensor[B, K, H/4, W/4]).

    Example:
        >>> SimpleBaseline(13, depth="resnet18")(torch.rand(1, 3, 256, 192)).shape
        torch.Size([1, 13, 64, 48])
    """

    def __init__(
        self,
        num_joints: int | None,
        *,
        depth: str = "resnet50",
        width: int = 64,
        channels: int = 256,
        relation: bool = False,
        scale: float | str = 1.0,
    ) -> None:
        super().__init__(depth, width=width)
        if relation and num_joints is None:
            raise ValueError("SimpleBaseline: expected num_joints for relation=True, got None")
        self.num_joints, self.depth, self.channels = num_joints, depth, channels
        layers: list[nn.Module] = []
        for number in range(3):
            in_channels = self.out_channels if number == 0 else channels
            deconvolution = nn.ConvTranspose2d(in_channels, channels, 4, 2, 1, bias=False)
            nn.init.normal_(deconvolution.weight, std=0.001)
            layers += [deconvolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = None
        if num_joints is not None:
            self.final_layer = nn.Conv2d(channels, num_joints, 1)
            nn.init.normal_(self.final_layer.weight, std=0.001)
            nn.init.zeros_(self.final_layer.bias)
        self.relation = None
        if relation:
            self.relation = JointRelationExtractor(num_joints, norm=True, scale=scale)
            nn.init.constant_(self.relation.norm.weight, OUTPUT_NORM_WEIGHT)

    def features(self, images: Tensor) -> Tensor:
        """What the heat maps are made of: Tensor[B, channels, H/4, W/4]."""
        return self.deconv_layers(self.trunk(images))

    def forward(self, images: Tensor) -> Tensor:
        values = self.features(images)
        if self.final_layer is not None:
            values = self.final_layer(values)
        return values if self.relation is None else self.relation(values)
