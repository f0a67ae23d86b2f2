"""Checkpoints: one file that says by itself which model it holds, written whole or not at all.

A file holds only tensors and plain types, so that it loads with `weights_only=True` and runs no code of its
own.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rpstn_ext import models

from ..data.records import Skeleton
from ..errors import UserError
from ..files import atomic_write
from ..versions import versions

FORMAT = "rpstn checkpoint"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint file holds.

    `config` is the whole configuration of the training in plain types. `input_size` is (width, height) of the
    crop, `stride` pixels of it per heat-map cell, `sigma` in cells, `decode` the decoding used for scoring.
    `epoch` and `step` count what was completed. `metrics` holds one dict per completed epoch. `training` is
    what resuming needs (optimiser, schedule, position in the epoch, random states); best.pt goes without.
    """

    config: dict[str, Any]
    skeleton: Skeleton
    model_name: str
    model_options: dict[str, Any]
    input_size: tuple[int, int]
    stride: int
    sigma: float
    decode: str
    model_state: dict[str, Tensor]
    epoch: int
    step: int
    best_score: float | None
    metrics: list[dict[str, Any]]
    training: dict[str, Any] | None = None
    versions: dict[str, str | None] = field(default_factory=versions)
    path: str = "checkpoint"

    def build_model(self) -> nn.Module:
        """The network with its weights, on the CPU and in evaluation mode."""
        try:
            model = models.build(self.model_name, num_joints=len(self.skeleton.joints), **self.model_options)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.path}: expected a model this version can build, got {self.model_name} ({error})"
            ) from error
        load_state(model, self.model_state, self.path)
        return model.eval()


def save(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write the file whole or not at all.

    The bytes are made in memory first: a full disk is then met by a plain write, and the file that was at
    `path` before is still there after it.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": checkpoint.config,
        "skeleton": checkpoint.skeleton.to_dict(),
        "model": {"name": checkpoint.model_name, "options": checkpoint.model_options},
        "input_size": list(checkpoint.input_size),
        "stride": checkpoint.stride,
        "sigma": checkpoint.sigma,
        "decode": checkpoint.decode,
        "model_state": dict(checkpoint.model_state),
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "best_score": checkpoint.best_score,
        "metrics": checkpoint.metrics,
        "training": checkpoint.training,
        "versions": checkpoint.versions,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_write(Path(path)) as file:
        file.write(buffer.getbuffer())


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint that `rpstn train` wrote, all tensors on the CPU."""
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise UserError(
            f"{path}: expected a checkpoint of rpstn train, got a file with {_summary(content)}; "
            "to begin a training with such weights set model.weights"
        )
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path}: expected checkpoint format {FORMAT_VERSION}, got {version}; "
            f"it was written with {_written_with(content)}"
        )
    try:
        width, height = content["input_size"]
        return Checkpoint(
            config=content["config"],
            skeleton=Skeleton.from_dict(content["skeleton"]),
            model_name=content["model"]["name"],
            model_options=content["model"]["options"],
            input_size=(width, height),
            stride=content["stride"],
            sigma=content["sigma"],
            decode=content["decode"],
            model_state=content["model_state"],
            epoch=content["epoch"],
            step=content["step"],
            best_score=content["best_score"],
            metrics=content["metrics"],
            training=content["training"],
            versions=content["versions"],
            path=str(path),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: expected a whole checkpoint, got one whose content does not fit ({error!r})"
        ) from error


def read_tensors(path: str | Path) -> dict[str, Any]:
    """The dict in a file that `torch.save` wrote; nothing in the file is executed."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a file with weights, found none") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: expected a file with weights, got a folder; name best.pt in it") from error
    except PermissionError as error:
        raise UserError(
            f"{path}: expected a file with weights, it cannot be read ({error.strerror})"
        ) from error
    except Exception as error:  # torch has no class of its own for this: RuntimeError, UnpicklingError, ...
        raise UserError(
            f"{path}: expected a whole file with weights, got one that is truncated or something else "
            f"({Path(path).stat().st_size} bytes)"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: expected a dict of weights, got {type(content).__name__}")
    return dict(content)


def load_state(model: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    """Load a state dict that must fit exactly; one sentence says where it does not."""
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        own = model.state_dict()
        missing = [name for name in own if name not in state]
        extra = [name for name in state if name not in own]
        other = [name for name in own if name in state and own[name].shape != state[name].shape]
        parts = [
            f"{len(names)} {what} (first: {names[0]})"
            for names, what in ((missing, "missing"), (extra, "unknown"), (other, "of another shape"))
            if names
        ]
        raise UserError(
            f"{path}: expected the weights of this {type(model).__name__}, got tensors that are "
            f"{', '.join(parts)}"
        ) from error


def load_pretrained(model: nn.Module, path: str | Path) -> str:
    """Copy what fits by name from a public SimpleBaseline or ResNet file, or from a checkpoint of ours.

    Returns a sentence that says what was loaded. Raises `UserError` when nothing was.
    """
    try:
        loaded, missing, unexpected = models.load_weights(model, read_tensors(path))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    text = f"{path}: loaded {len(loaded)} tensors"
    if missing:
        text += f", {len(missing)} of the model keep their initial values (first: {missing[0]})"
    if unexpected:
        text += f", {len(unexpected)} of the file are not used (first: {unexpected[0]})"
    return text


def _written_with(content: Mapping[str, Any]) -> str:
    named = content.get("versions")
    if not isinstance(named, Mapping):
        return "versions it does not name"
    return ", ".join(f"{name} {value}" for name, value in named.items())


def _summary(content: Mapping[str, Any]) -> str:
    names = [str(name) for name in content]
    if not names:
        return "nothing in it"
    return f"{len(names)} entries ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
