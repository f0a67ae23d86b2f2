"""Score trained weights: PCK with both normalisers, visible and occluded joints apart, the data set's official
score, and the protocol.

  rpstn eval training/configs/penn_action.yaml --weights runs/penn_action/best.pt --set eval.subset=validation

Prints the tables and writes them with configuration, versions and commit as JSON, next to the weights or to
--out. The predictions lie beside it in the form that the data set's owners want handed in, in a folder called
as the JSON file with _submission; the official score is that of these files (rpstn score prints it again).
"""

import argparse
from pathlib import Path
from typing import NoReturn

from ..arguments import add_overrides
from ..building import describe_network, same_network
from ..codec import Codec
from ..config import Config, ModelConfig, load_config
from ..data.records import Skeleton
from ..data.sets import has_splits, load_skeleton
from ..data.subsets import load_subset
from ..device import allow_tf32, choose_device
from ..errors import UserError
from ..evaluation import evaluate
from ..files import write_json
from ..scores.coco_ap import NMS
from ..scores.submission import submit
from ..train import checkpoint as checkpoints


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        type=Path,
        metavar="CONFIG.yaml",
        help="data and protocol; its model must be that of the weights",
    )
    parser.add_argument(
        "--weights", type=Path, required=True, metavar="FILE", help="a checkpoint of rpstn train or convert"
    )
    add_overrides(parser, "eval.protocol=streaming")
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
    skeleton = load_skeleton(config.data)
    require_same(config, skeleton, checkpoint)
    device = choose_device(config.train.device, "train.device")
    allow_tf32(config.train.tf32)
    model = checkpoint.build_model().to(device)
    codec = Codec.of(config, model)
    subset = load_subset(config, config.eval.subset)
    evaluation = evaluate(model, subset.config, subset.tracks, skeleton, codec)
    chosen = f"Weights: {checkpoint.path}, {checkpoint.origin}"
    print(f"{evaluation.text}\n\n{chosen}")
    out = args.out or args.weights.with_name("eval.json")
    submission = submit(
        evaluation.predictions,
        subset.tracks,
        subset.config,
        skeleton,
        out.with_name(f"{out.stem}_submission"),
        nms=args.nms,
    )
    if submission.text:
        print(f"\n{submission.text}")
    write_json(
        out,
        {
            "weights": str(args.weights),
            "weights_chosen_on": checkpoint.selected_on,
            "weights_from": checkpoint.source,
            "trained_with": checkpoint.trained_with,
            **evaluation.to_dict(),
            **submission.to_dict(),
        },
    )
    print(f"\n{out}")
    if submission.path is not None:
        print(submission.path)
    return 0


def require_same(config: Config, skeleton: Skeleton, checkpoint: checkpoints.Checkpoint) -> None:
    """Raise `UserError` where the weights are of another network, other joints or another input than the
    configuration's, or were trained on clips that are scored here.
    """
    model = ModelConfig(name=checkpoint.model_name, options=checkpoint.model_options)
    if not same_network(config.model, model):
        _refuse(checkpoint, "model", describe_network(config.model), describe_network(model))
    if config.data.input_size != checkpoint.codec.input_size:
        size = list(checkpoint.codec.input_size)
        _refuse(checkpoint, "data.input_size", list(config.data.input_size), size)
    for key in ("geometry", "maps", *(["radius"] if config.heatmap.maps == "offset" else [])):
        wanted, found = getattr(config.heatmap, key), getattr(checkpoint.codec, key)
        if wanted != found:
            _refuse(checkpoint, f"heatmap.{key}", wanted, found)
    if skeleton.joints != checkpoint.skeleton.joints:
        _refuse(checkpoint, "joints", list(skeleton.joints), list(checkpoint.skeleton.joints))
    if checkpoint.config is None:  # on which pictures public weights were trained is not known
        return
    trained = checkpoint.config["data"]
    same_set = trained["name"] == config.data.name
    if same_set and has_splits(config.data.name) and trained["split"] != config.data.split:
        raise UserError(
            f"{checkpoint.path}: expected weights of split {config.data.split} of {config.data.name}, which is scored "
            f"here, got weights of split {trained['split']}, whose training clips are among these; evaluate them with "
            f"data.split={trained['split']}"
        )


def _refuse(checkpoint: checkpoints.Checkpoint, key: str, wanted: object, found: object) -> NoReturn:
    raise UserError(
        f"{checkpoint.path}: expected weights trained with {key} {wanted}, got {found}; "
        "evaluate them with the configuration they were trained with"
    )
