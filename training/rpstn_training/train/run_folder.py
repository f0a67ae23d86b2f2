"""A run's folder: what is written there, what must be there to continue, and what it says to people.

It holds config.yaml, metrics.jsonl (a line per epoch), last.pt (all that resuming needs), best.pt and eval.json (the
best weights so far and their scores), and where they are asked for steps.jsonl, trace.json, epoch_NNNN.pt.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ..codec import Codec
from ..config import Config, differences, from_dict, to_dict
from ..data.records import Skeleton
from ..data.subsets import Subset
from ..errors import UserError
from ..files import LOCK, write_text
from ..shell import pasted
from . import checkpoint as checkpoints
from . import optimisers
from .average import WeightAverage
from .checkpoint import Checkpoint
from .optimisers import Guard
from .progress import Progress

# What may differ between the configuration of a checkpoint and the one it is resumed with: where and how fast it runs,
# and how long; and what only evaluations read, by which scores cease to be comparable with those before.
_FREE_ON_RESUME = (
    *("output", "data.root", "data.workers", "data.pin_workers", "data.cache", "data.cache_gb"),
    *("eval.batch_size", "train.device", "train.tensorboard"),
    *(
        "train.epochs",
        "train.max_steps",
        "train.eval_every",
        "train.patience",
        "train.compile",
        "train.channels_last",
    ),
    *("train.keep_every", "train.keep_last", "train.log_every", "train.profile_steps"),
)
_FREE_WITH_NEW_SCORE = (
    *("eval.protocol", "eval.subset", "eval.gamma", "eval.normaliser", "heatmap.decode"),
    *("eval.flip", "eval.flip_shift", "eval.scales", "eval.poses"),
    *("data.options.detections", "data.options.detection_threshold"),
)


def require_empty(run: Path) -> None:
    if run.exists() and not run.is_dir():
        raise UserError(f"{run}: expected a run folder, got a file; choose another output")
    found = sorted({path.name for path in run.iterdir()} - {LOCK, *_leftovers(run)}) if run.is_dir() else []
    if found:
        raise UserError(
            f"{run}: expected a new or empty run folder, found {', '.join(found[:3])}"
            f"{' ...' if len(found) > 3 else ''} in it; continue that run with --resume {run}, "
            "or choose another folder with --set output=FOLDER"
        )


def _leftovers(run: Path) -> list[str]:
    """Half-written files of a process that was killed (`files.atomic_write`)."""
    return [path.name for path in run.glob(".*.tmp")]


def remove_leftovers(run: Path) -> None:
    """Of the training before. To be called where the folder is locked."""
    for name in _leftovers(run):
        (run / name).unlink(missing_ok=True)


def require_run(run: Path) -> None:
    if not run.is_dir():
        raise UserError(f"{run}: expected a run folder to resume, found none")


def load_run(run: Path, config: Config) -> Checkpoint:
    """The last checkpoint of a run, whose configuration must be the one it is continued with."""
    path = run / "last.pt"
    start = checkpoints.load(path)
    if start.training is None:
        raise UserError(f"{path}: expected a checkpoint to resume from, got one for evaluation only")
    free = (*_FREE_ON_RESUME, *_FREE_WITH_NEW_SCORE)
    changed = [
        text for text in differences(from_dict(start.config, str(path)), config) if _key(text) not in free
    ]
    if changed:
        raise UserError(
            f"{run}: expected the configuration the run was begun with, got {'; '.join(changed)}; "
            f"use {run / 'config.yaml'}, or begin a new run"
        )
    return start


def _key(difference: str) -> str:
    return difference.partition(":")[0]


def snapshot(
    config: Config,
    skeleton: Skeleton,
    codec: Codec,
    selection: Subset,
    model: nn.Module,
    progress: Progress,
) -> Checkpoint:
    return Checkpoint(
        model_name=config.model.name,
        model_options=dict(config.model.options),
        model_state=model.state_dict(),
        skeleton=skeleton,
        codec=codec,
        config=to_dict(config),
        selected_on=selection.words,
        epoch=progress.epoch,
        step=progress.step,
        best_score=progress.best_score,
        metrics=progress.metrics,
    )


def resumable(
    optimizer: torch.optim.Optimizer, guard: Guard, average: WeightAverage | None, progress: Progress
) -> dict[str, Any]:
    """What a training needs beside its weights to go on as if it had never stopped."""
    state = dataclasses.asdict(progress)
    del state["metrics"]
    return {
        "optimizer": optimizer.state_dict(),
        "loss_scale": guard.state(),
        "average": None if average is None else average.model.state_dict(),
        "progress": state,
        "random": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    }


def restore(
    start: Checkpoint,
    config: Config,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    guard: Guard,
    average: WeightAverage | None,
) -> Progress:
    """Put everything back where it was; returns how far it had come."""
    assert start.training is not None
    checkpoints.load_state(model, start.model_state, start.path)
    optimisers.restore(optimizer, start.training["optimizer"])
    guard.restore(start.training.get("loss_scale", {}))
    if average is not None:
        checkpoints.load_state(average.model, start.training["average"], start.path)
    random = start.training["random"]
    torch.set_rng_state(random["cpu"])
    if torch.cuda.is_available() and len(random["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(random["cuda"])
    progress = Progress(**start.training["progress"], metrics=list(start.metrics))
    rules = [
        text
        for text in differences(from_dict(start.config, start.path), config)
        if _key(text) in _FREE_WITH_NEW_SCORE
    ]
    if rules and progress.best_score is not None:
        print(f"{'; '.join(rules)}: scores so far went by other rules, the best one is looked for anew")
        progress.best_score, progress.stale = None, 0
    return progress


def due(epochs: int, every: int | None) -> str | None:
    """The file that the weights after so many epochs are kept in beside last.pt, if in any."""
    return f"epoch_{epochs:04d}.pt" if every is not None and epochs % every == 0 else None


def keep_last(run: Path, number: int | None) -> None:
    """Of these files the newest; None: all."""
    kept = sorted(run.glob("epoch_*.pt"), key=lambda path: int(path.stem.removeprefix("epoch_")))
    for path in kept[:-number] if number is not None else ():
        path.unlink()


def line(config: Config, row: Mapping[str, Any], left: float) -> str:
    text = (
        f"epoch {row['epoch']}/{config.train.epochs}  loss {row['loss']:.5f}  PCK {100 * row['pck']:.1f}  "
        f"{row['clips_per_second']:.1f} clips/s  waiting for data {100 * row['data_share']:.0f}%  "
        f"left {tqdm.format_interval(left)}"
    )
    if "score" in row:
        text += f"  {config.eval.select} {row['score_name']} {100 * row['score']:.2f}"
    return text


def write_metrics(run: Path, progress: Progress) -> None:
    """metrics.jsonl, rewritten whole: after a resume it holds the epochs of the checkpoint and no others."""
    write_text(run / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in progress.metrics))


def best_path(run: Path) -> Path:
    best = run / "best.pt"
    return best if best.is_file() else run / "last.pt"


def is_calibrated(run: Path) -> bool:
    """Whether it is known what the scores of the best weights are worth, the last thing that a training finds out."""
    return checkpoints.load(best_path(run)).calibration is not None


def how_to_continue(run: Path, progress: Progress) -> str:
    command = pasted("train", run / "config.yaml", "--resume", run)
    return f"stopped after step {progress.step}; continue with: {command}"


def summarise(run: Path) -> str:
    """The table of the best weights of a run, or a sentence that there is none."""
    path = run / "eval.json"
    if not path.is_file():
        return f"{run}: not evaluated yet"
    found = json.loads(path.read_text(encoding="utf-8"))
    if "chosen_by" not in found:  # what a later `rpstn eval` has written there says it in its own words
        return found["text"]
    chosen = f"by {found['chosen_by']} {100 * found['chosen_score']:.1f}"
    return f"{found['text']}\n\nWeights chosen on {found['weights_chosen_on']}, {chosen}"
