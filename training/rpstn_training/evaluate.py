"""Scores of a model on tracks with known joints, in pixels of the original image, with the protocol behind them.

Three ways to go through a video, the option `eval.protocol`:

    tiled       clips of T frames side by side, the last one moved back to end on the last frame; each frame is
                scored once
    streaming   every frame of the video in order through `start` and `step`; nothing is reset at a clip's border
    released    one clip per video, as the released code samples its tests
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from rpstn_ext.models import SimpleBaseline

from .checkpoint import versions
from .config import STRIDE, Config, to_dict
from .datasets import load_skeleton
from .datasets.clips import EvalClips
from .datasets.records import Skeleton, Track
from .datasets.transforms import apply
from .errors import UserError
from .heatmaps import decode
from .images import normalise
from .interrupt import ignore_interrupt
from .metrics.pck import PckResult, curve_to_dict, every_rule, format_table, sweep
from .metrics.pck_released import released_rows


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The joints found in one track of F frames.

    joints (float64 ndarray[F, K, 2]): pixels of the original image, x right, y down, first pixel centre at 0.
    scores (float64 ndarray[F, K]): height of the heat map's peak.
    predicted (bool ndarray[F]): frames the protocol scores; elsewhere joints and scores are NaN.
    """

    name: str
    joints: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores by several rules, with the protocol. `results` and `occluded` map a row's name to its PCK.

    `curves` holds PCK at the thresholds of the paper's Fig. 11 by normaliser. `released` holds `pck_released` where
    the protocol is the released one. `score` is the mean over joints by the configured normaliser, between 0 and 1; it
    chooses best.pt. It is NaN where no joint is labelled, as in boxes of a detector.
    """

    config: dict[str, Any]
    protocol: tuple[str, ...]
    results: Mapping[str, PckResult]
    occluded: Mapping[str, PckResult]
    curves: Mapping[str, Sequence[PckResult]]
    released: Mapping[str, PckResult]
    score: float
    predictions: Sequence[Prediction]

    @property
    def summary(self) -> dict[str, float | None]:
        """The mean over joints of every row."""
        rows = {**self.results, **{f"occluded {name}": result for name, result in self.occluded.items()}}
        return {name: result.to_dict()["mean_of_joints"] for name, result in rows.items()}

    @property
    def text(self) -> str:
        """Protocol and tables for people."""
        parts = ["\n".join(self.protocol)]
        if np.isnan(self.score):
            return "\n\n".join([*parts, "No joint is labelled in these boxes, so there is no PCK"])
        parts.append(format_table(dict(self.results), "Visible joints"))
        if self.occluded:
            parts.append(
                format_table(dict(self.occluded), "Occluded joints (position known, hidden in the image)")
            )
        if self.released:
            means = [
                f"{100 * row.mean_of_joints:.1f} by {row.protocol.partition(',')[0]}"
                for row in self.released.values()
            ]
            parts.append(
                f"pck_released, what the released evaluator prints for these clips and no PCK: {', '.join(means)}"
            )
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Scores, protocol, configuration, versions and commit in plain types, for JSON."""
        return {
            "protocol": list(self.protocol),
            "score": None if np.isnan(self.score) else self.score,
            "visible": {name: result.to_dict() for name, result in self.results.items()},
            "occluded": {name: result.to_dict() for name, result in self.occluded.items()},
            "sweep": {name: curve_to_dict(results) for name, results in self.curves.items()},
            "pck_released": {name: result.to_dict() for name, result in self.released.items()},
            "config": self.config,
            "versions": versions(),
            "text": self.text,
        }


def evaluate(
    model: nn.Module,
    config: Config,
    tracks: Sequence[Track],
    *,
    show_progress: bool = True,
    need_score: bool = True,
) -> Evaluation:
    """Predict every track and count PCK with both normalisers.

    The model's device is used, and its training mode is put back. Raises UserError where not one joint is labelled,
    unless `need_score` is False.
    """
    skeleton = load_skeleton(config.data)
    was_training = model.training
    model.eval()
    try:
        predictions = predict_tracks(model, config, tracks, show_progress=show_progress)
    finally:
        model.train(was_training)
    results, occluded = score(predictions, tracks, skeleton, gamma=config.eval.gamma)
    value = results["person" if config.eval.normaliser == "person" else "torso"].mean_of_joints
    if np.isnan(value) and need_score:
        raise UserError(
            f"{config.data.root}: expected visible joints in the {config.eval.subset} clips, found none"
        )
    protocol = _protocol(config, tracks, predictions)
    return Evaluation(
        config=to_dict(config),
        protocol=protocol[:-1] if np.isnan(value) else protocol,
        results=results,
        occluded=occluded,
        curves=_curves(predictions, tracks, skeleton),
        released=_released(predictions, tracks, skeleton) if _is_released(config) else {},
        score=value,
        predictions=predictions,
    )


def score(
    predictions: Sequence[Prediction], tracks: Sequence[Track], skeleton: Skeleton, *, gamma: float
) -> tuple[dict[str, PckResult], dict[str, PckResult]]:
    """PCK of the visible joints by every normaliser, and of the occluded ones where there are any."""
    joints = [prediction.joints for prediction in predictions]
    frames = [prediction.predicted for prediction in predictions]
    return every_rule(joints, tracks, skeleton, gamma=gamma, frames=frames)


def _curves(
    predictions: Sequence[Prediction], tracks: Sequence[Track], skeleton: Skeleton
) -> dict[str, Sequence[PckResult]]:
    joints = [prediction.joints for prediction in predictions]
    frames = [prediction.predicted for prediction in predictions]
    return {
        normaliser: sweep(joints, tracks, skeleton, normaliser=normaliser, frames=frames)
        for normaliser in ("person", "torso")
    }


def _is_released(config: Config) -> bool:
    """Whether the clips are those that the released evaluator, of two data sets, would take."""
    return config.eval.protocol == "released" and config.data.name in ("penn_action", "sub_jhmdb")


def _released(
    predictions: Sequence[Prediction], tracks: Sequence[Track], skeleton: Skeleton
) -> dict[str, PckResult]:
    joints = [prediction.joints for prediction in predictions]
    return released_rows(joints, [prediction.predicted for prediction in predictions], tracks, skeleton)


@torch.inference_mode()
def predict_tracks(
    model: nn.Module, config: Config, tracks: Sequence[Track], *, show_progress: bool = True
) -> list[Prediction]:
    """The joints of every track, by the configured protocol. The model should be in evaluation mode."""
    joints_per_track = tracks[0].joints.shape[1]
    predictions = [
        Prediction(
            name=track.name,
            joints=np.full((len(track), joints_per_track, 2), np.nan),
            scores=np.full((len(track), joints_per_track), np.nan),
            predicted=np.zeros(len(track), dtype=bool),
        )
        for track in tracks
    ]
    streaming = config.eval.protocol == "streaming"
    clips = EvalClips(
        list(tracks),
        load_skeleton(config.data),
        config.data,
        protocol="tiled" if streaming else config.eval.protocol,
    )
    loader = DataLoader(
        clips,
        batch_size=1 if streaming else config.eval.batch_size,
        num_workers=min(config.data.workers, len(clips)),
        worker_init_fn=ignore_interrupt,
        generator=torch.Generator(),  # or the loader would draw from, and move, the global one
    )
    device = next(model.parameters()).device
    bar = tqdm(
        total=len(clips) * config.data.clip_length,
        desc=f"{config.eval.subset} frames",
        unit="frame",
        leave=False,
        dynamic_ncols=True,
        disable=None if show_progress else True,
    )
    with bar:
        outputs = _stream(model, loader, device) if streaming else _clip_by_clip(model, loader, device)
        for batch, heatmaps in outputs:
            points, peaks = decode(heatmaps, stride=STRIDE, method=config.heatmap.decode)
            points, peaks = points.double().cpu().numpy(), peaks.double().cpu().numpy()
            for sample, index in enumerate(batch["index"].tolist()):
                scored = batch["scored"][sample].numpy()
                frames = batch["frame_ids"][sample].numpy()[scored]
                found = predictions[index]
                found.joints[frames] = apply(
                    batch["to_image"][sample].numpy()[scored], points[sample][scored]
                )
                found.scores[frames] = peaks[sample][scored]
                found.predicted[frames] = True
            bar.update(batch["frame_ids"].numel())
    return predictions


def clip_heatmaps(model: nn.Module, frames: Tensor) -> Tensor:
    """Heat maps of a clip; a network for single images sees every frame by itself.

    frames (uint8 Tensor[B, T, 3, H, W]): RGB crops. Returns Tensor[B, T, K, H/4, W/4].
    """
    images = normalise(frames)
    if isinstance(model, SimpleBaseline):
        return model(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    return model(images)


def _clip_by_clip(
    model: nn.Module, loader: DataLoader, device: torch.device
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    for batch in loader:
        yield batch, clip_heatmaps(model, batch["frames"].to(device))


def _stream(
    model: nn.Module, loader: DataLoader, device: torch.device
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Clips in the order of their videos; the state lives as long as the video, frames seen before are
    skipped.
    """
    video, state = None, None
    for batch in loader:
        if batch["index"].item() != video:
            video, state = batch["index"].item(), None
        frames, scored = batch["frames"].to(device), batch["scored"][0].tolist()
        kept = {name: value[:, batch["scored"][0]] for name, value in batch.items() if name in _PER_FRAME}
        maps = []
        for t, wanted in enumerate(scored):
            if not wanted:
                continue
            if isinstance(model, SimpleBaseline):
                maps.append(model(normalise(frames[:, t])))
                continue
            image = normalise(frames[:, t])
            heatmaps, state = model.start(image) if state is None else model.step(image, state)
            maps.append(heatmaps)
        yield {**batch, **kept}, torch.stack(maps, dim=1)


_PER_FRAME = ("frames", "joints", "weights", "labelled", "to_image", "frame_ids", "scored")


def _protocol(config: Config, tracks: Sequence[Track], predictions: Sequence[Prediction]) -> tuple[str, ...]:
    data, options = config.data, config.eval
    split = f" split {data.split}" if data.name == "sub_jhmdb" else ""
    scored = sum(int(prediction.predicted.sum()) for prediction in predictions)
    total = sum(len(track) for track in tracks)
    way = {
        "tiled": f"clips of {data.clip_length} side by side",
        "streaming": "one after the other, state carried through the video",
        "released": f"one clip of {data.clip_length} per video",
    }[options.protocol]
    if data.clip_length == 1:
        way = "every frame by itself"
    group = {"clip": f"one box for {data.clip_length} frames", "frame": "a box per frame"}[data.box]
    width, height = data.input_size
    noun = "videos" if data.name in ("penn_action", "sub_jhmdb") else "tracks"
    return (
        f"Data: {data.name}{split}, {options.subset} subset, {len(tracks)} {noun}, "
        f"{scored} of {total} frames scored",
        f"Protocol {options.protocol}: {way}; {_boxes(config)} x {data.box_scale:g}, {group}; "
        f"input {width}x{height}; no flip; {config.heatmap.decode} decoding",
        f"Score: PCK@{options.gamma:g} in pixels of the original image, <=; "
        "counts added over all frames of all videos",
    )


def _boxes(config: Config) -> str:
    """Where the boxes of the evaluation come from."""
    options = config.data.options
    if options.get("detections") is None or config.eval.subset != "test":
        return "ground-truth boxes"
    threshold = options.get("detection_threshold")
    above = "" if threshold is None else f" scored {threshold:g} or more"
    return f"detected boxes of {options['detections']}{above}"
