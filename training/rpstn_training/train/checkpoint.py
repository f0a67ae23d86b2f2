"""Checkpoints: one file that says by itself which model it holds, written whole or not at all.

A file holds only tensors and plain types, so that it loads with `weights_only=True` and runs no code of its
own.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rpstn_ext import models

from ..building import describe_network, options_for
from ..calibration import Calibration
from ..codec import Codec
from ..colours import Normalisation, renormalised
from ..config import RELATION_WORDS, ModelConfig
from ..data.records import Skeleton
from ..errors import UserError
from ..files import atomic_write
from ..options import plain
from ..versions import versions

FORMAT = "rpstn checkpoint"
FORMAT_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint file holds.

    The network, what it knows and how it is used: `model_name`, `model_options` (of `rpstn_ext.models.build`),
    `model_state`, `skeleton`, `codec`. How it came to be: `config`, the whole configuration of the training in plain
    types, `selected_on`, the clips on which these weights were chosen, in words, `epoch` and `step`, what was
    completed, `metrics`, one dict per completed epoch, `versions`. `training` is what resuming needs (optimiser,
    schedule, position in the epoch, random states); best.pt goes without.

    `calibration` is what their scores are worth, None where nobody has measured it (`rpstn calibrate` does).

    `notice` is a sentence that everybody who uses these weights is to read, in every output; None where there is none.

    A checkpoint of public weights (`public_files`) was not trained here: `config` is None, `source` says where it comes
    from, and `normalisation` is that of its own training.
    """

    model_name: str
    model_options: dict[str, Any]
    model_state: dict[str, Tensor]
    skeleton: Skeleton
    codec: Codec
    config: dict[str, Any] | None
    selected_on: str | None
    epoch: int
    step: int
    best_score: float | None
    metrics: list[dict[str, Any]]
    training: dict[str, Any] | None = None
    versions: dict[str, str | None] = field(default_factory=versions)
    source: dict[str, Any] | None = None
    normalisation: Normalisation = field(default_factory=Normalisation)
    calibration: Calibration | None = None
    notice: str | None = None
    path: str = "checkpoint"

    @property
    def architecture(self) -> str:
        """The network's name and options in one line, defaults spelt out."""
        return describe_network(ModelConfig(name=self.model_name, options=self.model_options))

    @property
    def trained_with(self) -> dict[str, str | None] | None:
        """The versions of the training; None where it was not here: `versions` are then those of the conversion."""
        return None if self.config is None else self.versions

    @property
    def origin(self) -> str:
        """In a few words how these weights were chosen, or where they come from."""
        if self.source is not None:
            return f"{self.source['family']} of {self.source['file']}, not trained here"
        if self.best_score is None:
            return f"those after epoch {self.epoch} of their training"
        return f"chosen on {self.selected_on}"

    @property
    def sentence(self) -> str:
        """Which weights these are, and for which joints and input."""
        width, height = self.codec.input_size
        return (
            f"{Path(self.path).name}, {self.origin}; {self.architecture}; {len(self.skeleton.joints)} joints of "
            f"{self.skeleton.name}; input {width}x{height}, {self.codec.decoding} decoding"
            f"{'' if self.notice is None else f'; {self.notice}'}"
        )

    def build_model(self) -> nn.Module:
        """The network with its weights, on the CPU and in evaluation mode."""
        try:
            options = options_for(self.model_options, self.skeleton, self.codec.maps_per_joint)
            model = models.build(self.model_name, **options)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.path}: expected a model this version can build, got {self.model_name} ({error})"
            ) from error
        load_state(model, self.model_state, self.path)
        return renormalised(model, self.normalisation).eval()


def packed(checkpoint: Checkpoint, *, notice: str | None = None) -> Checkpoint:
    """A copy to give away: the weights of convolutions in half precision, which is half the size, nothing for resuming,
    and a notice. The network computes in float32 as before; its weights are rounded by 0.05 % at most.
    """
    state = {
        name: value.half() if value.is_floating_point() and value.dim() > 1 else value
        for name, value in checkpoint.model_state.items()
    }
    return replace(checkpoint, model_state=state, training=None, notice=notice)


def save(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write the file whole or not at all.

    The bytes are made in memory first: a full disk is then met by a plain write, and the file that was at
    `path` before is still there after it.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": {"name": checkpoint.model_name, "options": plain(checkpoint.model_options)},
        "model_state": dict(checkpoint.model_state),
        "skeleton": checkpoint.skeleton.to_dict(),
        "codec": checkpoint.codec.to_dict(),
        "config": checkpoint.config,
        "selected_on": checkpoint.selected_on,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "best_score": checkpoint.best_score,
        "metrics": checkpoint.metrics,
        "training": checkpoint.training,
        "versions": checkpoint.versions,
        "source": checkpoint.source,
        "normalisation": checkpoint.normalisation.to_dict(),
        "calibration": None if checkpoint.calibration is None else checkpoint.calibration.to_dict(),
        "notice": checkpoint.notice,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_write(Path(path)) as file:
        file.write(buffer.getbuffer())


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint that `rpstn train` or `rpstn convert` wrote, all tensors on the CPU. Formats 1 (until 0.1) and
    2 are known.
    """
    content = read_tensors(path)
    if not is_ours(content):
        raise UserError(
            f"{path}: expected a checkpoint of rpstn train or rpstn convert, got a file with {_summary(content)}; "
            "rpstn convert makes one of public weights, and model.weights begins a training with them"
        )
    return of_content(content, path)


def is_ours(content: Mapping[str, Any]) -> bool:
    """Whether what a file holds says that it is a checkpoint."""
    return content.get("format") == FORMAT


def of_content(content: Mapping[str, Any], path: str | Path) -> Checkpoint:
    """The checkpoint that the file at `path` holds."""
    version = content.get("format_version")
    if version not in (1, FORMAT_VERSION):
        raise UserError(
            f"{path}: expected checkpoint format 1 or {FORMAT_VERSION}, got {version}; "
            f"it was written with {_written_with(content)}"
        )
    try:
        if version == 1:
            content = _from_format_1(content)
        content = _with_relation_norm(content)
        return Checkpoint(
            model_name=content["model"]["name"],
            model_options=content["model"]["options"],
            model_state=content["model_state"],
            skeleton=Skeleton.from_dict(content["skeleton"]),
            codec=Codec.from_dict(content["codec"]),
            config=content["config"],
            selected_on=content["selected_on"],
            epoch=content["epoch"],
            step=content["step"],
            best_score=content["best_score"],
            metrics=content["metrics"],
            training=content["training"],
            versions=content["versions"],
            source=content.get("source"),
            normalisation=Normalisation.from_dict(content.get("normalisation", {})),
            calibration=Calibration.from_dict(content.get("calibration")),
            notice=content.get("notice"),
            path=str(path),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: expected a whole checkpoint, got one whose content does not fit ({error!r})"
        ) from error


def _from_format_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Format 1 kept the codec's parts one by one, a relation as true or false, and the initial weights of a network's
    parts nowhere; its best.pt was chosen on the subset that was scored.
    """
    data, scored = content["config"]["data"], content["config"]["eval"]
    options = dict(content["model"]["options"])
    if "relation" in options:
        options["relation"] = RELATION_WORDS.get(options["relation"], options["relation"])
    config = content["config"] | {"eval": scored | {"select": scored["subset"]}}
    config["model"] = config["model"] | {"options": options}
    return {
        **content,
        "model": content["model"] | {"options": options},
        "codec": {
            "input_size": content["input_size"],
            "stride": content["stride"],
            "sigma": content["sigma"],
            "box_scale": data["box_scale"],
            "shared_frames": data["clip_length"] if data["box"] == "clip" else 1,
            "decoding": content["decode"],
        },
        "config": config,
        "selected_on": f"the {scored['subset']} subset",
    }


def _with_relation_norm(content: Mapping[str, Any]) -> dict[str, Any]:
    """Files of before `relation_norm`, when the relation of a network for images always had a normalisation, and when
    the options of a relation could stand where there was none.
    """
    options = dict(content["model"]["options"])
    if content["model"]["name"] == "sbl" and "relation.norm.weight" in content["model_state"]:
        options["relation_norm"] = True
    if options.get("relation") == "none":
        idle = {"scale": 1.0, "relation_start": "identity"}
        options = {name: value for name, value in options.items() if value == idle.get(name, value)}
    if options == content["model"]["options"]:
        return dict(content)
    model = content["config"]["model"] | {"options": options}
    return {
        **content,
        "model": content["model"] | {"options": options},
        "config": content["config"] | {"model": model},
    }


def read_tensors(path: str | Path) -> dict[str, Any]:
    """What a file of weights holds (`rpstn_ext.models.read`); raises UserError."""
    try:
        return models.read(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a file with weights, found none") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: expected a file with weights, got a folder; name best.pt in it") from error
    except OSError as error:
        raise UserError(
            f"{path}: expected a file with weights, it cannot be read ({error.strerror})"
        ) from error
    except ValueError as error:
        raise UserError(str(error).removeprefix("models.read: ")) from error


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
