"""The paper's Fig. 9 and 10: poses where joints cannot be seen.

    Fig. 9    patches pasted over joints, at random and repeatably: the truth above, what the network finds below
    Fig. 10   strips over time, with circles at joints that are right and wrong

What each figure shows, and the numbers on it, come from `cover_clip`, `count_covered` and `strip`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from rpstn_ext.models import last_stage

from ..codec import crop_matrix
from ..data.augmentation import Occluder, occlude
from ..data.boxes import union
from ..data.clips import EvalClips, read_frame
from ..data.crops import apply, warp
from ..data.records import Track
from ..predictions import Prediction, clip_heatmaps, predict_tracks
from ..video.overlay import draw_pose
from ..words import several
from .panels import enlarged, entitle, heading, ring, strip_panel
from .subject import GAMMA, Subject, best_of_each, hidden_joints, right, telling, torso_sizes

MASKS = 3  # patches in a frame
PATCH = 0.16  # of the crop's shorter side: a patch's side
_MASKS_STREAM = 9  # of random numbers, apart from the training's own
_STRIP = 6  # frames of Fig. 10 side by side
_CELL = 360  # pixels of one of them
_ACROSS = 6  # frames of Fig. 9 side by side, about
_WIDEST = 3.2  # inches of a frame

_MARKS = (
    f"Green circle: right, within {GAMMA:g} of the torso size from its label. Red circle: wrong, the line leads to "
    "the cross at its true place"
)


@dataclass(frozen=True, kw_only=True)
class CoveredClip:
    """A clip of T frames without patches and with them, and what a network finds in both.

    plain, masked uint8 [T, H, W, 3] RGB crops; truth and both poses float64 [T, K, 2] in pixels of the crop; labelled,
    visible, covered bool [T, K], `covered` the visible joints that lie under a patch; right_plain, right_masked bool
    [T, K]; judged bool [T], frames that are no repetition and have a labelled torso.
    """

    title: str
    frame_ids: np.ndarray
    plain: np.ndarray
    masked: np.ndarray
    truth: np.ndarray
    labelled: np.ndarray
    visible: np.ndarray
    covered: np.ndarray
    found_plain: np.ndarray
    found_masked: np.ndarray
    right_plain: np.ndarray
    right_masked: np.ndarray
    judged: np.ndarray


def cover(
    frames: np.ndarray, joints: np.ndarray, visible: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A copy of frames uint8 [T, 3, H, W] in which each has a patch over `MASKS` of its visible joints, drawn anew for
    every frame, and which visible joints [T, K] lie under a patch.
    """
    masked, covered = frames.copy(), np.zeros_like(visible)
    sides = np.array([frames.shape[3], frames.shape[2]], dtype=np.float64)
    side = PATCH * sides.min()
    for time in range(len(frames)):
        there = np.flatnonzero(visible[time])
        for joint in rng.choice(there, min(MASKS, len(there)), replace=False):
            # Not centred on the joint: its middle would tell where the joint is.
            centre = joints[time, joint] + rng.uniform(-0.3, 0.3, 2) * side
            patch = Occluder(
                centre=(centre + 0.5) / sides,
                size=np.array([side, side]) / sides,
                drift=np.zeros(2),
                texture=rng.integers(50, 206, (1, 1, 3), dtype=np.uint8),
            )
            occlude(masked[time : time + 1], patch)
            under = (np.abs(joints[time] - centre) <= side / 2 - 0.5).all(axis=-1)
            covered[time] |= under & visible[time]
    return masked, covered


def cover_clip(subject: Subject, track: int, clip: int) -> CoveredClip:
    """Paste patches over a clip, by a draw that depends on the configuration's seed, the track and the clip alone, and
    let the network find the joints in it, and in the clip as it is.
    """
    of = subject.tracks[track]
    sample = EvalClips([of], subject.skeleton, subject.config.data, subject.codec)[clip]
    truth, ids = sample["joints"].double().numpy(), sample["frame_ids"].numpy()
    visible = sample["weights"].numpy() > 0
    labelled = sample["labelled"].numpy() > 0
    seed = np.random.SeedSequence(subject.config.seed, spawn_key=(_MASKS_STREAM, track, clip))
    plain = sample["frames"].numpy()
    masked, covered = cover(plain, truth, visible, np.random.default_rng(seed))
    found_plain, found_masked = (_find(subject, frames) for frames in (plain, masked))
    sizes = torso_sizes(truth, of.labelled[ids], subject.skeleton)
    first = np.concatenate([[True], ids[1:] != ids[:-1]])
    return CoveredClip(
        title=heading(of.action, of.name),
        frame_ids=ids,
        plain=plain.transpose(0, 2, 3, 1),
        masked=masked.transpose(0, 2, 3, 1),
        truth=truth,
        labelled=labelled,
        visible=visible,
        covered=covered,
        found_plain=found_plain,
        found_masked=found_masked,
        right_plain=right(found_plain, truth, sizes),
        right_masked=right(found_masked, truth, sizes),
        judged=first & ~np.isnan(sizes),
    )


@torch.inference_mode()
def _find(subject: Subject, frames: np.ndarray) -> np.ndarray:
    device = next(subject.model.parameters()).device
    maps = last_stage(clip_heatmaps(subject.model, torch.from_numpy(frames).to(device)[None]))
    return subject.codec.decode(maps[0])[0].double().cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of so many `joints` those that are right (within `GAMMA` torso sizes) without patches and with them."""

    plain: int
    masked: int
    joints: int

    def __str__(self) -> str:
        if not self.joints:
            return "none"
        shares = (f"{100 * right / self.joints:.1f} %" for right in (self.plain, self.masked))
        return f"{next(shares)} without patches, {next(shares)} with them ({self.joints} joints)"


def count_covered(clips: Sequence[CoveredClip]) -> dict[str, Counts]:
    """By "covered" and "uncovered": the visible joints under a patch, and those that are not."""
    found = {}
    for name in ("covered", "uncovered"):
        masks = [
            (clip.covered if name == "covered" else clip.visible & ~clip.covered) & clip.judged[:, None]
            for clip in clips
        ]
        found[name] = Counts(
            plain=sum(int(clip.right_plain[mask].sum()) for clip, mask in zip(clips, masks)),
            masked=sum(int(clip.right_masked[mask].sum()) for clip, mask in zip(clips, masks)),
            joints=sum(int(mask.sum()) for mask in masks),
        )
    return found


def masked_poses(subject: Subject, number: int) -> Figure:
    """Fig. 9: a block of two rows per clip."""
    places = [(track, subject.middle_clip(track)) for track in range(len(subject.tracks))]
    actions = [subject.tracks[track].action for track, _ in places]
    seen = [int(subject.tracks[t].visible[subject.clips_of(t)[c]].any()) for t, c in places]
    chosen = [places[place] for place in best_of_each(seen, actions, number)]
    clips = [cover_clip(subject, *place) for place in chosen]
    counted = [cover_clip(subject, *place) for place in subject.some_clips()]
    shares = count_covered(counted)
    frames = len(clips[0].frame_ids)
    across = min(max(1, _ACROSS // frames), len(clips))
    down = -(-len(clips) // across)
    aspect = subject.codec.input_size[1] / subject.codec.input_size[0]
    height = 2 * aspect * min(13 / (across * frames), _WIDEST) + 0.55
    figure = Figure(figsize=(13, height * down + 1.5), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, clip in zip(grid.flat, clips):
        axes.set_axis_on()
        here = count_covered([clip])["covered"]
        strip_panel(
            axes,
            [_true_frames(clip, subject), _masked_frames(clip, subject)],
            ("truth", "found"),
            [f"frame {frame + 1}" for frame in clip.frame_ids],
            f"{clip.title}: {here.masked} of {here.joints} covered joints found ({here.plain} without patches)",
        )
    entitle(
        figure,
        "Poses under random masks (Fig. 9)",
        "Above: the true pose in the frames as they are; a hollow joint is one that the label calls hidden. Below: "
        f"{MASKS} patches over visible joints, drawn anew for each frame, and the pose that the network finds there. "
        f"Circles stand at covered joints. {_MARKS}. Left limbs are orange, right ones blue. Frames: the middle clip "
        f"of {frames}, one of each action first; patches by seed {subject.config.seed}.",
        f"PCK@{GAMMA:g} (torso size, counts of all joints together) over {several(len(counted), 'clip')}: covered "
        f"joints: {shares['covered']}; other visible joints: {shares['uncovered']}.",
        subject.source,
    )
    return figure


def _true_frames(clip: CoveredClip, subject: Subject) -> list[np.ndarray]:
    cells = []
    for t, crop in enumerate(clip.plain):
        picture, places = enlarged(crop, clip.truth[t])
        known = np.where(clip.labelled[t, :, None], places, np.nan)
        draw_pose(picture, known, clip.visible[t].astype(float), subject.skeleton)
        cells.append(picture)
    return cells


def _masked_frames(clip: CoveredClip, subject: Subject) -> list[np.ndarray]:
    cells = []
    for t, crop in enumerate(clip.masked):
        picture, places, homes = enlarged(crop, clip.found_masked[t], clip.truth[t])
        draw_pose(picture, places, None, subject.skeleton)
        for joint in np.flatnonzero(clip.covered[t] & clip.judged[t]):
            ring(picture, places[joint], right=bool(clip.right_masked[t, joint]), home=homes[joint])
        cells.append(picture)
    return cells


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Some frames of a track: their numbers [N], poses found and true float64 [N, K, 2] in pixels of the image, and
    bool [N, K]: `judged`, the labelled ones of frames with a torso, `right`, and `marked`, those that get a circle.
    `hidden_found` and `hidden` count the hidden joints of the whole track that are right, and all of them.
    """

    frame_ids: np.ndarray
    found: np.ndarray
    truth: np.ndarray
    judged: np.ndarray
    right: np.ndarray
    marked: np.ndarray
    hidden_found: int
    hidden: int


def window(track: Track, joints: int) -> tuple[np.ndarray, int]:
    """Numbers of `_STRIP` frames at even steps, where most joints are hidden (`telling`), and how many are."""
    frames = len(track)
    step = max(1, frames // (2 * _STRIP))
    length = min(_STRIP, -(-frames // step))
    counts = np.array(telling(hidden_joints(track).sum(axis=1).tolist(), joints))
    windows = [np.arange(length) * step + start for start in range(frames - (length - 1) * step)]
    totals = [int(counts[window].sum()) for window in windows]
    best = int(np.argmax(totals))
    return windows[best], totals[best]


def strip(subject: Subject, track: Track, found: Prediction, *, only_hidden: bool) -> Strip:
    """Judge a track's prediction. With `only_hidden` the hidden joints get circles, else all that are wrong."""
    ids, _ = window(track, len(subject.skeleton.joints))
    sizes = torso_sizes(track.joints, track.labelled, subject.skeleton)
    hits = right(found.joints, track.joints, sizes)
    judged = track.labelled & (found.predicted & ~np.isnan(sizes))[:, None]
    hidden = hidden_joints(track) & judged
    marked = hidden if only_hidden else judged & ~hits
    return Strip(
        frame_ids=ids,
        found=found.joints[ids],
        truth=track.joints[ids],
        judged=judged[ids],
        right=hits[ids],
        marked=marked[ids],
        hidden_found=int((hits & hidden).sum()),
        hidden=int(hidden.sum()),
    )


def strips(subject: Subject, number: int) -> Figure:
    """Fig. 10: a row of frames per track."""
    tracks = subject.tracks
    totals = [window(track, len(subject.skeleton.joints))[1] for track in tracks]
    chosen = best_of_each(totals, [track.action for track in tracks], number)
    only_hidden = subject.hides
    shown = [tracks[index] for index in chosen]
    predictions = predict_tracks(
        subject.model, subject.config, shown, subject.skeleton, subject.codec, show_progress=False
    )
    found = [strip(subject, track, one, only_hidden=only_hidden) for track, one in zip(shown, predictions)]
    columns = max(len(one.frame_ids) for one in found)
    figure = Figure(
        figsize=(13, (min(13 / columns, _WIDEST) + 0.35) * len(shown) + 1.3), layout="constrained"
    )
    grid = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, track, one in zip(grid, shown, found):
        hits = int((one.right & one.marked).sum())
        counts = (
            f"{hits} of {int(one.marked.sum())} hidden joints found here, {one.hidden_found} of {one.hidden} in the "
            "whole video"
            if only_hidden
            else f"{int(one.marked.sum())} of {int(one.judged.sum())} joints wrong here"
        )
        title = heading(track.action, track.name)
        strip_panel(
            axes,
            [_strip_frames(track, one, subject)],
            (),
            [f"frame {frame + 1}" for frame in one.frame_ids],
            f"{title}: {counts}",
        )
    circles = (
        f"Circles stand at joints that the label calls hidden. {_MARKS}."
        if only_hidden
        else "Circles stand only at joints that are wrong. "
        f"Red circle: farther than {GAMMA:g} of the torso size from its label, the line leads to the cross at its true "
        "place."
    )
    entitle(
        figure,
        "Poses over time (Fig. 10)",
        f"The poses that the network finds. {circles} Left limbs are orange, right ones blue. {subject.choice} Way "
        f"through a video: {subject.config.eval.protocol}. A frame whose torso has no label gets no circles.",
        subject.source,
    )
    return figure


def _strip_frames(track: Track, one: Strip, subject: Subject) -> list[np.ndarray]:
    """The frames in one crop for all of them, so that what moves is the person."""
    matrix = crop_matrix(union(track.boxes[one.frame_ids]), (_CELL, _CELL))
    cells = []
    for n, frame in enumerate(one.frame_ids):
        picture = warp(read_frame(track, int(frame)), matrix, (_CELL, _CELL))
        places, homes = apply(matrix, one.found[n]), apply(matrix, one.truth[n])
        draw_pose(picture, places, None, subject.skeleton)
        for joint in np.flatnonzero(one.marked[n]):
            ring(picture, places[joint], right=bool(one.right[n, joint]), home=homes[joint])
        cells.append(picture)
    return cells
