"""Every arm of a study: what it trains or fits, and the counts it writes. One that has been written is not run again.

memory        a network trained from nothing, after a budget of epochs; or begun with the image network's weights, or
              with clips that become longer
heads         a relation fitted to maps that stay: "given", of the "image" network, of the "video" network
fine-tuning   a relation put into the trained image network, all of it trained on
"""

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rpstn_ext.models import relations

from ..building import build_network, outline
from ..codec import Codec
from ..config import Config, ModelConfig
from ..data.sets import load_skeleton
from ..data.subsets import for_training, load_subset
from ..device import choose_device
from ..errors import UserError
from ..files import atomic_write, write_json
from ..train import checkpoint as checkpoints
from ..train.engine import train
from ..versions import versions
from . import heads
from .frames import (
    Frames,
    before_norm,
    changed_clips,
    count,
    last_norm,
    maps_of_clips,
    read_frames,
    stream,
    with_patches,
)
from .plan import GAMMA, IMAGE, VIDEO, StudyConfig, growing, network, training
from .simulated import spoilt_maps

GIVEN, VISIBLE = "given", "image_visible"
PLACES = (GIVEN, IMAGE, VISIBLE, VIDEO)
PRETRAINED, GROWING = "_pretrained", "_growing"  # behind a network's name: how it was trained
_TEST_STREAM = 7  # of random numbers: noise of the given test maps


@dataclass(frozen=True)
class Arm:
    """`part` is "memory", "heads" or "fine-tuning"; `place` a network's budget, or where a head's maps come from."""

    part: str
    name: str
    place: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.part}-{self.place}-{self.name}-{self.seed}"


def memory_names(study: StudyConfig) -> list[str]:
    """The networks, and those trained in other ways as well."""
    memory = study.memory
    return [
        *study.networks,
        *(name + PRETRAINED for name in memory.pretrained),
        *(name + GROWING for name in memory.growing),
    ]


def arms(study: StudyConfig) -> list[Arm]:
    """All of them, in the order in which they are run."""
    memory, fitted, tuned = study.memory, study.heads, study.fine_tuning
    found = [
        Arm("memory", name, str(budget), seed)
        for seed in range(memory.seeds)
        for budget in memory.budgets
        for name in study.networks
    ]
    others = memory_names(study)[len(study.networks) :]
    found += [
        Arm("memory", name, str(memory.budgets[-1]), seed) for seed in range(memory.seeds) for name in others
    ]
    found += [
        Arm("heads", name, place, seed)
        for place in PLACES
        for seed in range(fitted.seeds)
        for name in (fitted.arms if place == IMAGE else fitted.few)
    ]
    found += [Arm("fine-tuning", name, IMAGE, seed) for seed in range(tuned.seeds) for name in tuned.arms]
    return found


class Runner:
    """Runs arms in a study's folder; what several arms need is made once."""

    def __init__(self, study: StudyConfig) -> None:
        self.study = study
        self.folder = Path(study.output)
        self.device = choose_device(study.train.device, "train.device")
        self._maps: dict[tuple[str, int], Any] = {}
        self._drawn: dict[int, tuple[Tensor, ...]] = {}

    def path(self, arm: Arm) -> Path:
        return self.folder / "results" / f"{arm.key}.json"

    def run(self, arm: Arm) -> None:
        """Raises UserError as a training does."""
        began, used = time.monotonic(), time.process_time()
        torch.manual_seed(arm.seed)
        scored = {"memory": self._memory, "heads": self._head, "fine-tuning": self._fine_tuned}[arm.part](arm)
        spent = {"seconds": time.monotonic() - began, "processor_seconds": time.process_time() - used}
        write_json(self.path(arm), {**scored, **spent, "commit": versions()["commit"]})

    def read(self, arm: Arm) -> dict[str, Any] | None:
        path = self.path(arm)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    # ------------------------------------------------------------------------------------------------- what is shared

    @cached_property
    def base(self) -> Config:
        return training(self.study, self.folder / "none", network(self.study, IMAGE), seed=0, epochs=1)

    @cached_property
    def skeleton(self) -> Any:
        return load_skeleton(self.study.data)

    @cached_property
    def codec(self) -> Codec:
        return Codec.of(self.base, outline(self.base.model, self.skeleton))

    @cached_property
    def test(self) -> Frames:
        return read_frames(load_subset(self.base, "test").tracks, self.skeleton, self.base, self.codec)

    @cached_property
    def patched(self) -> Frames:
        return with_patches(self.test, 0)

    def _clips(self, arm: Arm) -> tuple[Tensor, ...]:
        """Clips of videos that the networks of this seed have not seen, the same for all its heads."""
        _, number = self.trunk_of(arm)
        if number not in self._drawn:
            config = replace(self.base, seed=number)
            _, held_out = for_training(config)
            clips = changed_clips(held_out.tracks, self.skeleton, config, self.codec, self.study.heads.clips)
            self._drawn = {number: clips}  # one at a time: they are large
        return self._drawn[number]

    # ------------------------------------------------------------------------------------------------------- trainings

    def _run_folder(self, arm: Arm) -> Path:
        name = f"{arm.name}-{arm.place}" if arm.part == "memory" else f"fine-{arm.name}"
        return self.folder / "runs" / f"{name}-{arm.seed}"

    def network(self, arm: Arm) -> nn.Module:
        """What a training has left."""
        run = self._run_folder(arm)
        return self._trained(run / str(self.study.memory.lengths[-1]) if arm.name.endswith(GROWING) else run)

    def _train(self, config: Config) -> nn.Module:
        run = Path(config.output)
        started = (run / "last.pt").is_file()
        train(config, resume=run if started else None)
        return self._trained(run)

    def _score(self, model: nn.Module) -> dict[str, Any]:
        counts = count(stream(model, self.test), self.test, self.codec, GAMMA)
        patches = count(stream(model, self.patched), self.patched, self.codec, GAMMA)
        return {"counts": {**counts, "patches": patches["hidden"]}}

    def _memory(self, arm: Arm) -> dict[str, Any]:
        run, epochs = self._run_folder(arm), int(arm.place)
        described = network(self.study, arm.name.removesuffix(PRETRAINED).removesuffix(GROWING))
        if arm.name.endswith(GROWING):
            for config in growing(self.study, run, described, seed=arm.seed):
                model = self._train(config)
                described = self._beginning(
                    described, model.state_dict(), f"{arm.key}-{config.data.clip_length}"
                )
            return self._score(model)
        if arm.name.endswith(PRETRAINED):
            image = self.needs(arm)
            state = self.network(image).state_dict()
            state = with_image_network(state, build_network(described, self.skeleton))
            described, epochs = self._beginning(described, state, arm.key), epochs - int(image.place)
        config = training(self.study, run, described, seed=arm.seed, epochs=epochs)
        return self._score(self._train(config))

    def _beginning(self, described: ModelConfig, state: dict[str, Tensor], name: str) -> ModelConfig:
        """The network, to begin with these weights."""
        path = self.folder / "runs" / f"start-{name}.pt"
        with atomic_write(path) as file:
            torch.save(state, file)
        return replace(described, weights=str(path))

    def _trained(self, run: Path) -> nn.Module:
        return checkpoints.load(run / "last.pt").build_model().to(self.device).eval()

    def needs(self, arm: Arm) -> Arm | None:
        """The arm whose network it begins with, None for one that needs none."""
        memory = self.study.memory
        if arm.part == "memory":
            pretrained = arm.name.endswith(PRETRAINED)
            return Arm("memory", IMAGE, str(memory.budgets[-2]), arm.seed) if pretrained else None
        if arm.place == GIVEN:
            return None
        name, number = self.trunk_of(arm)
        return Arm("memory", name, str(memory.budgets[-1]), number)

    def trunk(self, name: str, number: int) -> nn.Module:
        """The network that the longest training with this number as seed has left."""
        return self.network(Arm("memory", name, str(self.study.memory.budgets[-1]), number))

    def trunk_of(self, arm: Arm) -> tuple[str, int]:
        """Whose maps an arm of heads gets, or which network one of fine-tuning begins as: there may be fewer networks
        than seeds of arms.
        """
        place = IMAGE if arm.place == VISIBLE else arm.place
        return place, arm.seed % self.study.memory.seeds

    def _fine_tuned(self, arm: Arm) -> dict[str, Any]:
        head, tuning = heads.HEADS[arm.name], self.study.fine_tuning
        described = network(self.study, IMAGE, relation=head.relation, relation_start=head.start)
        model = build_network(described, self.skeleton)
        state = _with_relation(self.trunk(*self.trunk_of(arm)).state_dict(), model)
        config = training(
            self.study,
            self._run_folder(arm),
            self._beginning(described, state, arm.key),
            seed=arm.seed,
            epochs=tuning.epochs,
            learning_rate=tuning.learning_rate,
        )
        return self._score(self._train(config))

    # ----------------------------------------------------------------------------------------------------------- heads

    def _head_file(self, arm: Arm) -> Path:
        return self.folder / "heads" / f"{arm.key}.pt"

    def head(self, arm: Arm, norm: nn.BatchNorm2d) -> nn.Module:
        """As it was fitted, on maps in front of `norm`."""
        path, head = self._head_file(arm), heads.build_head(arm.name, norm)
        if not path.is_file():
            raise UserError(
                f"{path}: expected the head that was fitted, found none; remove {self.path(arm)} and run "
                "the study again"
            )
        head.load_state_dict(torch.load(path, weights_only=True))
        return head.eval()

    def _head(self, arm: Arm) -> dict[str, Any]:
        fitted = self.study.heads
        _, joints, visible, labelled = (some.flatten(0, 1) for some in self._clips(arm))
        weights = visible if arm.place == VISIBLE else labelled
        norm, maps, test = self._given(joints) if arm.place == GIVEN else self._of_trunk(arm)
        head = heads.build_head(arm.name, norm)
        loss = heads.fit(
            head,
            maps,
            joints,
            weights,
            self.codec,
            steps=fitted.steps,
            batch_size=fitted.batch_size,
            learning_rate=fitted.learning_rate,
            seed=arm.seed,
        )
        with atomic_write(self._head_file(arm)) as file:
            torch.save(head.state_dict(), file)
        scored: dict[str, Any] = {"loss": loss, "counts": {}}
        for name, (frames, of_frames) in test.items():
            found = count(apply_head(head, of_frames), frames, self.codec, GAMMA)
            scored["counts"] |= {"patches": found["hidden"]} if name == "patches" else found
        if hasattr(head, "conv_o"):
            frames, of_frames = test["hidden"]
            scored["controls"] = {
                control: count(
                    heads.with_other_weights(head, of_frames, control, away=len(frames) // 2).detach(),
                    frames,
                    self.codec,
                    GAMMA,
                )
                for control in heads.CONTROLS
            }
        return scored

    def _given(self, joints: Tensor) -> tuple[nn.BatchNorm2d, Callable[[Tensor], Tensor], dict[str, Any]]:
        """Spoilt maps, to fit on drawn anew for every batch; the normalisation has the statistics of many of them."""
        random = torch.Generator().manual_seed(_TEST_STREAM)
        maps, spoilt = spoilt_maps(self.test.joints, self.skeleton, self.codec, random)
        known = self.test.visible | self.test.hidden
        frames = replace(self.test, visible=known & ~spoilt, hidden=known & spoilt)
        anew = torch.Generator().manual_seed(_TEST_STREAM + 1)

        def drawn(chosen: Tensor) -> Tensor:
            return spoilt_maps(joints[chosen], self.skeleton, self.codec, anew)[0]

        norm = relations.output_norm(self.test.joints.shape[1])
        some = drawn(torch.arange(min(len(joints), 256)))
        deviation, mean = torch.std_mean(some, dim=(0, 2, 3))
        with torch.no_grad():  # the identity: what the maps are is what they should be
            norm.running_mean.copy_(mean), norm.running_var.copy_(deviation.square())
            norm.weight.copy_(deviation), norm.bias.copy_(mean)
        return norm, drawn, {"hidden": (frames, maps)}

    def _of_trunk(self, arm: Arm) -> tuple[nn.BatchNorm2d, Callable[[Tensor], Tensor], dict[str, Any]]:
        key = self.trunk_of(arm)
        if key not in self._maps:
            model = self.trunk(*key)
            norm = copy.deepcopy(last_norm(model)).cpu()
            maps = before_norm(norm, maps_of_clips(model, self._clips(arm)[0]).flatten(0, 1))
            test = {
                name: (frames, before_norm(norm, stream(model, frames)))
                for name, frames in (("hidden", self.test), ("patches", self.patched))
            }
            self._maps = {key: (norm, maps, test)}  # one at a time: they are large
        norm, maps, test = self._maps[key]
        return norm, maps.__getitem__, test


@torch.no_grad()
def apply_head(head: nn.Module, maps: Tensor) -> Tensor:
    return torch.cat([head(some) for some in maps.split(256)])


def with_image_network(image: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights of a network with a memory that begins with all that an image network has: its pose initialiser, its
    feature extractor where it has its own, and its normalisation.
    """
    state, used = model.state_dict(), set()
    for name, value in image.items():
        inner = name.removeprefix("backbone.")
        for wanted in (name, f"first_{name}", f"pose_initializer.{name}", f"feature_extractor.{inner}"):
            if wanted in state and state[wanted].shape == value.shape:
                state[wanted] = value
                used.add(wanted)
    lacking = [
        name
        for name in state
        if name.startswith(("pose_initializer.", "feature_extractor.", "norm.", "first_norm."))
        and name not in used
    ]
    if lacking:
        raise ValueError(
            f"study: expected networks with the backbone of the image network, it has no {lacking[0]} of that shape"
        )
    return state


def _with_relation(trunk: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A trunk's weights for the same network with a relation, which begins as the network's own; the trunk's last
    normalisation is the relation's.
    """
    state = model.state_dict()
    for name, value in trunk.items():
        wanted = name if name in state else f"relation.{name}"
        if wanted not in state or state[wanted].shape != value.shape:
            raise ValueError(f"study: expected a network with the trunk's {name}, it has none of that shape")
        state[wanted] = value
    return state
