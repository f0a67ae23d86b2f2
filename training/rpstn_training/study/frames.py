"""The frames of a study: crops as the network sees them, with the truth of what they hide."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..codec import Codec, normalise
from ..config import Config
from ..data.clips import EvalClips, TrainClips
from ..data.records import Skeleton, Track
from ..predictions import Streams

_PATCHES_STREAM = 11  # of random numbers, apart from the training's own
_BATCH = 16  # videos or clips that go through a network at once
_SHORTEST_TORSO = 1.0  # pixels of the crop; a shorter one measures nothing


@dataclass(frozen=True, kw_only=True)
class Frames:
    """N frames of C tracks, those of a track one after the other.

    images (uint8 Tensor[N, 3, H, W]): RGB crops.
    joints (Tensor[N, K, 2]): true places in pixels of the crop.
    visible, hidden (bool Tensor[N, K]): joints to be scored, inside the crop, of frames with a torso.
    torso (Tensor[N]): distance of the torso's ends in pixels of the crop.
    track (int64 Tensor[N]): number of the track.
    """

    images: Tensor
    joints: Tensor
    visible: Tensor
    hidden: Tensor
    torso: Tensor
    track: Tensor

    def __len__(self) -> int:
        return len(self.track)

    @property
    def tracks(self) -> int:
        return int(self.track.max()) + 1


def read_frames(tracks: Sequence[Track], skeleton: Skeleton, config: Config, codec: Codec) -> Frames:
    """Every frame of the tracks once, cropped as an evaluation does."""
    clips = EvalClips(tracks, skeleton, config.data, codec)
    parts: dict[str, list[Tensor]] = {
        name: [] for name in ("images", "joints", "visible", "labelled", "track")
    }
    for sample in DataLoader(clips, batch_size=None, num_workers=config.data.workers):
        fresh = sample["scored"]
        parts["images"].append(sample["frames"][fresh])
        parts["joints"].append(sample["joints"][fresh])
        parts["visible"].append(sample["weights"][fresh] > 0)
        parts["labelled"].append(sample["labelled"][fresh] > 0)
        parts["track"].append(torch.full((int(fresh.sum()),), sample["index"]))
    whole = {name: torch.cat(values) for name, values in parts.items()}
    first, second = skeleton.torso
    torso = (whole["joints"][:, first] - whole["joints"][:, second]).norm(dim=-1)
    measured = (torso >= _SHORTEST_TORSO) & whole["labelled"][:, [first, second]].all(dim=1)
    labelled = whole["labelled"] & measured[:, None]
    return Frames(
        images=whole["images"],
        joints=whole["joints"],
        visible=whole["visible"] & measured[:, None],
        hidden=labelled & ~whole["visible"],
        torso=torso,
        track=whole["track"],
    )


def with_patches(frames: Frames, seed: int) -> Frames:
    """The same frames with patches pasted over visible joints, as the paper's Fig. 9 has them (`figures`,
    `paper_occlusion.cover`); `hidden` are then the joints under a patch, whose places are known in every set.
    """
    from ..figures.paper_occlusion import cover

    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PATCHES_STREAM,)))
    images, covered = cover(
        frames.images.numpy(), frames.joints.double().numpy(), frames.visible.numpy(), rng
    )
    under = torch.from_numpy(covered)
    return replace(frames, images=torch.from_numpy(images), visible=frames.visible & ~under, hidden=under)


def changed_clips(
    tracks: Sequence[Track], skeleton: Skeleton, config: Config, codec: Codec, number: int
) -> tuple[Tensor, ...]:
    """So many clips as a training sees them, changed at random: uint8 [n, T, 3, H, W], joints [n, T, K, 2], and 1 for
    visible joints and for all whose place is known, two [n, T, K].
    """
    data = replace(config.data, clips_per_epoch=number)
    clips = TrainClips(tracks, skeleton, data, codec, config.augmentation, config.seed)
    samples = list(DataLoader(clips, batch_size=None, num_workers=config.data.workers))
    return tuple(
        torch.stack([sample[name] for sample in samples])
        for name in ("frames", "joints", "weights", "labelled")
    )


@torch.no_grad()
def stream(model: nn.Module, frames: Frames) -> Tensor:
    """Maps [N, K, h, w] of every frame, the state carried through each track."""
    model.eval()
    device = next(model.parameters()).device
    of_track = [(frames.track == number).nonzero().flatten() for number in range(frames.tracks)]
    maps: Tensor | None = None
    for first in range(0, len(of_track), _BATCH):
        streams, group = Streams(model), of_track[first : first + _BATCH]
        for turn in range(max(map(len, group))):
            keys = [key for key, places in enumerate(group) if turn < len(places)]
            rows = torch.stack([group[key][turn] for key in keys])
            found = streams.maps(keys, normalise(frames.images[rows].to(device))).cpu()
            if maps is None:
                maps = torch.empty(len(frames), *found.shape[1:])
            maps[rows] = found
    return maps


def before_norm(norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    """What a normalisation in evaluation was given, of what it gave: maps [N, K, h, w].

    M = (BN(M) - bias) / weight * sqrt(variance + eps) + mean
    """
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - norm.running_mean * scale
    return ((maps - shift[:, None, None]) / scale[:, None, None]).detach()


@torch.no_grad()
def maps_of_clips(model: nn.Module, clips: Tensor) -> Tensor:
    """Maps [n, T, K, h, w] of clips uint8 [n, T, 3, H, W]."""
    model.eval()
    device = next(model.parameters()).device
    return torch.cat([model(normalise(some.to(device))).cpu() for some in clips.split(_BATCH)])


def last_norm(model: nn.Module) -> nn.BatchNorm2d:
    """Of a network without a relation the normalisation that its maps leave it through."""
    if not isinstance(getattr(model, "norm", None), nn.BatchNorm2d):
        raise ValueError(
            "study: expected a network with relation none that ends with a normalisation (relation_norm: true of sbl)"
        )
    return model.norm


def count(maps: Tensor, frames: Frames, codec: Codec, gamma: float) -> dict[str, dict[str, list[int]]]:
    """Joints within gamma torso sizes of their true places, and joints counted, by track: "hidden" and "visible"."""
    found, _ = codec.decode(maps)
    near = (found - frames.joints).norm(dim=-1) <= gamma * frames.torso[:, None]
    counts = {}
    for name, mask in (("hidden", frames.hidden), ("visible", frames.visible)):
        both = torch.stack([(near & mask).sum(dim=1), mask.sum(dim=1)])
        hits, counted = torch.zeros(2, frames.tracks, dtype=torch.int64).index_add_(1, frames.track, both)
        counts[name] = {"hits": hits.tolist(), "counted": counted.tolist()}
    return counts
