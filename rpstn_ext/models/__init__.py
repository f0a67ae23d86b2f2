"""Networks by name, each a plain `nn.Module`, and the loading of public weights into them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rpstn_ext.models.resnet import ResNet
from rpstn_ext.models.rpstn import RPSTN, Trace
from rpstn_ext.models.simple_baseline import SimpleBaseline

__all__ = ["RPSTN", "ResNet", "SimpleBaseline", "Trace", "build", "load_weights", "names"]


def _rpstn(
    *,
    num_joints: int,
    pose_initializer: str = "resnet50",
    feature_extractor: str = "resnet50",
    width: int = 64,
    channels: int = 256,
    **options: Any,
) -> RPSTN:
    return RPSTN(
        SimpleBaseline(num_joints, depth=pose_initializer, width=width, channels=channels),
        SimpleBaseline(None, depth=feature_extractor, width=width, channels=channels),
        num_joints,
        channels=channels,
        **options,
    )


def _simple_baseline(*, num_joints: int, backbone: str = "resnet50", **options: Any) -> SimpleBaseline:
    return SimpleBaseline(num_joints, depth=backbone, **options)


_BUILDERS: dict[str, Callable[..., nn.Module]] = {"rpstn": _rpstn, "sbl": _simple_baseline}


def names() -> tuple[str, ...]:
    """The names that `build` knows."""
    return tuple(_BUILDERS)


def build(name: str, **options: Any) -> nn.Module:
    """A network with fresh weights.

        build("rpstn", num_joints=13, pose_initializer="resnet50", feature_extractor="resnet50", width=64,
              channels=256, num_convs=4, relation=True, scale=1.0, norm_first=True)
        build("sbl", num_joints=13, backbone="resnet50", width=64, channels=256, relation=False, scale=1.0)

    All options but num_joints may be left out; `RPSTN` and `SimpleBaseline` describe them. `width` and `channels` at
    their defaults give the published networks, smaller ones networks for small machines.

    Raises:
        ValueError: the name or a value is not known.
        TypeError: an option is not known, or num_joints is missing.

    Example:
        >>> sum(p.numel() for p in build("sbl", num_joints=13, backbone="resnet18").parameters())
        15375693
    """
    if name not in _BUILDERS:
        raise ValueError(f"models.build: expected one of {', '.join(_BUILDERS)}, got {name!r}")
    return _BUILDERS[name](**options)


def load_weights(model: nn.Module, state_dict: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Copies what fits by name and shape: public SimpleBaseline, torchvision ResNet or our own state dicts.

    A state dict wrapped as {"state_dict": ...} and names that begin with "module." are understood. For an RPSTN the
    weights of a SimpleBaseline or ResNet go into both the pose initialiser and the feature extractor.

    Args:
        model (nn.Module): changed in place.
        state_dict: names to tensors.

    Returns:
        loaded: names in the model that were set; missing: those that keep their values; unexpected: names in
        `state_dict` that were not used, with both shapes where only the shape differs.

    Raises:
        ValueError: nothing fits; the model is as before.
    """
    for wrapper in ("state_dict", "model_state"):
        if isinstance(state_dict.get(wrapper), Mapping):
            state_dict = state_dict[wrapper]
    given = {
        name.removeprefix("module."): value for name, value in state_dict.items() if isinstance(value, Tensor)
    }
    own = model.state_dict()
    parts = [""]
    if isinstance(model, RPSTN) and not any(name in own for name in given):
        parts = ["pose_initializer.", "feature_extractor."]
    chosen: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for name, value in given.items():
        targets = [part + name for part in parts if part + name in own]
        fitting = [target for target in targets if own[target].shape == value.shape]
        chosen.update(dict.fromkeys(fitting, value))
        if not targets:
            unexpected.append(name)
        elif not fitting:
            unexpected.append(f"{name} {list(value.shape)}, here {list(own[targets[0]].shape)}")
    if not any(own[name].dim() > 0 for name in chosen):  # a counter of batches alone is no match
        first = ", ".join(list(given)[:3]) or "no tensors"
        raise ValueError(
            f"load_weights: expected weights for {type(model).__name__}, got names that do not occur in it ({first})"
        )
    with torch.no_grad():
        for name, value in chosen.items():
            own[name].copy_(value)
    return list(chosen), [name for name in own if name not in chosen], unexpected
