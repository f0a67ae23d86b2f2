"""Write other files of joints that rpstn predict has found, without predicting again.

  rpstn reformat joints/predictions.json --formats wide trc
  rpstn reformat joints/predictions.json --formats tidy --smooth butterworth=6 --fill-gaps 0.2 --out smooth

{FORMATS}
"""

import argparse
from pathlib import Path

from ..arguments import FORMATS_HELP, add_files

__doc__ = __doc__.replace("{FORMATS}", FORMATS_HELP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS.json", help="what rpstn predict wrote")
    add_files(parser, default=None)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the files (default: that of PREDICTIONS.json)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def run(args: argparse.Namespace) -> int:
    from ..video.formats import advice
    from ..video.reformatting import reformat

    files = reformat(
        args.predictions,
        args.formats,
        out=args.out,
        smooth=args.smooth,
        fill_gaps=args.fill_gaps,
        overwrite=args.overwrite,
    )
    print("\n".join([*advice(args.formats), *map(str, files.values())]))
    return 0
