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


@torch.no_grad()
def check_streaming(model: nn.Module) -> None:
    """Frame by frame, for persons together and one by one, a network gives the maps it gives for a clip."""
    model, clip = model.double(), torch.randn(2, 4, 3, 64, 96, dtype=torch.float64)
    whole = model(clip)
    assert whole.shape == (2, 4, model.num_joints, 64 // model.stride, 96 // model.stride)
    heatmaps, state = model.start(clip[:, 0])
    torch.testing.assert_close(heatmaps, model(clip[:, :1])[:, 0])
    frames = [heatmaps]
    for t in range(1, 4):
        singles = [model.step(clip[p : p + 1, t], one) for p, one in enumerate(state.split(1))]
        heatmaps, state = model.step(clip[:, t], state)
        frames.append(heatmaps)
        for together, number in ((heatmaps, 0), (state, 1)):  # callers hold a state per person
            torch.testing.assert_close(torch.cat([single[number] for single in singles]), together)
    torch.testing.assert_close(torch.stack(frames, 1), whole)
