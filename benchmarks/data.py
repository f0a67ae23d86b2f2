"""Times the loading of training clips against a plain pipeline: right first, then quick.

    python -m benchmarks.data                                   # synthetic clips in Penn Action's layout
    python -m benchmarks.data --root ../shared/samples/jhmdb    # JHMDB's own frames
    python -m benchmarks.data --root FOLDER --dataset penn_action --out data.jsonl --require-bar

A clip is 5 frames, read from files in the system's cache, cut out at 256x256 with its random changes. One process and
one core make it. `plain` is benchmarks/plain_clips.py: the released code's steps, with Gaussians in NumPy. `ours` is
what `rpstn train` loads; `ours, maps sent` is the same with targets.on_device false, and `ours, frames kept` with
data.cache, after every frame has been decoded once. The second table is the loss with its gradient on the training
device: with target maps that were sent, and from the joints alone.

First each pipeline must show the joints where it says they are: a picture with one bright spot per joint goes through
it, and the spot's centre is compared with the joint. Rounds alternate between the contenders; the median and the
second-fastest and -slowest tenth are printed.
"""

import argparse
import dataclasses
import importlib.metadata
import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rpstn_training import cli
from rpstn_training.codec import Codec
from rpstn_training.config import AugmentationConfig, DataConfig, HeatmapConfig
from rpstn_training.data.cache import FrameCache
from rpstn_training.data.clips import TrainClips
from rpstn_training.data.records import Skeleton, Track
from rpstn_training.data.sets import load_skeleton, load_tracks
from rpstn_training.errors import UserError
from rpstn_training.train.losses import heatmap_loss, joint_loss

from .common import alternate, alternate_on_gpu, append_lines, keep_memory, print_table, provenance
from .plain_clips import PlainClips

BAR = 3.0  # clips per second per core, as a multiple of the plain pipeline's
BATCH = 8  # clips in the loss
HEATMAP = HeatmapConfig()
AUGMENTATION = AugmentationConfig()
SEED = 0
STRIDE = 4  # of every network that is timed here


def codec_of(data: DataConfig) -> Codec:
    """That of the configurations: one box for the frames of a clip."""
    return Codec(
        input_size=data.input_size,
        stride=STRIDE,
        sigma=HEATMAP.sigma,
        box_scale=data.box_scale,
        shared_frames=data.clip_length if data.box == "clip" else 1,
    )


def our_clips(tracks: list[Track], skeleton: Skeleton, data: DataConfig, **options: Any) -> TrainClips:
    return TrainClips(tracks, skeleton, data, codec_of(data), AUGMENTATION, SEED, **options)


def clips_of_kept_frames(tracks: list[Track], skeleton: Skeleton, data: DataConfig) -> TrainClips:
    """Ours, with all frames in the cache, which goes with the clips."""
    folder = tempfile.TemporaryDirectory()
    frames = FrameCache(tracks, Path(folder.name), limit=1e9 * data.cache_gb)
    clips = our_clips(tracks, skeleton, data, read=frames.read)
    clips.folder = folder
    for track in tracks:
        for number in range(len(track)):
            frames.read(track, number)
    return clips


Make = Callable[[list[Track], Skeleton, DataConfig], Dataset]
CONTENDERS: dict[str, Make] = {
    "plain": lambda *data: PlainClips(*data, AUGMENTATION, SEED, HEATMAP),
    "ours, maps sent": lambda *data: our_clips(*data, with_targets=True),
    "ours, frames kept": clips_of_kept_frames,
    "ours": our_clips,
}
# Largest distance, in pixels of the crop, between a spot and its joint. The plain pipeline scales positions by the
# ratio of the sizes, which leaves out that pixels have their centres at half numbers: up to 0.5 * (ratio - 1).
LARGEST_ERROR = {"plain": 2.0, "ours, maps sent": 0.2, "ours, frames kept": 0.2, "ours": 0.2}


def spot_track(folder: Path, skeleton: Skeleton, size: tuple[int, int] = (320, 240)) -> Track:
    """A video whose frame k shows a soft spot at joint k and nothing else, in PNG files under `folder`."""
    width, height = size
    count = len(skeleton.joints)
    box = np.array([width * 0.3, height * 0.15, width * 0.7, height * 0.85])
    rng = np.random.default_rng(1)
    centre, extent = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    joints = centre + rng.uniform(-0.25, 0.25, (count, 2)) * extent
    files = tuple(folder / f"{number:05d}.png" for number in range(count))
    for file, (x, y) in zip(files, joints):
        squared = (np.arange(width) - x) ** 2 + (np.arange(height)[:, None] - y) ** 2
        spot = np.rint(255 * np.exp(-squared / 18)).astype(np.uint8)
        cv2.imwrite(str(file), cv2.cvtColor(spot, cv2.COLOR_GRAY2BGR))
    every = np.ones((count, count), dtype=bool)
    boxes = np.tile(box, (count, 1))
    return Track(
        name="spots",
        split="train",
        action="",
        frames=files,
        joints=np.tile(joints, (count, 1, 1)),
        visible=every,
        labelled=every,
        boxes=boxes,
        score_boxes=boxes,
    )


def largest_error(make: Make, skeleton: Skeleton, data: DataConfig, clips: int = 24) -> float:
    """Largest distance between a spot's centre in the crop and the joint that the sample names, in pixels."""
    still = dataclasses.replace(
        skeleton, flip_pairs=()
    )  # so that frame k shows joint k in mirrored clips as well
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        track = spot_track(Path(folder), still)
        dataset = make([track], still, dataclasses.replace(data, clips_per_epoch=clips))
        for index in range(clips):
            sample = dataset[index]
            for number, picture, joints in zip(sample["frame_ids"], sample["frames"], sample["joints"]):
                light = picture[0].double()
                # Around the spot, without the grey that the plain pipeline fills in.
                x, y = (int(v) for v in joints[number].round())
                near = torch.zeros_like(light)
                near[max(y - 24, 0) : y + 25, max(x - 24, 0) : x + 25] = 1
                light = (light * near * (light != 128)).clamp(min=0)
                rows, columns = (torch.arange(n, dtype=torch.float64) for n in light.shape)
                total = light.sum().clamp(min=1e-9)
                centre = torch.stack(
                    [(light.sum(0) * columns).sum() / total, (light.sum(1) * rows).sum() / total]
                )
                worst = max(worst, (centre - joints[number].double()).norm().item())
    return worst


def check_targets(skeleton: Skeleton, tracks: list[Track], data: DataConfig) -> None:
    """The maps that are sent are those of the joints, and the plain ones are about the same places."""
    plain, sent = (CONTENDERS[name](tracks, skeleton, data)[0] for name in ("plain", "ours, maps sent"))
    rows, columns = sent["targets"].shape[-2:]
    exact = codec_of(data).encode(sent["joints"].double())
    if not (sent["targets"] - exact).abs().max() < 1e-6:
        sys.exit("ours, maps sent: the maps are not those of the joints; not timed")
    cells = (plain["joints"] / STRIDE).floor()
    inside = (cells >= 0).all(-1) & (cells < torch.tensor([columns, rows])).all(-1)
    peaks = plain["targets"].flatten(-2).argmax(-1)
    if not torch.equal((cells[..., 1] * columns + cells[..., 0]).long()[inside], peaks[inside]):
        sys.exit("plain: the maps are not those of the joints; not timed")


def time_loading(
    tracks: list[Track], skeleton: Skeleton, data: DataConfig, rounds: int
) -> dict[str, list[float]]:
    def call(dataset: Dataset) -> Callable[[], object]:
        numbers = itertools.cycle(range(len(dataset)))
        return lambda: dataset[next(numbers)]

    return alternate({name: call(make(tracks, skeleton, data)) for name, make in CONTENDERS.items()}, rounds)


def time_loss(joint_count: int, data: DataConfig, device: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of the loss with its gradient for a batch, after both were found equal in float64."""
    codec = codec_of(data)
    rows, columns = codec.map_size
    generator = torch.Generator().manual_seed(0)
    leading = (BATCH, data.clip_length, joint_count)
    joints = (torch.rand(*leading, 2, generator=generator) * 256).to(device)
    weights = (torch.rand(*leading, generator=generator) > 0.1).float().to(device)
    targets = codec.encode(joints)
    noise = 0.05 * torch.randn(*leading, rows, columns, generator=generator).to(device)
    heatmaps = (targets + noise).requires_grad_()

    def from_maps(maps: Tensor, wanted: Tensor, counting: Tensor) -> tuple[Tensor, Tensor]:
        loss = heatmap_loss(maps, wanted, counting)
        return loss, *torch.autograd.grad(loss, maps)

    def from_joints() -> tuple[Tensor, Tensor]:
        loss = joint_loss(heatmaps, joints, weights, codec=codec)
        return loss, *torch.autograd.grad(loss, heatmaps)

    exact_targets = codec.encode(joints.double())
    exact = from_maps(heatmaps.detach().double().requires_grad_(), exact_targets, weights.double())
    for name, found in (
        ("maps sent", from_maps(heatmaps, targets, weights)),
        ("from joints", from_joints()),
    ):
        for what, value, truth in zip(("loss", "gradient"), found, exact):
            error = ((value - truth).abs().max() / truth.abs().max()).item()
            if not error < 1e-6:
                sys.exit(f"{name}: relative error {error:.1e} of the {what} against float64; not timed")
    calls = {"maps sent": lambda: from_maps(heatmaps, targets, weights), "from joints": from_joints}
    return alternate(calls, rounds) if device == "cpu" else alternate_on_gpu(calls, rounds)


def summary(seconds: list[float], clips: int = 1) -> dict[str, float]:
    """Milliseconds per clip, and clips per second with their spread."""
    tenths = statistics.quantiles(seconds, n=10, method="inclusive")
    median = statistics.median(seconds)
    return {
        "ms_per_clip": round(median * 1e3 / clips, 3),
        "clips_per_second": round(clips / median, 1),
        "p20": round(clips / tenths[7], 1),
        "p80": round(clips / tenths[1], 1),
    }


def measure_loading(root: Path, name: str, split: int, rounds: int) -> tuple[list[dict], DataConfig, int]:
    """Check and time every contender: one line of numbers for each. Also what was read, and its number of joints."""
    data = DataConfig(name=name, root=str(root), split=split, clips_per_epoch=64)
    skeleton, tracks = load_skeleton(data), load_tracks(data, "train")
    tracks = [track for track in tracks if len(track) >= data.clip_length]
    errors = {}
    for contender, make in CONTENDERS.items():
        errors[contender] = largest_error(make, skeleton, data)
        if not errors[contender] < LARGEST_ERROR[contender]:
            sys.exit(
                f"{contender}: a joint is {errors[contender]:.2f} pixels from where the picture shows it, "
                f"expected less than {LARGEST_ERROR[contender]}; not timed"
            )
    check_targets(skeleton, tracks, data)
    timed = time_loading(tracks, skeleton, data, rounds)
    lines = []
    for contender, seconds in timed.items():
        sample = CONTENDERS[contender](tracks, skeleton, data)[0]
        size = sum(value.nbytes for value in sample.values() if torch.is_tensor(value))
        lines.append(
            {
                "contender": contender,
                **summary(seconds),
                "times_plain": round(statistics.median(timed["plain"]) / statistics.median(seconds), 2),
                "mb_per_clip": round(size / 1e6, 2),
                "largest_error_px": round(errors[contender], 3),
            }
        )
    return lines, data, len(skeleton.joints)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, help="a data set as its owners ship it; without it, synthetic clips"
    )
    parser.add_argument("--dataset", default="sub_jhmdb", help="its name (default: sub_jhmdb)")
    parser.add_argument("--split", type=int, default=2, help="of Sub-JHMDB (default: 2)")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--out", type=Path, help="file that JSON lines are appended to")
    parser.add_argument("--require-bar", action="store_true", help=f"exit with 1 below {BAR:g} times plain")
    arguments = parser.parse_args()
    root, name, device = arguments.root, arguments.dataset, arguments.device
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        if root is None:
            root, name = Path(folder) / "synthetic", "penn_action"
            command = ["synth", "--dataset", name, "--clips", "8", "--out", str(root), "--seed", str(SEED)]
            if status := cli.main(command):
                sys.exit(status)
        try:
            loading, data, joints = measure_loading(root, name, arguments.split, arguments.rounds)
        except UserError as error:
            sys.exit(str(error))
    timed = time_loss(joints, data, device, arguments.rounds)
    loss = [
        {
            "contender": contender,
            **summary(seconds, BATCH),
            "times_maps_sent": round(statistics.median(timed["maps sent"]) / statistics.median(seconds), 2),
        }
        for contender, seconds in timed.items()
    ]

    facts = {
        **provenance(device),
        **{package: importlib.metadata.version(package) for package in ("opencv-python", "numpy", "deflate")},
    }
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    source = f"{name}, {'synthetic clips' if arguments.root is None else root.name}"
    clip = f"{data.clip_length} frames at {data.input_size[0]}x{data.input_size[1]}"
    parts = {
        "loading": (loading, f"{source}: clips of {clip}, one core"),
        "loss": (loss, f"loss with its gradient, {BATCH} clips of {joints} joints, on {device}"),
    }
    for part, (lines, title) in parts.items():
        print(f"\n{title}")
        print_table(list(lines[0]), [list(line.values()) for line in lines])
        if arguments.out:
            append_lines(
                arguments.out, ({"benchmark": part, "title": title, **line, **facts} for line in lines)
            )
    reached = loading[-1]["times_plain"]
    held = "held" if reached >= BAR else "not held"
    print(f"\nclips per second per core: {reached} times the plain pipeline's, bar {BAR:g}: {held}")
    if arguments.require_bar and reached < BAR:
        sys.exit(1)


if __name__ == "__main__":
    main()
