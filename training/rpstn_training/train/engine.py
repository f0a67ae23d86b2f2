"""Training: one function, to be read from top to bottom. To change training, change the loop.

A run folder holds config.yaml, metrics.jsonl (one line per epoch), last.pt (all that resuming needs), best.pt
and eval.json (the best weights so far and their scores).

What happens follows from the configuration and the seed alone: the order of the clips from (seed, epoch), a
clip and its augmentation from (seed, epoch, index). So a run that was stopped, after any step, and resumed
ends with the same bits as one that never stopped (CPU, same number of threads), whatever the number of
workers.
"""

import dataclasses
import json
import sys
import time
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rpstn_ext import models

from ..codec import decode
from ..config import STRIDE, Config, differences, from_dict, to_dict, to_yaml
from ..data.clips import TrainClips
from ..data.loader import Batches
from ..data.records import Skeleton
from ..data.sets import load_skeleton, load_tracks
from ..errors import UserError
from ..evaluation import evaluate
from ..files import write_json, write_text
from ..interrupt import AfterStep
from ..predictions import clip_heatmaps
from . import checkpoint as checkpoints
from .checkpoint import Checkpoint
from .losses import heatmap_loss, joint_loss

# What may differ between the configuration of a checkpoint and the one it is resumed with.
_FREE_ON_RESUME = (
    "output",
    "data.root",
    "data.workers",
    "train.epochs",
    "train.max_steps",
    "train.eval_every",
    "train.patience",
    "train.device",
    "train.tensorboard",
    "eval.batch_size",
)


@dataclasses.dataclass(kw_only=True)
class Progress:
    """Where a training stands. All of it is saved, so that it may stop after any step."""

    epoch: int = 0  # completed epochs
    step: int = 0  # completed optimiser steps
    batch: int = 0  # completed batches of the epoch under way, and sums over them:
    clips: int = 0
    loss: float = 0.0  # each batch's loss times its clips
    hits: int = 0
    counted: int = 0
    seconds: float = 0.0
    waited: float = 0.0  # seconds of these spent waiting for data
    best_score: float | None = None
    stale: int = 0  # evaluations since the best score
    metrics: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def next_epoch(self, row: dict[str, Any]) -> None:
        self.metrics.append(row)
        self.epoch += 1
        self.batch = self.clips = self.hits = self.counted = 0
        self.loss = self.seconds = self.waited = 0.0


def train(config: Config, resume: str | Path | None = None, *, show_progress: bool = True) -> Path:
    """Train a model and return the path of its best checkpoint (last.pt where nothing was evaluated).

    config (Config): the experiment; the run folder is `config.output`, which must be new or empty.
    resume (path): a run folder to continue instead, with the configuration it was begun with.

    Ctrl-C ends after the step under way and saves last.pt; a second Ctrl-C ends at once, and last.pt stays as
    it was. Raises `UserError` for everything a person can mend, among it a loss or gradient that is not
    finite: the optimiser has then not moved and last.pt holds the state before the epoch.
    """
    run = Path(config.output if resume is None else resume)
    start = None if resume is None else _load_run(run, config)
    if start is None:
        _require_empty(run)
    device = select_device(config.train.device)
    skeleton = load_skeleton(config.data)
    clips = TrainClips(
        load_tracks(config.data, "train"),
        skeleton,
        config.data,
        config.augmentation,
        config.seed,
        targets=None if config.targets.on_device else config.heatmap,
    )
    batches = Batches(clips, config, device)
    eval_tracks = load_tracks(config.data, config.eval.subset)

    torch.manual_seed(config.seed)
    model = build_model(config, skeleton).to(device)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.train.learning_rate, weight_decay=config.train.weight_decay
    )
    progress = Progress()

    def save(name: str, *, resumable: bool = True) -> None:
        path = run / name
        checkpoints.save(path, _snapshot(config, skeleton, model, optimizer if resumable else None, progress))

    if start is not None:
        progress = _restore(start, model, optimizer)
    elif config.model.weights is not None:
        print(checkpoints.load_pretrained(model, config.model.weights))

    done = _reason_to_stop(config, progress)
    if done:
        print(f"{run}: nothing left to do, {done}")
        return _best_path(run)
    board = _Board(run, config.train.tensorboard, progress.epoch)
    if start is None:
        save("last.pt")  # a disk that is too small is better known now than after an epoch
        write_text(run / "config.yaml", to_yaml(config))
    _write_metrics(run, progress)
    print(
        f"{run}: {config.model.name} with {sum(p.numel() for p in model.parameters()):,} parameters on "
        f"{device}, {len(clips)} clips of {config.data.clip_length} frames per epoch"
    )

    bar = tqdm(
        total=config.train.epochs * len(clips),
        initial=progress.epoch * len(clips) + progress.clips,
        unit="clip",
        smoothing=0.05,
        dynamic_ncols=True,
        disable=None if show_progress else True,  # None: shown where somebody looks, not in a log file
    )
    began, begun_with = time.monotonic(), progress.epoch
    with bar, board, AfterStep() as interrupt:
        while not done:
            # One pass over the clips, from the first batch that is not done yet.
            epoch = progress.epoch
            bar.set_description(f"epoch {epoch + 1}/{config.train.epochs}")
            rate = learning_rate(config, epoch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            model.train()
            mark = time.monotonic()
            for batch in batches.epoch(epoch, progress.batch):
                arrived = time.monotonic()
                joints = batch["joints"].to(device, non_blocking=True)
                weights = batch["weights"].to(device, non_blocking=True)
                with torch.autocast(
                    device.type, dtype=torch.bfloat16, enabled=config.train.precision == "bfloat16"
                ):
                    heatmaps = clip_heatmaps(model, batch["frames"].to(device, non_blocking=True))
                counting = weights if config.loss.visibility else batch["labelled"].to(device)
                if config.targets.on_device:
                    loss = joint_loss(heatmaps, joints, counting, sigma=config.heatmap.sigma, stride=STRIDE)
                else:
                    targets = batch["targets"].to(device, non_blocking=True)
                    loss = heatmap_loss(heatmaps, targets, counting)
                _require_finite("loss", loss, batch, run, progress)

                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                gradients = [p.grad for p in model.parameters() if p.grad is not None]
                norm = nn.utils.get_total_norm(gradients)
                _require_finite("gradient", norm, batch, run, progress)
                if config.train.grad_clip is not None:
                    nn.utils.clip_grads_with_norm_(model.parameters(), config.train.grad_clip, norm)
                optimizer.step()

                hits, counted = _hits(config, heatmaps.detach(), joints, weights)
                now = time.monotonic()
                progress.step += 1
                progress.batch += 1
                progress.clips += len(joints)
                progress.loss += loss.item() * len(joints)
                progress.hits += hits
                progress.counted += counted
                progress.seconds += now - mark
                progress.waited += arrived - mark
                mark = now
                bar.set_postfix_str(_running(progress), refresh=False)
                bar.update(len(joints))

                if interrupt.requested:
                    save("last.pt")
                    raise KeyboardInterrupt(_how_to_continue(run, progress))
                if progress.step == config.train.max_steps and progress.batch < len(batches):
                    break
            done = _reason_to_stop(config, progress)
            if done and progress.batch < len(batches):  # the epoch is scored when it is complete
                save("last.pt")
                break

            # The epoch is complete: score it, keep it.
            row = _row(progress, rate)
            last = epoch + 1 == config.train.epochs or bool(done)
            if last or (epoch + 1) % config.train.eval_every == 0:
                try:
                    with interrupt.at_once():
                        evaluation = evaluate(model, config, eval_tracks, show_progress=show_progress)
                except KeyboardInterrupt as error:
                    save("last.pt")
                    raise KeyboardInterrupt(_how_to_continue(run, progress)) from error
                row["eval"] = evaluation.summary
                row["score"] = evaluation.score
                if progress.best_score is None or evaluation.score > progress.best_score:
                    progress.best_score, progress.stale = evaluation.score, 0
                else:
                    progress.stale += 1
            progress.next_epoch(row)
            if "score" in row and progress.stale == 0:
                save("best.pt", resumable=False)
                write_json(run / "eval.json", evaluation.to_dict())
            save("last.pt")
            _write_metrics(run, progress)
            board.add(row)
            pace = (time.monotonic() - began) / (progress.epoch - begun_with)
            tqdm.write(_line(config, row, pace * (config.train.epochs - progress.epoch)), file=sys.stdout)
            sys.stdout.flush()
            if interrupt.requested:
                raise KeyboardInterrupt(_how_to_continue(run, progress))
            done = _reason_to_stop(config, progress)
    print(f"{run}: {done}")
    return _best_path(run)


def select_device(name: str) -> torch.device:
    """The device a configuration names; "auto" is the first GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"train.device: expected a GPU for {name}, PyTorch finds none here; use cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"train.device: expected one of {torch.cuda.device_count()} GPUs, got {name}")
    return device


def build_model(config: Config, skeleton: Skeleton) -> nn.Module:
    """The network that the configuration describes, for the joints of the skeleton."""
    if config.model.name not in models.names():
        raise UserError(f"model.name: expected one of {', '.join(models.names())}, got {config.model.name}")
    try:
        return models.build(config.model.name, num_joints=len(skeleton.joints), **config.model.options)
    except (TypeError, ValueError) as error:
        raise UserError(f"model.options: {error}") from error


def learning_rate(config: Config, epoch: int) -> float:
    """The rate of an epoch, counted from 0: multiplied by gamma at every milestone, as MultiStepLR does."""
    return config.train.learning_rate * config.train.gamma ** bisect_right(config.train.milestones, epoch)


class _Board:
    """TensorBoard curves, where they are asked for."""

    def __init__(self, run: Path, wanted: bool, epoch: int) -> None:
        self._writer = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UserError(
                    "train.tensorboard: expected the package tensorboard, it is not installed; "
                    "pip install tensorboard, or set train.tensorboard=false"
                ) from error
            self._writer = SummaryWriter(run / "tensorboard", purge_step=epoch + 1)

    def __enter__(self) -> "_Board":
        return self

    def add(self, row: Mapping[str, Any]) -> None:
        if self._writer is not None:
            for name in ("loss", "pck", "learning_rate", "score", "clips_per_second", "data_share"):
                if name in row:
                    self._writer.add_scalar(name, row[name], row["epoch"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()


def _require_empty(run: Path) -> None:
    if run.exists() and not run.is_dir():
        raise UserError(f"{run}: expected a run folder, got a file; choose another output")
    found = sorted(path.name for path in run.iterdir()) if run.is_dir() else []
    if found:
        raise UserError(
            f"{run}: expected a new or empty run folder, found {', '.join(found[:3])}"
            f"{' ...' if len(found) > 3 else ''} in it; continue that run with --resume {run}, "
            "or choose another folder with --set output=FOLDER"
        )


def _load_run(run: Path, config: Config) -> Checkpoint:
    """The last checkpoint of a run, whose configuration must be the one it is continued with."""
    if not run.is_dir():
        raise UserError(f"{run}: expected a run folder to resume, found none")
    path = run / "last.pt"
    start = checkpoints.load(path)
    if start.training is None:
        raise UserError(f"{path}: expected a checkpoint to resume from, got one for evaluation only")
    changed = [
        text
        for text in differences(from_dict(start.config, str(path)), config)
        if text.partition(":")[0] not in _FREE_ON_RESUME
    ]
    if changed:
        raise UserError(
            f"{run}: expected the configuration the run was begun with, got {'; '.join(changed)}; "
            f"use {run / 'config.yaml'}, or begin a new run"
        )
    return start


def _snapshot(
    config: Config,
    skeleton: Skeleton,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    progress: Progress,
) -> Checkpoint:
    training = None
    if optimizer is not None:
        state = dataclasses.asdict(progress)
        del state["metrics"]
        training = {
            "optimizer": optimizer.state_dict(),
            "progress": state,
            "random": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            },
        }
    return Checkpoint(
        config=to_dict(config),
        skeleton=skeleton,
        model_name=config.model.name,
        model_options=dict(config.model.options),
        input_size=config.data.input_size,
        stride=STRIDE,
        sigma=config.heatmap.sigma,
        decode=config.heatmap.decode,
        model_state=model.state_dict(),
        epoch=progress.epoch,
        step=progress.step,
        best_score=progress.best_score,
        metrics=progress.metrics,
        training=training,
    )


def _restore(start: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    assert start.training is not None
    checkpoints.load_state(model, start.model_state, start.path)
    optimizer.load_state_dict(start.training["optimizer"])
    random = start.training["random"]
    torch.set_rng_state(random["cpu"])
    if torch.cuda.is_available() and len(random["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(random["cuda"])
    return Progress(**start.training["progress"], metrics=list(start.metrics))


def _reason_to_stop(config: Config, progress: Progress) -> str | None:
    if progress.epoch >= config.train.epochs:
        return f"{progress.epoch} of {config.train.epochs} epochs are done (train.epochs)"
    if config.train.max_steps is not None and progress.step >= config.train.max_steps:
        return f"{progress.step} of {config.train.max_steps} steps are done (train.max_steps)"
    if config.train.patience is not None and progress.stale >= config.train.patience:
        return f"{progress.stale} evaluations brought no better score (train.patience)"
    return None


def _require_finite(
    what: str, value: Tensor, batch: Mapping[str, Any], run: Path, progress: Progress
) -> None:
    """Stop before the optimiser moves, and name the clips of the batch."""
    if torch.isfinite(value):
        return
    named = [
        f"{name} frames {int(frames[0])} to {int(frames[-1])}"
        for name, frames in zip(batch["name"], batch["frame_ids"])
    ]
    raise UserError(
        f"{run}: expected a finite {what}, got {value.item()} in epoch {progress.epoch + 1}, step "
        f"{progress.step + 1}, with {'; '.join(named)} (frames counted from 0); the optimiser did not move "
        f"and {run / 'last.pt'} is as it was"
    )


@torch.no_grad()
def _hits(config: Config, heatmaps: Tensor, joints: Tensor, weights: Tensor) -> tuple[int, int]:
    """A PCK for the eye, of this batch: arg-max within gamma of the person's size, which is taken as the box
    that fills the crop. The scores that count are made by `evaluate`, in pixels of the image.
    """
    points, _ = decode(heatmaps, stride=STRIDE, method="argmax")
    size = max(config.data.input_size) / config.data.box_scale
    near = (points - joints).norm(dim=-1) <= config.eval.gamma * size
    counts = weights > 0
    return int((near & counts).sum()), int(counts.sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _running(progress: Progress) -> str:
    loss = _share(progress.loss, progress.clips)
    pck = 100 * _share(progress.hits, progress.counted)
    waited = 100 * _share(progress.waited, progress.seconds)
    return f"loss {loss:.5f} PCK {pck:.1f} waiting for data {waited:.0f}%"


def _row(progress: Progress, rate: float) -> dict[str, Any]:
    """The line of metrics.jsonl for the epoch that has just been completed."""
    return {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "learning_rate": rate,
        "loss": _share(progress.loss, progress.clips),
        "pck": _share(progress.hits, progress.counted),
        "seconds": round(progress.seconds, 3),
        "clips_per_second": round(_share(progress.clips, progress.seconds), 3),
        "data_share": round(_share(progress.waited, progress.seconds), 4),
    }


def _line(config: Config, row: Mapping[str, Any], left: float) -> str:
    text = (
        f"epoch {row['epoch']}/{config.train.epochs}  loss {row['loss']:.5f}  PCK {100 * row['pck']:.1f}  "
        f"{row['clips_per_second']:.1f} clips/s  waiting for data {100 * row['data_share']:.0f}%  "
        f"left {tqdm.format_interval(left)}"
    )
    if "score" in row:
        rule = f"PCK@{config.eval.gamma:g} {config.eval.normaliser}"
        text += f"  {config.eval.subset} {rule} {100 * row['score']:.2f}"
    return text


def _write_metrics(run: Path, progress: Progress) -> None:
    """metrics.jsonl, rewritten whole: after a resume it holds the epochs of the checkpoint and no others."""
    write_text(run / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in progress.metrics))


def _best_path(run: Path) -> Path:
    best = run / "best.pt"
    return best if best.is_file() else run / "last.pt"


def _how_to_continue(run: Path, progress: Progress) -> str:
    return (
        f"stopped after step {progress.step}; continue with: rpstn train {run / 'config.yaml'} --resume {run}"
    )


def summarise(run: Path) -> str:
    """The table of the best weights of a run, or a sentence that there is none."""
    path = run / "eval.json"
    if not path.is_file():
        return f"{run}: not evaluated yet"
    return json.loads(path.read_text(encoding="utf-8"))["text"]
