"""Stacked hourglasses (Newell et al., "Stacked Hourglass Networks for Human Pose Estimation"), by the names of
pytorch-pose's `hg`."""

from torch import Tensor, nn
from torch.nn import functional

STACKS = {"hourglass2": 2, "hourglass8": 8}
DEPTH = 4  # poolings of an hourglass


class PreActivated(nn.Module):
    """BatchNorm, ReLU and a 1x1, the same and a 3x3, the same and a 1x1 convolution, and a residual."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, inner, 1)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, 1, 1)
        self.bn3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1)
        self.downsample = (
            None if in_channels == channels else nn.Sequential(nn.Conv2d(in_channels, channels, 1))
        )

    def forward(self, values: Tensor) -> Tensor:
        residual = values if self.downsample is None else self.downsample(values)
        values = self.conv1(functional.relu(self.bn1(values)))
        values = self.conv2(functional.relu(self.bn2(values)))
        return self.conv3(functional.relu(self.bn3(values))) + residual


def _residual(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(PreActivated(in_channels, channels))  # public files count the blocks of a place


class Hourglass(nn.Module):
    """Down four times and up again, with a way across at every resolution: at level n, n = 4 the finest,

        H_n(X) = A_n(X) + up(C_n(H_{n-1}(B_n(pool(X)))))

    A, B, C residual blocks, pool 2x2 maximum, up nearest neighbours; H_0 is one more residual block D
    (Fig. 3 of the paper). `hg[n - 1]` holds A_n, B_n, C_n, and `hg[0]` also D.

    Input and output: Tensor[N, channels, H, W], H and W multiples of 16.

    Example:
        >>> import torch
        >>> Hourglass(8)(torch.rand(1, 8, 32, 16)).shape
        torch.Size([1, 8, 32, 16])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hg = nn.ModuleList(
            nn.ModuleList(_residual(channels, channels) for _ in range(3 if level else 4))
            for level in range(DEPTH)
        )

    def forward(self, values: Tensor) -> Tensor:
        return self._level(DEPTH - 1, values)

    def _level(self, level: int, values: Tensor) -> Tensor:
        across, down, up = self.hg[level][:3]
        low = down(functional.max_pool2d(values, 2))
        low = self._level(level - 1, low) if level else self.hg[0][3](low)
        return across(values) + functional.interpolate(up(low), scale_factor=2, mode="nearest")


class StackedHourglass(nn.Module):
    """Hourglasses one behind the other; the maps of each but the last go back into the features of the next.

    With X_1 the features of the stem, H an hourglass and a residual block, F convolution, BatchNorm and ReLU, S, F'
    and S' 1x1 convolutions (Fig. 4 of the paper)::

        Y_i = F_i(H_i(X_i)),  M_i = S_i(Y_i),  X_{i+1} = X_i + F'_i(Y_i) + S'_i(M_i)

    The features are the last Y, and the last S is the network's `final_layer`: in files it is `score` with the last
    number. A file for another number of joints leaves S and S' as they are.

    Args:
        name (str): "hourglass2" or "hourglass8".
        num_joints (int): K, of the maps on the way.
        width (int): channels of the first convolution, 64 in the published networks; the stem follows in proportion.
        channels (int): of the hourglasses, 256 in the published networks.

    Input: images (Tensor[N, 3, H, W]), H and W multiples of 64. Output: features (Tensor[N, channels, H/4, W/4]).

    Raises:
        ValueError: the name is not known.

    Example:
        >>> import torch
        >>> network = StackedHourglass("hourglass2", num_joints=5, width=8, channels=16)
        >>> network(torch.rand(2, 3, 64, 128)).shape
        torch.Size([2, 16, 16, 32])
        >>> maps, features = network.stages(torch.rand(2, 3, 64, 128))
        >>> [m.shape for m in maps]
        [torch.Size([2, 5, 16, 32])]
    """

    stride = 4
    multiple = 64
    optional_in_files = ()
    ignored_in_files = ("final_layer", "relation", "norm")
    per_joint = ("score", "score_")

    def __init__(self, name: str, *, num_joints: int, width: int = 64, channels: int = 256) -> None:
        super().__init__()
        if name not in STACKS:
            raise ValueError(f"StackedHourglass: expected one of {', '.join(STACKS)}, got {name!r}")
        stacks = STACKS[name]
        self.name, self.channels, self.num_joints = name, channels, num_joints
        self.renamed_in_files = ((f"score.{stacks - 1}.", "final_layer."),)
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _residual(width, 2 * width)
        self.maxpool = nn.MaxPool2d(2)
        self.layer2 = _residual(2 * width, 4 * width)
        self.layer3 = _residual(4 * width, channels)
        self.hg = nn.ModuleList(Hourglass(channels) for _ in range(stacks))
        self.res = nn.ModuleList(_residual(channels, channels) for _ in range(stacks))
        self.fc = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
            for _ in range(stacks)
        )
        self.score = nn.ModuleList(nn.Conv2d(channels, num_joints, 1) for _ in range(stacks - 1))
        self.fc_ = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(stacks - 1))
        self.score_ = nn.ModuleList(nn.Conv2d(num_joints, channels, 1) for _ in range(stacks - 1))
        for score in self.score:  # maps begin small, as those of `final_layer` do
            nn.init.normal_(score.weight, std=0.001)
            nn.init.zeros_(score.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images)[1]

    def stages(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The maps of all stacks but the last (Tensor[N, K, H/4, W/4] each), and the features."""
        values = self.maxpool(self.layer1(self.relu(self.bn1(self.conv1(images)))))
        values = self.layer3(self.layer2(values))
        maps: list[Tensor] = []
        for score, fc_, score_, *stack in zip(self.score, self.fc_, self.score_, self.hg, self.res, self.fc):
            features = _through(stack, values)
            maps.append(score(features))
            values = values + fc_(features) + score_(maps[-1])
        return tuple(maps), _through([self.hg[-1], self.res[-1], self.fc[-1]], values)


def _through(layers: list[nn.Module], values: Tensor) -> Tensor:
    for layer in layers:
        values = layer(values)
    return values
