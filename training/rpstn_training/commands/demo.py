"""`rpstn demo`: from nothing to a trained, scored and drawn pose model on synthetic clips, without a download."""

import argparse
import time
from pathlib import Path

from ..config import (
    AugmentationConfig,
    Config,
    DataConfig,
    EvalConfig,
    HeatmapConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
)

CLIPS = 400
FRAMES_PER_CLIP = 12


def demo_config(out: Path, *, seed: int = 0) -> Config:
    """A small RPSTN that two processor cores train in about six minutes.

    Three convolutions of the propagator leave 5x5 kernels of a 24x24 map, four would leave 2x2. Clips are as short as
    memory allows, because frames of one clip are much alike: more clips teach more. Unlike the paper's, the network
    has one backbone for both of its tasks, every frame trains its pose initialiser and begins with its maps, and
    hidden joints, whose places are known here, are trained on.
    """
    small = {
        "pose_initializer": "resnet18",
        "feature_extractor": "initializer",
        "width": 32,
        "channels": 64,
        "num_convs": 3,
        "initialize": "every",
        "supervise_initializer": True,
    }
    return Config(
        seed=seed,
        output=str(out / "run"),
        data=DataConfig(
            name="penn_action",
            root=str(out / "clips"),
            clip_length=2,
            input_size=(96, 96),
            clips_per_epoch=480,
            workers=1,
        ),
        augmentation=AugmentationConfig(rotation=5.0, scale=(0.95, 1.1), flip=0.5),
        model=ModelConfig(name="rpstn", options=small),
        heatmap=HeatmapConfig(sigma=1.5),
        loss=LossConfig(visibility=False),
        train=TrainConfig(
            epochs=40, batch_size=6, learning_rate=1e-3, milestones=(30, 37), eval_every=8, device="cpu"
        ),
        eval=EvalConfig(protocol="streaming"),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rpstn demo`."""
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), help="folder for all that is made (default: demo)"
    )
    parser.add_argument("--seed", type=int, default=0, help="other people, other weights (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Synthetic clips, training, scores on held-out clips, pictures and a page; what is there already is kept."""
    from rpstn_synth import synthesise

    from ..data.subsets import load_subset
    from ..evaluation import evaluate
    from ..figures import build_report
    from ..train.checkpoint import load
    from ..train.engine import train

    began = time.monotonic()
    config = demo_config(args.out, seed=args.seed)
    folder = Path(config.output)

    print(f"1 of 4: synthetic clips in {config.data.root}", flush=True)
    synthesise(Path(config.data.root), clips=CLIPS, frames=FRAMES_PER_CLIP, seed=args.seed)

    print(f"2 of 4: training in {folder}", flush=True)
    started = (folder / "last.pt").is_file()
    best = train(config, resume=folder if started else None)

    print("3 of 4: scores on held-out clips", flush=True)
    checkpoint = load(best)
    model = checkpoint.build_model()
    held_out = load_subset(config, "test")
    skeleton, codec = checkpoint.skeleton, checkpoint.codec
    evaluation = evaluate(model, held_out.config, held_out.tracks, skeleton, codec)
    print(f"\n{evaluation.text}\n")

    print(f"4 of 4: pictures in {args.out}", flush=True)
    page = build_report(
        args.out,
        model=model,
        skeleton=skeleton,
        codec=codec,
        config=config,
        tracks=held_out.tracks,
        evaluation=evaluation,
        metrics=folder / "metrics.jsonl",
        chosen_on=checkpoint.selected_on,
    )
    print(
        f"PCK@{config.eval.gamma:g} (person size) {evaluation.score:.3f} on {len(held_out.tracks)} held-out clips"
    )
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes; open {page} in a browser")
    return 0
