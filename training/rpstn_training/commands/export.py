"""Export a network as a graph: ONNX or pt2 of torch.export, which run without this package, or a compiled AOTI package.

  rpstn export runs/penn_action_r50/best.pt start.onnx --format onnx --what start
  rpstn export runs/penn_action_r50/best.pt step.onnx --format onnx --what step
  rpstn export pose_hrnet_w32_256x192.pth hrnet.pt2 --format pt2 --what clip --frames 1
  rpstn export runs/penn_action_r50/best.pt step.pt2 --format aoti --what step

The graphs take uint8 RGB crops and normalise them themselves; their batch is free, height and width are the weights'
own. They give heat maps:

  start   frame [B, 3, H, W]                    -> heatmaps [B, K, h, w], state
  step    frame [B, 3, H, W], state             -> heatmaps [B, K, h, w], next_state
  clip    clip [B, T, 3, H, W]                  -> heatmaps [B, T, K, h, w]

A network for images has no state: its start and step are the same graph, frame to heatmaps. A clip has as many frames
as in training, or --frames. Joints, crop and decoding stand in the file, as JSON under rpstn.json: an extra file of a
pt2, metadata of the other two. Everything is checked against the network at two batches before it is written, ONNX
where onnxruntime is installed. Public weights are taken by the rules of rpstn convert. A file that is there already is
not overwritten.

A package of AOTInductor has the compiled operations and runs from C++: docs/cpp has a program. It is compiled, which
takes a C++ compiler and a minute or two, and serves the CPU of this kind of machine with this release of torch.
"""

import argparse
from pathlib import Path

from ..errors import UserError
from ..exporting import FORMATS, WHAT
from .convert import size

_FRAMES = 5  # of the paper's clips, for weights that were not trained here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="a checkpoint, or public weights")
    parser.add_argument("out", type=Path, metavar="OUT", help="where the graph goes, for example step.onnx")
    parser.add_argument(
        "--format", choices=FORMATS, required=True, help="onnx, pt2 of torch.export, or a compiled aoti"
    )
    parser.add_argument("--what", choices=WHAT, default="step", help="which graph (default: step)")
    parser.add_argument(
        "--frames",
        type=int,
        metavar="T",
        help="frames of a clip (default: as in training; 5 for public weights)",
    )
    parser.add_argument(
        "--skeleton", metavar="NAME", help="the data set whose joints public weights find, for example coco"
    )
    parser.add_argument(
        "--input-size",
        type=size,
        metavar="WxH",
        help="width and height of the input of public weights, for example 192x256",
    )


def run(args: argparse.Namespace) -> int:
    from ..exporting import export
    from ..files import atomic_write, require_new
    from ..public_files import open_weights

    if args.frames is not None and (args.frames < 1 or args.what != "clip"):
        expected = "at least 1" if args.what == "clip" else "none without --what clip"
        raise UserError(f"--frames: expected {expected}, got {args.frames}")
    require_new(args.out)
    checkpoint = open_weights(args.weights, skeleton=args.skeleton, input_size=args.input_size)
    frames = args.frames or (checkpoint.config["data"]["clip_length"] if checkpoint.config else _FRAMES)
    with atomic_write(args.out) as file:  # a folder that refuses it says so before the work
        exported = export(checkpoint, args.format, args.what, frames=frames)
        file.write(exported.content)
    print(
        f"{checkpoint.sentence}: {', '.join(exported.metadata['inputs'])} -> "
        f"{', '.join(exported.metadata['outputs'])}"
    )
    if exported.difference is None:
        print("not compared with the network: onnxruntime is not installed (pip install onnxruntime)")
    else:
        print(f"at most {exported.difference:.1e} of the largest value from the network, at batches 1 and 3")
    print(args.out)
    return 0
