"""The folder that `rpstn demo` leaves: pictures, videos and the page that explains them."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rpstn_ext.models import RPSTN

from ..codec import Codec
from ..config import Config, to_yaml
from ..data.boxes import person_size
from ..data.records import Skeleton, Track
from ..evaluation import Evaluation
from ..files import write_text
from ..predictions import Prediction, predict_tracks
from ..scores.pck import torso_size
from ..shell import pasted
from ..versions import versions
from . import measures, plots, score_plots
from .inside import errors, look_inside, telling_clip
from .page import ArmScore, Facts, Real, Shown, page
from .panels import spelt
from .pictures import case_picture, overlay_video, write_png

_VIDEO_TRACKS = 8
_FPS = 10
_UNSURE = 0.1  # of a peak; these maps peak at about 0.4
_FAR = 0.1  # of the person's size: farther from its place a joint has a red cross
_KINDS = {"visible joints": "visible", "hidden joints": "occluded"}


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
    arms: Mapping[str, tuple[Path, int, Evaluation]] | None = None,
    real: Real | None = None,
) -> Path:
    """Write all pictures, the video and index.html to `out`; returns the page's path.

    Args:
        model: in evaluation mode.
        config: the experiment that trained it.
        tracks: held-out tracks, frames of one size, in the order of `evaluation.predictions`.
        metrics: metrics.jsonl of the training.
        chosen_on: the clips by which the weights were chosen, in words.
        arms: networks to be compared, by what they are: metrics.jsonl, the number of parameters, and their evaluation
            on the same tracks.
        real: a real clip, drawn in `out` already.
    """
    predictions, gamma = evaluation.predictions, config.eval.gamma
    before = predict_tracks(measures.BeforeRelation(model).eval(), config, tracks, skeleton, codec)
    track, clip = telling_clip(tracks, predictions, config.data.clip_length)
    inside = look_inside(model, config, tracks[track], skeleton, codec, clip)
    found = {
        size: {
            kind: measures.curve(tracks, predictions, skeleton, joints=joints, normaliser=size)
            for kind, joints in _KINDS.items()
        }
        for size in ("person", "torso")
    }
    kinds = [kind for kind, curve in found["torso"].items() if not np.isnan(curve).all()]
    first = {
        kind: measures.curve(tracks, before, skeleton, joints=_KINDS[kind], normaliser="torso")
        for kind in kinds
    }
    cases = measures.ranked(tracks, predictions, lambda track: True)
    actions = measures.by_action(tracks, predictions, skeleton, gamma=gamma)
    own = _arm_score("the page's own network", metrics, _parameters(model), evaluation)
    facts = Facts(
        gamma=gamma,
        clips=len(tracks),
        frames=sum(int(one.predicted.sum()) for one in predictions),
        joints=len(skeleton.joints),
        epochs=own.epochs,
        minutes=own.minutes,
        chosen_on=chosen_on,
        person={kind: found["person"][kind] for kind in kinds},
        torso={kind: found["torso"][kind] for kind in kinds},
        torso_ends=[spelt(skeleton)[joint] for joint in skeleton.torso],
        torso_share=_torso_share(tracks, skeleton),
        sides=measures.sides(tracks, predictions, skeleton),
        middle=cases[(len(cases) - 1) // 2],
        shown=_shown(out, tracks, predictions, skeleton),
        before_after={kind: (first[kind], found["torso"][kind]) for kind in kinds},
        changes={
            kind: measures.change(tracks, before, predictions, skeleton, gamma=gamma, joints=_KINDS[kind])
            for kind in kinds
        },
        inside=inside,
        names=spelt(skeleton),
        arms=[own, *(_arm_score(title, *arm) for title, arm in (arms or {}).items())],
        real=real,
        table=evaluation.text,
        settings=to_yaml(config),
        versions=versions(),
        predict_command=pasted(
            "predict", "VIDEO.mp4", "--weights", Path(config.output) / "best.pt", "--out", "poses"
        ),
        compare_command=pasted("demo", "--out", out, "--seed", config.seed, "--compare"),
        real_command=pasted("demo", "--out", out, "--seed", config.seed, "--real", "VIDEO.mp4"),
    )
    _draw(out, facts, actions, evaluation, tracks, skeleton, metrics)
    write_text(out / "index.html", page(facts))
    return out / "index.html"


def _draw(
    out: Path,
    facts: Facts,
    actions: Mapping[str, Mapping[str, float]],
    evaluation: Evaluation,
    tracks: Sequence[Track],
    skeleton: Skeleton,
    metrics: Path,
) -> None:
    """The figures of the page, and its video."""
    predictions, middle = evaluation.predictions, facts.middle
    rows = {"visible joints": "torso", "hidden joints": "occluded, torso"}
    parts = {kind: evaluation.table.rows[rows[kind]] for kind in facts.person}
    label = f"joints found within {facts.gamma:g} of the torso's size (%)"
    by_row = {
        "person": "visible, person's size",
        "torso": "visible, torso's size",
        "hidden, torso": "hidden, torso's",
    }
    for name, figure in {
        "tolerance": score_plots.tolerance_picture(
            tracks[middle.track], predictions[middle.track], middle, skeleton
        ),
        "curve": score_plots.tolerance_curve(facts.person, "person's size"),
        "parts": score_plots.score_bars(parts, skeleton, label),
        "actions": score_plots.action_bars(actions, by_row, f"joints found within {facts.gamma:g} (%)"),
        "before_after": score_plots.before_after_curves(facts.before_after, "torso's size"),
        "relation": plots.relation(facts.inside, skeleton),
        "heatmaps": plots.before_and_after(facts.inside, skeleton),
        "training": plots.training_curve(_rows(metrics), gamma=facts.gamma),
    }.items():
        plots.write_figure(out / f"{name}.png", figure)
    chosen = typical_tracks(tracks, predictions)[:_VIDEO_TRACKS]
    overlay_video(
        out / "overlay.mp4",
        [tracks[place] for place in chosen],
        [predictions[place] for place in chosen],
        skeleton,
        fps=_FPS,
        min_score=_UNSURE,
        notice="trained on drawn people, never saw a real person",
    )


def typical_tracks(tracks: Sequence[Track], predictions: Sequence[Prediction]) -> list[int]:
    """Places of one track of each action, in the alphabet's order: that whose mean error is the middle one."""
    found: dict[str, list[tuple[float, int]]] = {}
    for place, (track, prediction) in enumerate(zip(tracks, predictions)):
        error = measures.mean_errors(track, prediction)
        if np.isfinite(error).any():
            found.setdefault(track.action, []).append((float(np.nanmean(error)), place))
    return [sorted(found[action])[(len(found[action]) - 1) // 2][1] for action in sorted(found)]


def _shown(
    out: Path, tracks: Sequence[Track], predictions: Sequence[Prediction], skeleton: Skeleton
) -> list[Shown]:
    """Draw the typical and the worst frame of each action."""
    shown = []
    for number, (action, pair) in enumerate(measures.typical_and_worst(tracks, predictions).items(), start=1):
        for kind, case in zip(("typical", "worst"), pair):
            track, prediction = tracks[case.track], predictions[case.track]
            name = re.sub(r"\W+", "_", action).strip("_")
            file = f"cases/{number:02d}_{name}_{kind}.png"
            write_png(out / file, case_picture(track, prediction, case.frame, skeleton, gamma=_FAR))
            error = errors(track, prediction)[case.frame]
            shown.append(
                Shown(
                    action=action,
                    kind=kind,
                    case=case,
                    found=int((error <= _FAR).sum()),
                    labelled=int(track.labelled[case.frame].sum()),
                    file=file,
                )
            )
    return shown


def _torso_share(tracks: Sequence[Track], skeleton: Skeleton) -> float:
    """The median of torso's over person's size, of frames whose torso is labelled."""
    shares = [
        (torso_size(track.joints, track.joints, skeleton.torso) / person_size(track.score_boxes))[
            track.labelled[:, list(skeleton.torso)].all(axis=1)
        ]
        for track in tracks
    ]
    return float(np.median(np.concatenate(shares)))


def _arm_score(title: str, metrics: Path, parameters: int, evaluation: Evaluation) -> ArmScore:
    rows, table = _rows(metrics), evaluation.table.rows
    return ArmScore(
        title=title,
        minutes=sum(row["seconds"] for row in rows) / 60,
        epochs=len(rows),
        parameters=parameters,
        torso=table["torso"]["Mean"],
        hidden_torso=table["occluded, torso"]["Mean"] if "occluded, torso" in table else float("nan"),
        person=table["person"]["Mean"],
    )


def _parameters(model: RPSTN) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _rows(metrics: Path) -> list[dict]:
    return [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
