"""The folder that `rpstn demo` leaves: pictures, a video and the page that explains them."""

import json
from pathlib import Path

from rpstn_ext.models import RPSTN

from ..codec import Codec
from ..config import Config
from ..data.records import Skeleton, Track
from ..evaluation import Evaluation
from ..files import write_text
from . import plots
from .inside import look_inside, telling_clip
from .page import Facts, page
from .pictures import overlay_videos, prediction_sheet, write_png

_SHEET_TRACKS, _VIDEO_TRACKS = 12, 8
_FPS = 10
_UNSURE = 0.1  # of a peak; these maps peak at about 0.4


def build_report(
    out: Path,
    *,
    model: RPSTN,
    skeleton: Skeleton,
    codec: Codec,
    config: Config,
    tracks: list[Track],
    evaluation: Evaluation,
    metrics: Path,
    chosen_on: str,
) -> Path:
    """Write all pictures, the video and index.html to `out`; returns the page's path.

    Args:
        model: in evaluation mode.
        config: the experiment that trained it.
        tracks: held-out tracks, frames of one size, in the order of `evaluation.predictions`.
        metrics: metrics.jsonl of the training.
        chosen_on: the clips by which the weights were chosen, in words.
    """
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    predictions = evaluation.predictions
    track, clip = telling_clip(tracks, predictions, config.data.clip_length)
    inside = look_inside(model, config, tracks[track], skeleton, codec, clip)
    chosen = one_of_each_action(tracks)
    some, found = [tracks[index] for index in chosen], [predictions[index] for index in chosen]

    gamma = config.eval.gamma
    plots.write_figure(out / "training.png", plots.training_curve(rows, gamma=gamma))
    plots.write_figure(out / "scores.png", plots.score_bars(evaluation.table, skeleton))
    sheet = prediction_sheet(some[:_SHEET_TRACKS], found[:_SHEET_TRACKS], skeleton, gamma=gamma)
    write_png(out / "predictions.png", sheet)
    plots.write_figure(out / "relation.png", plots.relation(inside, skeleton))
    plots.write_figure(out / "heatmaps.png", plots.before_and_after(inside, skeleton))
    overlay_videos(
        out / "overlay",
        (".webm", ".mp4"),
        some[:_VIDEO_TRACKS],
        found[:_VIDEO_TRACKS],
        skeleton,
        fps=_FPS,
        min_score=_UNSURE,
    )
    facts = Facts.of(evaluation, config, rows, inside, skeleton, tracks, chosen_on)
    write_text(out / "index.html", page(facts))
    return out / "index.html"


def one_of_each_action(tracks: list[Track]) -> list[int]:
    """Positions of the first track of each action, in the order of the tracks."""
    first: dict[str, int] = {}
    for index, track in enumerate(tracks):
        first.setdefault(track.action, index)
    return list(first.values())
