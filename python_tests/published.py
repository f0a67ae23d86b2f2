"""How public files name the weights of our networks for images, written from their lists of names."""

import torch
from torch import nn


def published(network: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a PoseNetwork's state dict, named as files of its backbone are."""
    name = network.backbone.name
    return {_published(name, key): value.clone() for key, value in network.state_dict().items()}


def _published(backbone: str, key: str) -> str:
    inner = key.removeprefix("backbone.")
    if backbone.startswith("hourglass"):
        last = int(backbone.removeprefix("hourglass")) - 1
        return inner.replace("final_layer.", f"score.{last}.")
    if backbone.startswith(("vipnas", "vitpose")):
        head = "head." if backbone.startswith("vipnas") else "keypoint_head."
        return head + inner if inner.startswith(("deconv_layers.", "final_layer.")) else f"backbone.{inner}"
    return inner  # SimpleBaseline and HRNet
