"""Run the study of relations and memory: does a relation of joints help behind a real network, does a memory?

  rpstn study relation --at-once 2
  rpstn study relation --sub-jhmdb data/sub_jhmdb
  rpstn study relation --config training/configs/studies/relation_full.yaml --set output=runs/study

Every arm writes its result whole when it ends; a study that was stopped goes on where it was when the same command is
given again. study.md, results.json and two plots appear in the study's folder. docs/study.md tells what it found.
"""

import argparse
from pathlib import Path

from ..arguments import add_overrides
from ..errors import UserError
from ..packaged import packaged_configs
from ..study import REAL_SETS

REDUCED = Path("studies", "relation_reduced.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "question", choices=("relation",), metavar="QUESTION", help="what is studied: relation"
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=packaged_configs() / REDUCED,
        metavar="CONFIG.yaml",
        help=f"the study (default: {REDUCED} of the package's configurations)",
    )
    add_overrides(parser, "output=runs/study")
    parser.add_argument(
        "--at-once",
        type=int,
        default=1,
        metavar="N",
        help="run so many arms at once, in processes that share out the processor's cores (default: 1)",
    )
    for name, words in REAL_SETS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=Path,
            metavar="DIR",
            help=f"{words} as its owners ship it: try the arms on its frames too, with patches over joints",
        )
    parser.add_argument(
        "--so-far", action="store_true", help="write the report of the arms that have been run, run none"
    )


def run(args: argparse.Namespace) -> int:
    from ..study.plan import load_study
    from ..study.run import report_so_far, run_study

    if args.at_once < 1:
        raise UserError(f"--at-once: expected a number of arms of at least 1, got {args.at_once}")
    study = load_study(args.config, args.overrides)
    sets = {name: root for name in REAL_SETS if (root := getattr(args, name)) is not None}
    if args.so_far and sets:
        raise UserError(f"--so-far: expected no data set beside it, got {', '.join(map(str, sets.values()))}")
    print(
        report_so_far(study) if args.so_far else run_study(study, at_once=args.at_once, real_sets=sets),
    )
    return 0
