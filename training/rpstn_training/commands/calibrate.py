"""Find out what the scores of trained weights are worth, and write it into their checkpoint.

  rpstn calibrate training/configs/penn_action.yaml --weights runs/penn_action/best.pt

The network is shown the clips on which a training chooses its weights (eval.select), in the boxes of the labels, in
boxes that are a little off, and in boxes that hold nobody. From what it finds there comes, for each joint, a
probability that it is within 0.1 of the person's size, whether it is visible, hidden or outside the picture, and for
each pose a score below which nobody is there. How good these are is measured by five parts of the clips, each judged by
a fit of the others, and printed. rpstn train does this at its end, and rpstn predict writes probabilities and states
with such weights.

They hold for people and pictures like those of the clips. The package's weights, trained on drawn people, have
probabilities that are off by 0.01 on held-out clips; on one real clip of JHMDB they are off by 0.22.
"""

import argparse
from pathlib import Path

from ..arguments import add_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", type=Path, metavar="CONFIG.yaml", help="data; its model must be that of the weights"
    )
    parser.add_argument(
        "--weights", type=Path, required=True, metavar="FILE", help="a checkpoint of rpstn train or convert"
    )
    add_overrides(parser, "eval.select=test")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the calibrated checkpoint (default: in place of the weights)",
    )


def run(args: argparse.Namespace) -> int:
    from ..calibrating import calibrated
    from ..config import load_config
    from ..data.sets import load_skeleton
    from ..data.subsets import for_training
    from ..device import allow_tf32, choose_device
    from ..train import checkpoint as checkpoints
    from .evaluate import require_same

    config = load_config(args.config, args.overrides)
    checkpoint = checkpoints.load(args.weights)
    require_same(config, load_skeleton(config.data), checkpoint)
    device = choose_device(config.train.device, "train.device")
    allow_tf32(config.train.tf32)
    learn_from, subset = for_training(config)
    found = calibrated(checkpoint, checkpoint.build_model().to(device), subset, learn_from)
    out = args.out or args.weights
    checkpoints.save(out, found)
    print("\n".join([*found.calibration.sentences, str(out)]))
    return 0
