"""Scores of a model on tracks with known joints, in pixels of the original image, with the protocol behind them:
`eval.protocol` is the way through a video, of those in `predictions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from .averaging import in_words
from .chaining import chained
from .codec import Codec, decoding_in_words
from .config import Config, to_dict
from .data.records import Skeleton, Track
from .data.subsets import Subset
from .errors import UserError
from .predictions import Prediction, predict_tracks
from .scores.pck import every_rule, every_threshold, pck_table
from .scores.pck_released import released_rows
from .scores.sets import scored_by_pck
from .scores.submission import own_score
from .scores.table import Table
from .train.ranks import Ranks
from .versions import versions
from .words import several


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """PCK by several rules, with the protocol.

    `table` has the rows of `scores.pck.every_rule`, and of `pck_released` where the protocol is the released one; its
    `main` is the mean over joints by the configured normaliser. `sweep` is PCK at the thresholds of the paper's
    Fig. 11.
    """

    config: dict[str, Any]
    protocol: tuple[str, ...]
    table: Table
    sweep: Table
    predictions: Sequence[Prediction]

    @property
    def score(self) -> float:
        """Between 0 and 1; NaN where no joint is labelled, as in boxes of a detector."""
        return self.table.main

    @property
    def summary(self) -> dict[str, float | None]:
        """The mean over joints of every row."""
        return {name: details["mean_of_joints"] for name, details in self.table.details.items()}

    @property
    def text(self) -> str:
        """Protocol and table for people."""
        nothing = "No joint is labelled in these boxes, so there is no PCK"
        return "\n".join([*self.protocol, "", nothing if np.isnan(self.score) else self.table.text])

    def to_dict(self) -> dict[str, Any]:
        """Scores, protocol, configuration, versions and commit in plain types, for JSON."""
        return {
            "protocol": list(self.protocol),
            "score": None if np.isnan(self.score) else self.score,
            "pck": self.table.to_dict(),
            "sweep": self.sweep.to_dict(),
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
    ranks: Ranks | None = None,
    show_progress: bool = True,
) -> Evaluation:
    """Predict every track and count PCK with both normalisers.

    The model's device is used, and its training mode is put back. `ranks` share the tracks out, and each gets the
    whole.
    """
    part = (0, 1) if ranks is None else (ranks.rank, ranks.world)
    predictions = _predict(model, config, tracks, skeleton, codec, part=part, show_progress=show_progress)
    if ranks is not None:
        predictions = ranks.gathered(predictions[ranks.rank :: ranks.world])
    return _evaluation(config, tracks, skeleton, predictions)


def _evaluation(
    config: Config, tracks: Sequence[Track], skeleton: Skeleton, predictions: Sequence[Prediction]
) -> Evaluation:
    table, sweep = _tables(predictions, tracks, skeleton, config)
    protocol = _protocol(config, tracks, predictions)
    return Evaluation(
        config=to_dict(config),
        protocol=protocol[:-1] if np.isnan(table.main) else protocol,
        table=table,
        sweep=sweep,
        predictions=predictions,
    )


def _predict(
    model: nn.Module,
    config: Config,
    tracks: Sequence[Track],
    skeleton: Skeleton,
    codec: Codec,
    *,
    part: tuple[int, int] = (0, 1),
    show_progress: bool,
) -> list[Prediction]:
    """`predict_tracks` in evaluation mode, behind another network where this one refines poses; the mode before is put
    back.
    """
    device = next(model.parameters()).device
    whole = chained(model, config.eval.poses, skeleton, codec, "eval.poses").to(device)
    was_training = model.training
    whole.eval()
    try:
        return predict_tracks(whole, config, tracks, skeleton, codec, part=part, show_progress=show_progress)
    finally:
        model.train(was_training)


def selection_score(evaluation: Evaluation, subset: Subset, skeleton: Skeleton) -> tuple[str, float]:
    """What a training chooses weights by: the name and the value, as a fraction of 1, of the score that the set's
    owners go by, and of PCK where that is not to be had. Raises UserError where there is neither.
    """
    found = own_score(evaluation.predictions, subset.tracks, subset.config, skeleton, evaluation.table)
    if np.isnan(found.table.main):
        why = f"{found.reason}; " * bool(found.reason) + "no joint is visible, so there is no PCK"
        raise UserError(
            f"{subset.config.data.root}: expected something to choose weights by in {subset.words}, found nothing "
            f"({why}); choose other clips with eval.select, or give labels"
        )
    return found.table.main_name, found.table.main


def rehearse(model: nn.Module, subset: Subset, skeleton: Skeleton, codec: Codec) -> None:
    """Raise UserError now for what would fail in a training's first evaluation: one track goes through the network,
    and all of them are scored.
    """
    try:
        _predict(model, subset.config, subset.tracks[:1], skeleton, codec, show_progress=False)
    except ValueError as error:
        raise UserError(f"{subset.config.model.name}: {error}") from error
    require_scores(subset, skeleton)


def require_scores(subset: Subset, skeleton: Skeleton) -> None:
    """Raise UserError where weights cannot be chosen on these tracks: what an untrained network would find, the middle
    of each box, is scored.
    """
    predictions = [_middle(track) for track in subset.tracks]
    selection_score(_evaluation(subset.config, subset.tracks, skeleton, predictions), subset, skeleton)


def _middle(track: Track) -> Prediction:
    middles = (track.boxes[:, None, :2] + track.boxes[:, None, 2:]) / 2
    scored = np.ones(len(track), dtype=bool) if track.scored is None else track.scored
    return Prediction(
        name=track.name,
        joints=np.where(scored[:, None, None], np.broadcast_to(middles, track.joints.shape), np.nan),
        scores=np.where(scored[:, None], np.full(track.joints.shape[:2], 0.5), np.nan),
        predicted=scored.copy(),
    )


def _tables(
    predictions: Sequence[Prediction], tracks: Sequence[Track], skeleton: Skeleton, config: Config
) -> tuple[Table, Table]:
    joints = [prediction.joints for prediction in predictions]
    frames = [prediction.predicted for prediction in predictions]
    options = config.eval
    rows = every_rule(joints, tracks, skeleton, gamma=options.gamma, frames=frames)
    # The released evaluator is that of the sets scored by PCK, and takes one clip of a video.
    if options.protocol == "released" and scored_by_pck(config.data.name):
        rows |= released_rows(joints, frames, tracks, skeleton)
    thresholds = every_threshold(joints, tracks, skeleton, frames=frames)
    return (
        pck_table(f"PCK@{options.gamma:g}", rows, main=options.normaliser),
        pck_table("PCK at the thresholds of Fig. 11", thresholds, main=f"{options.normaliser}, 0.2"),
    )


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
    decoding = decoding_in_words(config.heatmap.maps, config.heatmap.decode)
    geometry = {"plain": "", "udp": " in UDP's geometry"}[config.heatmap.geometry]
    noun = "video" if scored_by_pck(data.name) else "track"  # those sets have one person a video
    refined = f"; poses of {options.poses} refined" if options.poses is not None else ""
    return (
        f"Data: {data.name}{split}, {options.subset} subset, {several(len(tracks), noun)}, "
        f"{scored} of {total} frames scored",
        f"Protocol {options.protocol}: {way}; {_boxes(config)} x {data.box_scale:g}, {group}; "
        f"input {width}x{height}{geometry}; {in_words(options)}; {decoding}{refined}",
        f"Score: PCK@{options.gamma:g} in pixels of the original image, <=; "
        "counts added over all frames of all videos",
    )


_LINKS = {
    "none": "",
    "file": " in tracks by the file's track_ids",
    "iou": " linked into tracks by overlap",
    "oks": " linked into tracks by overlap and the OKS of their points",
}


def _boxes(config: Config) -> str:
    """Where the boxes of the evaluation come from."""
    options = config.data.options
    if options.get("detections") is None or config.eval.subset != "test":
        return "ground-truth boxes"
    threshold = options.get("detection_threshold")
    above = "" if threshold is None else f" scored {threshold:g} or more"
    link = _LINKS.get(options.get("link", "none"), "")
    return f"detected boxes of {options['detections']}{above}{link}"
