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
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rpstn_ext.models import Stages, last_stage

from ..building import build_network, load_start
from ..calibrating import calibrate_file
from ..chaining import with_poses
from ..codec import Codec, normalise
from ..config import Config, differences, from_dict, to_dict, to_yaml
from ..data.clips import TrainClips
from ..data.loader import Batches
from ..data.records import Skeleton
from ..data.sets import conventions, load_skeleton
from ..data.subsets import Subset, for_training
from ..device import allow_tf32, precision_of
from ..errors import UserError
from ..evaluation import Evaluation, evaluate, rehearse, selection_score
from ..files import LOCK, locked, write_json, write_text
from ..interrupt import AfterStep
from ..shell import pasted
from . import checkpoint as checkpoints
from . import optimisers
from .board import Board
from .checkpoint import Checkpoint
from .losses import heatmap_loss, integral_loss, joint_loss
from .optimisers import Guard, learning_rate
from .progress import DeviceSums, Progress
from .ranks import Ranks

# What may differ between the configuration of a checkpoint and the one it is resumed with: where and how fast it runs,
# and how long; and what only evaluations read, by which scores cease to be comparable with those before.
_FREE_ON_RESUME = (
    *("output", "data.root", "data.workers", "eval.batch_size", "train.device", "train.tensorboard"),
    *("train.epochs", "train.max_steps", "train.eval_every", "train.patience"),
)
_FREE_WITH_NEW_SCORE = (
    *("eval.protocol", "eval.subset", "eval.gamma", "eval.normaliser", "heatmap.decode"),
    *("eval.flip", "eval.flip_shift", "eval.scales", "eval.poses"),
    *("data.options.detections", "data.options.detection_threshold"),
)
_REFRESH = 0.5  # seconds between looks at the sums that a GPU keeps: a look waits for it


def train(config: Config, resume: str | Path | None = None, *, show_progress: bool = True) -> Path:
    """Train a model and return the path of its best checkpoint (last.pt where nothing was evaluated).

    config (Config): the experiment; the run folder is `config.output`, which must be new or empty.
    resume (path): a run folder to continue instead, with the configuration it was begun with.

    Ctrl-C ends after the step under way and saves last.pt; a second Ctrl-C ends at once, and last.pt stays as
    it was. Raises `UserError` for everything a person can mend, among it a loss or gradient that is not
    finite: the optimiser has then not moved and last.pt holds the state before the epoch. What would fail in the first
    evaluation is found before the first step.
    """
    run = Path(config.output if resume is None else resume)
    with ExitStack() as held:
        ranks = held.enter_context(Ranks())
        show_progress = show_progress and ranks.first
        start = None
        if resume is not None:
            _require_run(run)
            if ranks.first:
                held.enter_context(locked(run))
            start = _load_run(run, config)
        elif ranks.first:
            _require_empty(run)
        device = ranks.device(config.train.device, "train.device")
        allow_tf32(config.train.tf32)
        skeleton = load_skeleton(config.data)
        tracks, selection = for_training(config)

        torch.manual_seed(config.seed)
        model = build_network(config.model, skeleton, config.heatmap.maps_per_joint)
        codec = Codec.of(config, model)
        model = model.to(device)
        clips = TrainClips(
            tracks,
            skeleton,
            config.data,
            codec,
            config.augmentation,
            config.seed,
            with_targets=not config.targets.on_device,
            with_poses=model.in_channels > 3,
        )
        batches = Batches(clips, config, device, part=(ranks.rank, ranks.world))
        optimizer = optimisers.adam(model, config.train)
        progress = Progress()
        if start is not None:
            progress = _restore(start, config, model, optimizer)
        else:
            for sentence in load_start(model, config.model):
                print(sentence)

        done = _reason_to_stop(config, progress)
        if done:
            print(f"{run}: nothing left to do, {done}")
            return _best_path(run)
        rehearse(model, selection, skeleton, codec)
        board = held.enter_context(Board(run, config.train.tensorboard and ranks.first, progress.epoch))
        if start is None and ranks.first:
            held.enter_context(locked(run))
            _require_empty(run)  # nobody was faster
        parallel = ranks.parallel(model)

        def save(name: str, *, resumable: bool = True) -> None:
            if not ranks.first:
                return
            content = _snapshot(config, skeleton, codec, selection, model, progress)
            state = _resumable(optimizer, progress) if resumable else None
            checkpoints.save(run / name, dataclasses.replace(content, training=state))

        def score() -> tuple[Evaluation, dict[str, Any]]:
            evaluation = evaluate(
                *(model, selection.config, selection.tracks, skeleton, codec),
                ranks=ranks,
                show_progress=show_progress,
            )
            name, value = selection_score(evaluation, selection, skeleton)
            return evaluation, {"eval": evaluation.summary, "score": value, "score_name": name}

        def keep(evaluation: Evaluation, scored: dict[str, Any]) -> None:
            """These weights are the best."""
            progress.best_score = scored["score"]
            save("best.pt", resumable=False)
            if not ranks.first:
                return
            chosen = {
                "weights_chosen_on": selection.words,
                "chosen_by": scored["score_name"],
                "chosen_score": scored["score"],
            }
            write_json(run / "eval.json", evaluation.to_dict() | chosen)

        if start is None and ranks.first:
            save("last.pt")  # a disk that is too small is better known now than after an epoch
            write_text(run / "config.yaml", to_yaml(config))
        if ranks.first:
            _write_metrics(run, progress)
        precision = precision_of(config.train.precision, config.train.tf32, device)
        print(
            f"{run}: {config.model.name} with {sum(p.numel() for p in model.parameters()):,} parameters on "
            f"{ranks.in_words(device)} in {precision}, {len(clips)} clips of {config.data.clip_length} frames per "
            f"epoch; weights are chosen on {selection.words}"
        )
        print("\n".join(conventions(skeleton, config.augmentation.flip)))

        bar = tqdm(
            total=config.train.epochs * len(clips),
            initial=progress.epoch * len(clips) + progress.clips,
            unit="clip",
            smoothing=0.05,
            dynamic_ncols=True,
            mininterval=_REFRESH,
            disable=None if show_progress else True,  # None: shown where somebody looks, not in a log file
        )
        guard, sums = Guard(optimizer, device), DeviceSums(device, ranks)
        unread: dict[int, str] = {}  # the clips of the steps whose finiteness nobody has looked at yet
        began, begun_with = time.monotonic(), progress.epoch
        read_at = began
        with bar, AfterStep(announced=ranks.first) as interrupt:
            while not done:
                # One pass over the clips, from the first batch that is not done yet.
                epoch = progress.epoch
                bar.set_description(f"epoch {epoch + 1}/{config.train.epochs}")
                rate = learning_rate(config.train, epoch)
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
                        stages = _maps(config, run, parallel, codec, batch)
                    counting = weights if config.loss.visibility else batch["labelled"].to(device)
                    whole = ranks.sum(counting.sum())
                    if config.loss.kind == "integral":
                        loss = integral_loss(stages, joints, counting, codec=codec, normaliser=whole)
                    elif config.targets.on_device:
                        loss = joint_loss(stages, joints, counting, codec=codec, normaliser=whole)
                    else:
                        targets = batch["targets"].to(device, non_blocking=True)
                        loss = heatmap_loss(stages, targets, counting, normaliser=whole)

                    optimizer.zero_grad(set_to_none=True)
                    ranks.summed(loss).backward()
                    gradients = [p.grad for p in model.parameters() if p.grad is not None]
                    norm = nn.utils.get_total_norm(gradients)
                    if config.train.grad_clip is not None:
                        nn.utils.clip_grads_with_norm_(model.parameters(), config.train.grad_clip, norm)
                    guard.watch(progress.step + 1, ranks.sum(loss), norm)
                    optimizer.step()

                    clips_done = batches.clips_in(progress.batch)
                    hits = _hits(config, codec, last_stage(stages).detach(), joints, weights)
                    sums.add(loss, clips_done, *hits)
                    now = time.monotonic()
                    progress.step += 1
                    progress.batch += 1
                    progress.clips += clips_done
                    progress.seconds += now - mark
                    progress.waited += arrived - mark
                    mark = now
                    unread[progress.step] = _names(batch)
                    stopped, due = ranks.any(interrupt.requested, _is_due(device, now - read_at))
                    ends = stopped or progress.batch == len(batches)
                    ends = ends or progress.step == config.train.max_steps
                    if ends or due:
                        _require_finite(guard, unread, run, progress, ranks)
                        sums.move_to(progress)
                        unread.clear()
                        read_at = now
                        bar.set_postfix_str(progress.running(), refresh=False)
                    bar.update(clips_done)

                    if stopped:
                        save("last.pt")
                        raise KeyboardInterrupt(_how_to_continue(run, progress))
                    if progress.step == config.train.max_steps and progress.batch < len(batches):
                        break
                done = _reason_to_stop(config, progress)
                if done and progress.batch < len(
                    batches
                ):  # within an epoch, which counts when it is complete
                    save("last.pt")
                    if progress.best_score is None:  # but no run ends without a score
                        with interrupt.at_once():
                            keep(*score())
                    break

                # The epoch is complete: score it, keep it.
                row, evaluation = progress.row(rate), None
                last = epoch + 1 == config.train.epochs or bool(done)
                if last or (epoch + 1) % config.train.eval_every == 0:
                    try:
                        with interrupt.at_once():
                            evaluation, scored = score()
                    except KeyboardInterrupt as error:
                        save("last.pt")
                        raise KeyboardInterrupt(_how_to_continue(run, progress)) from error
                    row |= scored
                    better = progress.best_score is None or row["score"] > progress.best_score
                    progress.stale = 0 if better else progress.stale + 1
                progress.next_epoch(row)
                if evaluation is not None and progress.stale == 0:
                    keep(evaluation, row)
                save("last.pt")
                if ranks.first:
                    _write_metrics(run, progress)
                board.add(row)
                pace = (time.monotonic() - began) / (progress.epoch - begun_with)
                tqdm.write(_line(config, row, pace * (config.train.epochs - progress.epoch)), file=sys.stdout)
                sys.stdout.flush()
                if any(ranks.any(interrupt.requested)):
                    raise KeyboardInterrupt(_how_to_continue(run, progress))
                done = _reason_to_stop(config, progress)
        print(f"{run}: {done}")
        if ranks.first:
            print("\n".join(calibrate_file(_best_path(run), model, selection, tracks)))
    return _best_path(run)


def _require_empty(run: Path) -> None:
    if run.exists() and not run.is_dir():
        raise UserError(f"{run}: expected a run folder, got a file; choose another output")
    found = sorted(path.name for path in run.iterdir() if path.name != LOCK) if run.is_dir() else []
    if found:
        raise UserError(
            f"{run}: expected a new or empty run folder, found {', '.join(found[:3])}"
            f"{' ...' if len(found) > 3 else ''} in it; continue that run with --resume {run}, "
            "or choose another folder with --set output=FOLDER"
        )


def _require_run(run: Path) -> None:
    if not run.is_dir():
        raise UserError(f"{run}: expected a run folder to resume, found none")


def _load_run(run: Path, config: Config) -> Checkpoint:
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


def _snapshot(
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


def _resumable(optimizer: torch.optim.Optimizer, progress: Progress) -> dict[str, Any]:
    state = dataclasses.asdict(progress)
    del state["metrics"]
    return {
        "optimizer": optimizer.state_dict(),
        "progress": state,
        "random": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    }


def _restore(
    start: Checkpoint, config: Config, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    assert start.training is not None
    checkpoints.load_state(model, start.model_state, start.path)
    optimisers.restore(optimizer, start.training["optimizer"])
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


def _reason_to_stop(config: Config, progress: Progress) -> str | None:
    if progress.epoch >= config.train.epochs:
        return f"{progress.epoch} of {config.train.epochs} epochs are done (train.epochs)"
    if config.train.max_steps is not None and progress.step >= config.train.max_steps:
        return f"{progress.step} of {config.train.max_steps} steps are done (train.max_steps)"
    if config.train.patience is not None and progress.stale >= config.train.patience:
        return f"{progress.stale} evaluations brought no better score (train.patience)"
    return None


def _maps(config: Config, run: Path, model: nn.Module, codec: Codec, batch: Mapping[str, Any]) -> Stages:
    device = next(model.parameters()).device
    images = normalise(batch["frames"].to(device, non_blocking=True))
    if "poses" in batch:
        poses, given = (batch[key].to(device, non_blocking=True) for key in ("poses", "given"))
        images = with_poses(images, poses, given, codec)
    try:
        return model(images)
    except ValueError as error:  # a network cannot train on so small an input or batch
        width, height = config.data.input_size
        raise UserError(
            f"{run}: expected clips that {config.model.name} can be trained on, got {len(images)} of {width}x{height} "
            f"pixels ({error})"
        ) from error


def _is_due(device: torch.device, seconds: float) -> bool:
    """Whether to look at what the device has summed: on a CPU at every step, as nothing waits for it there."""
    return device.type == "cpu" or seconds >= _REFRESH


def _names(batch: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name} frames {int(frames[0])} to {int(frames[-1])}"
        for name, frames in zip(batch["name"], batch["frame_ids"])
    )


def _require_finite(
    guard: Guard, names: Mapping[int, str], run: Path, progress: Progress, ranks: Ranks
) -> None:
    """Stop where the optimiser has stopped, and name the clips of that batch."""
    met = guard.found()
    if met is not None:
        step, what, value = met
        clips = "; ".join(filter(None, ranks.gathered([names[step]])))
        raise UserError(
            f"{run}: expected a finite {what}, got {value} in epoch {progress.epoch + 1}, step {step}, with "
            f"{clips} (frames counted from 0); the optimiser did not move and {run / 'last.pt'} is as it was"
        )


@torch.no_grad()
def _hits(
    config: Config, codec: Codec, heatmaps: Tensor, joints: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """A PCK for the eye, of this batch: arg-max within gamma of the person's size, which is taken as the box
    that fills the crop. The scores that count are made by `evaluate`, in pixels of the image.
    """
    points, _ = dataclasses.replace(codec, decoding="argmax").decode(heatmaps)
    size = max(codec.input_size) / codec.box_scale
    near = (points - joints).norm(dim=-1) <= config.eval.gamma * size
    counts = weights > 0
    return (near & counts).sum(), counts.sum()


def _line(config: Config, row: Mapping[str, Any], left: float) -> str:
    text = (
        f"epoch {row['epoch']}/{config.train.epochs}  loss {row['loss']:.5f}  PCK {100 * row['pck']:.1f}  "
        f"{row['clips_per_second']:.1f} clips/s  waiting for data {100 * row['data_share']:.0f}%  "
        f"left {tqdm.format_interval(left)}"
    )
    if "score" in row:
        text += f"  {config.eval.select} {row['score_name']} {100 * row['score']:.2f}"
    return text


def _write_metrics(run: Path, progress: Progress) -> None:
    """metrics.jsonl, rewritten whole: after a resume it holds the epochs of the checkpoint and no others."""
    write_text(run / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in progress.metrics))


def _best_path(run: Path) -> Path:
    best = run / "best.pt"
    return best if best.is_file() else run / "last.pt"


def _how_to_continue(run: Path, progress: Progress) -> str:
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
