"""The configuration of a study, one complete YAML file: what is compared is fixed in it before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from ..config import (
    AugmentationConfig,
    Config,
    DataConfig,
    EvalConfig,
    HeatmapConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    load_as,
)
from ..options import plain
from .heads import CONTROL, HEADS, TWICE

GAMMA = 0.2  # of the torso size: the study's score
IMAGE, VIDEO = "image", "video"


def _require(condition: bool, key: str, expected: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{key}: expected {expected}, got {value!r}")


def _require_heads(names: tuple[str, ...], key: str) -> None:
    for name in names:
        _require(name in HEADS, key, f"some of {', '.join(HEADS)}", name)
    _require(len(set(names)) == len(names), key, "each arm once", list(names))


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnConfig:
    """Clips that are drawn, whose hidden joints are known, into `data.root` where there are none yet."""

    clips: int = 240  # each fourth a test clip; 0: none is drawn, `data.root` has the data set
    frames: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.clips >= 0, "clips", "0 or more", self.clips)
        _require(self.frames >= 2, "frames", "at least 2", self.frames)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryConfig:
    """The image network alone and networks with a memory, trained from nothing for budgets of epochs; and what else
    may make a memory pay, in trainings of the last budget's length.
    """

    budgets: tuple[int, ...] = (
        4,
        8,
    )  # rising; the networks of the last one are the trunks of all that follows
    seeds: int = 1
    # Networks that begin with the weights of the image network of the budget before and are trained for the rest.
    pretrained: tuple[str, ...] = ()
    # Networks trained with clips that become longer: `lengths` frames, as many epochs of each.
    growing: tuple[str, ...] = ()
    lengths: tuple[int, ...] = (2, 5, 10)

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.budgets, self.budgets[1:]))
        _require(
            rising and bool(self.budgets) and min(self.budgets, default=0) >= 1,
            "budgets",
            "rising numbers of epochs",
            list(self.budgets),
        )
        _require(self.seeds >= 1, "seeds", "at least 1", self.seeds)
        _require(
            not self.pretrained or len(self.budgets) > 1,
            "pretrained",
            "none with a single budget, before which there is no image network",
            list(self.pretrained),
        )
        _require(
            bool(self.lengths) and min(self.lengths) >= 1, "lengths", "frames of clips", list(self.lengths)
        )
        _require(
            not self.growing or self.budgets[-1] >= len(self.lengths),
            "lengths",
            f"at most {self.budgets[-1]} of them, an epoch each",
            list(self.lengths),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadsConfig:
    """Relations fitted to maps that stay as they are, of networks or of true poses, by a loss over every joint whose
    place is known; at one place ("image_visible") over visible joints alone, as data without such places allow.
    """

    arms: tuple[str, ...] = tuple(HEADS)
    few: tuple[str, ...] = (
        CONTROL,
        "static",
        "jre",
        "displacement",
    )  # everywhere; `arms` on the image network's maps
    seeds: int = 3
    clips: int = 400  # randomly changed clips of `data.clip_length` frames whose maps are kept to fit on
    steps: int = 300
    batch_size: int = 32  # frames
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        _require_heads(self.arms, "arms")
        _require_heads(self.few, "few")
        for key in ("seeds", "clips", "steps", "batch_size"):
            _require(getattr(self, key) >= 1, key, "at least 1", getattr(self, key))
        _require(self.learning_rate > 0, "learning_rate", "more than 0", self.learning_rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuningConfig:
    """Relations put into the trained image network, and the whole trained on."""

    arms: tuple[str, ...] = (CONTROL, "jre", "displacement")
    seeds: int = 2
    epochs: int = 2
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        _require_heads(self.arms, "arms")
        _require(TWICE not in self.arms, "arms", "relations that a network has", TWICE)
        for key in ("seeds", "epochs"):
            _require(getattr(self, key) >= 1, key, "at least 1", getattr(self, key))
        _require(self.learning_rate > 0, "learning_rate", "more than 0", self.learning_rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """What is compared, fixed beforehand: differences of torso PCK@0.2 of the hidden joints."""

    primary: tuple[str, ...] = ("displacement - control", "jre - control")
    joints: Literal["hidden", "patches"] = (
        "hidden"  # whose places the set knows; or those under pasted patches
    )
    resamples: int = 2000  # of the bootstrap

    def __post_init__(self) -> None:
        for pair in self.primary:
            arms = pair.split(" - ")
            _require(
                len(arms) == 2 and all(arm in HEADS for arm in arms),
                "primary",
                f"two of {', '.join(HEADS)} with ' - ' between them",
                pair,
            )
        _require(self.resamples >= 100, "resamples", "at least 100", self.resamples)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyConfig:
    """One study.

    `networks` are what is trained from nothing, by name: the options of `models.build` with the network's name as
    `model`. "image" sees each frame by itself, "video" propagates; both end with a normalisation and have no relation,
    for the heads are put there.
    """

    output: str
    drawn: DrawnConfig = field(default_factory=DrawnConfig)
    data: DataConfig
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    heatmap: HeatmapConfig = field(default_factory=HeatmapConfig)
    train: TrainConfig = field(default_factory=TrainConfig)  # but for epochs and milestones
    held_out: float = 0.33  # share of the training videos that no network sees: the heads are fitted on them
    networks: dict[str, Any]
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    fine_tuning: FineTuningConfig = field(default_factory=FineTuningConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)

    def __post_init__(self) -> None:
        _require(0 < self.held_out < 1, "held_out", "a share between 0 and 1", self.held_out)
        _require(
            {IMAGE, VIDEO} <= set(self.networks),
            "networks",
            f"{IMAGE} and {VIDEO} among them",
            list(self.networks),
        )
        for name, options in self.networks.items():
            good = isinstance(options, dict) and isinstance(options.get("model"), str)
            _require(good, f"networks.{name}", "a section with model and its options", options)
        for key in ("pretrained", "growing"):
            names = getattr(self.memory, key)
            _require(
                set(names) <= set(self.networks) - {IMAGE},
                f"memory.{key}",
                f"some of networks but {IMAGE}",
                list(names),
            )
        _require(
            not self.memory.growing or self.data.clips_per_epoch is not None,
            "data.clips_per_epoch",
            "a number with memory.growing, where longer clips are fewer",
            None,
        )
        for pair in self.score.primary:
            missing = [arm for arm in pair.split(" - ") if arm not in self.heads.arms]
            _require(not missing, "score.primary", f"arms among heads.arms {list(self.heads.arms)}", pair)


def load_study(path: Path, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a study's YAML file; errors as `config.load_config`."""
    return load_as(StudyConfig, path, overrides)


def training(
    study: StudyConfig,
    output: Path,
    model: ModelConfig,
    *,
    seed: int,
    epochs: int,
    learning_rate: float | None = None,
) -> Config:
    """The configuration of one training: the rate falls tenfold after three quarters of a training from nothing, and
    stays where it continues one.
    """
    milestones = () if learning_rate is not None or epochs == 1 else (_milestone(epochs),)
    train = replace(
        study.train,
        epochs=epochs,
        eval_every=epochs,
        milestones=milestones,
        learning_rate=learning_rate or study.train.learning_rate,
    )
    return Config(
        output=str(output),
        seed=seed,
        data=study.data,
        augmentation=study.augmentation,
        model=model,
        heatmap=study.heatmap,
        train=train,
        loss=LossConfig(visibility=learning_rate is None),
        eval=EvalConfig(select="validation", held_out=study.held_out, normaliser="torso"),
    )


def _milestone(epochs: int) -> int:
    return min(-(-3 * epochs // 4), epochs - 1)


def growing(study: StudyConfig, output: Path, model: ModelConfig, *, seed: int) -> list[Config]:
    """The trainings of one with clips that become longer, one for each length; each is to begin with the weights of the
    one before. Together they have the epochs of the last budget, as many frames in each epoch as other trainings to
    within a batch, and their rate, which falls where theirs does.
    """
    epochs, lengths, data = study.memory.budgets[-1], study.memory.lengths, study.data
    falls, configs, begun = _milestone(epochs), [], 0
    for number, length in enumerate(lengths):  # by one seed, which also says what videos are held out
        share = epochs // len(lengths) + (number < epochs % len(lengths))
        config = training(study, output / f"{length}", model, seed=seed, epochs=share)
        before = falls > begun
        train = replace(
            config.train,
            milestones=(falls - begun,) if before and falls < begun + share else (),
            learning_rate=study.train.learning_rate * (1.0 if before else config.train.gamma),
        )
        batch = study.train.batch_size  # whole ones, for a clip alone may be too few to normalise over
        clips = batch * max(1, round(data.clips_per_epoch * data.clip_length / (length * batch)))
        longer = replace(data, clip_length=length, clips_per_epoch=clips)
        configs.append(replace(config, data=longer, train=train))
        begun += share
    return configs


def network(study: StudyConfig, name: str, **changes: Any) -> ModelConfig:
    """The description of one of the study's networks, with options changed."""
    options = {**study.networks[name], **changes}
    weights = options.pop("weights", None)
    return ModelConfig(name=options.pop("model"), options=options, weights=weights)


def to_yaml(study: StudyConfig) -> str:
    """The study as the text of a complete YAML file."""
    return yaml.safe_dump(plain(study), sort_keys=False, default_flow_style=None, width=110)
