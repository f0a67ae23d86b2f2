"""Backbones: images to features, each a plain `nn.Module` whose parameters are named as in public files.

A backbone is called with images (Tensor[N, 3, H, W]), RGB normalised by ImageNet's mean and deviation, and gives
features (Tensor[N, channels, H/stride, W/stride]). It has the attributes

    name (str): what it is called below.
    channels (int), stride (int): of its output.
    multiple (int): what H and W must divide by.
    optional_in_files (tuple[str, ...]): children that a file may lack, because a classifier has none.
    ignored_in_files (tuple[str, ...]): names in such files that are no child here.

One that predicts maps on the way (stacked hourglasses) takes `num_joints`, and has a method

    stages(images) -> (maps (tuple[Tensor[N, num_joints, H/stride, W/stride], ...]), features)

with the maps of every stage but the last, which is made of the features.
"""

import inspect
from collections.abc import Callable
from functools import partial

from torch import nn

from rpstn_ext.models.backbones.resnet import ResNet

__all__ = ["BACKBONES", "ResNet", "build"]

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnet18": partial(ResNet, "resnet18"),
    "resnet34": partial(ResNet, "resnet34"),
    "resnet50": partial(ResNet, "resnet50"),
    "resnet101": partial(ResNet, "resnet101"),
    "resnet152": partial(ResNet, "resnet152"),
}


def build(name: str, *, num_joints: int, width: int = 64, channels: int = 256) -> nn.Module:
    """A backbone with fresh weights.

    Args:
        name (str): a key of `BACKBONES`.
        num_joints (int): of the maps that it predicts on the way, if it does.
        width (int): channels of its first convolution, 64 in the published networks; the others follow in proportion.
        channels (int): channels of its output, 256 in the published networks.

    Raises:
        ValueError: the name is not known.

    Example:
        >>> import torch
        >>> build("resnet18", num_joints=13, width=8, channels=16)(torch.rand(2, 3, 64, 96)).shape
        torch.Size([2, 16, 16, 24])
    """
    if not isinstance(name, str) or name not in BACKBONES:
        raise ValueError(f"backbone: expected one of {', '.join(BACKBONES)}, got {name!r}")
    factory = BACKBONES[name]
    if "num_joints" in inspect.signature(factory).parameters:
        return factory(num_joints=num_joints, width=width, channels=channels)
    return factory(width=width, channels=channels)
