"""Training: one function, to be read from top to bottom. To change training, change the loop.

What happens follows from the configuration and the seed alone: the order of the clips from (seed, epoch), a
clip and its augmentation from (seed, epoch, index). So a run that was stopped, after any step, and resumed
ends with the same bits as one that never stopped (CPU, same number of threads), whatever the number of
workers, and but for the last bits whatever the number of processes (`ranks`).
"""

import dataclasses
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
from ..config import Config, to_yaml
from ..data.cache import kept_frames
from ..data.clips import TrainClips
from ..data.loader import Batches
from ..data.sets import conventions, load_skeleton
from ..data.subsets import for_training
from ..device import AUTOCAST, allow_tf32, precision_of
from ..errors import UserError
from ..evaluation import Evaluation, evaluate, rehearse, selection_score
from ..files import locked, write_json, write_text
from ..interrupt import AfterStep
from ..words import several
from . import checkpoint as checkpoints
from . import optimisers, run_folder
from .average import WeightAverage
from .board import Board
from .losses import heatmap_loss, integral_loss, joint_loss
from .optimisers import Guard, learning_rate
from .progress import DeviceSums, Progress
from .ranks import Ranks
from .step_log import StepLog
from .trace import Trace

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
            run_folder.require_run(run)
            if ranks.first:
                held.enter_context(locked(run))
                run_folder.remove_leftovers(run)
            start = run_folder.load_run(run, config)
        elif ranks.first:
            run_folder.require_empty(run)
        device = ranks.device(config.train.device, "train.device")
        allow_tf32(config.train.tf32)
        skeleton = load_skeleton(config.data)
        tracks, selection = for_training(config)

        torch.manual_seed(config.seed)
        model = build_network(config.model, skeleton, config.heatmap.maps_per_joint)
        codec = Codec.of(config, model)
        model = model.to(device)
        if config.train.channels_last:
            model = model.to(memory_format=torch.channels_last)
        frames = held.enter_context(kept_frames(tracks, config.data, run))
        clips = TrainClips(
            tracks,
            skeleton,
            config.data,
            codec,
            config.augmentation,
            config.seed,
            with_targets=not config.targets.on_device,
            with_poses=model.in_channels > 3,
            read=frames.read,
        )
        batches = Batches(clips, config, device, part=(ranks.rank, ranks.world))
        optimizer = optimisers.optimiser(model, config.train)
        guard = Guard(optimizer, device, scaled=config.train.precision == "float16")
        progress = Progress()
        if start is None:
            for sentence in load_start(model, config.model):
                print(sentence)
        average = None if config.train.ema is None else WeightAverage(model, config.train.ema)
        if start is not None:
            progress = run_folder.restore(start, config, model, optimizer, guard, average)
        judged = model if average is None else average.model  # what is evaluated and kept

        def calibrate() -> None:
            try:
                print("\n".join(calibrate_file(run_folder.best_path(run), judged, selection, tracks)))
            except KeyboardInterrupt as error:
                raise KeyboardInterrupt(run_folder.how_to_continue(run, progress)) from error

        done = _reason_to_stop(config, progress)
        if done:
            if run_folder.is_calibrated(run):
                print(f"{run}: nothing left to do, {done}")
            elif ranks.first:  # it was stopped while it was calibrated
                print(f"{run}: nothing left to train, {done}; its scores are not calibrated yet", flush=True)
                calibrate()
            return run_folder.best_path(run)
        rehearse(model, selection, skeleton, codec)
        board = held.enter_context(Board(run, config.train.tensorboard and ranks.first, progress.epoch))
        if start is None and ranks.first:
            held.enter_context(locked(run))
            run_folder.require_empty(run)  # nobody was faster
            run_folder.remove_leftovers(run)
        parallel = ranks.parallel(model, parts=config.train.accumulate)
        if config.train.compile:
            parallel = torch.compile(parallel)

        def save(name: str, *, resumable: bool = True, chosen: bool = True) -> None:
            if not ranks.first:
                return
            weights = model if resumable else judged
            content = run_folder.snapshot(config, skeleton, codec, selection, weights, progress)
            state = run_folder.resumable(optimizer, guard, average, progress) if resumable else None
            best = progress.best_score if chosen else None
            checkpoints.save(run / name, dataclasses.replace(content, training=state, best_score=best))

        def score() -> tuple[Evaluation, dict[str, Any]]:
            evaluation = evaluate(
                *(judged, selection.config, selection.tracks, skeleton, codec),
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
            run_folder.write_metrics(run, progress)
        precision, mixed = config.train.precision, config.train.precision in AUTOCAST
        print(
            f"{run}: {config.model.name} with {sum(p.numel() for p in model.parameters()):,} parameters on "
            f"{ranks.in_words(device)} in {precision_of(precision, config.train.tf32, device)}, "
            f"{several(len(clips), 'clip')} of {several(config.data.clip_length, 'frame')} per epoch; "
            f"weights are chosen on {selection.words}"
        )
        print("\n".join([*conventions(skeleton, config.augmentation.flip), *frames.in_words()]))

        bar = tqdm(
            total=config.train.epochs * len(clips),
            initial=progress.epoch * len(clips) + progress.clips,
            unit="clip",
            smoothing=0.05,
            dynamic_ncols=True,
            mininterval=_REFRESH,
            disable=None if show_progress else True,  # None: shown where somebody looks, not in a log file
        )
        log = held.enter_context(StepLog(run, config.train.log_every if ranks.first else None, progress.step))
        trace = held.enter_context(Trace(run, config.train.profile_steps if ranks.first else None, device))
        sums = DeviceSums(device, ranks)
        unread: dict[int, str] = {}  # the clips of the steps whose finiteness nobody has looked at yet
        began, begun_with = time.monotonic(), progress.epoch
        read_at = began
        with bar, AfterStep(announced=ranks.first) as interrupt:
            while not done:
                # One pass over the clips, from the first batch that is not done yet.
                epoch = progress.epoch
                bar.set_description(f"epoch {epoch + 1}/{config.train.epochs}")
                rate = learning_rate(config.train, epoch, progress.step - 1)  # where no batch of it is left
                model.train()
                mark = time.monotonic()
                for parts in batches.epoch(epoch, progress.batch):
                    arrived = time.monotonic()
                    rate = learning_rate(config.train, epoch, progress.step)
                    optimisers.set_rate(optimizer, rate)
                    optimizer.zero_grad(set_to_none=True)
                    counting = [_counting(config, part).to(device, non_blocking=True) for part in parts]
                    whole = ranks.sum(sum(weights.sum() for weights in counting))
                    losses, hits = [], []
                    for number, (part, weights) in enumerate(zip(parts, counting), start=1):
                        with ranks.adding_up(parallel, complete=number == len(parts)):
                            with torch.autocast(device.type, dtype=AUTOCAST.get(precision), enabled=mixed):
                                stages = _maps(config, run, parallel, codec, part)
                            losses.append(_loss(config, codec, stages, part, weights, normaliser=whole))
                            guard.scaled(ranks.summed(losses[-1])).backward()
                        losses[-1] = losses[-1].detach()
                        hits.append(_hits(config, codec, last_stage(stages).detach(), part))
                    loss = ranks.sum(sum(losses))

                    norm = guard.norm_of([p.grad for p in model.parameters() if p.grad is not None])
                    guard.watch(progress.step + 1, loss, norm)
                    if config.train.grad_clip is not None:
                        nn.utils.clip_grads_with_norm_(model.parameters(), config.train.grad_clip, norm)
                    optimizer.step()
                    if average is not None:
                        average.add(model, progress.step + 1)

                    clips_done = batches.clips_in(progress.batch)
                    sums.add(sum(losses), clips_done, *map(sum, zip(*hits)))
                    now = time.monotonic()
                    progress.step += 1
                    progress.batch += 1
                    log.add(progress.step, epoch, loss, norm, rate)
                    trace.step()
                    progress.clips += clips_done
                    progress.seconds += now - mark
                    progress.waited += arrived - mark
                    mark = now
                    unread[progress.step] = "; ".join(filter(None, map(_names, parts)))
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
                        raise KeyboardInterrupt(run_folder.how_to_continue(run, progress))
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
                        raise KeyboardInterrupt(run_folder.how_to_continue(run, progress)) from error
                    row |= scored
                    better = progress.best_score is None or row["score"] > progress.best_score
                    progress.stale = 0 if better else progress.stale + 1
                progress.next_epoch(row)
                if evaluation is not None and progress.stale == 0:
                    keep(evaluation, row)
                save("last.pt")
                kept = run_folder.due(progress.epoch, config.train.keep_every)
                if kept is not None:
                    save(kept, resumable=False, chosen=False)
                if ranks.first:
                    run_folder.keep_last(run, config.train.keep_last)
                    run_folder.write_metrics(run, progress)
                board.add(row)
                pace = (time.monotonic() - began) / (progress.epoch - begun_with)
                tqdm.write(
                    run_folder.line(config, row, pace * (config.train.epochs - progress.epoch)),
                    file=sys.stdout,
                )
                sys.stdout.flush()
                if any(ranks.any(interrupt.requested)):
                    raise KeyboardInterrupt(run_folder.how_to_continue(run, progress))
                done = _reason_to_stop(config, progress)
        print(f"{run}: {done}")
        if ranks.first:
            calibrate()
    return run_folder.best_path(run)


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


def _counting(config: Config, part: Mapping[str, Any]) -> Tensor:
    """Which joints are trained on."""
    return part["weights"] if config.loss.visibility else part["labelled"]


def _loss(
    config: Config,
    codec: Codec,
    stages: Stages,
    part: Mapping[str, Any],
    weights: Tensor,
    *,
    normaliser: Tensor,
) -> Tensor:
    name = "joints" if "targets" not in part else "targets"
    wanted = part[name].to(weights.device, non_blocking=True)
    if config.loss.kind == "integral":
        return integral_loss(stages, wanted, weights, codec=codec, normaliser=normaliser)
    if config.targets.on_device:
        visible = part["weights"].to(weights.device, non_blocking=True)
        return joint_loss(stages, wanted, weights, codec=codec, visible=visible, normaliser=normaliser)
    return heatmap_loss(stages, wanted, weights, normaliser=normaliser)


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
def _hits(config: Config, codec: Codec, heatmaps: Tensor, part: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """A PCK for the eye, of these clips: arg-max within gamma of the person's size, which is taken as the box
    that fills the crop. The scores that count are made by `evaluate`, in pixels of the image.
    """
    joints, weights = (part[name].to(heatmaps.device, non_blocking=True) for name in ("joints", "weights"))
    points, _ = dataclasses.replace(codec, decoding="argmax").decode(heatmaps)
    size = max(codec.input_size) / codec.box_scale
    near = (points - joints).norm(dim=-1) <= config.eval.gamma * size
    counts = weights > 0
    return (near & counts).sum(), counts.sum()
