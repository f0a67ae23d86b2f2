"""Fine-tune the detector of `rpstn detect` on HiEve's boxes, from one YAML file.

  rpstn train-detector training/configs/detectors/hieve.yaml --set root=FOLDER

The run folder (the configuration's output) gets config.json, metrics.jsonl, last.pt and best.pt, which has the highest
AP of boxes at overlap 0.5 on the videos of `validation`. Ctrl-C ends after the step under way and keeps last.pt, from
which --resume goes on.
"""

import argparse
from pathlib import Path

from ..arguments import add_overrides
from ..config import load_as
from ..detection import finetune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="the fine-tuning")
    add_overrides(parser, "root=FOLDER")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")


def run(args: argparse.Namespace) -> int:
    print(finetune.train(load_as(finetune.DetectorConfig, args.config, args.overrides), resume=args.resume))
    return 0
