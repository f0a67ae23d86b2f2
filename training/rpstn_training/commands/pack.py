"""Make a small file of trained weights to give away: half precision, nothing for resuming, and a notice if you like.

  rpstn pack runs/drawn_people/best.pt drawn_people.pt --notice "trained on drawn people, never saw a real person"

The notice stands in all that is made with these weights: printed lines, JSON files and the strip below an overlay. A
file that is there already is not overwritten.
"""

import argparse
from pathlib import Path

from ..files import require_new
from ..train import checkpoint as checkpoints


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", type=Path, metavar="IN", help="a checkpoint of rpstn train")
    parser.add_argument("out", type=Path, metavar="OUT", help="where the small file goes")
    parser.add_argument("--notice", metavar="TEXT", help="what everybody who uses the weights is to read")


def run(args: argparse.Namespace) -> int:
    require_new(args.out)
    checkpoints.save(args.out, checkpoints.packed(checkpoints.load(args.weights), notice=args.notice))
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")
    return 0
