"""Go from nothing to a trained, scored and drawn pose model on synthetic clips, without a download.

  rpstn demo
  rpstn demo --out other --seed 1 --real my_video.mp4

Ten to fifteen minutes on two free cores; a second call goes on where the first was stopped, and keeps what is done. In
the end there is a page, index.html, to be opened in a browser.
"""

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
from ..errors import UserError

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
    parser.add_argument(
        "--compare",
        action="store_true",
        help="train three other networks on the same clips for the same time too, which takes four times as long: the "
        "image network alone, one without memory, one without the relation",
    )
    parser.add_argument(
        "--real",
        type=Path,
        metavar="PATH",
        help="a real video, or a folder of its frames, to be drawn on the page",
    )


def run(args: argparse.Namespace) -> int:
    """Synthetic clips, training, scores on held-out clips, pictures and a page; what is there already is kept."""
    from rpstn_synth import synthesise

    from ..arms import ARMS, arm_config, arm_folder, scored_as
    from ..data.subsets import load_subset
    from ..evaluation import evaluate
    from ..figures import build_report
    from ..figures.real import draw_real
    from ..shell import pasted
    from ..train.checkpoint import load
    from ..train.engine import train
    from ..video.sources import open_source

    began = time.monotonic()
    if args.real is not None:
        open_source(args.real)  # a wrong path is better known now than after the training
    config = demo_config(args.out, seed=args.seed)
    folder = Path(config.output)

    print(f"1 of 4: synthetic clips in {config.data.root}", flush=True)
    synthesise(Path(config.data.root), clips=CLIPS, frames=FRAMES_PER_CLIP, seed=args.seed)

    print(f"2 of 4: training in {folder}", flush=True)
    best = train(config, resume=_begun(folder))
    checkpoint = load(best)
    skeleton, codec = checkpoint.skeleton, checkpoint.codec
    for name, arm in ARMS.items() if args.compare else ():
        begun = _begun(arm_folder(args.out, name))
        print(f"2 of 4: training {arm.title}", flush=True)
        train(_config_of(begun) if begun else arm_config(config, name, args.out, skeleton), resume=begun)

    print("3 of 4: scores on held-out clips", flush=True)
    model = checkpoint.build_model()
    held_out = load_subset(config, "test")
    evaluation = evaluate(model, held_out.config, held_out.tracks, skeleton, codec)
    print(f"\n{evaluation.text}\n")
    arms = {}
    for name, arm in ARMS.items():
        run = arm_folder(args.out, name)
        if not (run / "eval.json").is_file():  # not trained, or not to the end of an epoch that was scored
            continue
        other = load(run / "best.pt")
        network = other.build_model()
        parameters = sum(parameter.numel() for parameter in network.parameters())
        found = evaluate(network, scored_as(held_out.config, other), held_out.tracks, skeleton, other.codec)
        arms[arm.title] = (run / "metrics.jsonl", parameters, found)

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
        arms=arms,
        real=None if args.real is None else draw_real(args.real, _weights_at_hand(best), args.out),
    )
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes; open {page.absolute()} in a browser")
    print(f"your own video: {pasted('predict', 'VIDEO.mp4', '--weights', best, '--out', 'poses')}")
    return 0


def _weights_at_hand(own: Path) -> Path:
    """Those that come with the package, which saw more than the demo's; the demo's `own` where there are none."""
    from ..packaged import packaged_weights

    try:
        return packaged_weights()
    except UserError:
        return own


def _begun(run: Path) -> Path | None:
    """The run folder where a training has begun in it."""
    return run if (run / "last.pt").is_file() else None


def _config_of(run: Path) -> Config:
    from ..config import load_config

    return load_config(run / "config.yaml")
