"""Normalisations that are folded into convolutions: which ones, and that nothing else changes."""

import copy

import pytest
import torch
from small_models import image_network, shaken, small
from torch import nn

from rpstn_training import folding
from rpstn_training.folding import AGREE, folded


def norms(model: nn.Module) -> int:
    return sum(type(module) is nn.BatchNorm2d for module in model.modules())


def largest_error(model: nn.Module, other: nn.Module, frames: torch.Tensor) -> float:
    with torch.no_grad():
        pairs = zip(folding._maps(model, frames), folding._maps(other, frames))
        return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


@pytest.mark.parametrize(
    "build", [small, lambda: small(relation="none"), image_network], ids=["rpstn", "dkd", "sbl"]
)
def test_folded_networks_agree_and_hardly_normalise(build):
    model = shaken(build())
    before = copy.deepcopy(model.state_dict())
    found = folded(model, torch.randn(2, 1, 3, 64, 64))
    assert found is not model and norms(found) <= 2 < norms(model)
    assert largest_error(model, found, torch.randn(2, 3, 3, 64, 96)) <= 2 * AGREE
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Odd(nn.Module):
    """`shared` normalises after two convolutions, `free` after none, and what `seen` gets is used elsewhere too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, bias=False)
        self.third, self.up = nn.Conv2d(3, 3, 1), nn.ConvTranspose2d(3, 4, 2, 2, bias=False)
        self.shared, self.free = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.seen, self.of_up = nn.BatchNorm2d(3), nn.BatchNorm2d(4)
        self.leak = False

    def start(self, frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = self.shared(self.second(self.shared(self.first(frame)))) + self.free(frame)
        inner = self.third(values)
        values = self.seen(inner) + (inner if self.leak else 0)
        return self.of_up(self.up(values)), values

    def step(self, frame: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.start(frame + state)


def test_only_what_follows_one_convolution_is_folded():
    model = shaken(Odd())
    found = folded(model, torch.randn(2, 1, 3, 8, 8))
    kinds = {name: type(getattr(found, name)) for name in ("shared", "free", "seen", "of_up")}
    assert kinds == {
        "shared": nn.BatchNorm2d,
        "free": nn.BatchNorm2d,
        "seen": nn.Identity,
        "of_up": nn.Identity,
    }
    assert largest_error(model, found, torch.randn(2, 2, 3, 8, 8)) <= 2 * AGREE


def test_what_would_differ_stays_as_it_is():
    model = shaken(Odd())
    model.leak = True  # the convolution's own values are used as well
    assert folded(model, torch.randn(2, 1, 3, 8, 8)) is model
    hooked = shaken(Odd())
    hooked.third.register_forward_hook(lambda *_: None)
    assert type(folded(hooked, torch.randn(2, 1, 3, 8, 8)).seen) is nn.BatchNorm2d
