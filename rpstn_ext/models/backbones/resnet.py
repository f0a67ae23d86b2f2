"""ResNet (He et al., "Deep Residual Learning") with SimpleBaseline's transposed convolutions, by their public names."""

from torch import Tensor, nn

from rpstn_ext.models.backbones.deconvolutions import deconvolutions

# name: (blocks per stage, whether they are bottlenecks)
DEPTHS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(self, values: Tensor) -> Tensor:
        residual = values if self.downsample is None else self.downsample(values)
        values = self.relu(self.bn1(self.conv1(values)))
        return self.relu(self.bn2(self.conv2(values)) + residual)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions and a residual."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, values: Tensor) -> Tensor:
        residual = values if self.downsample is None else self.downsample(values)
        values = self.relu(self.bn1(self.conv1(values)))
        values = self.relu(self.bn2(self.conv2(values)))
        return self.relu(self.bn3(self.conv3(values)) + residual)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class ResNet(nn.Module):
    """A ResNet without its classifier, and three transposed convolutions that end at a quarter of the input.

    SimpleBaseline's network without its last convolution (Xiao et al., "Simple Baselines for Human Pose Estimation and
    Tracking"): public files of it load by name, torchvision's ResNets into all but `deconv_layers`.

    Args:
        name (str): "resnet18", "resnet34", "resnet50", "resnet101" or "resnet152".
        width (int): channels of the first convolution, 64 in the published networks; the others follow in proportion.
        channels (int): channels of the transposed convolutions, 256 in the published networks.
        in_channels (int): of the images; 3 + K for a network that refines poses (`models.build("posefix")`).

    Input: images (Tensor[N, in_channels, H, W]), H and W multiples of 32. Output: features
    (Tensor[N, channels, H/4, W/4]).

    Raises:
        ValueError: the name is not known.

    Example:
        >>> import torch
        >>> ResNet("resnet18", width=8, channels=16)(torch.rand(2, 3, 64, 96)).shape
        torch.Size([2, 16, 16, 24])
    """

    stride = 4
    multiple = 32
    optional_in_files = ("deconv_layers",)
    ignored_in_files = ("fc", "final_layer", "relation", "norm")
    renamed_in_files = (("keypoint_head.", ""), ("head.", ""))  # mmpose

    def __init__(self, name: str, *, width: int = 64, channels: int = 256, in_channels: int = 3) -> None:
        super().__init__()
        if name not in DEPTHS:
            raise ValueError(f"ResNet: expected one of {', '.join(DEPTHS)}, got {name!r}")
        self.name, self.channels, self.in_channels = name, channels, in_channels
        blocks, bottleneck = DEPTHS[name]
        block = Bottleneck if bottleneck else BasicBlock
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        reached = width
        for stage, count in enumerate(blocks):
            layers = []
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                layers.append(block(reached, width * 2**stage, stride))
                reached = width * 2**stage * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.deconv_layers = deconvolutions(reached, channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        values = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        values = self.layer4(self.layer3(self.layer2(self.layer1(values))))
        return self.deconv_layers(values)
