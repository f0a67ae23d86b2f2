"""Fine-tunes the detector on HiEve's boxes, as the paper's Table IX asks for: 15 training videos, weights of COCO to
begin with, the best weights chosen by AP of boxes at overlap 0.5 on the videos of `validation`.

The paper states nothing of the training. SGD, its momentum, weight decay, steps and warm-up are those of torchvision's
reference for this network, with the rate scaled to the batch.

The run folder gets config.json, metrics.jsonl, last.pt to go on from and best.pt for `rpstn detect`.
"""

import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..config import DEVICES
from ..data import boxes as box_rules
from ..data.findings import reporting
from ..data.images import read_image
from ..data.records import Picture
from ..data.sets import hieve
from ..device import choose_device
from ..errors import UserError
from ..files import atomic_write, locked, write_json, write_text
from ..interrupt import AfterStep, ignore_interrupt
from ..options import plain
from ..scores.box_ap import BoxFrame, box_ap
from ..train.checkpoint import read_tensors
from ..versions import versions
from . import detector

_ORDER, _FLIP, _STEP = 0, 1, 2  # streams of random numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorConfig:
    """One fine-tuning."""

    output: str  # run folder
    seed: int = 0
    root: str  # HiEve as its owners ship it
    frames: str | None = None  # folder of the decoded frames, as data.options.frames
    validation: tuple[int, ...] = (3, 7, 8, 17)  # videos that choose best.pt, and are not trained on
    weights: str = detector.CACHE  # to begin with: a file, or torchvision's own for COCO
    min_size: int = detector.MIN_SIZE  # pixels of the shorter side that a picture is resized to
    max_size: int = detector.MAX_SIZE  # and at most of the longer
    trainable_layers: int = 3  # of ResNet's five parts, from the end
    every: int = 5  # trained on are the labelled frames 0, N, 2N ... of each video
    validation_every: int = 20
    flip: float = 0.5  # probability
    epochs: int = 6
    batch_size: int = 2  # pictures
    learning_rate: float = 2.5e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: int = 1000  # steps in which the rate rises evenly from a thousandth
    milestones: tuple[int, ...] = (4, 5)  # epochs after which the rate is multiplied by gamma
    gamma: float = 0.1
    max_steps: int | None = None  # stop after so many steps in all
    workers: int = 4
    device: str = "auto"

    def __post_init__(self) -> None:
        def require(condition: bool, key: str, expected: str) -> None:
            if not condition:
                raise ValueError(f"{key}: expected {expected}, got {getattr(self, key)!r}")

        for key in ("every", "validation_every", "epochs", "batch_size", "min_size"):
            require(getattr(self, key) >= 1, key, "at least 1")
        for key in ("seed", "workers", "warm_up", "weight_decay"):
            require(getattr(self, key) >= 0, key, "at least 0")
        require(self.max_size >= self.min_size, "max_size", "at least min_size")
        require(0 <= self.trainable_layers <= 5, "trainable_layers", "0 to 5")
        require(0 <= self.flip <= 1, "flip", "a probability between 0 and 1")
        require(self.learning_rate > 0, "learning_rate", "more than 0")
        require(0 <= self.momentum < 1, "momentum", "at least 0 and less than 1")
        require(0 < self.gamma <= 1, "gamma", "more than 0 and at most 1")
        require(self.max_steps is None or self.max_steps >= 1, "max_steps", "null or at least 1")
        rising = all(a < b for a, b in zip((0, *self.milestones), self.milestones))
        require(rising, "milestones", "rising epoch numbers from 1 on")
        require(len(self.validation) > 0, "validation", "the numbers of some videos")
        require(re.fullmatch(DEVICES, self.device) is not None, "device", "auto, cpu, cuda or cuda:N")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One labelled frame: boxes [N, 4] x1, y1, x2, y2 as the detector has them, and of the regions that are not
    labelled [I, 4].
    """

    path: Path
    boxes: np.ndarray
    ignored: np.ndarray


def train(config: DetectorConfig, *, resume: bool = False) -> Path:
    """Fine-tune, and return the path of best.pt. Raises UserError for what a person can mend."""
    run = Path(config.output)
    with locked(run):
        begun = run / "last.pt"
        if begun.exists() and not resume:
            raise UserError(
                f"{run}: expected a new run folder, found last.pt in it; continue it with --resume"
            )
        start = _read_run(begun, config) if resume else None
        device = choose_device(config.device, "device")
        model = network(config, start["model_state"] if start else None).to(device)
        training, held_out = samples(config)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.SGD(
            parameters, config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
        state: dict[str, Any] = {"epoch": 0, "batch": 0, "step": 0, "best": None, "metrics": [], "losses": []}
        if start is not None:
            optimiser.load_state_dict(start["optimiser"])
            state = start["state"]
        write_json(run / "config.json", plain(config))
        _loop(config, model, optimiser, training, held_out, state, run, device)
    return run / "best.pt"


def _loop(
    config: DetectorConfig,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    training: Sequence[Sample],
    held_out: Sequence[Sample],
    state: dict[str, Any],
    run: Path,
    device: torch.device,
) -> None:
    """The epochs from `state` on."""

    def save(name: str) -> None:
        _save(run / name, config, model, state, optimiser if name == "last.pt" else None)

    def done() -> bool:
        return state["epoch"] == config.epochs or state["step"] == config.max_steps

    while not done():
        batches = order(config, len(training), state["epoch"])
        loader = _loader(config, _Pictures(training, config, state["epoch"]), batches[state["batch"] :])
        model.train()
        bar = tqdm(
            total=len(batches),
            initial=state["batch"],
            desc=f"epoch {state['epoch'] + 1}/{config.epochs}",
            unit="step",
            leave=False,
            dynamic_ncols=True,
        )
        with bar, AfterStep() as interrupt:
            for images, targets in loader:
                loss = _step(config, model, optimiser, images, targets, state, device)
                state["losses"].append(loss)
                state["batch"] += 1
                state["step"] += 1
                bar.set_postfix_str(f"loss {np.mean(state['losses'][-50:]):.3f}", refresh=False)
                bar.update()
                if interrupt.requested:
                    save("last.pt")
                    raise KeyboardInterrupt(f"stopped after step {state['step']}; continue with --resume")
                if state["step"] == config.max_steps:
                    break
        save("last.pt")  # the validation takes its time, too
        score = average_precision(config, model, held_out)
        row = {
            "epoch": state["epoch"] + 1,
            "step": state["step"],
            "loss": float(np.mean(state["losses"])),
            "learning_rate": optimiser.param_groups[0]["lr"],
            "AP@0.5": None if math.isnan(score) else score,
        }
        state["metrics"].append(row)
        better = state["best"] is None or score > state["best"]
        state.update(epoch=state["epoch"] + 1, batch=0, losses=[], best=score if better else state["best"])
        if better:
            save("best.pt")
        save("last.pt")
        write_text(run / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in state["metrics"]))
        print(
            f"epoch {row['epoch']}  loss {row['loss']:.4f}  AP@0.5 {100 * score:.2f}",
            flush=True,
        )


def _step(
    config: DetectorConfig,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: list[Tensor],
    targets: list[dict[str, Tensor]],
    state: dict[str, Any],
    device: torch.device,
) -> float:
    """One step of the optimiser; the sum of the network's four losses."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(config, state["epoch"], state["step"])
    torch.manual_seed(
        _seed(config, _STEP, state["step"])
    )  # torchvision draws proposals from the global generator
    there = [{key: value.to(device) for key, value in target.items()} for target in targets]
    losses = model([image.to(device) for image in images], there)
    loss = sum(losses.values())
    value = float(loss.detach())
    if not math.isfinite(value):
        parts = ", ".join(f"{key} {float(part.detach()):g}" for key, part in losses.items())
        raise UserError(
            f"step {state['step'] + 1}: expected a finite loss, got {value:g} ({parts}); lower learning_rate"
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return value


def network(config: DetectorConfig, state: dict[str, Tensor] | None = None) -> nn.Module:
    """The detector of two classes with `state`, or with the configured weights to begin with.

    Of COCO's 91 classes the rows of the background and the person go on; the others are dropped.
    """
    sizes = {"min_size": config.min_size, "max_size": config.max_size}
    model = detector.build(detector.OWN_CLASSES, trainable_layers=config.trainable_layers, **sizes)
    source = "last.pt"
    if state is None:
        weights = detector.read_weights(config.weights)
        state, source = weights.state, weights.source
        if weights.classes != detector.OWN_CLASSES:
            state = {key: _own_rows(key, value) for key, value in state.items()}
    detector.load_state(model, state, source)
    return model


def _own_rows(key: str, value: Tensor) -> Tensor:
    """Of the last layers' rows, one a class or four, those of the first two classes."""
    rows = {"cls_score": 1, "bbox_pred": 4}
    last = re.match(r"roi_heads\.box_predictor\.(cls_score|bbox_pred)\.", key)
    return value if last is None else value[: rows[last[1]] * detector.OWN_CLASSES]


def samples(config: DetectorConfig) -> tuple[list[Sample], list[Sample]]:
    """The labelled frames that are trained on, and those of the videos of `validation`, in order."""
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise UserError(f"root: expected the folder of the data set hieve, found no folder {root}")
    pictures = {
        picture.id: picture
        for subset in ("train", "test")
        for picture in hieve.pictures(root, subset, validation=config.validation, frames=config.frames)
    }
    training: list[Sample] = []
    held_out: list[Sample] = []
    with reporting(None) as report:
        labels = hieve.read_labels(hieve.label_folder(root), report)
    for label in labels:
        is_held_out = label.number in config.validation
        step = config.validation_every if is_held_out else config.every
        boxes: dict[int, list[np.ndarray]] = {frame: [] for frame in label.frames}
        for person in label.people:
            boxes[person.frame].append(person.box)
        own = [_sample(label, frame, boxes[frame], pictures) for frame in label.frames[::step]]
        (held_out if is_held_out else training).extend(own)
    for found, which in ((training, "to train on"), (held_out, f"of validation {list(config.validation)}")):
        if not any(len(sample.boxes) for sample in found):
            raise UserError(f"{root}: expected labelled boxes in the videos {which}, found none")
    return training, held_out


def _sample(
    label: hieve.Label, frame: int, boxes: list[np.ndarray], pictures: dict[int | str, Picture]
) -> Sample:
    picture = pictures.get(f"{label.number}/{frame:06d}.jpg")
    if picture is None:
        raise UserError(
            f"{label.file}: expected frames that the video {label.number} has, got frame {frame}; copy the video again "
            "and remove its decoded frames"
        )
    regions = [_around(region) for region in label.ignore_regions.get(frame, []) if len(region)]
    return Sample(
        path=picture.path,
        boxes=_fitted(np.array(boxes).reshape(-1, 4), picture.size),
        ignored=np.array(regions).reshape(-1, 4),
    )


def _around(region: np.ndarray) -> np.ndarray:
    return np.concatenate([region.min(axis=0), region.max(axis=0)])


def _fitted(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes of first and last pixels as the detector has them, cut at the border; those of which nothing is left go."""
    edges = boxes + np.array([0, 0, 1, 1])
    cut = np.clip(edges, 0, np.array([*size, *size], dtype=np.float64))
    return cut[box_rules.usable(cut)]


class _Pictures(Dataset):
    """Images [3, H, W] and targets; with `epoch` flipped by chance, which follows from seed, epoch and number."""

    def __init__(self, samples: Sequence[Sample], config: DetectorConfig, epoch: int | None) -> None:
        self.samples = samples
        self.config = config
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[Tensor, dict[str, Tensor]]:
        sample = self.samples[number]
        image = detector.to_tensor(read_image(sample.path))
        boxes = torch.from_numpy(sample.boxes).float()
        if self.epoch is not None:
            rng = np.random.default_rng(_entropy(self.config, _FLIP, self.epoch, number))
            if rng.uniform() < self.config.flip:
                image = image.flip(-1)
                boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
        return image, {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64)}


def _loader(config: DetectorConfig, pictures: _Pictures, batches: Sequence[list[int]]) -> DataLoader:
    return DataLoader(
        pictures,
        batch_sampler=batches,
        num_workers=config.workers,
        collate_fn=_columns,
        worker_init_fn=ignore_interrupt,
        generator=torch.Generator(),
    )


def _columns(batch: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images, targets = zip(*batch)
    return list(images), list(targets)


def order(config: DetectorConfig, pictures: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch: every picture once, as seed and epoch say."""
    numbers = np.random.default_rng(_entropy(config, _ORDER, epoch)).permutation(pictures).tolist()
    return [numbers[first : first + config.batch_size] for first in range(0, pictures, config.batch_size)]


def learning_rate(config: DetectorConfig, epoch: int, step: int) -> float:
    """The rate of step `step` (from 0 on), in epoch `epoch`."""
    passed = sum(epoch >= milestone for milestone in config.milestones)
    risen = min(1.0, 1e-3 + (1 - 1e-3) * step / config.warm_up) if config.warm_up else 1.0
    return config.learning_rate * config.gamma**passed * risen


def average_precision(config: DetectorConfig, model: nn.Module, held_out: Sequence[Sample]) -> float:
    """AP at overlap 0.5 of the network's boxes on the samples; its training mode is put back."""
    was_training = model.training
    model.eval()
    frames = []
    try:
        for sample in tqdm(held_out, desc="validation", unit="picture", leave=False, dynamic_ncols=True):
            ((boxes, scores),) = detector.find_people(model, [read_image(sample.path)], min_score=0.05)
            frames.append(
                BoxFrame(
                    truth=_with_size(sample.boxes),
                    found=_with_size(boxes),
                    scores=scores,
                    ignored=_with_size(sample.ignored),
                )
            )
    finally:
        model.train(was_training)
    return box_ap(frames)


def _with_size(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _entropy(config: DetectorConfig, stream: int, *numbers: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(config.seed, spawn_key=(stream, *numbers))


def _seed(config: DetectorConfig, stream: int, number: int) -> int:
    return int(_entropy(config, stream, number).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _save(
    path: Path,
    config: DetectorConfig,
    model: nn.Module,
    state: dict[str, Any],
    optimiser: torch.optim.Optimizer | None,
) -> None:
    content = {
        "format": detector.FORMAT,
        "config": plain(config),
        "model_state": dict(model.state_dict()),
        "state": state,
        "optimiser": None if optimiser is None else optimiser.state_dict(),
        "versions": versions(),
    }
    buffer = io.BytesIO()  # first in memory, so that a full disk leaves the file that was there
    torch.save(content, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def _read_run(path: Path, config: DetectorConfig) -> dict[str, Any]:
    """last.pt, begun with the same configuration but for what may change on the way."""
    content = read_tensors(path)
    if content.get("format") != detector.FORMAT or content.get("optimiser") is None:
        raise UserError(f"{path}: expected last.pt of rpstn train-detector to continue, got another file")
    free = {"output", "root", "frames", "workers", "device"}
    now = plain(config)
    changed = [
        f"{key}: {content['config'].get(key)!r} -> {now[key]!r}"
        for key in now
        if key not in free and content["config"].get(key) != now[key]
    ]
    if changed:
        raise UserError(
            f"{path.parent}: expected the configuration the run was begun with, got {'; '.join(changed)}; begin a new "
            "run, or take it back"
        )
    return content
