"""The transposed convolutions with which SimpleBaseline, S-ViPNAS and ViTPose come back to a stride of 4."""

from torch import nn


def deconvolutions(in_channels: int, channels: int, count: int, *, groups: int = 1) -> nn.Sequential:
    """Transposed convolutions, each of which doubles height and width, with BatchNorm and ReLU.

    Kernel 4, stride 2, no bias; weights begin normal with a deviation of 0.001 (Xiao et al., "Simple Baselines for
    Human Pose Estimation and Tracking"). Layer n is number 3n, its normalisation 3n + 1, as in public files.

    Example:
        >>> import torch
        >>> deconvolutions(8, 4, 2)(torch.rand(1, 8, 3, 5)).shape
        torch.Size([1, 4, 12, 20])
    """
    layers: list[nn.Module] = []
    for number in range(count):
        deconvolution = nn.ConvTranspose2d(
            channels if number else in_channels, channels, 4, 2, 1, groups=groups, bias=False
        )
        nn.init.normal_(deconvolution.weight, std=0.001)
        layers += [deconvolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
