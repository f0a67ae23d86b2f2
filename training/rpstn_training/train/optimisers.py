"""The optimiser of a training, its learning rate, and steps that are not taken."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rpstn_ext.models.backbones import ViTPose

from ..config import TrainConfig
from ..errors import UserError

_OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam or AdamW in one kernel; it can leave a step out without the host knowing (`Guard`).

    Adam adds the weights' decay to the gradient, of all parameters; AdamW takes it from the weights (Loshchilov and
    Hutter, "Decoupled Weight Decay Regularization"), and neither from norms and biases nor from positions.

    A group's "share" is its learning rate as a share of the training's (`config.layer_decay`).
    """
    if config.layer_decay < 1 and not any(isinstance(module, ViTPose) for module in model.modules()):
        raise UserError(
            f"train.layer_decay: expected 1.0 for a network without a vision transformer, got {config.layer_decay}"
        )
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter, share in _shares(model, config.layer_decay):
        decays = config.optimiser == "adam" or (parameter.ndim > 1 and not name.endswith("pos_embed"))
        empty = {"params": [], "share": share, "weight_decay": config.weight_decay if decays else 0.0}
        groups.setdefault((share, decays), empty)["params"].append(parameter)
    return _OPTIMISERS[config.optimiser](list(groups.values()), lr=config.learning_rate, fused=True)


def _shares(model: nn.Module, decay: float) -> list[tuple[str, nn.Parameter, float]]:
    """Names, parameters, and their learning rates as a share of the last layers'."""
    transformers = [(name, module) for name, module in model.named_modules() if isinstance(module, ViTPose)]
    found = []
    for name, parameter in model.named_parameters():
        below = 0  # layers between this one and the last
        for prefix, transformer in transformers:
            inner = name.removeprefix(f"{prefix}.") if prefix else name
            first, _, rest = inner.partition(".")
            depth = len(transformer.blocks)
            if first in ("pos_embed", "patch_embed"):
                below = depth + 1
            elif first == "blocks":
                below = depth - int(rest.partition(".")[0])
        found.append((name, parameter, decay**below))
    return found


def restore(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a state that may have been written by another implementation of the same optimiser."""
    groups = [
        {"share": own["share"], **group, "fused": True, "foreach": None}
        for own, group in zip(optimizer.param_groups, state["param_groups"])
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(config: TrainConfig, epoch: int, step: int) -> float:
    """The rate of a step of an epoch, both counted from 0.

        learning_rate * rule(batch_size / base_batch) * gamma^(milestones passed) * min(1, (step + 1) / warmup_steps)

    The rule is 1, the quotient ("linear"; Goyal et al., "Accurate, Large Minibatch SGD") or its square root ("sqrt").
    """
    quotient = config.batch_size / (config.base_batch or config.batch_size)
    rule = {"none": 1.0, "linear": quotient, "sqrt": quotient**0.5}[config.rate_rule]
    rising = 1.0 if config.warmup_steps == 0 else min(1.0, (step + 1) / config.warmup_steps)
    return config.learning_rate * rule * config.gamma ** bisect_right(config.milestones, epoch) * rising


class Guard:
    """Keeps an optimiser from moving from the first loss or gradient on that is not finite, without a word to the host.

    What was met is kept on the device until `found` asks for it: asking waits for the device.

    scaled (bool): for float16, whose gradients would vanish, losses are multiplied by a scale. Where a gradient is too
    large for float16 the step is left out and the scale halved; after 2,000 steps without that it is doubled.
    """

    _KINDS = ("", "loss", "gradient")
    _START, _SMALLEST, _PATIENCE = 2.0**16, 2.0**-8, 2000

    def __init__(
        self, optimizer: torch.optim.Optimizer, device: torch.device, *, scaled: bool = False
    ) -> None:
        self._optimizer = optimizer
        self._first = torch.zeros(3, dtype=torch.float64, device=device)  # step, kind, value
        self._scale = torch.full((), self._START, device=device) if scaled else None
        self._good = torch.zeros((), device=device)  # steps since the scale was changed

    def scaled(self, loss: Tensor) -> Tensor:
        """What to differentiate."""
        return loss if self._scale is None else loss * self._scale

    def norm_of(self, gradients: list[Tensor]) -> Tensor:
        """Of all gradients together, as if the loss had not been scaled."""
        norm = nn.utils.get_total_norm(gradients)
        return norm if self._scale is None else norm / self._scale

    @torch.no_grad()
    def watch(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Before the optimiser's step `step`, counted from 1: the loss and the norm of all gradients."""
        loss, norm = loss.detach().double(), norm.detach().double()
        bad_loss, bad_norm = ~torch.isfinite(loss), ~torch.isfinite(norm)
        too_large = torch.zeros_like(bad_norm)
        if self._scale is not None:
            too_large = bad_norm & ~bad_loss & (self._scale > self._SMALLEST)
            self._optimizer.grad_scale = self._scale
            self._good = torch.where(too_large, 0.0, self._good + 1)
            doubled = self._good >= self._PATIENCE
            self._scale = torch.where(
                too_large, self._scale / 2, torch.where(doubled, 2 * self._scale, self._scale)
            )
            self._good = torch.where(doubled, 0.0, self._good)
        kind = torch.where(bad_loss, 1.0, torch.where(bad_norm & ~too_large, 2.0, 0.0)).double()
        met = torch.stack([torch.full_like(loss, step), kind, torch.where(bad_loss, loss, norm)])
        self._first = torch.where((self._first[1] == 0) & (kind > 0), met, self._first)
        self._optimizer.found_inf = ((self._first[1] > 0) | too_large).float()

    def found(self) -> tuple[int, str, float] | None:
        """Step, "loss" or "gradient", and value of the first that was not finite."""
        step, kind, value = self._first.tolist()
        return (int(step), self._KINDS[int(kind)], value) if kind else None

    def state(self) -> dict[str, float]:
        """What a resumed training goes on with."""
        return {} if self._scale is None else {"scale": self._scale.item(), "good": self._good.item()}

    def restore(self, state: Mapping[str, float]) -> None:
        if self._scale is not None and state:
            self._scale.fill_(state["scale"])
            self._good.fill_(state["good"])
