"""Score trained weights: PCK with both normalisers, visible and occluded joints apart, and the protocol.

  rpstn eval training/configs/penn_action.yaml --weights runs/penn_action/best.pt --set
  eval.protocol=streaming

Prints the tables and writes them with configuration, versions and commit as JSON, next to the weights or to
--out.
"""

import argparse
from pathlib import Path

from .. import checkpoint as checkpoints
from ..config import Config, from_dict, load_config
from ..datasets import load_skeleton, load_tracks
from ..engine import select_device
from ..errors import UserError
from ..evaluate import evaluate
from ..files import write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        type=Path,
        metavar="CONFIG.yaml",
        help="data and protocol; its model must be that of the weights",
    )
    parser.add_argument(
        "--weights", type=Path, required=True, metavar="FILE", help="a checkpoint of rpstn train"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change one value, for example --set eval.protocol=streaming (may be repeated)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.json",
        help="where the scores go (default: eval.json next to the weights)",
    )


def run(args: argparse.Namespace) -> int:
    config = load_config(args.config, args.overrides)
    checkpoint = checkpoints.load(args.weights)
    require_same_model(config, checkpoint)
    device = select_device(config.train.device)
    tracks = load_tracks(config.data, config.eval.subset)
    evaluation = evaluate(checkpoint.build_model().to(device), config, tracks)
    print(evaluation.text)
    out = args.out or args.weights.with_name("eval.json")
    write_json(
        out, {"weights": str(args.weights), "trained_with": checkpoint.versions, **evaluation.to_dict()}
    )
    print(f"\n{out}")
    return 0


def require_same_model(config: Config, checkpoint: checkpoints.Checkpoint) -> None:
    """Raise `UserError` where the weights are of another model, skeleton or input than the
    configuration's.
    """
    skeleton = load_skeleton(config.data)
    trained = from_dict(checkpoint.config, checkpoint.path)
    pairs = [
        ("model.name", config.model.name, checkpoint.model_name),
        ("model.options", config.model.options, checkpoint.model_options),
        ("data.name", config.data.name, trained.data.name),
        ("data.input_size", list(config.data.input_size), list(checkpoint.input_size)),
        ("joints", list(skeleton.joints), list(checkpoint.skeleton.joints)),
    ]
    for key, wanted, found in pairs:
        if wanted != found:
            raise UserError(
                f"{checkpoint.path}: expected weights trained with {key} {wanted}, got {found}; "
                "evaluate them with the configuration they were trained with"
            )
