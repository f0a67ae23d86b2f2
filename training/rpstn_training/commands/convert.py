"""Make a checkpoint of public weights: one file that says which network, joints and crops it is for.

  rpstn convert pose_hrnet_w32_256x192.pth hrnet_w32.pt
  rpstn convert pose_resnet_50.pth.tar sbl.pt --skeleton penn_action --input-size 256x256

Known are the files of SimpleBaseline, HRNet, pytorch-pose's hourglasses, S-ViPNAS-Res50, ViTPose with its simple head,
and mmpose's ResNets and HRNets; which it is tell the names in the file. 17 joints are COCO's and 16 MPII's unless
--skeleton says otherwise. The input's size is that in the file's name, which these authors write HEIGHTxWIDTH, or the
usual one. What was chosen is printed and stands in the file. A file that is there already is not overwritten.

rpstn predict takes a public file as it is, by the same rules. rpstn eval takes what this command writes, with a
configuration of the same network; a training begins with it by model.weights or a part's weights.
"""

import argparse
from pathlib import Path

from ..arguments import width_and_height
from ..errors import UserError
from ..files import require_new
from ..public_families import FAMILIES
from ..public_files import convert
from ..train import checkpoint as checkpoints


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN", help="the public file")
    parser.add_argument("out", type=Path, metavar="OUT", help="where the checkpoint goes, for example sbl.pt")
    parser.add_argument("--family", metavar="NAME", help=f"what the file is: {', '.join(FAMILIES)}")
    parser.add_argument(
        "--skeleton", metavar="NAME", help="the data set whose joints its maps are, for example coco"
    )
    parser.add_argument(
        "--input-size", type=size, metavar="WxH", help="width and height of the input, for example 192x256"
    )


def size(text: str) -> tuple[int, int]:
    """Width and height of a text like 192x256."""
    found = width_and_height(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, for example 192x256, got {text}")
    return found


def run(args: argparse.Namespace) -> int:
    require_new(args.out)
    content = checkpoints.read_tensors(args.source)
    if checkpoints.is_ours(content):
        raise UserError(f"{args.source}: expected a public file, got a checkpoint of ours; use it as it is")
    checkpoint = convert(
        content, args.source, family=args.family, skeleton=args.skeleton, input_size=args.input_size
    )
    checkpoints.save(args.out, checkpoint)
    print("\n".join(checkpoint.source["choices"]))
    print(args.out)
    return 0
