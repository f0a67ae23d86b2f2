"""Joints found in tracks, and the ways through a video, the option `eval.protocol`:

tiled       clips of T frames side by side, the last one moved back to end on the last frame
streaming   every frame of the video in order through `start` and `step`; nothing is reset at a clip's border
released    one clip per video, as the released code samples its tests

Every frame goes through the network; which of them are counted is the labels' affair (`Track.scored`).
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from rpstn_ext.models import Stages, last_stage

from .averaging import averaged
from .codec import Codec, normalise
from .config import Config
from .data.clips import EvalClips
from .data.crops import apply
from .data.records import Skeleton, Track
from .interrupt import ignore_interrupt


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

    @classmethod
    def empty(cls, track: Track) -> "Prediction":
        """Of a track, nothing found yet."""
        frames, joints = track.joints.shape[:2]
        return cls(
            name=track.name,
            joints=np.full((frames, joints, 2), np.nan),
            scores=np.full((frames, joints), np.nan),
            predicted=np.zeros(frames, dtype=bool),
        )


class Streams:
    """A network that goes through several videos (or follows several persons) frame by frame.

    The first frame of a key goes through `start`, every later one through `step`, however long the video is. `forget`
    drops what is known of a key.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._states: dict[Hashable, Tensor] = {}

    def forget(self, key: Hashable) -> None:
        """The key's next frame is a first one."""
        self._states.pop(key, None)

    def maps(self, keys: Sequence[Hashable], images: Tensor) -> Tensor:
        """Heat maps [N, K, h, w] of the next frame of each key, images [N, 3, H, W]."""
        known = [place for place, key in enumerate(keys) if key in self._states]
        fresh = [place for place, key in enumerate(keys) if key not in self._states]
        parts = []
        for places in (known, fresh):
            if not places:
                continue
            chosen = images if len(places) == len(keys) else images[places]
            if places is fresh:
                maps, states = self.model.start(chosen)
            else:
                maps, states = self.model.step(chosen, torch.cat([self._states[keys[p]] for p in places]))
            self._states.update(zip((keys[place] for place in places), states.split(1)))
            parts.append(maps)
        order = torch.tensor(known + fresh, device=images.device).argsort()
        return parts[0] if len(parts) == 1 else torch.cat(parts)[order]


def clip_heatmaps(model: nn.Module, frames: Tensor) -> Stages:
    """What the network makes of clips of bytes, uint8 Tensor[B, T, 3, H, W] RGB: maps [B, T, K, h, w], or the maps of
    each of its stages.
    """
    return model(normalise(frames))


@torch.inference_mode()
def predict_tracks(
    model: nn.Module,
    config: Config,
    tracks: Sequence[Track],
    skeleton: Skeleton,
    codec: Codec,
    *,
    part: tuple[int, int] = (0, 1),
    show_progress: bool = True,
) -> list[Prediction]:
    """The joints of every track, by the configured protocol and averages. The model should be in evaluation mode.

    part (int, int): rank and number of the processes that share the tracks out. Every world-th one is predicted, the
    others are empty.
    """
    predictions = [Prediction.empty(track) for track in tracks]
    maps = track_maps(model, config, tracks, skeleton, codec, part=part, show_progress=show_progress)
    for batch, heatmaps in maps:
        _keep(predictions, batch, *codec.decode(heatmaps))
    return predictions


@torch.inference_mode()
def track_maps(
    model: nn.Module,
    config: Config,
    tracks: Sequence[Track],
    skeleton: Skeleton,
    codec: Codec,
    *,
    part: tuple[int, int] = (0, 1),
    show_progress: bool = True,
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """The samples of `EvalClips` by batches, and the maps [B, T, K, h, w] of each; otherwise like `predict_tracks`."""
    streaming = config.eval.protocol == "streaming"
    clips = EvalClips(
        tracks, skeleton, config.data, codec, protocol="tiled" if streaming else config.eval.protocol
    )
    own = clips.by_track()[part[0] :: part[1]]
    device = next(model.parameters()).device
    model = averaged(model, config.eval, skeleton, codec).to(device)
    loader = DataLoader(
        clips,
        batch_sampler=_batches(own, config.eval.batch_size, side_by_side=streaming),
        num_workers=min(config.data.workers, len(clips)),
        worker_init_fn=ignore_interrupt,
        generator=torch.Generator(),  # or the loader would draw from, and move, the global one
    )
    bar = tqdm(
        total=sum(map(len, own)) * config.data.clip_length,
        desc=f"{config.eval.subset} frames",
        unit="frame",
        leave=False,
        dynamic_ncols=True,
        disable=None if show_progress else True,
    )
    with bar:
        outputs = (_stream if streaming else _clip_by_clip)(model, loader, device)
        for batch, heatmaps in outputs:
            yield batch, heatmaps
            bar.update(batch["frame_ids"].numel())


def _keep(predictions: Sequence[Prediction], batch: dict[str, Any], points: Tensor, peaks: Tensor) -> None:
    """Joints [B, T, K, 2] in pixels of the crops, and scores, of the scored frames into the tracks' predictions."""
    points, peaks = points.double().cpu().numpy(), peaks.double().cpu().numpy()
    for sample, index in enumerate(batch["index"].tolist()):
        scored = batch["scored"][sample].numpy()
        frames = batch["frame_ids"][sample].numpy()[scored]
        found = predictions[index]
        found.joints[frames] = apply(batch["to_image"][sample].numpy()[scored], points[sample][scored])
        found.scores[frames] = peaks[sample][scored]
        found.predicted[frames] = True


def _clip_by_clip(
    model: nn.Module, loader: DataLoader, device: torch.device
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    for batch in loader:
        yield batch, last_stage(clip_heatmaps(model, batch["frames"].to(device)))


def _batches(by_track: Sequence[Sequence[int]], size: int, *, side_by_side: bool) -> list[list[int]]:
    """Numbers of clips, from those of each track. One after the other, or those of so many tracks at once: the first of
    each, then the second of each that has one ...
    """
    if not side_by_side:
        numbers = [number for of_track in by_track for number in of_track]
        return [numbers[first : first + size] for first in range(0, len(numbers), size)]
    batches = []
    for first in range(0, len(by_track), size):
        group = by_track[first : first + size]
        for turn in range(max(map(len, group))):
            batches.append([numbers[turn] for numbers in group if turn < len(numbers)])
    return batches


def _stream(
    model: nn.Module, loader: DataLoader, device: torch.device
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Every fresh frame in order; a video's state lives until its last clip."""
    streams = Streams(model)
    for batch in loader:
        frames, fresh, index = batch["frames"].to(device), batch["fresh"], batch["index"].tolist()
        maps: Tensor | None = None
        for t in range(frames.shape[1]):
            rows = fresh[:, t].nonzero().flatten().tolist()
            if not rows:
                continue
            of_rows = streams.maps([index[row] for row in rows], normalise(frames[rows, t]))
            if maps is None:
                maps = of_rows.new_zeros(*fresh.shape, *of_rows.shape[1:])
            maps[rows, t] = of_rows
        for track, last in zip(index, batch["last"].tolist()):
            if last:
                streams.forget(track)
        if maps is not None:
            yield batch, maps
