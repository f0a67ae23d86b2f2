"""S-ViPNAS-Res50 (Xu et al., "ViPNAS: Efficient Video Pose Estimation via Neural Architecture Search"), by the names
of mmpose."""

from torch import Tensor, nn

from rpstn_ext.models.backbones.deconvolutions import deconvolutions

GROUPS = 16  # of the middle convolutions and of the head
STEM, HEAD = 48, 144  # channels
# What the search found, per stage: blocks, channels, kernel of the middle convolution, whether there is context
STAGES = ((4, 80, 3, True), (6, 160, 5, False), (7, 304, 5, True), (3, 608, 5, True))


class GlobalContext(nn.Module):
    """The same vector added to every pixel, made of all of them (the block of Cao et al., "GCNet"): with X_p a pixel

        Y_p = X_p + W_2 ReLU(LayerNorm(W_1 sum_q a_q X_q)),  a = softmax over the pixels q of w X_q

    It begins as the identity: W_2 is zero.

    Input and output: Tensor[N, channels, H, W].

    Example:
        >>> import torch
        >>> values = torch.rand(1, 8, 3, 5)
        >>> bool((GlobalContext(8)(values) == values).all())
        True
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(16, channels // 16)
        self.conv_mask = nn.Conv2d(channels, 1, 1)
        self.channel_add_conv = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.LayerNorm([hidden, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
        )
        nn.init.kaiming_normal_(self.conv_mask.weight)
        nn.init.zeros_(self.conv_mask.bias)
        nn.init.zeros_(self.channel_add_conv[3].weight)
        nn.init.zeros_(self.channel_add_conv[3].bias)

    def forward(self, values: Tensor) -> Tensor:
        attention = self.conv_mask(values).flatten(2).softmax(-1)  # [N, 1, H*W]
        context = values.flatten(2) @ attention.transpose(1, 2)  # [N, channels, 1]
        return values + self.channel_add_conv(context.unsqueeze(-1))


class Block(nn.Module):
    """1x1, grouped kxk (with the stride) and 1x1 convolutions of as many channels, perhaps context, and a residual.

    The last normalisation begins at zero, so that a block begins as its residual.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, context: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=GROUPS, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.bn3.weight)
        self.attention = GlobalContext(channels) if context else None

    def forward(self, values: Tensor) -> Tensor:
        residual = values if self.downsample is None else self.downsample(values)
        values = self.relu(self.bn1(self.conv1(values)))
        values = self.relu(self.bn2(self.conv2(values)))
        values = self.bn3(self.conv3(values))
        if self.attention is not None:
            values = self.attention(values)
        return self.relu(values + residual)


class ViPNAS(nn.Module):
    """The searched ResNet of S-ViPNAS-Res50, and its head of three grouped transposed convolutions.

    The network without its last convolution: mmpose's files of it load by name.

    Args:
        width (int): 64 is the published network; the channels of all layers follow in proportion, but those of grouped
            convolutions are multiples of 16.

    Input: images (Tensor[N, 3, H, W]), H and W multiples of 32. Output: features (Tensor[N, channels, H/4, W/4]),
    whose number of channels is the network's own: 144 at the published width.

    Example:
        >>> import torch
        >>> network = ViPNAS(width=8)
        >>> network(torch.rand(2, 3, 64, 96)).shape, network.channels
        (torch.Size([2, 16, 16, 24]), 16)
    """

    name = "vipnas_res50"
    stride = 4
    multiple = 32
    optional_in_files = ()
    ignored_in_files = ("final_layer", "relation", "norm")
    renamed_in_files = (("keypoint_head.", ""), ("head.", ""))  # mmpose

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return GROUPS * max(1, round(channels * width / (64 * GROUPS)))

        self.channels = scaled(HEAD)
        stem = max(1, STEM * width // 64)
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        reached = stem
        for stage, (count, channels, kernel, context) in enumerate(STAGES):
            blocks = []
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(Block(reached, scaled(channels), kernel, stride, context))
                reached = scaled(channels)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.deconv_layers = deconvolutions(reached, self.channels, 3, groups=GROUPS)

    def forward(self, images: Tensor) -> Tensor:
        values = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        values = self.layer4(self.layer3(self.layer2(self.layer1(values))))
        return self.deconv_layers(values)
