"""Joints frame by frame: one recurrent state per person, without an end."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..averaging import averaged
from ..chaining import chained
from ..codec import normalise
from ..config import EvalConfig
from ..data.crops import apply, invert, warp
from ..device import AUTOCAST
from ..evidence import beyond, evidence
from ..folding import folded
from ..predictions import Streams
from ..train.checkpoint import Checkpoint

_BATCH = 16  # crops of one frame that go through the network together


@dataclass(frozen=True, kw_only=True)
class Pose:
    """joints float64 [K, 2] in pixels of the image (x right, y down, first pixel centre at 0); scores float64 [K],
    the heights of the heat maps' peaks, which mean one thing with one network and another with the next.

    probabilities float64 [K]: that the joint is within 0.1 of the person's size of where it is; None where the weights
    are not calibrated. states: of each joint one of the words of `calibration.STATES`, None where it is not known.
    """

    joints: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray | None = None
    states: tuple[str, ...] | None = None

    @property
    def probability(self) -> float | None:
        """The share of the joints that is expected to be within 0.1 of the person's size, the mean of theirs."""
        return None if self.probabilities is None else float(np.mean(self.probabilities))

    def is_somebody(self, least: float | None) -> bool:
        """Whether somebody may be there: nobody is with a lower probability than `least`, if both are known."""
        return least is None or self.probability is None or self.probability >= least


class PersonStreams:
    """A trained network that follows persons through a video.

    A person's first frame goes through `start` and every later one through `step`, however long the video is. A
    person who is absent for some frames keeps the state of the last appearance until the next one; `forget` drops
    it. A network for single images has no state.

    Args:
        checkpoint: as `checkpoint.load` gives it; crops and decoding are those of its training.
        device: where the network runs.
        options: what is averaged and, for a network that refines poses, what finds them, as in an evaluation.
        fold: normalisations go into the convolutions before them (`folding`), where that changes nothing beyond 1e-5,
            and on a CPU channels lie last in memory: together 1.6 times the frames (`benchmarks.predict`).
        precision: what products are computed in, float32, bfloat16 or float16 (`torch.autocast`); maps are decoded in
            float32.

        streams = PersonStreams(checkpoint.load("best.pt"))
        poses = streams.next_frame(image, {0: box})
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device | str = "cpu",
        options: EvalConfig = EvalConfig(),  # noqa: B008 - frozen
        *,
        fold: bool = True,
        precision: str = "float32",
    ) -> None:
        self.codec = checkpoint.codec
        self._products = AUTOCAST.get(precision)
        self.device = torch.device(device)
        skeleton = checkpoint.skeleton
        model = chained(checkpoint.build_model(), options.poses, skeleton, self.codec, "--poses")
        model = model.eval()
        if fold:
            width, height = self.codec.input_size
            generator = torch.Generator().manual_seed(0)
            model = folded(model, torch.randn(2, 1, 3, height, width, generator=generator))
        model = averaged(model, options, skeleton, self.codec)
        self._layout = torch.channels_last if fold and self.device.type == "cpu" else torch.contiguous_format
        self._streams = Streams(model.to(self.device, memory_format=self._layout))
        self._known: defaultdict[Hashable, set[int]] = defaultdict(set)  # persons of each video
        self._skeleton, self._calibration = skeleton, checkpoint.calibration

    def forget(self, person: int, video: Hashable = None) -> None:
        """The person's next frame is a first one."""
        self._known[video].discard(person)
        self._streams.forget((video, person))

    def forget_all(self, video: Hashable = None) -> None:
        """So is that of everybody in a video."""
        for person in self._known.pop(video, ()):
            self._streams.forget((video, person))

    def next_frame(self, image: np.ndarray, boxes: Mapping[int, np.ndarray]) -> dict[int, Pose]:
        """The poses of the persons with these boxes x1, y1, x2, y2 in the next frame, uint8 [H, W, 3] RGB."""
        return self.next_frames([(None, image, boxes)])[0]

    @torch.inference_mode()
    def next_frames(
        self, frames: Sequence[tuple[Hashable, np.ndarray, Mapping[int, np.ndarray]]]
    ) -> list[dict[int, Pose]]:
        """The poses in the next frame of several videos: of each a key, the image and the boxes as in `next_frame`."""
        crops = [
            (place, (video, person), image, box)
            for place, (video, image, boxes) in enumerate(frames)
            for person, box in boxes.items()
        ]
        found: list[dict[int, Pose]] = [{} for _ in frames]
        for first in range(0, len(crops), _BATCH):
            part = crops[first : first + _BATCH]
            matrices = [self.codec.crop(box) for *_, box in part]
            images = self._crops([image for _, _, image, _ in part], matrices)
            with self._autocast():
                maps = self._streams.maps([key for _, key, _, _ in part], images)
            poses = self._poses(maps, matrices, [image for _, _, image, _ in part])
            for (place, (video, person), *_), pose in zip(part, poses):
                self._known[video].add(person)
                found[place][person] = pose
        return found

    @torch.inference_mode()
    def look(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[Pose]:
        """The poses in boxes of one picture, each as in a first frame; no person's state is read or changed."""
        poses: list[Pose] = []
        for first in range(0, len(boxes), _BATCH):
            matrices = [self.codec.crop(box) for box in boxes[first : first + _BATCH]]
            images = self._crops([image] * len(matrices), matrices)
            with self._autocast():
                maps, _ = self._streams.model.start(images)
            poses += self._poses(maps, matrices, [image] * len(matrices))
        return poses

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self._products, enabled=self._products is not None)

    def _crops(self, images: Sequence[np.ndarray], matrices: Sequence[np.ndarray]) -> Tensor:
        """What the network sees of each image by its map, Tensor[N, 3, H, W]."""
        crops = np.stack(
            [warp(image, matrix, self.codec.input_size) for image, matrix in zip(images, matrices)]
        )
        pixels = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2)
        return normalise(pixels.contiguous(memory_format=self._layout))

    def _poses(
        self, maps: Tensor, matrices: Sequence[np.ndarray], images: Sequence[np.ndarray]
    ) -> list[Pose]:
        maps = maps.float()
        points, peaks = self.codec.decode(maps)
        in_crops, scores = points.double().cpu().numpy(), peaks.double().cpu().numpy()
        joints = [apply(invert(matrix), in_crop) for matrix, in_crop in zip(matrices, in_crops)]
        if self._calibration is None:
            return [Pose(joints=places, scores=heights) for places, heights in zip(joints, scores)]
        outside = np.stack([beyond(places, image.shape[1::-1]) for places, image in zip(joints, images)])
        outside = outside * np.sqrt(np.abs(np.linalg.det(np.stack(matrices)[:, :, :2])))[:, None]
        numbers = evidence(maps, points, peaks, self.codec, self._skeleton, outside)
        probabilities, states = self._calibration.judge(numbers)
        return [
            Pose(joints=places, scores=heights, probabilities=likely, states=state)
            for places, heights, likely, state in zip(
                joints, scores, probabilities, states or [None] * len(joints)
            )
        ]
