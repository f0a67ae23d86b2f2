"""Train a model from one YAML file, or continue a run.

  rpstn train training/configs/penn_action.yaml --set data.root=data/Penn_Action
  rpstn train training/configs/penn_action.yaml --resume runs/penn_action

The run folder (the configuration's output) gets config.yaml, metrics.jsonl, last.pt, best.pt and eval.json.
Ctrl-C ends after the step under way and keeps last.pt, from which --resume continues as if the run had never
stopped.
"""

import argparse
from pathlib import Path

from ..arguments import add_overrides
from ..config import load_config
from ..errors import UserError
from ..train.engine import train
from ..train.ranks import is_first
from ..train.run_folder import require_run, summarise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        type=Path,
        nargs="?",
        metavar="CONFIG.yaml",
        help="the experiment; with --resume the run's own",
    )
    add_overrides(parser, "train.epochs=20")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="run folder to continue")


def run(args: argparse.Namespace) -> int:
    path = args.config
    if path is None:
        if args.resume is None:
            raise UserError(
                "train: expected a configuration file, or a run to continue with --resume RUN; got neither"
            )
        require_run(args.resume)
        path = args.resume / "config.yaml"
    best = train(load_config(path, args.overrides), resume=args.resume)
    if is_first():
        print(f"\n{best}\n{summarise(best.parent)}")
    return 0
