"""Joints found in tracks, and the ways through a video, the option `eval.protocol`:

tiled       clips of T frames side by side, the last one moved back to end on the last frame; each frame is
            scored once
streaming   every frame of the video in order through `start` and `step`; nothing is reset at a clip's border
released    one clip per video, as the released code samples its tests
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from rpstn_ext.models import SimpleBaseline

from .codec import decode, normalise
from .config import STRIDE, Config
from .data.clips import EvalClips
from .data.crops import apply
from .data.records import Track
from .data.sets import load_skeleton
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
