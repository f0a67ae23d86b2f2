"""Times `rpstn predict` over several videos against one-by-one prediction with the plain modules.

    python -m benchmarks.predict                     # a small RPSTN at 128x128, ends in minutes on a CPU
    python -m benchmarks.predict --weights best.pt   # other weights

Both make the same files of the same videos. Plain: normalisations as modules of their own, one video after the other, a
batch of one person, and decoding, network, drawing and encoding take turns. Ours: what `rpstn predict` does. They
take turns within a run, and the joints must agree before anything is printed.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import print_table, provenance
from rpstn_ext import models
from rpstn_training.codec import Codec
from rpstn_training.data.sets import penn_action
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.video.encoding import OverlayWriter
from rpstn_training.video.lanes import together
from rpstn_training.video.many import LANES
from rpstn_training.video.options import Options
from rpstn_training.video.pipeline import Job, Predictor
from rpstn_training.video.progress import Progress
from rpstn_training.video.recording import read_recording

AGREE = 0.05  # pixels between the joints of both
SIZE = (320, 240)


def write_videos(folder: Path, count: int, frames: int) -> list[Path]:
    """Smooth colours that move."""
    paths = []
    for video in range(count):
        rng = np.random.default_rng(video)
        ground = np.kron(rng.integers(0, 255, (15, 20, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
        paths.append(folder / f"{video}.mp4")
        with OverlayWriter(paths[-1], 25, SIZE) as writer:
            for frame in range(frames):
                writer.write(np.roll(ground, 4 * frame, axis=1))
    return paths


def write_weights(path: Path, input_size: tuple[int, int], *, width: int = 64, channels: int = 64) -> Path:
    """A small RPSTN whose normalisations have seen something."""
    torch.manual_seed(0)
    options = {
        "pose_initializer": "resnet18",
        "feature_extractor": "resnet18",
        "width": width,
        "channels": channels,
    }
    model = models.build("rpstn", num_joints=13, **options).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(2, 3, 3, 64, 64))
    checkpoints.save(
        path,
        checkpoints.Checkpoint(
            config=None,
            source={"family": "random weights", "file": path.name},
            skeleton=penn_action.SKELETON,
            model_name="rpstn",
            model_options=options,
            codec=Codec(input_size=input_size, stride=4, sigma=2.0),
            selected_on=None,
            model_state=model.state_dict(),
            epoch=1,
            step=1,
            best_score=None,
            metrics=[],
        ),
    )
    return path


def plain(videos: list[Path], predictor: Predictor, out: Path) -> int:
    """One video after the other, one frame after the other, one thing at a time."""
    frames = 0
    for job in _jobs(videos, predictor, out):
        with job:
            for frame in job.media.frames():
                job.take(frame, predictor.streams.next_frame(frame.image, job.boxes(frame)))
                frames += 1
            job.finish()
        predictor.streams.forget_all()
    return frames


def ours(videos: list[Path], predictor: Predictor, out: Path) -> int:
    def raise_it(job: Job, error: Exception) -> None:
        raise error

    with Progress("", None, False) as progress:
        jobs = _jobs(videos, predictor, out)
        return sum(result.frame_count for _, result in together(jobs, progress, lanes=LANES, failed=raise_it))


def _jobs(videos: list[Path], predictor: Predictor, out: Path):
    for video in videos:
        yield Job(predictor.options.open(video), None, predictor, out / video.stem, {})


def compare(
    weights: Path, videos: list[Path], folder: Path, *, rounds: int, overlay: str
) -> dict[str, float]:
    """Frames per second of each way, the median over `rounds`; raises where the joints differ."""
    options = Options(whole_picture=True, overlay=overlay, device="cpu", overwrite=True, show_progress=False)
    ways = {
        "one by one, plain modules": (plain, Predictor(weights, options, fold=False)),
        "rpstn predict": (ours, Predictor(weights, options)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for number, (name, (run, predictor)) in enumerate(ways.items()):
            began = time.perf_counter()
            frames = run(videos, predictor, folder / str(number))
            if turn:  # the first round warms up
                speeds[name].append(frames / (time.perf_counter() - began))
    joints = [_joints(folder / str(number), videos) for number in range(len(ways))]
    worst = float(np.abs(joints[0] - joints[1]).max())
    if not worst <= AGREE:
        raise SystemExit(
            f"predict: expected the same joints of both within {AGREE} pixels, they differ by {worst:.3g}"
        )
    return {name: statistics.median(values) for name, values in speeds.items()}


def _joints(folder: Path, videos: list[Path]) -> np.ndarray:
    found = [read_recording(folder / video.stem / "predictions.json") for video in videos]
    return np.concatenate([recording.persons[0].joints for recording in found])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=Path, help="a checkpoint (default: a small RPSTN of random weights)"
    )
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--frames", type=int, default=16, help="of each video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overlay", default="mp4", help="mp4 (default) or none")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        weights = args.weights or write_weights(folder / "small.pt", (128, 128))
        videos = write_videos(folder, args.videos, args.frames)
        speeds = compare(weights, videos, folder, rounds=args.rounds, overlay=args.overlay)
    finally:
        shutil.rmtree(folder)
    base = speeds["one by one, plain modules"]
    print(provenance())
    rows = [(name, f"{speed:.2f}", f"{speed / base:.2f}") for name, speed in speeds.items()]
    print_table(("way", "frames/s", "times plain"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
