"""Joints frame by frame: one recurrent state per person, without an end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rpstn_ext.models import SimpleBaseline

from ..codec import decode, normalise
from ..config import from_dict
from ..data.crops import apply, crop_matrix, invert, warp
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
    it. A network for single images (SimpleBaseline) has no state.

    Args:
        checkpoint: as `checkpoint.load` gives it; crops and decoding are those of its training.
        device: where the network runs.

        streams = PersonStreams(checkpoint.load("best.pt"))
        poses = streams.next_frame(image, {0: box})
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device | str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.device = torch.device(device)
        self.data = from_dict(checkpoint.config, checkpoint.path).data
        self.model: nn.Module = checkpoint.build_model().to(self.device)
        self._states: dict[int, Tensor] = {}

    def forget(self, person: int) -> None:
        """The person's next frame is a first one."""
        self._states.pop(person, None)

    @torch.inference_mode()
    def next_frame(self, image: np.ndarray, boxes: Mapping[int, np.ndarray]) -> dict[int, Pose]:
        """The poses of the persons with these boxes x1, y1, x2, y2 in the next frame, uint8 [H, W, 3] RGB."""
        size = self.checkpoint.input_size
        matrices = {
            person: crop_matrix(box, size, box_scale=self.data.box_scale) for person, box in boxes.items()
        }
        poses: dict[int, Pose] = {}
        known = [person for person in boxes if person in self._states]
        fresh = [person for person in boxes if person not in self._states]
        for group in (known, fresh):
            for first in range(0, len(group), _BATCH):
                persons = group[first : first + _BATCH]
                crops = np.stack([warp(image, matrices[person], size) for person in persons])
                images = normalise(torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).contiguous())
                points, scores = decode(
                    self._heatmaps(persons, images),
                    stride=self.checkpoint.stride,
                    method=self.checkpoint.decode,
                )
                points, scores = points.double().cpu().numpy(), scores.double().cpu().numpy()
                for person, in_crop, peaks in zip(persons, points, scores):
                    poses[person] = Pose(joints=apply(invert(matrices[person]), in_crop), scores=peaks)
        return {person: poses[person] for person in boxes}

    def _heatmaps(self, persons: Sequence[int], images: Tensor) -> Tensor:
        """Heat maps of persons who all have a state, or all have none."""
        if isinstance(self.model, SimpleBaseline):
            return self.model(images)
        if persons[0] in self._states:
            heatmaps, states = self.model.step(images, torch.cat([self._states[p] for p in persons]))
        else:
            heatmaps, states = self.model.start(images)
        self._states.update(zip(persons, states.split(1)))
        return heatmaps
