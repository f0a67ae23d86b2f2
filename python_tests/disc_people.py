"""People whose joints are coloured discs, and a network that finds just these: what search and following should find
is known.
"""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rpstn_ext.models.network import Network
from rpstn_training.codec import MEAN, STD, Codec
from rpstn_training.data.records import Skeleton
from rpstn_training.video.sources import Frame
from rpstn_training.video.streams import PersonStreams, Pose

SIZE = (320, 240)  # width, height
HALF, RADIUS = 30, 7  # pixels from the hip to head and foot, and of a disc
CODEC = Codec(input_size=(64, 64), stride=4, sigma=1.5)
CELL = 4 / 0.76  # pixels of the picture for a cell, in the crop of such a person
SKELETON = Skeleton(
    name="discs",
    joints=("head", "hip", "foot"),
    limbs=((0, 1), (1, 2)),
    flip_pairs=(),
    groups={},
    torso=(0, 1),
    torso_paper=(0, 1),
)


class DiscNetwork(Network):
    """Finds red, green and blue: the share of a cell's surroundings that has the joint's colour, more than the noise
    has of it. The state counts the frames of a stream; `ages` are the counts that `step` was given.
    """

    temporal, num_joints, stride, multiple = True, 3, 4, 4

    def __init__(self) -> None:
        super().__init__()
        self.ages: list[int] = []
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def start(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        color = frame * self.std + self.mean
        others = torch.stack([color[:, [1, 2]], color[:, [0, 2]], color[:, [0, 1]]], dim=1).amax(dim=2)
        maps = F.avg_pool2d(
            (color - others - 0.15).clamp_min(0), 9, stride=4, padding=4, count_include_pad=True
        )
        return maps, torch.zeros(len(frame), 1)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.ages += state.flatten().int().tolist()
        return self.start(frame)[0], state + 1

    def forward(self, clip: Tensor) -> Tensor:
        return torch.stack([self.start(frame)[0] for frame in clip.unbind(dim=1)], dim=1)


def joints_at(x: float, y: float) -> np.ndarray:
    """Head, hip and foot [3, 2] of a person whose hip is there."""
    return np.array([[x, y - HALF], [x, y], [x, y + HALF]], dtype=np.float64)


def box_of(x: float, y: float) -> list[float]:
    return [x - RADIUS, y - HALF - RADIUS, x + RADIUS, y + HALF + RADIUS]


def picture(*hips: tuple[float, float], seed: int = 0) -> np.ndarray:
    """uint8 [H, W, 3] RGB: grey noise with these people in it."""
    grey = np.random.default_rng(seed).normal(128, 4, (SIZE[1], SIZE[0], 3)).clip(0, 255).astype(np.uint8)
    for hip in hips:
        for (x, y), color in zip(joints_at(*hip), np.eye(3, dtype=int) * 255):
            place = round(x * 16), round(y * 16)
            cv2.circle(grey, place, RADIUS * 16, color.tolist(), cv2.FILLED, cv2.LINE_AA, 4)
    return grey


def write_frames(folder: Path, frames: list[list[tuple[float, float]]]) -> Path:
    """A folder of pictures; `frames` are the hips of the people in each."""
    folder.mkdir()
    for number, hips in enumerate(frames):
        image = picture(*hips, seed=number)
        assert cv2.imwrite(str(folder / f"{number:03d}.png"), image[..., ::-1])
    return folder


def checkpoint(network: DiscNetwork) -> SimpleNamespace:
    """What `rpstn predict` takes from a file of weights."""
    return SimpleNamespace(
        codec=CODEC,
        skeleton=SKELETON,
        build_model=lambda: network,
        sentence="discs",
        path="discs.pt",
        source=None,
        model_name="discs",
        architecture="discs()",
        trained_with=None,
        calibration=None,
        notice=None,
    )


def looker(image: np.ndarray):
    """A network's look at boxes of one picture (`search.Look`)."""
    streams = PersonStreams(checkpoint(DiscNetwork()))
    return lambda boxes: streams.look(image, boxes)


def pose_at(x: float, y: float, score: float = 1.0) -> Pose:
    return Pose(joints=joints_at(x, y), scores=np.full(3, score))


def frame(number: int, people: dict[tuple[float, float], tuple[int, int, int]]) -> Frame:
    """A grey picture with people at these hips, all of one colour each."""
    image = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    for hip, color in people.items():
        left, top, right, bottom = map(int, box_of(*hip))
        image[top : bottom + 1, left : right + 1] = color
    return Frame(number=number, time=0.0, file_name="", image=image)
