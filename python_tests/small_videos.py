"""Small videos, pictures, boxes and weights for the tests of `rpstn predict`."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from tiny_clips import SMALL_MODEL, codec_for, tiny_config

from rpstn_ext import models
from rpstn_training import packaged
from rpstn_training.codec import normalise
from rpstn_training.config import to_dict
from rpstn_training.data.sets import penn_action
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.video import overlay as drawing
from rpstn_training.video.encoding import OverlayWriter
from rpstn_training.video.pipeline import predict
from rpstn_training.video.writers import Header

FRAMES = 7
SIZE = (80, 64)  # width, height
SKELETON = penn_action.SKELETON


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A smooth picture, uint8 [H, W, 3] RGB, that moves with its number."""
    coarse = np.random.default_rng(5).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(np.roll(coarse, number, axis=1), size, interpolation=cv2.INTER_CUBIC)


def with_strip(size: tuple[int, int]) -> tuple[int, int, int]:
    """Shape of the overlay of pictures of these few pixels, width and height, without a notice."""
    width, height = (4 * side for side in size)
    return height + len(drawing.strip(width, height, [[]])), width, 3


def write_picture(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


def write_video(path: Path, frames: int = FRAMES, fps: float = 12.5, size: tuple[int, int] = SIZE) -> Path:
    with OverlayWriter(path, fps, size) as video:
        for number in range(frames):
            video.write(picture(number, size))
    return path


def write_weights(path: Path, name: str = "rpstn", *, seed: int = 3, **options: object) -> Path:
    """A network of random weights whose output depends on picture and state: its normalisations fit the pictures."""
    torch.manual_seed(seed)
    model = models.build(name, num_joints=13, **options).train()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    clip = torch.stack([torch.from_numpy(picture(number, (64, 64)).copy()) for number in range(12)])
    clip = normalise(clip.permute(0, 3, 1, 2)).unflatten(0, (4, 3))
    with torch.no_grad():
        if name == "rpstn":
            model.matcher.conv_d.weight.normal_(std=0.3)
            model.relation.norm.weight.fill_(1.0)
        model(clip if name == "rpstn" else clip[0])
    config = tiny_config(path.parent / "none", path.parent / "run")
    checkpoints.save(
        path,
        checkpoints.Checkpoint(
            config=to_dict(config),
            skeleton=SKELETON,
            model_name=name,
            model_options=options,
            codec=codec_for(config),
            selected_on=None,
            model_state=model.state_dict(),
            epoch=1,
            step=1,
            best_score=None,
            metrics=[],
        ),
    )
    return path


def run(made, source, out, **options):
    """Without boxes the whole picture is the box: what random weights find has no right answer."""
    options = {"whole_picture": "boxes" not in options, "overwrite": True} | options
    return predict(source, made.weights, out, device="cpu", show_progress=False, **options)


def write_poses(writer, frames: list) -> None:
    """Pairs of a frame and its poses through a writer, from its beginning to its end."""
    writer.begin(Header(skeleton=SKELETON, fps=25.0, info={}))
    for frame, poses in frames:
        writer.add(frame, poses)
    writer.end()


def boxes_csv(path: Path, rows: list, header: str = "frame,person,x1,y1,x2,y2") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def decoded_frames(path: Path) -> list[np.ndarray]:
    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        ok, frame = video.read()
        if not ok:
            return frames
        frames.append(frame)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_all(folder: Path) -> SimpleNamespace:
    """Weights, a folder of lossless frames whose natural order is not the alphabet's, and a video."""
    frames = folder / "frames"
    frames.mkdir()
    for number in range(FRAMES):
        write_picture(frames / f"f{number + 5}.png", picture(number))
    (frames / "notes.txt").write_text("no picture")
    return SimpleNamespace(
        folder=folder,
        weights=write_weights(folder / "best.pt", **SMALL_MODEL),
        frames=frames,
        video=write_video(folder / "clip.mp4"),
    )


def drawn_people_or_random(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this copy of the package has no weights, a tiny network of random ones stands for them."""
    if not packaged._DRAWN_PEOPLE.is_file():
        small = {"backbone": "resnet18", "width": 8, "channels": 16}
        weights = write_weights(folder / "drawn_people.pt", "sbl", **small)
        monkeypatch.setattr(packaged, "_DRAWN_PEOPLE", weights)
