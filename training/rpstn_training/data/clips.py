"""Clips of T frames, cut out around the person, as `torch` data sets.

A sample is a dict:

    frames      uint8   [T, 3, h, w]  RGB crop
    joints      float32 [T, K, 2]     pixels of the crop, x right, y down, first pixel centre at 0
    weights     float32 [T, K]        1 for a visible joint inside the crop, else 0
    labelled    float32 [T, K]        1 for a joint inside the crop at a known position, occluded or not; of a box drawn
                                      elsewhere (`augmentation`) both are 1 outside it too
    to_image    float64 [T, 2, 3]     crop -> pixels of the original image
    frame_ids   int64   [T]           positions in `Track.frames`
    fresh       bool    [T]           a frame that no earlier clip has, none that fills up a short video, and not the
                                      same picture as the one after it, as before the first frame of a video
    last        bool                  the video ends with this clip
    scored      bool    [T]           this frame counts in the evaluation: it is fresh and labelled
    targets     float32 [T, K, rows, columns]  heat maps, where a training asks for them
    poses       float32 [T, K, 2]     the joints with errors (`pose_errors`), where a training refines poses
    given       float32 [T, K]        1 for a joint of `poses` that there is
    index       int                   position of the track in the list given
    name        str                   name of the track

A video shorter than T repeats its last frame, with weights 0 and not scored. A frame that does not decode
raises UserError naming the file, also out of a worker of a `DataLoader`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from ..codec import Codec
from ..config import AugmentationConfig, DataConfig
from ..errors import UserError
from . import augmentation as augment
from . import boxes as box_rules
from . import crops, pose_errors
from .images import Notes, read_image
from .records import Skeleton, Track

__all__ = ["EvalClips", "TrainClips", "clip_boxes", "read_image", "tiled_starts"]

_CLIP, _ORDER = 0, 1  # streams of random numbers: of one clip, and of the order of the tracks
_RELEASED_SEED = 10480


def clip_boxes(track: Track, frame_ids: np.ndarray, *, shared: bool) -> np.ndarray:
    """Crop boxes [T, 4] of the frames: each its own, or `shared` the box around all of them."""
    boxes = track.boxes[frame_ids]
    return np.broadcast_to(box_rules.union(boxes), boxes.shape) if shared else boxes


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
    def __init__(
        self,
        tracks: Sequence[Track],
        skeleton: Skeleton,
        data: DataConfig,
        codec: Codec,
        read: Callable[[Track, int], np.ndarray] = read_frame,
    ) -> None:
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
        self.codec = codec
        self._read = read

    def _inside(self, joints: np.ndarray) -> np.ndarray:
        """Which joints [..., 2] the crop shows."""
        return ((joints >= -0.5) & (joints < np.array(self.codec.input_size) - 0.5)).all(axis=-1)

    def _sample(self, index: int, start: int, draw: augment.Draw, first_fresh: int = 0) -> dict[str, Any]:
        """The clip of track `index` from frame `start` on; an earlier clip has those before `first_fresh`."""
        if get_worker_info() is not None:
            cv2.setNumThreads(0)  # one worker is one process already
        track, length, size = self.tracks[index], self.data.clip_length, self.codec.input_size
        wanted = np.arange(start, start + length)
        ids = np.minimum(wanted, len(track) - 1)
        real = wanted < len(track)

        boxes = clip_boxes(track, ids, shared=self.codec.shared_frames > 1)
        if draw.shift is not None:
            sides = boxes[:, 2:] - boxes[:, :2]
            boxes = boxes + np.tile(draw.shift * sides, 2)
        matrices = np.stack(
            [self.codec.crop(box, rotation=draw.rotation, scale=draw.scale, flip=draw.flip) for box in boxes]
        )
        frames = np.empty((length, 3, size[1], size[0]), np.uint8)
        for time in range(length):
            if real[time]:
                crop = crops.warp(self._read(track, ids[time]), matrices[time], size)
                if draw.color is not None:
                    crop = augment.recolor(crop, draw.color)
            cv2.split(crop, list(frames[time]))
        order = self.skeleton.flip_order() if draw.flip else slice(None)
        joints = crops.apply(matrices, track.joints[ids][:, order])
        visible = track.visible[ids][:, order]
        if draw.occluder is not None:
            places = augment.occlude(frames, draw.occluder)[:, None]
            under = (joints >= places[..., :2] - 0.5) & (joints < places[..., 2:] - 0.5)
            visible = visible & ~under.all(axis=-1)
        if draw.camera is not None:
            augment.photograph(frames, draw.camera)

        usable = real[:, None] & (self._inside(joints) | draw.elsewhere)
        repeated = np.array([track.frames[i : i + 1] == track.frames[i + 1 : i + 2] for i in ids])
        fresh = real & (wanted >= first_fresh) & ~repeated
        scored = fresh if track.scored is None else fresh & track.scored[ids]
        return {
            "frames": torch.from_numpy(frames),
            "joints": torch.from_numpy(joints.astype(np.float32)),
            "weights": torch.from_numpy((usable & visible).astype(np.float32)),
            "labelled": torch.from_numpy((usable & track.labelled[ids][:, order]).astype(np.float32)),
            "to_image": torch.from_numpy(crops.invert(matrices)),
            "frame_ids": torch.from_numpy(ids),
            "fresh": torch.from_numpy(fresh),
            "scored": torch.from_numpy(scored),
            "last": bool(wanted[-1] >= len(track) - 1),
            "index": index,
            "name": track.name,
        }


class TrainClips(_Clips):
    """Random clips for training, the start uniform over all legal ones.

    One clip per track and epoch, or `data.clips_per_epoch`, which goes round the tracks in ever new orders.
    What sample `index` of an epoch is follows from (seed, epoch, index) alone, whatever the number of
    workers and the order of the calls. `set_epoch` reaches workers that live on between epochs.

    with_targets: draw target heat maps into each sample.
    with_poses: draw poses with errors into each sample, those of each frame by themselves.
    read: gives a frame of a track, `read_frame` or a cache's.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        skeleton: Skeleton,
        data: DataConfig,
        codec: Codec,
        augmentation: AugmentationConfig,
        seed: int,
        *,
        with_targets: bool = False,
        with_poses: bool = False,
        read: Callable[[Track, int], np.ndarray] = read_frame,
    ) -> None:
        super().__init__(tracks, skeleton, data, codec, read)
        self.with_targets = with_targets
        self.with_poses = with_poses
        self._people = _people_by_picture(tracks) if with_poses else {}
        self.augmentation = augmentation
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._orders: tuple[int, dict[int, np.ndarray]] = (-1, {})

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
        draw = augment.draw(rng, self.augmentation)
        sample = self._sample(chosen, start, draw)
        if self.with_targets:
            sample["targets"] = self.codec.encode(sample["joints"], sample["weights"])
        if self.with_poses:
            poses, given = zip(
                *(self._pose(sample, time, draw, rng) for time in range(self.data.clip_length))
            )
            sample["poses"] = torch.from_numpy(np.stack(poses).astype(np.float32))
            sample["given"] = torch.from_numpy(np.stack(given).astype(np.float32))
        return sample

    def _pose(
        self, sample: dict[str, Any], time: int, draw: augment.Draw, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A pose with errors for one frame of a sample, in pixels of the crop, and which joints of it there are."""
        track, frame = self.tracks[sample["index"]], int(sample["frame_ids"][time])
        to_crop = crops.invert(sample["to_image"][time].numpy())
        order = self.skeleton.flip_order() if draw.flip else slice(None)
        others = []
        for index, at in self._people[track.frames[frame]]:
            there = crops.apply(to_crop, self.tracks[index].joints[at][order])
            known = self.tracks[index].labelled[at][order] & self._inside(there)
            if index != sample["index"] and known.any():
                others.append((there, known))
        left, top, right, bottom = track.boxes[frame]
        area = (right - left) * (bottom - top) * abs(np.linalg.det(to_crop[:, :2]))
        joints, labelled = sample["joints"][time].double().numpy(), sample["labelled"][time].numpy() > 0
        return pose_errors.with_errors(joints, labelled, others, area, self.skeleton, rng)

    def _order(self, turn: int) -> np.ndarray:
        """The order of the tracks in round `turn` of the epoch. All rounds of an epoch are kept: samples are asked for
        in random order, and drawing a round takes milliseconds.
        """
        epoch = int(self._epoch)
        if self._orders[0] != epoch:
            self._orders = (epoch, {})
        drawn = self._orders[1]
        if turn not in drawn:
            drawn[turn] = self._rng(_ORDER, turn).permutation(len(self.tracks))
        return drawn[turn]

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        entropy = (self.seed, int(self._epoch))
        return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(stream, number)))


def _people_by_picture(tracks: Sequence[Track]) -> dict[Path, list[tuple[int, int]]]:
    """Who is in each picture: numbers of tracks, and of the frames in them."""
    found: dict[Path, list[tuple[int, int]]] = {}
    for index, track in enumerate(tracks):
        for at, picture in enumerate(track.frames):
            found.setdefault(picture, []).append((index, at))
    return found


class EvalClips(_Clips):
    """Clips without random changes, in the order of the tracks.

    protocol "tiled": every frame of every video is scored once (`tiled_starts`; the overlap of the last
    clip counts in the one before). "released": one clip per video, as the released code samples its tests:
    a random start that leaves out the first and the last frame, from seed 10480 + the video's index. Its
    index follows the file system's order and so differs between machines; here it is the position in
    `tracks`.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        skeleton: Skeleton,
        data: DataConfig,
        codec: Codec,
        protocol: str = "tiled",
    ) -> None:
        super().__init__(tracks, skeleton, data, codec)
        if protocol not in ("tiled", "released"):
            raise ValueError(f"EvalClips: expected protocol 'tiled' or 'released', got {protocol!r}")
        plan = _tiled_plan if protocol == "tiled" else _released_plan
        clips = [plan(index, len(track), data.clip_length) for index, track in enumerate(tracks)]
        self._clips = [clip for of_track in clips for clip in of_track]

    def __len__(self) -> int:
        return len(self._clips)

    def by_track(self) -> list[list[int]]:
        """The numbers of each track's clips, in order."""
        numbers: list[list[int]] = [[] for _ in self.tracks]
        for number, (index, _, _) in enumerate(self._clips):
            numbers[index].append(number)
        return numbers

    def __getitem__(self, number: int) -> dict[str, Any]:
        index, start, first_fresh = self._clips[number]
        return self._sample(index, start, augment.Draw(), first_fresh)


def _tiled_plan(index: int, frames: int, clip_length: int) -> list[tuple[int, int, int]]:
    """(track, start, first fresh frame) of each clip."""
    starts = tiled_starts(frames, clip_length)
    return [(index, start, number * clip_length) for number, start in enumerate(starts)]


def _released_plan(index: int, frames: int, clip_length: int) -> list[tuple[int, int, int]]:
    last = frames - clip_length - 1
    if last < 1:  # too short to leave out the first and the last frame
        return [(index, 0, 0)]
    start = int(np.random.default_rng(_RELEASED_SEED + index).integers(1, last, endpoint=True))
    return [(index, start, 0)]
