"""Scores of a model on tracks with known joints, in pixels of the original image, with the protocol behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from .codec import Codec
from .config import Config, to_dict
from .data.records import Skeleton, Track
from .data.subsets import Subset
from .errors import UserError
from .predictions import Prediction, predict_tracks
from .scores.pck import PckResult, curve_to_dict, every_rule, format_table, sweep
from .scores.pck_released import released_rows
from .versions import versions


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
    skeleton: Skeleton,
    codec: Codec,
    *,
    show_progress: bool = True,
    need_score: bool = True,
) -> Evaluation:
    """Predict every track and count PCK with both normalisers.

    The model's device is used, and its training mode is put back. Raises UserError where not one joint is labelled,
    unless `need_score` is False.
    """
    predictions = _predict(model, config, tracks, skeleton, codec, show_progress=show_progress)
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


def _predict(model: nn.Module, *args: Any, **options: Any) -> list[Prediction]:
    """`predict_tracks` in evaluation mode; the mode before is put back."""
    was_training = model.training
    model.eval()
    try:
        return predict_tracks(model, *args, **options)
    finally:
        model.train(was_training)


def own_score(evaluation: Evaluation, subset: Subset, skeleton: Skeleton) -> tuple[str, float]:
    """The score that the set's owners go by, as its name and a fraction of 1: what a training chooses weights by."""
    options = subset.config.eval
    return f"PCK@{options.gamma:g} {options.normaliser}", evaluation.score


def require_scores(model: nn.Module, subset: Subset, skeleton: Skeleton, codec: Codec) -> None:
    """Raise UserError now for what would fail in an evaluation: one video goes through the network, and joints in the
    middle of the boxes are scored in place of the others'.
    """
    _predict(model, subset.config, subset.tracks[:1], skeleton, codec, show_progress=False)
    if not any(track.visible.any() for track in subset.tracks):
        raise UserError(
            f"{subset.config.data.root}: expected visible joints in the {subset.config.eval.subset} clips, found none"
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
