"""Small networks for tests, and what their files look like."""

import torch
from torch import nn

from rpstn_ext import models

SIZE = {"width": 8, "channels": 16}
SMALL = {"pose_initializer": "resnet18", "feature_extractor": "resnet18", **SIZE}


def small(**options) -> nn.Module:
    return models.build("rpstn", **{"num_joints": 5, **SMALL, **options})


def image_network(backbone="resnet18", **options) -> nn.Module:
    return models.build("sbl", **{"num_joints": 5, "backbone": backbone, **SIZE, **options})


def shaken(model: nn.Module) -> nn.Module:
    """With every parameter and running statistic moved away from its start, ready to evaluate."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.add_(
                    0.1 * (torch.rand_like(value) if "running_var" in name else torch.randn_like(value))
                )
    return model.eval()


def public(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of its state dict, named as public files are."""
    return {name.removeprefix("backbone."): value.clone() for name, value in model.state_dict().items()}
