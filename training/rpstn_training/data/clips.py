"""Clips of T frames, cut out around the person, as `torch` data sets.

A sample is a dict:

    frames      uint8   [T, 3, h, w]  RGB crop
    joints      float32 [T, K, 2]     pixels of the crop, x right, y down, first pixel centre at 0
    weights     float32 [T, K]        1 for a visible joint inside the crop, else 0
    labelled    float32 [T, K]        1 for a joint inside the crop at a known position, occluded or not
    to_image    float64 [T, 2, 3]     crop -> pixels of the original image
    frame_ids   int64   [T]           positions in `Track.frames`
    scored      bool    [T]           this frame counts in the evaluation: it is labelled, and not seen before
    targets     float32 [T, K, h/4, w/4]  heat maps, where a training asks for them
    index       int                   position of the track in the list given
    name        str                   name of the track

A video shorter than T repeats its last frame, with weights 0 and not scored. A frame that does not decode
raises UserError naming the file, also out of a worker of a `DataLoader`.
"""

from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from ..codec import encode
from ..config import STRIDE, AugmentationConfig, DataConfig, HeatmapConfig
from ..errors import UserError
from . import augmentation as augment
from . import boxes as box_rules
from . import crops
from .images import Notes, read_image
from .records import Skeleton, Track

__all__ = ["EvalClips", "TrainClips", "clip_boxes", "read_image", "tiled_starts"]

_CLIP, _ORDER = 0, 1  # streams of random numbers: of one clip, and of the order of the tracks
_RELEASED_SEED = 10480


def clip_boxes(track: Track, frame_ids: np.ndarray, mode: str) -> np.ndarray:
    """Crop boxes [T, 4] of the frames: by mode "frame" each its own, by "clip" all the box around them."""
    boxes = track.boxes[frame_ids]
    return boxes if mode == "frame" else np.broadcast_to(box_rules.union(boxes), boxes.shape)


def read_frame(track: Track, index: int, notes: Notes | None = None) -> np.ndarray:
    """Frame `index` of a track as `read_image` gives it, of the size that the labels were made for."""
    image = read_image(track.frames[index], orientation=track.orientation, size=track.size, notes=notes)
    if track.size is not None and image.shape[1::-1] != track.size:
        stated, got = ("x".join(map(str, size)) for size in (track.size, image.shape[1::-1]))
        raise UserError(
            f"{track.frames[index]}: expected {stated} pixels as width and height in the label file say, "
            f"got {got}; the labels do not fit a picture of another size, unpack the original ones"
        )
    return image


def tiled_starts(frames: int, clip_length: int) -> list[int]:
    """First frames of the clips that tile a video: 0, T, 2T ..., the last moved back to end with the video.

    >>> tiled_starts(12, 5)
    [0, 5, 7]
    """
    last = max(frames - clip_length, 0)
    return [*range(0, last, clip_length), last]


class _Clips(Dataset):
    def __init__(self, tracks: list[Track], skeleton: Skeleton, data: DataConfig) -> None:
        if not tracks:
            raise UserError("expected at least one clip, got none")
        wrong = next((track for track in tracks if track.joints.shape[1] != len(skeleton.joints)), None)
        if wrong is not None:
            raise ValueError(
                f"expected {len(skeleton.joints)} joints as in {skeleton.name}, "
                f"got {wrong.joints.shape[1]} in track {wrong.name}"
            )
        self.tracks = tracks
        self.skeleton = skeleton
        self.data = data

    def _sample(self, index: int, start: int, draw: augment.Draw, first_scored: int = 0) -> dict[str, Any]:
        """The clip of track `index` from frame `start` on; frames before `first_scored` are not scored."""
        if get_worker_info() is not None:
            cv2.setNumThreads(0)  # one worker is one process already
        track, length, size = self.tracks[index], self.data.clip_length, tuple(self.data.input_size)
        wanted = np.arange(start, start + length)
        ids = np.minimum(wanted, len(track) - 1)
        real = wanted < len(track)

        matrices = np.stack(
            [
                crops.crop_matrix(
                    box,
                    size,
                    box_scale=self.data.box_scale,
                    rotation=draw.rotation,
                    scale=draw.scale,
                    flip=draw.flip,
                )
                for box in clip_boxes(track, ids, self.data.box)
            ]
        )
        frames = np.empty((length, 3, size[1], size[0]), np.uint8)
        for time in range(length):
            if real[time]:
                crop = crops.warp(read_frame(track, ids[time]), matrices[time], size)
                if draw.color is not None:
                    crop = augment.recolor(crop, draw.color)
            cv2.split(crop, list(frames[time]))
        if draw.occluder is not None:
            augment.occlude(frames, draw.occluder)

        order = self.skeleton.flip_order() if draw.flip else slice(None)
        joints = crops.apply(matrices, track.joints[ids][:, order])
        usable = real[:, None] & ((joints >= -0.5) & (joints < np.array(size) - 0.5)).all(axis=-1)
        scored = real & (wanted >= first_scored)
        if track.scored is not None:
            scored &= track.scored[ids]
        return {
            "frames": torch.from_numpy(frames),
            "joints": torch.from_numpy(joints.astype(np.float32)),
            "weights": torch.from_numpy((usable & track.visible[ids][:, order]).astype(np.float32)),
            "labelled": torch.from_numpy((usable & track.labelled[ids][:, order]).astype(np.float32)),
            "to_image": torch.from_numpy(crops.invert(matrices)),
            "frame_ids": torch.from_numpy(ids),
            "scored": torch.from_numpy(scored),
            "index": index,
            "name": track.name,
        }


class TrainClips(_Clips):
    """Random clips for training, the start uniform over all legal ones.

    One clip per track and epoch, or `data.clips_per_epoch`, which goes round the tracks in ever new orders.
    What sample `index` of an epoch is follows from (seed, epoch, index) alone, whatever the number of
    workers and the order of the calls. `set_epoch` reaches workers that live on between epochs.

    targets (HeatmapConfig): how target heat maps are drawn into each sample; None: not at all.
    """

    def __init__(
        self,
        tracks: list[Track],
        skeleton: Skeleton,
        data: DataConfig,
        augmentation: AugmentationConfig,
        seed: int,
        targets: HeatmapConfig | None = None,
    ) -> None:
        super().__init__(tracks, skeleton, data)
        self.targets = targets
        self.augmentation = augmentation
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._drawn: tuple[tuple[int, int], np.ndarray] | None = None

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return self.data.clips_per_epoch or len(self.tracks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"TrainClips: expected an index in 0..{len(self) - 1}, got {index}")
        turn, place = divmod(index, len(self.tracks))
        chosen = int(self._order(turn)[place])
        rng = self._rng(_CLIP, index)
        legal_starts = max(len(self.tracks[chosen]) - self.data.clip_length, 0) + 1
        start = int(rng.integers(legal_starts))
        sample = self._sample(chosen, start, augment.draw(rng, self.augmentation))
        if self.targets is not None:
            width, height = (side // STRIDE for side in self.data.input_size)
            sample["targets"] = encode(
                sample["joints"], (height, width), sigma=self.targets.sigma, stride=STRIDE
            )
        return sample

    def _order(self, turn: int) -> np.ndarray:
        """The order of the tracks in round `turn` of the epoch; kept, because drawing it takes milliseconds."""
        key = (int(self._epoch), turn)
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = (key, self._rng(_ORDER, turn).permutation(len(self.tracks)))
        return self._drawn[1]

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        entropy = (self.seed, int(self._epoch))
        return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(stream, number)))


class EvalClips(_Clips):
    """Clips without random changes, in the order of the tracks.

    protocol "tiled": every frame of every video is scored once (`tiled_starts`; the overlap of the last
    clip counts in the one before). "released": one clip per video, as the released code samples its tests:
    a random start that leaves out the first and the last frame, from seed 10480 + the video's index. Its
    index follows the file system's order and so differs between machines; here it is the position in
    `tracks`.
    """

    def __init__(
        self, tracks: list[Track], skeleton: Skeleton, data: DataConfig, protocol: str = "tiled"
    ) -> None:
        super().__init__(tracks, skeleton, data)
        if protocol not in ("tiled", "released"):
            raise ValueError(f"EvalClips: expected protocol 'tiled' or 'released', got {protocol!r}")
        plan = _tiled_plan if protocol == "tiled" else _released_plan
        clips = [plan(index, len(track), data.clip_length) for index, track in enumerate(tracks)]
        self._clips = [clip for of_track in clips for clip in of_track]

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, number: int) -> dict[str, Any]:
        index, start, first_scored = self._clips[number]
        return self._sample(index, start, augment.Draw(), first_scored)


def _tiled_plan(index: int, frames: int, clip_length: int) -> list[tuple[int, int, int]]:
    """(track, start, first scored frame) of each clip."""
    starts = tiled_starts(frames, clip_length)
    return [(index, start, number * clip_length) for number, start in enumerate(starts)]


def _released_plan(index: int, frames: int, clip_length: int) -> list[tuple[int, int, int]]:
    last = frames - clip_length - 1
    if last < 1:  # too short to leave out the first and the last frame
        return [(index, 0, 0)]
    start = int(np.random.default_rng(_RELEASED_SEED + index).integers(1, last, endpoint=True))
    return [(index, start, 0)]
