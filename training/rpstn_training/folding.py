"""Batch normalisation folded into the convolution before it: in evaluation both are one affine map.

    gamma (W x + b - mean) / sqrt(var + eps) + beta  =  W' x + b'
    W' = s W,  b' = s (b - mean) + beta,  s = gamma / sqrt(var + eps)

Which normalisation follows which convolution is seen when the network runs, not guessed from names, and the folded
network is compared with the plain one before it takes its place.
"""

import copy
from collections import defaultdict
from collections.abc import Hashable

import torch
from torch import Tensor, nn

AGREE = 1e-5  # of the largest value of the plain network's maps


@torch.no_grad()
def folded(network: nn.Module, frames: Tensor) -> nn.Module:
    """A network whose maps are those of `network` within AGREE, with fewer operations; itself where nothing folds.

    Args:
        network: in evaluation mode, with `start` and `step` (`rpstn_ext.models.Network`).
        frames (Tensor[2, B, 3, H, W]): two frames of some clips, upon which both are compared.
    """
    pairs = _pairs(network, frames)
    if not pairs:
        return network
    mine = copy.deepcopy(network)
    modules = dict(mine.named_modules())
    for conv, norm in pairs:
        _fold(modules[conv], modules[norm])
        parent, _, name = norm.rpartition(".")
        setattr(modules[parent], name, nn.Identity())
    plain, quick = _maps(network, frames), _maps(mine, frames)
    worst = max(
        float((one - other).abs().max() / one.abs().max().clamp_min(1e-12))
        for one, other in zip(plain, quick)
    )
    return mine if worst <= AGREE else network


def _maps(network: nn.Module, frames: Tensor) -> list[Tensor]:
    first, state = network.start(frames[0])
    second, _ = network.step(frames[1], state)
    return [first, second]


def _pairs(network: nn.Module, frames: Tensor) -> list[tuple[str, str]]:
    """Names of convolutions and of the normalisations that get what they give, and only that, whenever they run."""
    names = {
        module: name
        for name, module in network.named_modules()
        if type(module) in (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d) and _is_plain(module)
    }
    if not any(type(module) is nn.BatchNorm2d for module in names):
        return []
    made_by: dict[Hashable, nn.Module] = {}
    kept: list[Tensor] = []  # or another tensor could get the same id
    before: dict[nn.Module, set[nn.Module | None]] = defaultdict(set)
    after: dict[nn.Module, list[nn.Module]] = defaultdict(list)
    runs: dict[nn.Module, int] = defaultdict(int)

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        runs[module] += 1
        if type(module) is nn.BatchNorm2d:
            source = made_by.get(id(inputs[0]))
            before[module].add(source)
            if source is not None:
                after[source].append(module)
        else:
            kept.append(output)
            made_by[id(output)] = module

    hooks = [module.register_forward_hook(note) for module in names]
    try:
        _maps(network, frames)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (names[source], names[norm])
        for norm, sources in before.items()
        for source in sources
        if len(sources) == 1 and source is not None and after[source] == [norm] * runs[source]
    ]


def _is_plain(module: nn.Module) -> bool:
    """Whether it does what its class says and nothing else: no hook, no parametrisation, statistics of its own."""
    if module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations"):
        return False
    if isinstance(module, nn.ConvTranspose2d):
        return module.groups == 1
    return not isinstance(module, nn.BatchNorm2d) or (module.affine and module.track_running_stats)


def _fold(conv: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> None:
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shape = (1, -1, 1, 1) if isinstance(conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    bias = torch.zeros_like(scale) if conv.bias is None else conv.bias.double()
    shifted = scale * (bias - norm.running_mean.double()) + norm.bias.double()
    conv.weight = nn.Parameter((conv.weight.double() * scale.view(shape)).to(conv.weight.dtype))
    conv.bias = nn.Parameter(shifted.to(conv.weight.dtype))
