"""Backbones: images to features, each a plain `nn.Module` whose parameters are named as in public files.

A backbone is called with images (Tensor[N, 3, H, W]), RGB normalised by ImageNet's mean and deviation, and gives
features (Tensor[N, channels, H/stride, W/stride]). It has the attributes

    name (str): what it is called below.
    channels (int), stride (int): of its output.
    multiple (int): what H and W must divide by.
    optional_in_files (tuple[str, ...]): children that a file may lack, because a classifier has none.
    ignored_in_files (tuple[str, ...]): names in such files that are no child here.

and, where public files have other names than ours,

    renamed_in_files (tuple[tuple[str, str], ...]): how names begin there, and here; the first that fits counts. Ours
        are those of the image network without "backbone.", so the convolution to the maps is "final_layer.".

One that predicts maps on the way (stacked hourglasses) takes `num_joints`, and has a method

    stages(images) -> (maps (tuple[Tensor[N, num_joints, H/stride, W/stride], ...]), features)

with the maps of every stage but the last, which is made of the features. It has two attributes more:

    num_joints (int): of the maps.
    per_joint (tuple[str, ...]): children that are made for it; a file for another number leaves them as they are.
"""

import difflib
import inspect
from collections.abc import Callable
from functools import partial

from torch import nn

from rpstn_ext.models.backbones.hourglass import StackedHourglass
from rpstn_ext.models.backbones.hrnet import HRNet
from rpstn_ext.models.backbones.resnet import ResNet
from rpstn_ext.models.backbones.vipnas import ViPNAS
from rpstn_ext.models.backbones.vitpose import ViTPose

__all__ = ["BACKBONES", "HRNet", "ResNet", "StackedHourglass", "ViPNAS", "ViTPose", "build"]

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnet18": partial(ResNet, "resnet18"),
    "resnet34": partial(ResNet, "resnet34"),
    "resnet50": partial(ResNet, "resnet50"),
    "resnet101": partial(ResNet, "resnet101"),
    "resnet152": partial(ResNet, "resnet152"),
    "hrnet_w32": partial(HRNet, "hrnet_w32"),
    "hrnet_w48": partial(HRNet, "hrnet_w48"),
    "hourglass2": partial(StackedHourglass, "hourglass2"),
    "hourglass8": partial(StackedHourglass, "hourglass8"),
    "vipnas_res50": ViPNAS,
    "vitpose_s": partial(ViTPose, "vitpose_s"),
    "vitpose_b": partial(ViTPose, "vitpose_b"),
}


def build(name: str, *, num_joints: int, width: int = 64, channels: int = 256) -> nn.Module:
    """A backbone with fresh weights.

    Args:
        name (str): a key of `BACKBONES`.
        num_joints (int): of the maps that it predicts on the way, if it does.
        width (int): 64 gives the published network; the channels of its layers follow in proportion.
        channels (int): channels of its output, 256 in the published networks. HRNet and S-ViPNAS have their own number,
            in proportion to `width`; to them this one says nothing.

    Raises:
        ValueError: the name is not known; the message names the nearest that is.

    Example:
        >>> import torch
        >>> build("resnet18", num_joints=13, width=8, channels=16)(torch.rand(2, 3, 64, 96)).shape
        torch.Size([2, 16, 16, 24])
    """
    if not isinstance(name, str) or name not in BACKBONES:
        near = difflib.get_close_matches(str(name), BACKBONES, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise ValueError(f"backbone: expected one of {', '.join(BACKBONES)}, got {name!r}{hint}")
    factory = BACKBONES[name]
    options = {"num_joints": num_joints, "width": width, "channels": channels}
    taken = inspect.signature(factory).parameters
    return factory(**{option: value for option, value in options.items() if option in taken})
