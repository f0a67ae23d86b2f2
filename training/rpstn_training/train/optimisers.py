"""The optimiser of a training, its learning rate, and steps that are not taken."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..config import TrainConfig


def adam(model: nn.Module, config: TrainConfig) -> torch.optim.Adam:
    """Adam in one kernel; it can leave a step out without the host knowing (`Guard`)."""
    return torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )


def restore(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a state that may have been written by another implementation of the same optimiser."""
    groups = [{**group, "fused": True, "foreach": None} for group in state["param_groups"]]
    optimizer.load_state_dict({**state, "param_groups": groups})


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """The rate of an epoch, counted from 0: multiplied by gamma at every milestone, as MultiStepLR does."""
    return config.learning_rate * config.gamma ** bisect_right(config.milestones, epoch)


class Guard:
    """Keeps an optimiser from moving from the first loss or gradient on that is not finite, without a word to the host.

    What was met is kept on the device until `found` asks for it: asking waits for the device.
    """

    _KINDS = ("", "loss", "gradient")

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self._optimizer = optimizer
        self._first = torch.zeros(3, dtype=torch.float64, device=device)  # step, kind, value

    @torch.no_grad()
    def watch(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Before the optimiser's step `step`, counted from 1: the loss and the norm of all gradients."""
        loss, norm = loss.detach().double(), norm.detach().double()
        bad_loss, bad_norm = ~torch.isfinite(loss), ~torch.isfinite(norm)
        kind = torch.where(bad_loss, 1.0, torch.where(bad_norm, 2.0, 0.0)).double()
        met = torch.stack([torch.full_like(loss, step), kind, torch.where(bad_loss, loss, norm)])
        self._first = torch.where((self._first[1] == 0) & (kind > 0), met, self._first)
        self._optimizer.found_inf = (self._first[1] > 0).float()

    def found(self) -> tuple[int, str, float] | None:
        """Step, "loss" or "gradient", and value of the first that was not finite."""
        step, kind, value = self._first.tolist()
        return (int(step), self._KINDS[int(kind)], value) if kind else None
