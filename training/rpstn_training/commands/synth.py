"""Write synthetic clips of moving people in the files of a real data set.

  rpstn synth --dataset posetrack2018 --out data/synthetic
  rpstn check-data training/configs/posetrack2018.yaml --set data.root=data/synthetic

The people are drawn from their joints, so the truth is exact, also where something hides it. The same seed gives the
same clips. Penn Action and Sub-JHMDB show one person, the other sets several, who hide each other. COCO, MPII and
custom (COCO's form under names of one's own) are single pictures, clips x frames of them.
"""

import argparse
from pathlib import Path

from rpstn_synth.synthesis import LAYOUTS, synthesise

from ..arguments import width_and_height
from ..errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rpstn synth`."""
    parser.add_argument("--out", type=Path, required=True, help="folder to write, new or empty")
    parser.add_argument(
        "--dataset", default="penn_action", help=f"layout: {', '.join(LAYOUTS)} (default: penn_action)"
    )
    parser.add_argument(
        "--clips", type=int, default=60, help="number of clips, each fourth a test clip (default: 60)"
    )
    parser.add_argument("--seed", type=int, default=0, help="other people and movements (default: 0)")
    parser.add_argument(
        "--frames",
        type=int,
        default=24,
        help="frames of a clip (default: 24)",
    )
    parser.add_argument("--size", default="320x240", help="WIDTHxHEIGHT of the pictures (default: 320x240)")
    kinds = parser.add_mutually_exclusive_group()
    for kind, text in (
        ("everyday", "people who stand, walk, run, jump and pick something up too"),
        ("company", "as --everyday, and half of the clips show others beside the person with labels"),
    ):
        kinds.add_argument(
            f"--{kind}", dest="kind", action="store_const", const=kind, help=f"with penn_action: {text}"
        )
    parser.add_argument(
        "--workers", type=int, default=None, help="processes (default: one per processor core)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the clips and say where."""
    size = width_and_height(args.size)
    if size is None:
        raise UserError(f"--size: expected WIDTHxHEIGHT such as 320x240, got {args.size}")
    synthesise(
        args.out,
        dataset=args.dataset,
        clips=args.clips,
        seed=args.seed,
        frames=args.frames,
        size=size,
        workers=args.workers,
        kind=args.kind,
    )
    return 0
