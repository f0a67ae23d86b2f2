"""A running average of a training's weights, which is what is evaluated and kept where there is one."""

import copy
from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn


class WeightAverage:
    """A network of averaged weights: after step n, counted from 1, of weights w and average a

        a <- d a + (1 - d) w,   d = min(decay, (1 + n) / (10 + n))

    so that the start is soon forgotten. Running statistics of normalisations are averaged alike; what counts is taken
    over.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._decay = decay

    @torch.no_grad()
    def add(self, model: nn.Module, step: int) -> None:
        """The weights after step `step`."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for own, value in zip(_values(self.model), _values(model), strict=True):
            if own.is_floating_point():
                own.lerp_(value, 1 - decay)
            else:
                own.copy_(value)


def _values(model: nn.Module) -> Iterator[Tensor]:
    """Each once, however many names it has."""
    return chain(model.parameters(), model.buffers())
