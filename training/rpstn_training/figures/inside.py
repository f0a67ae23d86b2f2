"""What happens inside RPSTN on one clip, for the pictures of the paper's Fig. 7 and Fig. 8."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rpstn_ext.models import Trace

from ..codec import Codec, decode, normalise
from ..config import Config
from ..data.boxes import person_size
from ..data.clips import EvalClips, tiled_starts
from ..data.records import Skeleton, Track
from ..errors import UserError
from ..predictions import Prediction


@dataclass(frozen=True, kw_only=True)
class Inside:
    """The last frame of a clip, in pixels of the crop, `cell` of them a heat-map cell, and what RPSTN made of it.

    crop uint8 [H, W, 3] RGB; truth, found float64 [K, 2]; visible, labelled bool [K]; pseudo and heatmaps
    [K, h, w], the maps before the joint relation extractor and after it with its normalisation; correlation and
    weights [K, K], equations 6 and 7.
    """

    name: str
    cell: tuple[float, float]
    action: str
    frame: int
    crop: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    visible: np.ndarray
    labelled: np.ndarray
    pseudo: Tensor
    heatmaps: Tensor
    correlation: Tensor
    weights: Tensor

    @property
    def hidden(self) -> np.ndarray:
        """Joints [K] of a known place that the label calls not visible."""
        return self.labelled & ~self.visible


def errors(track: Track, prediction: Prediction) -> np.ndarray:
    """Distance [F, K] of each joint from its label, as a share of the person size; NaN without a label."""
    distance = np.linalg.norm(prediction.joints - track.joints, axis=-1)
    return np.where(track.labelled, distance / person_size(track.score_boxes)[:, None], np.nan)


def telling_clip(
    tracks: Sequence[Track], predictions: Sequence[Prediction], clip_length: int
) -> tuple[int, int]:
    """Track and clip, counted side by side, whose last frame shows most: of those with a joint that is hidden (where
    there are any) the one with the smallest mean error.
    """
    candidates = []
    for index, (track, prediction) in enumerate(zip(tracks, predictions)):
        error = errors(track, prediction)
        for clip, start in enumerate(tiled_starts(len(track), clip_length)):
            last = min(start + clip_length, len(track)) - 1
            if track.labelled[last].sum() < 2 or not prediction.predicted[last]:
                continue
            hidden = bool((track.labelled[last] & ~track.visible[last]).any())
            candidates.append((not hidden, float(np.nanmean(error[last])), index, clip))
    if not candidates:
        raise ValueError(
            "telling_clip: expected a predicted frame with labels at the end of a clip, found none"
        )
    return min(candidates)[2:]


def look_inside(
    model: nn.Module, config: Config, track: Track, skeleton: Skeleton, codec: Codec, clip: int
) -> Inside:
    """Run the model on one clip of a track. The model should be in evaluation mode.

    Raises UserError where it has no relation whose matrices could be shown.
    """
    sample = EvalClips([track], skeleton, config.data, codec)[clip]
    device = next(model.parameters()).device
    trace = _trace(model, normalise(sample["frames"].to(device))[None])
    frame = int(sample["frame_ids"][-1])
    found, _ = codec.decode(trace.heatmaps[0, -1])
    return Inside(
        name=track.name,
        cell=codec.cell,
        action=track.action,
        frame=frame,
        crop=np.ascontiguousarray(sample["frames"][-1].permute(1, 2, 0).numpy()),
        truth=sample["joints"][-1].double().numpy(),
        found=found.double().cpu().numpy(),
        visible=track.visible[frame],
        labelled=track.labelled[frame],
        pseudo=trace.pseudo[0, -1].float().cpu(),
        heatmaps=trace.heatmaps[0, -1].float().cpu(),
        correlation=trace.correlation[0, -1].float().cpu(),
        weights=trace.weights[0, -1].float().cpu(),
    )


def require_relation(model: nn.Module) -> None:
    """Raise UserError where a network has no relation whose matrices could be shown."""
    relation = getattr(model, "relation", None)
    if not callable(getattr(relation, "relation", None)):
        has = "none" if relation is None else f"a {type(relation).__name__}, which has no matrices"
        raise UserError(
            f"Figures 6, 7 and 8 show the joint relation extractor: expected a network with relation jre, this one has "
            f"{has}; Figures 9 to 11 can be drawn of it"
        )


@torch.no_grad()
def _trace(model: nn.Module, clip: Tensor) -> Trace:
    """What a network with a relation passes through on one clip [1, T, 3, H, W]."""
    require_relation(model)
    if hasattr(model, "trace"):
        return model.trace(clip)
    calls: list[tuple[Tensor, Tensor]] = []
    handle = model.relation.register_forward_hook(lambda _, given, made: calls.append((given[0], made)))
    try:
        model(clip)
    finally:
        handle.remove()
    pseudo, heatmaps = (torch.cat(maps) for maps in zip(*calls))
    return Trace(*(maps[None] for maps in (pseudo, heatmaps, *model.relation.relation(pseudo))))


def peak_distance(maps: Tensor, truth: np.ndarray, *, stride: float | tuple[float, float]) -> np.ndarray:
    """Distance [K], in pixels of the crop, of each map's highest point from the label."""
    points, _ = decode(maps, stride=stride, method="subpixel")
    return torch.linalg.norm(points.double() - torch.from_numpy(truth), dim=-1).numpy()
