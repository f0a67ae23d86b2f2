"""Joints frame by frame: one recurrent state per person, without an end."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..averaging import averaged
from ..codec import normalise
from ..config import EvalConfig
from ..data.crops import apply, invert, warp
from ..predictions import Streams
from ..train.checkpoint import Checkpoint

_BATCH = 16  # persons of one frame that go through the network together


@dataclass(frozen=True, kw_only=True)
class Pose:
    """joints float64 [K, 2] in pixels of the image (x right, y down, first pixel centre at 0); scores float64 [K],
    the heights of the heat maps' peaks, about 1 for a joint that is plain to see.
    """

    joints: np.ndarray
    scores: np.ndarray


class PersonStreams:
    """A trained network that follows persons through a video.

    A person's first frame goes through `start` and every later one through `step`, however long the video is. A
    person who is absent for some frames keeps the state of the last appearance until the next one; `forget` drops
    it. A network for single images has no state.

    Args:
        checkpoint: as `checkpoint.load` gives it; crops and decoding are those of its training.
        device: where the network runs.
        options: what is averaged, as in an evaluation.

        streams = PersonStreams(checkpoint.load("best.pt"))
        poses = streams.next_frame(image, {0: box})
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device | str = "cpu",
        options: EvalConfig = EvalConfig(),  # noqa: B008 - frozen
    ) -> None:
        self.codec = checkpoint.codec
        self.device = torch.device(device)
        model = averaged(checkpoint.build_model(), options, checkpoint.skeleton, self.codec)
        self._streams = Streams(model.to(self.device))

    def forget(self, person: int) -> None:
        """The person's next frame is a first one."""
        self._streams.forget(person)

    @torch.inference_mode()
    def next_frame(self, image: np.ndarray, boxes: Mapping[int, np.ndarray]) -> dict[int, Pose]:
        """The poses of the persons with these boxes x1, y1, x2, y2 in the next frame, uint8 [H, W, 3] RGB."""
        matrices = {person: self.codec.crop(box) for person, box in boxes.items()}
        poses: dict[int, Pose] = {}
        everybody = list(boxes)
        for first in range(0, len(everybody), _BATCH):
            persons = everybody[first : first + _BATCH]
            crops = np.stack([warp(image, matrices[person], self.codec.input_size) for person in persons])
            images = normalise(torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).contiguous())
            points, scores = self.codec.decode(self._streams.maps(persons, images))
            points, scores = points.double().cpu().numpy(), scores.double().cpu().numpy()
            for person, in_crop, peaks in zip(persons, points, scores):
                poses[person] = Pose(joints=apply(invert(matrices[person]), in_crop), scores=peaks)
        return poses
