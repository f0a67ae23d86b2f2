"""The arms of `rpstn demo --compare`: other networks that learn from the same clips in the same time.

Each leaves one thing out of the demo's RPSTN and changes nothing else. The time is that of training steps, counted in
seconds of the processor beside each other, so that what else the machine does is no advantage; a faster network makes
more epochs, and its learning rate falls at the same shares of them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .building import build_network
from .config import Config, ModelConfig
from .data.records import Skeleton
from .train.checkpoint import Checkpoint

_STEPS = 4  # that are timed


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What it is for the page, and how its network comes of the RPSTN's."""

    title: str
    model: Callable[[ModelConfig], ModelConfig]


def _alone(model: ModelConfig) -> ModelConfig:
    kept = {name: model.options[name] for name in ("width", "channels") if name in model.options}
    return ModelConfig(name="sbl", options={"backbone": model.options["pose_initializer"], **kept})


def _without_memory(model: ModelConfig) -> ModelConfig:
    """With the options that mean something without propagation."""
    kept = ("pose_initializer", "width", "channels", "relation", "relation_start", "scale", "limbs")
    options = {name: model.options[name] for name in kept if name in model.options}
    return replace(model, options=options | {"feature_extractor": None})


def _without_relation(model: ModelConfig) -> ModelConfig:
    options = {name: value for name, value in model.options.items() if name != "relation_start"}
    return replace(model, options=options | {"relation": "none"})


ARMS = {
    "image_network": Arm(title="the image network alone: no memory, no relation", model=_alone),
    "without_memory": Arm(
        title="without memory: every frame by itself, with the relation", model=_without_memory
    ),
    "without_relation": Arm(title="without the relation, with memory", model=_without_relation),
}


def arm_folder(out: Path, name: str) -> Path:
    return out / "compare" / name


def arm_config(config: Config, name: str, out: Path, skeleton: Skeleton) -> Config:
    """The configuration of an arm that takes as long as that of `config`, an RPSTN's; its run is in `arm_folder`."""
    model = ARMS[name].model(config.model)
    whole, part = step_seconds([config, replace(config, model=model)], skeleton)
    epochs = max(round(config.train.epochs * whole / part), 1)
    share = epochs / config.train.epochs
    train = replace(
        config.train,
        epochs=epochs,
        milestones=tuple(max(round(share * milestone), 1) for milestone in config.train.milestones),
        eval_every=max(round(share * config.train.eval_every), 1),
    )
    return replace(config, model=model, train=train, output=str(arm_folder(out, name)))


def scored_as(config: Config, checkpoint: Checkpoint) -> Config:
    """`config` with the network of a checkpoint, to score it on the same clips."""
    model = ModelConfig(name=checkpoint.model_name, options=checkpoint.model_options)
    return replace(config, model=model)


def step_seconds(configs: list[Config], skeleton: Skeleton) -> list[float]:
    """Seconds of the processor that a training step of each takes, the smallest of some that are taken in turn.

    The random state is as before.
    """
    with torch.random.fork_rng(devices=[]):
        networks = [build_network(config.model, skeleton).train() for config in configs]
    best = [float("inf")] * len(configs)
    for _ in range(_STEPS):
        for place, (config, network) in enumerate(zip(configs, networks)):
            width, height = config.data.input_size
            clip = torch.zeros(config.train.batch_size, config.data.clip_length, 3, height, width)
            began = time.process_time()
            made = network(clip)
            stages = [made] if isinstance(made, torch.Tensor) else made
            sum(maps.square().mean() for maps in stages).backward()
            best[place] = min(best[place], time.process_time() - began)
    return best
