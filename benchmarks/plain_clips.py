"""A plain pipeline for training clips, after the steps of the released code, as one would write them down.

Per frame, in float32: read, resize by the random scale, rotate about the person, cut the box out, stretch it to the
input, mirror. Per joint: one Gaussian in NumPy about the cell it falls into. The fill, 128, the stretched box without
margin and the truncated centres are the released code's; faults that cost nothing to leave out are left out (joints of
mirrored pictures are all mirrored, right and left exchanged).
"""

import cv2
import numpy as np
import torch
from torch import Tensor

from rpstn_training.config import AugmentationConfig, DataConfig, HeatmapConfig
from rpstn_training.data import augmentation as augment
from rpstn_training.data.records import Skeleton, Track


class PlainClips(torch.utils.data.Dataset):
    """Clips as float32 frames [T, 3, h, w], joints [T, K, 2] and target heat maps [T, K, h/4, w/4]."""

    def __init__(
        self,
        tracks: list[Track],
        skeleton: Skeleton,
        data: DataConfig,
        augmentation: AugmentationConfig,
        seed: int,
        targets: HeatmapConfig,
    ) -> None:
        self.tracks, self.data, self.augmentation, self.seed = tracks, data, augmentation, seed
        self.sigma = targets.sigma
        self.flip_order = skeleton.flip_order()

    def __len__(self) -> int:
        return self.data.clips_per_epoch or len(self.tracks)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        track = self.tracks[int(rng.integers(len(self.tracks)))]
        start = int(rng.integers(len(track) - self.data.clip_length + 1))
        draw = augment.draw(rng, self.augmentation)
        width, height = self.data.input_size
        frames, joints, targets = [], [], []
        for number in range(start, start + self.data.clip_length):
            image, points = self.crop(track, number, draw)
            frames.append(image.transpose(2, 0, 1))
            joints.append(points)
            maps = [gaussian(width // 4, height // 4, x // 4, y // 4, self.sigma) for x, y in points]
            targets.append(np.stack(maps))
        return {
            "frames": torch.from_numpy(np.stack(frames)),
            "joints": torch.from_numpy(np.stack(joints)).float(),
            "targets": torch.from_numpy(np.stack(targets)).float(),
            "frame_ids": torch.arange(start, start + self.data.clip_length),
        }

    def crop(self, track: Track, number: int, draw: augment.Draw) -> tuple[np.ndarray, np.ndarray]:
        """Frame `number` cut out, float32 [h, w, 3], and its joints in pixels of the crop."""
        image = cv2.imread(str(track.frames[number])).astype(np.float32)
        joints, box = track.joints[number] * draw.scale, track.boxes[number] * draw.scale
        image = cv2.resize(image, None, fx=draw.scale, fy=draw.scale)

        centre = (box[:2] + box[2:]) / 2
        rotation = cv2.getRotationMatrix2D(centre.tolist(), -draw.rotation, 1.0)
        image = cv2.warpAffine(image, rotation, image.shape[1::-1], borderValue=(128, 128, 128))
        joints = joints @ rotation[:, :2].T + rotation[:, 2]

        left, top = np.maximum(box[:2], 0).astype(int)
        right, bottom = np.minimum(box[2:].astype(int) + 1, image.shape[1::-1])
        image = image[top:bottom, left:right]
        width, height = self.data.input_size
        joints = (joints - [left, top]) * [width / image.shape[1], height / image.shape[0]]
        image = cv2.resize(image, (width, height))

        if draw.flip:
            image = image[:, ::-1]
            joints[:, 0] = width - 1 - joints[:, 0]
            joints = joints[self.flip_order]
        return image, joints


def gaussian(width: int, height: int, x: float, y: float, sigma: float) -> np.ndarray:
    columns = np.arange(width)
    rows = np.arange(height)[:, None]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
