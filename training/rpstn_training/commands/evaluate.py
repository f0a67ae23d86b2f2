"""Score trained weights: PCK with both normalisers, visible and occluded joints apart, the data set's official
score, and the protocol.

  rpstn eval training/configs/penn_action.yaml --weights runs/penn_action/best.pt --set
  eval.protocol=streaming

Prints the tables and writes them with configuration, versions and commit as JSON, next to the weights or to
--out. The predictions lie beside it in the form that the data set's owners want handed in, in a folder called
as the JSON file with _submission; the official score is that of these files (rpstn score prints it again).
"""

import argparse
from pathlib import Path

from ..config import Config, from_dict, load_config
from ..data.sets import load_skeleton, load_tracks
from ..errors import UserError
from ..evaluation import evaluate
from ..files import write_json
from ..scores.coco_ap import NMS
from ..scores.submission import submit
from ..train import checkpoint as checkpoints
from ..train.engine import select_device


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
    parser.add_argument(
        "--nms",
        choices=NMS,
        help="for COCO and custom: how several poses of one person are thinned out (default: oks)",
    )


def run(args: argparse.Namespace) -> int:
    config = load_config(args.config, args.overrides)
    checkpoint = checkpoints.load(args.weights)
    require_same_model(config, checkpoint)
    device = select_device(config.train.device)
    tracks = load_tracks(config.data, config.eval.subset)
    evaluation = evaluate(checkpoint.build_model().to(device), config, tracks, need_score=False)
    print(evaluation.text)
    out = args.out or args.weights.with_name("eval.json")
    submission = submit(
        evaluation.predictions, tracks, config, out.with_name(f"{out.stem}_submission"), nms=args.nms
    )
    if submission.text:
        print(f"\n{submission.text}")
    write_json(
        out,
        {
            "weights": str(args.weights),
            "trained_with": checkpoint.versions,
            **evaluation.to_dict(),
            **submission.to_dict(),
        },
    )
    print(f"\n{out}")
    if submission.path is not None:
        print(submission.path)
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
