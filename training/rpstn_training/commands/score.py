"""Score predictions against labels, both in a data set's official files: no model and no pictures are needed.

  rpstn score --dataset posetrack2018 --gt posetrack18/annotations/val --pred runs/posetrack/submission

Prints the table and the protocol; --out writes them, and every single number, as JSON.
"""

import argparse
from pathlib import Path

from ..files import write_json
from ..options import options_of, parse_options
from ..scores.sets import SCORERS, score
from ..versions import versions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, metavar="NAME", choices=SCORERS, help=", ".join(SCORERS))
    parser.add_argument("--gt", type=Path, required=True, metavar="PATH", help="labels: a file or a folder")
    parser.add_argument(
        "--pred",
        type=Path,
        required=True,
        metavar="PATH",
        help="predictions in the form that the data set's owners want handed in",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        dest="overrides",
        help="an option of the score (may be repeated)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where everything goes as JSON")
    with_options = {name: options_of(scorer.score) for name, scorer in SCORERS.items()}
    parser.epilog = "options of --set, by data set:\n" + "\n".join(
        f"  {name}: {', '.join(options) or 'none'}" for name, options in with_options.items()
    )


def run(args: argparse.Namespace) -> int:
    options = parse_options(args.overrides)
    table = score(args.dataset, args.gt, args.pred, options)
    print(table.text)
    if args.out is not None:
        sources = {"dataset": args.dataset, "gt": str(args.gt), "pred": str(args.pred), "options": options}
        write_json(args.out, {**sources, **table.to_dict(), "versions": versions()})
        print(f"\n{args.out}")
    return 0
