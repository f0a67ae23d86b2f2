"""HRNet (Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation"), by its public names."""

from torch import Tensor, nn

from rpstn_ext.models.backbones.resnet import BasicBlock, Bottleneck

# name: channels of the branch of stride 4, in the published network
CHANNELS = {"hrnet_w32": 32, "hrnet_w48": 48}
# Exchange units of the stages with 2, 3 and 4 branches
MODULES = (1, 4, 3)
BLOCKS = 4  # residual blocks of a branch in each unit


def _conv3x3(in_channels: int, channels: int, stride: int, *, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class ExchangeUnit(nn.Module):
    """Branches of halving resolution, each residual blocks, and their exchange: with X_j the branches' results

        Y_i = ReLU(sum_j T_ij(X_j))

    T_ij is the identity for i = j; a 1x1 convolution, its normalisation and nearest-neighbour upsampling by 2^(j-i)
    for a coarser j; and i-j 3x3 convolutions of stride 2 with normalisation, a ReLU between them, for a finer j
    (Fig. 3 of the paper).

    Args:
        channels: of each branch, the finest first.
        outputs (int): how many Y there are; the last unit of a network needs the finest alone.

    Input: list of Tensor[N, channels[j], H/2^j, W/2^j]. Output: list of `outputs` such tensors.

    Example:
        >>> import torch
        >>> unit = ExchangeUnit((4, 8), outputs=1)
        >>> unit([torch.rand(1, 4, 8, 6), torch.rand(1, 8, 4, 3)])[0].shape
        torch.Size([1, 4, 8, 6])
    """

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width, 1) for _ in range(BLOCKS))) for width in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(channels, source, target) for source in range(len(channels)))
            for target in range(outputs)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, values: list[Tensor]) -> list[Tensor]:
        values = [branch(value) for branch, value in zip(self.branches, values)]
        fused = []
        for layers in self.fuse_layers:
            total = layers[0](values[0])
            for layer, value in zip(layers[1:], values[1:]):
                total = total + layer(value)
            fused.append(self.relu(total))
        return fused


def _exchange(channels: tuple[int, ...], source: int, target: int) -> nn.Module:
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            nn.Conv2d(channels[source], channels[target], 1, bias=False),
            nn.BatchNorm2d(channels[target]),
            nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
        )
    steps = [_conv3x3(channels[source], channels[source], 2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, _conv3x3(channels[source], channels[target], 2, relu=False))


class HRNet(nn.Module):
    """Four stages that keep the resolution of stride 4 and add a branch of half the last one's each.

    The network without its last convolution: public pose files of it load by name.

    Args:
        name (str): "hrnet_w32" or "hrnet_w48".
        width (int): channels of the first convolution, 64 in the published networks; all others follow in proportion.

    Input: images (Tensor[N, 3, H, W]), H and W multiples of 32. Output: features (Tensor[N, channels, H/4, W/4]) of
    the finest branch, whose number of channels is the network's own: 32 or 48 at the published width.

    Raises:
        ValueError: the name is not known.

    Example:
        >>> import torch
        >>> network = HRNet("hrnet_w32", width=8)
        >>> network(torch.rand(2, 3, 64, 96)).shape, network.channels
        (torch.Size([2, 4, 16, 24]), 4)
    """

    stride = 4
    multiple = 32
    optional_in_files = ()
    ignored_in_files = ("final_layer", "relation", "norm")
    renamed_in_files = (("keypoint_head.", ""), ("head.", ""))  # mmpose

    def __init__(self, name: str, *, width: int = 64) -> None:
        super().__init__()
        if name not in CHANNELS:
            raise ValueError(f"HRNet: expected one of {', '.join(CHANNELS)}, got {name!r}")
        self.name, self.channels = name, max(1, CHANNELS[name] * width // 64)
        self.conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        wide = width * Bottleneck.expansion
        self.layer1 = nn.Sequential(
            Bottleneck(width, width, 1), *(Bottleneck(wide, width, 1) for _ in range(3))
        )
        reached = (wide,)
        for stage, modules in enumerate(MODULES, start=2):
            channels = tuple(self.channels * 2**branch for branch in range(stage))
            setattr(self, f"transition{stage - 1}", _transition(reached, channels))
            last = stage == len(MODULES) + 1
            units = [
                ExchangeUnit(channels, outputs=1 if last and number == modules - 1 else stage)
                for number in range(modules)
            ]
            setattr(self, f"stage{stage}", nn.Sequential(*units))
            reached = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        values = self.relu(self.bn1(self.conv1(images)))
        values = self.relu(self.bn2(self.conv2(values)))
        branches = [self.layer1(values)]
        for stage in range(2, len(MODULES) + 2):
            # A new branch begins at the coarsest there is; the others go on as they are, or with other channels.
            transition = getattr(self, f"transition{stage - 1}")
            sources = [*branches, branches[-1]]
            branches = getattr(self, f"stage{stage}")([layer(x) for layer, x in zip(transition, sources)])
        return branches[0]


def _transition(before: tuple[int, ...], after: tuple[int, ...]) -> nn.ModuleList:
    """To one branch more: the new one by a 3x3 convolution of stride 2, one level deeper in names than the others."""
    kept = [
        nn.Identity() if theirs == ours else _conv3x3(theirs, ours, 1) for theirs, ours in zip(before, after)
    ]
    return nn.ModuleList([*kept, nn.Sequential(_conv3x3(before[-1], after[-1], 2))])
