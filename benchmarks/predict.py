"""Times `rpstn predict` over several videos against one-by-one prediction with the plain modules, or its memory.

    python -m benchmarks.predict                     # the weights of the package, ends in minutes on a CPU
    python -m benchmarks.predict --weights best.pt   # other weights
    python -m benchmarks.predict --long 10000        # the memory over one video of so many tiny frames

Both ways make the same files of the same videos. Plain: normalisations as modules of their own, one video after the
other, a batch of one person, and decoding, network, drawing and encoding take turns. Ours: what `rpstn predict` does.
They take turns within a run, and the joints must agree before anything is printed. The bar is 1.5 times the frames.
"""

import argparse
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import print_table, provenance
from rpstn_training.packaged import packaged_weights
from rpstn_training.video.encoding import OverlayWriter
from rpstn_training.video.lanes import together
from rpstn_training.video.many import LANES
from rpstn_training.video.options import Options
from rpstn_training.video.pipeline import Job, Predictor
from rpstn_training.video.progress import Progress
from rpstn_training.video.recording import read_recording

# Pixels between the joints of both. Folded maps are off by 1e-5 of their largest value at most (`folding.AGREE`), and
# the peaks of trained maps move by 0.001 then; those of random weights, which are flat, may move by more than this.
AGREE = 0.05
SIZE, TINY = (320, 240), (64, 48)
LOOKS = 10  # at the memory


def write_videos(folder: Path, count: int, frames: int, size: tuple[int, int] = SIZE) -> list[Path]:
    """Smooth colours that move."""
    columns, rows = size[0] // 16, size[1] // 16
    paths = []
    for video in range(count):
        rng = np.random.default_rng(video)
        colours = rng.integers(0, 255, (rows, columns, 3), dtype=np.uint8)
        ground = np.kron(colours, np.ones((16, 16, 1), np.uint8))
        paths.append(folder / f"{video}.mp4")
        with OverlayWriter(paths[-1], 25, size) as writer:
            for frame in range(frames):
                writer.write(np.roll(ground, 4 * frame, axis=1))
    return paths


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
    with Progress("", None, False) as progress:
        jobs = _jobs(videos, predictor, out)
        return sum(result.frame_count for _, result in together(jobs, progress, lanes=LANES, failed=_raise))


def _jobs(videos: list[Path], predictor: Predictor, out: Path):
    for video in videos:
        yield Job(predictor.options.open(video), None, predictor, out / video.stem, {})


def compare(
    weights: Path, videos: list[Path], folder: Path, *, rounds: int, overlay: str
) -> dict[str, float]:
    """Frames per second of each way, the median over `rounds`; raises where the joints differ."""
    options = _options(overlay)
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


class Watch:
    """Takes the place of a progress bar, and notes LOOKS times how much memory this process holds: `seen` has pairs of
    frames done and MiB.
    """

    def __init__(self, frames: int) -> None:
        self.seen: list[tuple[int, float]] = []
        self._done, self._every = 0, max(frames // LOOKS, 1)

    def step(self) -> None:
        self._done += 1
        if self._done % self._every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen.append((self._done, pages * resource.getpagesize() / 2**20))


def memory(weights: Path, folder: Path, frames: int, *, overlay: str) -> list[tuple[int, float]]:
    """What `Watch` sees while one video of so many tiny frames is gone through."""
    videos = write_videos(folder, 1, frames, TINY)
    watch = Watch(frames)
    jobs = _jobs(videos, Predictor(weights, _options(overlay)), folder / "long")
    for _ in together(jobs, watch, lanes=1, failed=_raise):
        pass
    return watch.seen


def _options(overlay: str) -> Options:
    return Options(whole_picture=True, overlay=overlay, device="cpu", overwrite=True, show_progress=False)


def _raise(job: Job, error: Exception) -> None:
    raise error


def _joints(folder: Path, videos: list[Path]) -> np.ndarray:
    found = [read_recording(folder / video.stem / "predictions.json") for video in videos]
    return np.concatenate([recording.persons[0].joints for recording in found])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="a checkpoint (default: the weights of the package)")
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--frames", type=int, default=16, help="of each video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overlay", default="mp4", help="mp4 (default) or none")
    parser.add_argument(
        "--long", type=int, metavar="FRAMES", help="watch the memory instead, over one video of tiny frames"
    )
    args = parser.parse_args()
    weights = args.weights or packaged_weights()
    folder = Path(tempfile.mkdtemp())
    try:
        if args.long is not None:
            seen = memory(weights, folder, args.long, overlay=args.overlay)
            print(provenance())
            print_table(("frames", "MiB"), [(f"{done:,}", f"{held:.1f}") for done, held in seen])
            return 0
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
