"""What a network finds in clips with known joints, joint by joint: the samples that its scores are calibrated with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from .chaining import chained
from .codec import Codec
from .config import Config
from .data.boxes import person_size
from .data.crops import apply
from .data.images import image_size
from .data.records import Skeleton, Track
from .evidence import EVIDENCE, beyond, evidence
from .predictions import track_maps

_MOVED, _RESIZED = 0.05, 0.1  # standard deviations: of a box's centre, in its sides; of the logarithm of its sides
_TRIES = 100
_OVERLAP = 0.1  # of its own area: what a box that holds nobody may share with one that holds somebody


@dataclass(frozen=True, kw_only=True)
class Witnesses:
    """N frames of persons.

    numbers float64 [N, K, E], as in `evidence`. distances float64 [N, K] from the true places, in person sizes (longer
    side of the annotated box). labelled, visible, outside bool [N, K]: there is a true place, it is to be seen, it is
    not in the picture. videos int64 [N]: which of the videos.
    """

    numbers: np.ndarray
    distances: np.ndarray
    labelled: np.ndarray
    visible: np.ndarray
    outside: np.ndarray
    videos: np.ndarray

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, chosen: np.ndarray) -> "Witnesses":
        return Witnesses(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})

    def __add__(self, other: "Witnesses") -> "Witnesses":
        names = self.__dataclass_fields__
        return Witnesses(**{name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in names})


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
            points, _ = codec.decode(maps)
            for sample, index in enumerate(batch["index"].tolist()):
                track, scored = tracks[index], batch["scored"][sample].numpy()
                ids = batch["frame_ids"][sample].numpy()[scored]
                matrices = batch["to_image"][sample].numpy()[scored]
                found = apply(matrices, points[sample].double().cpu().numpy()[scored])
                enlarged = 1 / np.sqrt(abs(np.linalg.det(matrices[:, :, :2])))
                numbers = evidence(
                    maps[sample][scored],
                    points[sample][scored],
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
    """The tracks with boxes as somebody has them who follows or searches: a little beside the person, and of a size that
    does not fit well; one error for a whole track.
    """
    found = []
    for track in tracks:
        sides = track.boxes[:, 2:] - track.boxes[:, :2]
        centres = (track.boxes[:, 2:] + track.boxes[:, :2]) / 2
        centres = centres + rng.normal(0, _MOVED, 2) * sides
        sides = sides * np.exp(rng.normal(0, _RESIZED))
        found.append(replace(track, boxes=np.hstack([centres - sides / 2, centres + sides / 2])))
    return found


def of_nobody(
    tracks: Sequence[Track], rng: np.random.Generator, frames: int, everybody: Sequence[Track]
) -> list[Track]:
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
        count = min(frames, len(track))
        size = np.array(track.size or image_size(track.frames[0], track.orientation), dtype=float)
        taken = np.concatenate([people[picture] for picture in track.frames[:count]])
        sides = np.median(track.boxes[:, 2:] - track.boxes[:, :2], axis=0)
        for _ in range(_TRIES):
            own = sides * np.exp(rng.uniform(-0.7, 0.0))
            low = rng.uniform(0, 1, 2) * np.maximum(size - own, 0) + np.minimum(size - own, 0) / 2
            box = np.concatenate([low, low + own])
            shared = np.minimum(box[2:], taken[:, 2:]) - np.maximum(box[:2], taken[:, :2])
            if (shared.clip(0).prod(axis=1) <= _OVERLAP * own.prod()).all():
                found.append(_cut(track, count, box))
                break
    return found


def _cut(track: Track, count: int, box: np.ndarray | None = None) -> Track:
    """The first frames of a track, with another box where one is given."""
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


first_frames = _cut
__all__ = ["EVIDENCE", "Witnesses", "first_frames", "hear", "moved", "of_nobody"]
