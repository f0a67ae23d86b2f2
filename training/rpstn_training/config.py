"""The configuration of one experiment: frozen dataclasses, read from one complete YAML file.

Every key of the file is checked: unknown keys name the nearest known one, wrong types name the key, what was
expected and what arrived, and ranges are checked by the dataclasses themselves, also when Python code builds
them. `--set a.b=c` goes through the same checks, with c read as YAML.
"""

import dataclasses
import difflib
import logging
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from .errors import UserError
from .options import convert, describe, parse_override, parse_yaml, plain

_log = logging.getLogger(__name__)

RELATION_WORDS = {True: "jre", False: "none"}  # what versions until 0.1 wrote, and the word for it
MAPS_PER_JOINT = {"gaussian": 1, "offset": 3}
DEVICES = r"auto|cpu|cuda(:\d+)?"
Precision = Literal["float32", "bfloat16", "float16"]  # what products are computed in
PRECISIONS = typing.get_args(Precision)


def _require(condition: bool, key: str, expected: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{key}: expected {expected}, got {value!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which clips, and how a person is cut out of them."""

    name: str  # a key of rpstn_training.data.sets.DATASETS
    root: str  # the data set as its owner ships it; relative to the working directory
    split: int = 1  # Sub-JHMDB: 1, 2 or 3; the other sets have one split and ignore this
    clip_length: int = 5  # T
    input_size: tuple[int, int] = (256, 256)  # width, height of the crop
    box: Literal["clip", "frame"] = "clip"  # one box for all frames of a clip, or each frame its own
    box_scale: float = 1.25
    workers: int = 2
    pin_workers: bool = False  # each to one core, of the share that this process has of the machine's
    cache: str = (
        "none"  # of decoded frames of training clips: none, ram, or a folder on a fast disk of each machine
    )
    cache_gb: float = 8.0  # 1e9 bytes that the cache may take of a machine
    clips_per_epoch: int | None = None  # null: one clip of each video
    options: dict[str, Any] = field(default_factory=dict)  # what this data set's reader takes beside these

    def __post_init__(self) -> None:
        _require(self.split in (1, 2, 3), "split", "1, 2 or 3", self.split)
        _require(self.clip_length >= 1, "clip_length", "at least 1", self.clip_length)
        _require(
            min(self.input_size) > 0, "input_size", "a width and a height above 0", list(self.input_size)
        )
        _require(self.box_scale > 0, "box_scale", "more than 0", self.box_scale)
        _require(self.workers >= 0, "workers", "at least 0", self.workers)
        _require(self.cache != "", "cache", "none, ram or a folder", self.cache)
        _require(self.cache_gb > 0, "cache_gb", "more than 0", self.cache_gb)
        _require(
            self.clips_per_epoch is None or self.clips_per_epoch >= 1,
            "clips_per_epoch",
            "null or at least 1",
            self.clips_per_epoch,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """Ranges of the random changes of a training clip; one draw serves all its frames."""

    rotation: float = 40.0  # degrees to either side
    scale: tuple[float, float] = (0.8, 1.4)
    flip: float = 0.5  # probability
    color: float = 0.0  # relative change of brightness, contrast and saturation
    occlusion: float = 0.0  # probability of a patch over part of the person; joints under it count as hidden
    shift: float = 0.0  # of the box, to either side, as a share of its width and height
    elsewhere: float = (
        0.0  # probability of a box beside the person: maps of joints outside it are to be empty
    )
    gamma: float = 0.0  # grey levels to a power between 1 / (1 + gamma) and 1 + gamma
    light: float = 0.0  # relative change of brightness from place to place, as of lamps and shadows
    shrink: float = 1.0  # largest factor by which the crop is made coarser
    blur: float = 0.0  # largest standard deviation of a Gaussian blur, in pixels of the crop
    noise: float = 0.0  # largest standard deviation of a sensor's noise, in grey levels of 255
    jpeg: float = 0.0  # probability of blocks as of strong compression

    def __post_init__(self) -> None:
        _require(0 <= self.rotation <= 180, "rotation", "between 0 and 180 degrees", self.rotation)
        low, high = self.scale
        _require(0 < low <= high, "scale", "two positive numbers, the smaller first", list(self.scale))
        _require(0 <= self.flip <= 1, "flip", "a probability between 0 and 1", self.flip)
        _require(0 <= self.color < 1, "color", "at least 0 and less than 1", self.color)
        _require(0 <= self.occlusion <= 1, "occlusion", "a probability between 0 and 1", self.occlusion)
        _require(0 <= self.shift < 1, "shift", "at least 0 and less than 1", self.shift)
        _require(0 <= self.elsewhere <= 1, "elsewhere", "a probability between 0 and 1", self.elsewhere)
        _require(0 <= self.gamma <= 9, "gamma", "between 0 and 9", self.gamma)
        _require(0 <= self.light < 1, "light", "at least 0 and less than 1", self.light)
        _require(1 <= self.shrink <= 16, "shrink", "a factor between 1 and 16", self.shrink)
        _require(0 <= self.blur <= 32, "blur", "between 0 and 32 pixels", self.blur)
        _require(0 <= self.noise <= 255, "noise", "between 0 and 255", self.noise)
        _require(0 <= self.jpeg <= 1, "jpeg", "a probability between 0 and 1", self.jpeg)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Arguments of `rpstn_ext.models.build`, and weights to begin with."""

    name: str = "rpstn"
    options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None  # of the whole network; those of a part stand in its description


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatmapConfig:
    """Target heat maps and how a joint is read from a predicted one."""

    sigma: float = 2.0  # cells; of maps "offset": of the smoothing before a peak is looked for
    decode: Literal["subpixel", "quarter", "argmax", "dark", "integral"] = "subpixel"
    geometry: Literal["plain", "udp"] = "plain"  # what a cell stands for in the crop: `codec`
    maps: Literal["gaussian", "offset"] = (
        "gaussian"  # a Gaussian a joint, or UDP's disc and offsets along x and y
    )
    radius: float = 3.5  # cells; of the disc of maps "offset"
    hidden: float = (
        1.0  # height of a hidden joint's Gaussian, of 1 where it is to be seen: less tells them apart
    )

    def __post_init__(self) -> None:
        _require(self.sigma > 0, "sigma", "more than 0", self.sigma)
        _require(self.radius >= 1, "radius", "at least 1", self.radius)
        _require(0 < self.hidden <= 1, "hidden", "more than 0, at most 1", self.hidden)
        _require(self.maps == "gaussian" or self.hidden == 1, "hidden", "1 with maps offset", self.hidden)
        _require(
            self.maps != "offset" or self.decode == "argmax",
            "decode",
            "argmax with maps offset, where the offsets say what is between the cells",
            self.decode,
        )

    @property
    def maps_per_joint(self) -> int:
        return MAPS_PER_JOINT[self.maps]


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetsConfig:
    """Where the target heat maps come from.

    `on_device` true: from the joints, within the loss on the training device, so that they are never stored; false:
    built by the workers and sent. Equal to 1e-6.
    """

    on_device: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """How far maps are from what they should be: `kind` "squared" is equation 5 of the paper; "integral" is PoseFix's
    loss, for maps that are logarithms, which `heatmap.decode: integral` reads.

    `visibility` true trains on visible joints; false also on occluded ones whose position is known. A placeholder is
    never trained on.
    """

    kind: Literal["squared", "integral"] = "squared"
    visibility: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Optimiser, schedule and what the loop does beside them."""

    epochs: int = 100
    batch_size: int = 8  # clips of a step, of all processes and parts together
    accumulate: int = 1  # parts of a batch that are trained on one after the other, for less memory
    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 5e-4
    rate_rule: Literal["none", "linear", "sqrt"] = "none"  # of the rate, by batch_size / base_batch
    base_batch: int | None = None  # clips, for which learning_rate is meant where there is a rule
    warmup_steps: int = 0  # in which the rate rises to what it is then
    layer_decay: float = 1.0  # of a vision transformer: the rate of a layer as a share of the next one's
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = (8, 15, 25, 40, 80)  # epochs after which the rate is multiplied by gamma
    gamma: float = 0.1
    ema: float | None = (
        None  # of the weights' running average, which is then evaluated and kept: 0.999, for example
    )
    grad_clip: float | None = None  # largest norm of all gradients together
    max_steps: int | None = None  # stop after so many optimiser steps in all
    eval_every: int = 1  # epochs
    patience: int | None = None  # stop after so many evaluations without a better score
    device: str = "auto"  # auto, cpu, cuda, cuda:1 ...
    precision: Precision = "float32"
    tf32: bool = False  # on a GPU: float32 products with ten bits of fraction, faster and less exact
    channels_last: bool = False  # of a pixel of weights and maps the channels lie side by side
    compile: bool = False  # by torch.compile, which takes minutes before the first step
    keep_every: int | None = None  # epochs; after every so many the weights are kept as epoch_NNNN.pt
    keep_last: int | None = None  # of these files, so many; null: all
    log_every: int | None = None  # steps; after every so many a line of steps.jsonl
    profile_steps: int | None = None  # so many steps are recorded in trace.json
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "eval_every", "accumulate"):
            _require(getattr(self, key) >= 1, key, "at least 1", getattr(self, key))
        _require(
            (self.rate_rule == "none") == (self.base_batch is None),
            "base_batch",
            "a number of clips with a rate_rule, and null with none",
            self.base_batch,
        )
        _require(self.warmup_steps >= 0, "warmup_steps", "at least 0", self.warmup_steps)
        _require(0 < self.layer_decay <= 1, "layer_decay", "more than 0 and at most 1", self.layer_decay)
        _require(self.ema is None or 0 < self.ema < 1, "ema", "null or a number between 0 and 1", self.ema)
        for key in (
            "max_steps",
            "patience",
            "base_batch",
            "keep_every",
            "keep_last",
            "log_every",
            "profile_steps",
        ):
            value = getattr(self, key)
            _require(value is None or value >= 1, key, "null or at least 1", value)
        _require(self.learning_rate > 0, "learning_rate", "more than 0", self.learning_rate)
        _require(self.weight_decay >= 0, "weight_decay", "at least 0", self.weight_decay)
        _require(0 < self.gamma <= 1, "gamma", "more than 0 and at most 1", self.gamma)
        _require(
            self.grad_clip is None or self.grad_clip > 0, "grad_clip", "null or more than 0", self.grad_clip
        )
        rising = all(a < b for a, b in zip(self.milestones, self.milestones[1:]))
        _require(
            rising and all(epoch >= 1 for epoch in self.milestones),
            "milestones",
            "rising epoch numbers from 1 on",
            list(self.milestones),
        )
        _require(
            re.fullmatch(DEVICES, self.device) is not None,
            "device",
            "auto, cpu, cuda or cuda:N",
            self.device,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """Which frames are scored, and by which clips and score a training chooses best.pt.

    "validation" is the set's own validation part where its owners have one (COCO, MPII, PoseTrack2018, HiEve, custom:
    the labels of their test parts are hidden, or there is none), else a share `held_out` of the training videos, drawn
    by the seed, on which is not trained. `select: test` is the paper's way: the weights are chosen on what is reported.
    """

    protocol: Literal["tiled", "streaming", "released"] = "tiled"
    subset: Literal["test", "validation", "train"] = "test"  # what `rpstn eval` scores
    select: Literal["validation", "test", "train"] = "validation"  # what a training chooses best.pt on
    held_out: float = 0.1
    gamma: float = 0.2  # PCK threshold as a share of the normaliser
    normaliser: Literal["person", "torso"] = "person"  # of the PCK that chooses best.pt; both are reported
    batch_size: int = 8  # clips (tiled, released) or videos (streaming) that go through the network at once
    poses: str | None = None  # for a network that refines poses: a checkpoint of one that finds them
    flip: bool = False  # average with the maps of the mirrored picture
    flip_shift: bool = True  # of geometry plain: move those maps one cell to the right
    scales: tuple[float, ...] = (1.0,)  # average over the crop resampled so many times as large

    def __post_init__(self) -> None:
        _require(0 < self.held_out < 1, "held_out", "a share between 0 and 1", self.held_out)
        _require(self.gamma > 0, "gamma", "more than 0", self.gamma)
        _require(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        _require(
            len(self.scales) > 0 and min(self.scales) > 0,
            "scales",
            "one or more numbers above 0",
            list(self.scales),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One experiment."""

    output: str  # run folder: config.yaml, metrics.jsonl, last.pt, best.pt; relative to the working directory
    seed: int = 0
    data: DataConfig
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    heatmap: HeatmapConfig = field(default_factory=HeatmapConfig)
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        _require(self.seed >= 0, "seed", "at least 0", self.seed)
        _require(
            (self.loss.kind == "integral") == (self.heatmap.decode == "integral"),
            "heatmap.decode",
            "integral with loss.kind integral, and with no other",
            self.heatmap.decode,
        )
        _require(
            self.loss.kind == "squared" or self.heatmap.maps == "gaussian",
            "heatmap.maps",
            "gaussian with loss.kind integral, whose maps are logarithms",
            self.heatmap.maps,
        )
        _require(
            self.loss.kind == "squared" or self.targets.on_device,
            "targets.on_device",
            "true with loss.kind integral, which has no target maps",
            self.targets.on_device,
        )
        _require(
            self.heatmap.hidden == 1 or (self.loss.kind == "squared" and not self.loss.visibility),
            "heatmap.hidden",
            "1 unless hidden joints are trained on (loss.visibility false) and maps have a height (loss.kind squared)",
            self.heatmap.hidden,
        )
        _require(
            not (self.eval.flip and self.eval.flip_shift and self.heatmap.geometry == "udp"),
            "eval.flip_shift",
            "false with eval.flip and heatmap.geometry udp, where mirrored maps fit as they are",
            self.eval.flip_shift,
        )


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `a.b=c` overrides and check everything.

    Raises `UserError` with one sentence that names the file (or the override), the key and what is wrong.
    """
    tree, origins = _read_tree(Path(path), overrides)
    return from_dict(tree, str(path), origins)


def load_as(kind: type, path: str | Path, overrides: Sequence[str] = ()) -> Any:
    """The same for another frozen dataclass `kind`, of a command that has a small configuration of its own."""
    tree, origins = _read_tree(Path(path), overrides)
    return _build(kind, tree, "", str(path), origins)


def _read_tree(path: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Plain types, and for each dotted key that an override gave, that override."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: expected a configuration in YAML, could not read it ({reason})") from error
    tree = parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected keys with values at the top level, got {describe(tree)}")
    origins: dict[str, str] = {}
    for override in overrides:
        _apply_override(tree, override, origins)
    return tree, origins


def from_dict(tree: Mapping[str, Any], source: str, origins: Mapping[str, str] | None = None) -> Config:
    """Build a `Config` from plain types, such as `to_dict` gives.

    source (str): what error messages begin with, the file's name for example.
    origins (dict): for a dotted key that came from elsewhere, what its messages begin with instead.
    """
    return _build(Config, with_words(tree, source), "", source, origins or {})


def with_words(tree: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """A relation as versions until 0.1 wrote it, true or false, as the word that stands for it now; said once."""
    model = tree.get("model")
    options = model.get("options") if isinstance(model, Mapping) else None
    relation = options.get("relation") if isinstance(options, Mapping) else None
    if not isinstance(relation, bool):
        return tree
    word = RELATION_WORDS[relation]
    _log.warning("%s: model.options.relation: %s is written %s now", source, str(relation).lower(), word)
    return {**tree, "model": {**model, "options": {**options, "relation": word}}}


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration in plain types (dict, list, str, int, float, bool, None), every key present."""
    return plain(dataclasses.asdict(config))


def to_yaml(config: Config) -> str:
    """The configuration as the text of a complete YAML file."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None, width=110)


def differences(old: Config, new: Config) -> list[str]:
    """Dotted keys whose values differ, each as "key: old -> new"."""
    before, after = dict(_flatten(to_dict(old))), dict(_flatten(to_dict(new)))
    keys = list(before) + [key for key in after if key not in before]
    missing = "(not set)"
    return [
        f"{key}: {before.get(key, missing)!r} -> {after.get(key, missing)!r}"
        for key in keys
        if before.get(key, missing) != after.get(key, missing)
    ]


def _apply_override(tree: dict[str, Any], override: str, origins: dict[str, str]) -> None:
    source = f"--set {override}"
    key, value = parse_override(override)
    *sections, name = key.split(".")
    node = tree
    for depth, section in enumerate(sections):
        node = node.setdefault(section, {})
        if not isinstance(node, dict):
            parent = ".".join(sections[: depth + 1])
            raise UserError(f"{source}: {parent} is {describe(node)}, it has no keys of its own")
    node[name] = value
    origins[key] = source


def _build(kind: type, tree: Any, prefix: str, source: str, origins: Mapping[str, str]) -> Any:
    """An instance of the dataclass `kind` from a mapping; `prefix` is its dotted key with a final dot."""

    def origin(key: str) -> str:
        """Where a value, or the nearest section above it, was given."""
        while key and key not in origins:
            key = key.rpartition(".")[0]
        return origins.get(key, source)

    if not isinstance(tree, Mapping):
        where = prefix.rstrip(".")
        raise UserError(f"{origin(where)}: {where}: expected a section of keys, got {describe(tree)}")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        where = origin(key) if key in origins else _deeper_origin(key, origins) or origin(key)
        if name not in fields:
            raise UserError(f"{where}: unknown key {key}{_suggestion(str(name), list(fields))}")
        if dataclasses.is_dataclass(hints[name]):
            values[name] = _build(hints[name], value, f"{key}.", source, origins)
            continue
        try:
            values[name] = convert(value, hints[name])
        except TypeError as error:
            raise UserError(f"{where}: {key}: expected {error}, got {describe(value)}") from error
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UserError(f"{source}: missing key {prefix}{name}")
    try:
        return kind(**values)
    except ValueError as error:  # from __post_init__, which begins with the field's name
        name = str(error).partition(":")[0]
        raise UserError(f"{origin(prefix + name)}: {prefix}{error}") from error


def _deeper_origin(key: str, origins: Mapping[str, str]) -> str | None:
    return next((text for name, text in origins.items() if name.startswith(f"{key}.")), None)


def _suggestion(name: str, siblings: list[str]) -> str:
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if near:
        return f", did you mean {near[0]}?"
    everywhere = [key for key in _known_keys(Config) if key.rpartition(".")[2] == name]
    if everywhere:
        return f", did you mean {everywhere[0]}?"
    return f"; known here: {', '.join(siblings)}"


def _known_keys(kind: type, prefix: str = "") -> Iterator[str]:
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from _known_keys(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
