"""A tiny data set in Penn Action's own layout, drawn here: coloured discs at joints, moving over noise."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import scipy.io

from rpstn_training.codec import Codec
from rpstn_training.config import AugmentationConfig, Config, DataConfig, EvalConfig, ModelConfig, TrainConfig

SIZE = 64
JOINTS = 13
# Head, shoulders, elbows, wrists, hips, knees, ankles about the middle of the body, in pixels.
BODY = np.array(
    [[0, -22], [-8, -14], [8, -14], [-13, -6], [13, -6], [-16, 2], [16, 2]]
    + [[-5, 4], [5, 4], [-7, 13], [7, 13], [-8, 22], [8, 22]],
    dtype=np.float64,
)
SMALL_MODEL = {
    "pose_initializer": "resnet18",
    "feature_extractor": "resnet18",
    "width": 8,
    "channels": 16,
}


def write_penn(root: Path, *, train: int = 3, test: int = 2, frames: int = 6) -> Path:
    """Videos 0001 ... of `frames` frames. The left wrist is hidden, but placed, in every second frame."""
    rng = np.random.default_rng(0)
    colours = rng.integers(60, 256, (JOINTS, 3))
    for number in range(1, train + test + 1):
        folder = root / "frames" / f"{number:04d}"
        folder.mkdir(parents=True)
        drift, phase = rng.uniform(-0.6, 0.6, 2), rng.uniform(0, 6)
        joints = np.stack(
            [SIZE / 2 + BODY + drift * t + 2 * np.sin(phase + t / 2 + BODY[::-1]) for t in range(frames)]
        )
        visibility = np.ones((frames, JOINTS))
        visibility[::2, 5] = 0
        for t in range(frames):
            image = rng.integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
            for joint, (x, y) in enumerate(joints[t]):
                cv2.circle(image, (round(x), round(y)), 3, colours[joint].tolist(), -1)
            cv2.imwrite(str(folder / f"{t + 1:06d}.jpg"), image)
        label = {
            "action": "tennis_serve",
            "x": joints[..., 0] + 1,
            "y": joints[..., 1] + 1,
            "visibility": visibility,
            "train": 1.0 if number <= train else -1.0,
            "bbox": np.hstack([joints.min(axis=1) - 1, joints.max(axis=1) + 3]),
            "nframes": float(frames),
        }
        path = root / "labels" / f"{number:04d}.mat"
        path.parent.mkdir(exist_ok=True)
        scipy.io.savemat(path, label)
    return root


def tiny_config(root: Path, output: Path, **train: object) -> Config:
    """Three steps of two clips an epoch; `train` changes values of the section train."""
    values = {"epochs": 2, "batch_size": 2, "learning_rate": 2e-3, "milestones": (2,), "device": "cpu"}
    return Config(
        output=str(output),
        seed=3,
        data=DataConfig(
            name="penn_action",
            root=str(root),
            clip_length=3,
            input_size=(64, 64),
            workers=0,
            clips_per_epoch=6,
        ),
        augmentation=AugmentationConfig(rotation=10.0, scale=(0.9, 1.1), flip=0.5),
        model=ModelConfig(options=dict(SMALL_MODEL)),
        train=TrainConfig(**{**values, **train}),
        eval=EvalConfig(batch_size=4, select="test"),
    )


def codec_for(config: Config) -> Codec:
    """That of a network which ends at a quarter of its input, without the network."""
    return Codec.of(config, SimpleNamespace(stride=4, multiple=32))


def with_data(config: Config, **changes: object) -> Config:
    return replace(config, data=replace(config.data, **changes))


def with_train(config: Config, **changes: object) -> Config:
    return replace(config, train=replace(config.train, **changes))
