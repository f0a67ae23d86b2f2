"""Calibrating a network: what it finds in clips with known joints is heard, and `calibration` fits to it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from .averaging import in_words
from .calibration import Witnesses, calibrate
from .chaining import chained
from .codec import Codec
from .config import Config
from .data.boxes import person_size
from .data.crops import apply
from .data.images import image_size
from .data.records import Skeleton, Track
from .data.subsets import Subset
from .errors import UserError
from .evidence import beyond, evidence
from .predictions import track_maps
from .train import checkpoint as checkpoints
from .train.checkpoint import Checkpoint
from .words import several

FEWEST_VIDEOS = 4
# Tracks at most, and frames of each: so that it takes no longer than an evaluation.
_TRACKS, _FRAMES, _EMPTY_FRAMES = 150, 20, 3
_LESSONS, _FEWEST_FRAMES = 1500, 2  # frames of a clip are much alike: other clips teach more
# Standard deviations: of a box's centre, in its sides; of the logarithm of its sides.
_MOVED, _RESIZED = 0.05, 0.1
_STREAM = 4  # of random numbers, apart from those of the training
_TRIES = 100
_OVERLAP = 0.1  # of its own area: what a box that holds nobody may share with one that holds somebody


def calibrated(
    checkpoint: Checkpoint,
    model: nn.Module,
    subset: Subset,
    learn_from: Sequence[Track],
    *,
    show_progress: bool = True,
) -> Checkpoint:
    """The checkpoint with a calibration fitted to what its network, `model`, finds in the tracks of a subset.

    People are shown in the boxes of the labels, and a second time in boxes that are a little off (`moved`), as those of
    people who are followed are. learn_from: tracks from which it learns what hidden joints look like, those of the
    training. Of long videos and many, the first frames of evenly chosen ones are taken.

    Raises UserError: fewer than FEWEST_VIDEOS videos, or no joint is labelled.
    """
    tracks = [first_frames(track, _FRAMES) for track in _evenly(subset.tracks, _TRACKS)]
    names = [track.video or track.name for track in tracks]
    known = sorted(set(names))
    if len(known) < FEWEST_VIDEOS:
        raise UserError(
            f"expected at least {FEWEST_VIDEOS} videos to calibrate the scores on, got {len(known)} in {subset.words}"
        )
    if not any(track.labelled.any() for track in tracks):
        raise UserError(f"expected labelled joints to calibrate the scores on, got none in {subset.words}")
    videos = {name: number for number, name in enumerate(known)}
    rng = np.random.default_rng(np.random.SeedSequence(subset.config.seed, spawn_key=(_STREAM,)))
    shaken = moved(tracks, rng)
    empty = of_nobody(tracks, rng, subset.tracks)
    teachers = _evenly(learn_from, _LESSONS)
    each = min(_FEWEST_FRAMES * _LESSONS // max(len(teachers), 1), _FRAMES)
    lessons = moved([first_frames(track, each) for track in teachers], rng)

    def heard(of: Sequence[Track]) -> Witnesses | None:
        numbers = [videos.get(track.video or track.name, -1) for track in of]
        skeleton, codec = checkpoint.skeleton, checkpoint.codec
        return (
            hear(model, subset.config, of, numbers, skeleton, codec, show_progress=show_progress)
            if of
            else None
        )

    way = in_words(subset.config.eval)
    drawn = "drawn people, " if (Path(subset.config.data.root) / "synth.json").is_file() else ""
    words = f"{drawn}{subset.words} ({several(len(known), 'video')}, {several(sum(map(len, tracks)), 'frame')}; {way})"
    found = calibrate(
        heard(tracks) + heard(shaken), heard(empty), heard(lessons), words, seed=subset.config.seed
    )
    return replace(checkpoint, calibration=found)


def calibrate_file(path: Path, model: nn.Module, subset: Subset, learn_from: Sequence[Track]) -> list[str]:
    """Write the calibration into the checkpoint at `path`; returns what to say of it, why there is none included."""
    checkpoint = checkpoints.load(path)
    checkpoints.load_state(model, checkpoint.model_state, checkpoint.path)
    try:
        found = calibrated(checkpoint, model, subset, learn_from)
    except UserError as error:
        return [f"not calibrated: {error}"]
    checkpoints.save(path, found)
    return found.calibration.sentences


def _evenly(tracks: Sequence[Track], most: int) -> list[Track]:
    if len(tracks) <= most:
        return list(tracks)
    return [tracks[place] for place in np.linspace(0, len(tracks) - 1, most).round().astype(int)]


def hear(
    model: nn.Module,
    config: Config,
    tracks: Sequence[Track],
    videos: Sequence[int],
    skeleton: Skeleton,
    codec: Codec,
    *,
    show_progress: bool = True,
) -> Witnesses:
    """What the network finds in the boxes of tracks, each of the video of that number.

    The way through a video and the averages are those of `config.eval`; the model's mode is put back.
    """
    device = next(model.parameters()).device
    whole = chained(model, config.eval.poses, skeleton, codec, "eval.poses").to(device)
    sizes = [track.size or image_size(track.frames[0], track.orientation) for track in tracks]
    rows: list[tuple[np.ndarray, ...]] = []
    was_training = model.training
    whole.eval()
    try:
        for batch, maps in track_maps(whole, config, tracks, skeleton, codec, show_progress=show_progress):
            points, scores = codec.decode(maps)
            for sample, index in enumerate(batch["index"].tolist()):
                track, scored = tracks[index], batch["scored"][sample].numpy()
                ids = batch["frame_ids"][sample].numpy()[scored]
                matrices = batch["to_image"][sample].numpy()[scored]
                found = apply(matrices, points[sample].double().cpu().numpy()[scored])
                enlarged = 1 / np.sqrt(abs(np.linalg.det(matrices[:, :, :2])))
                numbers = evidence(
                    maps[sample][scored],
                    points[sample][scored],
                    scores[sample][scored],
                    codec,
                    skeleton,
                    beyond(found, sizes[index]) * enlarged[:, None],
                )
                away = np.linalg.norm(found - track.joints[ids], axis=-1)
                labelled = track.labelled[ids]
                rows.append(
                    (
                        numbers,
                        away / person_size(track.score_boxes[ids])[:, None],
                        labelled,
                        track.visible[ids],
                        labelled & (beyond(track.joints[ids], sizes[index]) > 0.5),
                        np.full(len(ids), videos[index]),
                    )
                )
    finally:
        model.train(was_training)
    return Witnesses(**dict(zip(Witnesses.__dataclass_fields__, map(np.concatenate, zip(*rows)))))


def moved(tracks: Sequence[Track], rng: np.random.Generator) -> list[Track]:
    """The tracks with boxes as somebody has them who follows or searches: a little beside the person, and too large or
    too small; one error for a whole track.
    """
    found = []
    for track in tracks:
        sides = track.boxes[:, 2:] - track.boxes[:, :2]
        centres = (track.boxes[:, 2:] + track.boxes[:, :2]) / 2
        centres = centres + rng.normal(0, _MOVED, 2) * sides
        sides = sides * np.exp(rng.normal(0, _RESIZED))
        found.append(replace(track, boxes=np.hstack([centres - sides / 2, centres + sides / 2])))
    return found


def of_nobody(tracks: Sequence[Track], rng: np.random.Generator, everybody: Sequence[Track]) -> list[Track]:
    """For each track the first frames with boxes of its own size elsewhere in the picture, one place for all of them,
    that hold next to nothing of anybody's (`everybody`: all tracks of these pictures). Tracks in whose pictures there
    is no such place are left out. Unlabelled people may be there.
    """
    people: dict[object, list[np.ndarray]] = {}
    for track in everybody:
        for picture, box in zip(track.frames, track.boxes):
            people.setdefault(picture, []).append(box)
    found = []
    for track in tracks:
        count = min(_EMPTY_FRAMES, len(track))
        size = np.array(track.size or image_size(track.frames[0], track.orientation), dtype=float)
        taken = np.concatenate([people[picture] for picture in track.frames[:count]])
        sides = np.median(track.boxes[:, 2:] - track.boxes[:, :2], axis=0)
        for _ in range(_TRIES):
            own = sides * np.exp(rng.uniform(-0.7, 0.0))
            low = rng.uniform(0, 1, 2) * np.maximum(size - own, 0) + np.minimum(size - own, 0) / 2
            box = np.concatenate([low, low + own])
            shared = np.minimum(box[2:], taken[:, 2:]) - np.maximum(box[:2], taken[:, :2])
            if (shared.clip(0).prod(axis=1) <= _OVERLAP * own.prod()).all():
                found.append(first_frames(track, count, box))
                break
    return found


def first_frames(track: Track, count: int, box: np.ndarray | None = None) -> Track:
    """The first frames of a track, with another box where one is given."""
    count = min(count, len(track))
    boxes = track.boxes[:count] if box is None else np.tile(box, (count, 1))
    return replace(
        track,
        frames=track.frames[:count],
        joints=track.joints[:count],
        visible=track.visible[:count],
        labelled=track.labelled[:count],
        boxes=boxes,
        score_boxes=track.score_boxes[:count],
        image_ids=track.image_ids[:count],
        box_score=track.box_score[:count] if np.ndim(track.box_score) else track.box_score,
        scored=None if track.scored is None else track.scored[:count],
    )
