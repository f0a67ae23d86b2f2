"""A tiny network of two layers on numbers, for what a straight line cannot tell apart."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

_WIDTH, _STEPS, _BATCH = 96, 1500, 256
_RATE, _DECAY = 5e-3, 0.3  # of AdamW
_NOISE = 0.3  # added to the inputs, which have the standard deviation 1: frames of a clip are much alike
_ARRAYS = ("mean", "spread", "first", "shift", "second", "bias")


@dataclass(frozen=True, kw_only=True)
class Layers:
    """y = max(0, (x - mean) / spread @ first + shift) @ second + bias, of x [..., F], y [..., O]."""

    mean: np.ndarray
    spread: np.ndarray
    first: np.ndarray
    shift: np.ndarray
    second: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (
            np.maximum((x - self.mean) / self.spread @ self.first + self.shift, 0) @ self.second + self.bias
        )

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).tolist() for name in _ARRAYS}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Layers":
        return cls(**{name: np.array(plain[name], dtype=np.float64) for name in _ARRAYS})


def fit_layers(x: np.ndarray, outcomes: np.ndarray, counted: np.ndarray, *, seed: int = 0) -> Layers:
    """Layers whose outputs are the logits of outcomes, where those are counted: the same bits for the same seed.

    x (ndarray[N, F]), outcomes, counted (bool ndarray[N, O]). AdamW on batches drawn at random, rate falling along a
    cosine. Torch's global random state is left alone.
    """
    mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    inputs = torch.from_numpy((x - mean) / spread).float()
    targets, weights = (torch.from_numpy(np.asarray(each)).float() for each in (outcomes, counted))
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> nn.Parameter:
        bound = shape[0] ** -0.5
        return nn.Parameter((2 * torch.rand(*shape, generator=generator) - 1) * bound)

    first, second = drawn(x.shape[1], _WIDTH), drawn(_WIDTH, outcomes.shape[1])
    shift, bias = nn.Parameter(torch.zeros(_WIDTH)), nn.Parameter(torch.zeros(outcomes.shape[1]))
    optimizer = torch.optim.AdamW((first, second, shift, bias), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(_STEPS):
            rows = torch.randint(len(x), (min(_BATCH, len(x)),), generator=generator)
            noisy = inputs[rows] + _NOISE * torch.randn(len(rows), x.shape[1], generator=generator)
            logits = (noisy @ first + shift).relu() @ second + bias
            loss = nn.functional.binary_cross_entropy_with_logits(logits, targets[rows], weights[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    found = (value.detach().double().numpy() for value in (first, shift, second, bias))
    return Layers(mean=mean, spread=spread, **dict(zip(_ARRAYS[2:], found)))
