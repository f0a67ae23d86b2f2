"""Find the joints of persons in a video or in pictures.

  rpstn predict clip.mp4 --out joints
  rpstn predict clip.mp4 --weights runs/penn_action_r50/best.pt --out joints
  rpstn predict frames/ --fps 30 --boxes boxes.csv --weights best.pt --out joints
  rpstn predict clip.mp4 --weights pose_hrnet_w32_256x192.pth --skeleton coco --out joints

Writes predictions.json (COCO key points), predictions.csv (frame, time, person, joint, x, y, score,
probability, state) and overlay.mp4 into the folder --out; all of them or, if something fails, none. Ctrl-C leaves the
frames that are finished in files whose names end in .partial. Results that are there are not replaced, unless by
--overwrite; where the same source, weights and options made them (made_with.json), nothing is done again.

Several videos, a folder of them, a pattern in quotes ('clips/**/*.mp4') or @list.txt with one on each line: each gets a
folder below --out. One that is broken is told, the others go on, and the exit status is 1. 0 is the first camera, and
what has :// the address of a stream: both go on until Ctrl-C.

Each frame has the time at which players show it, and the picture is turned as they turn it; joints are pixels of that
picture. The overlay keeps these times and the sound.

Without --boxes the first frame is searched: the network is shown many parts of it, and the most plausible person is
followed from there, the next box from the pose found. Who is lost is searched for near by, and after a second in the
whole frame. With --persons N a frame every second is searched for up to N people. It is a guess: look at the overlay.
With --whole-picture one person fills the frame.

Boxes come as .csv with the header frame,person,x1,y1,x2,y2, as .json, a list of {"image_id" or "frame", "bbox": [x, y,
width, height], "track_id"} or a COCO file, or as .txt, MOTChallenge's frame,id,left,top,width,height,...; with - from
standard input in one of these forms. They are in pixels, with decimal points. Frames count from 0 (in .txt from 1, as
ids and pixels do); a picture may also be named by its file name, and a frame by its video's name and a frame_id. Of
several categories (category_id) the persons' is taken. Where no box says whose it is, people get numbers by overlap
from frame to frame, poses and clothes; a box that no other one continues is nobody's. With --stills nobody needs a
number.

A person's boxes may be few. Between two of them the others are interpolated, and beyond the last one the person is
followed until lost, unless the boxes went frame by frame and the file goes on for others: then the person has left.
With --no-follow the boxes are all there are.

Where torchvision is installed, --detector fasterrcnn_resnet50_fpn finds the people, in every frame or in every
--detect-every N-th one, up to --persons at a time; people get numbers as above, good for a second of absence. With
--select only one of several people is wanted.

Without --weights those that come with the package are used: a small network trained on drawn people, which never saw a
real person. Public weights are taken as they were downloaded, by the rules of rpstn convert; what was taken for granted
is printed.

Pictures are turned by their EXIF orientation, as viewers show them.

Every frame of a person is searched with what the frame before told; who was lost and is found again begins anew.

{FORMATS}
predictions.json is always written; rpstn reformat makes the others of it afterwards.
"""

import argparse
import re
from pathlib import Path

from ..arguments import FORMATS_HELP, add_files
from ..config import PRECISIONS

__doc__ = __doc__.replace("{FORMATS}", FORMATS_HELP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="videos, folders of videos or of frames, patterns, @FILE with a list, addresses of streams, 0 for a "
        "camera; or pictures of one video",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="a checkpoint of rpstn train, or public weights (default: those that come with the package)",
    )
    parser.add_argument(
        "--skeleton",
        metavar="NAME",
        help="the data set whose joints public weights find, for example coco; what other weights were trained with",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--boxes", type=Path, metavar="FILE", help="persons' boxes, .csv, .json, .txt or - (see above)"
    )
    parser.add_argument(
        "--no-follow", action="store_true", help="with --boxes: a person is only where the file has a box"
    )
    parser.add_argument(
        "--persons",
        type=int,
        metavar="N",
        help="without --boxes: how many people to search for at most (default: 1; with --detector: all)",
    )
    parser.add_argument(
        "--detector",
        metavar="NAME[=WEIGHTS]",
        help="fasterrcnn_resnet50_fpn of torchvision finds the people; WEIGHTS is a file of its or of rpstn "
        "train-detector (default: torchvision's own for COCO, downloaded if need be)",
    )
    parser.add_argument(
        "--detect-every",
        type=int,
        default=1,
        metavar="N",
        help="with --detector: in every N-th frame, people are followed between (default: 1)",
    )
    parser.add_argument(
        "--select",
        metavar="largest|centre|X,Y",
        help="of several people only the largest, the most central, or the nearest to a point in pixels",
    )
    parser.add_argument(
        "--whole-picture", action="store_true", help="search for nobody: one person fills the picture"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="what the network computes products in (default: float32); 16 bits are for GPUs, on a CPU without "
        "instructions for them bfloat16 took twice as long and float16 five times",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="S",
        help="joints with a lower score are drawn hollow (default: 0.2; none with calibrated weights, where hollow are "
        "the hidden ones, and the unsure are pale)",
    )
    parser.add_argument(
        "--overlay",
        choices=("mp4", "webm", "both", "none"),
        help="format of the video with the skeletons (default: mp4, or webm where FFmpeg has no encoder of H.264)",
    )
    add_files(parser, default=("coco", "csv"))
    parser.add_argument(
        "--fps",
        type=float,
        metavar="N",
        help="frames per second of pictures (default: 25), or instead of the video's own",
    )
    parser.add_argument(
        "--start", type=_seconds, metavar="T", help="begin at this time (seconds, or h:mm:ss)"
    )
    parser.add_argument("--end", type=_seconds, metavar="T", help="end before this time")
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="take one frame of N (default: 1); times and numbers stay",
    )
    parser.add_argument(
        "--stills",
        action="store_true",
        help="pictures that are no video: each is searched by itself, sizes may differ",
    )
    parser.add_argument(
        "--poses",
        type=Path,
        metavar="FILE",
        help="for weights of PoseFix: a checkpoint of the network whose poses are refined",
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="average with what is found in the mirrored picture, which takes twice as long",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that are in --out already")


def run(args: argparse.Namespace) -> int:
    from ..video.inputs import inputs
    from ..video.options import Options
    from ..video.pipeline import predict
    from ..video.telling import about, go_through

    options = {
        "skeleton": args.skeleton,
        "boxes": args.boxes,
        "follow": not args.no_follow,
        "persons": args.persons,
        "detector": args.detector,
        "detect_every": args.detect_every,
        "select": args.select,
        "precision": args.precision,
        "whole_picture": args.whole_picture,
        "device": args.device,
        "min_score": args.min_score,
        "fps": args.fps,
        "start": args.start,
        "end": args.end,
        "every": args.every,
        "stills": args.stills,
        "poses": args.poses,
        "flip": args.flip,
        "formats": tuple(args.formats),
        "smooth": args.smooth,
        "fill_gaps": args.fill_gaps,
        "overwrite": args.overwrite,
    }
    if args.overlay is not None:
        options["overlay"] = args.overlay
    named = inputs(args.source, args.out)
    if [one.out for one in named] != [args.out]:
        return go_through(named, args.weights, Options(**options))
    result = predict(named[0].source, args.weights, args.out, **options)
    print("\n".join(about(result, boxed=args.boxes is not None)))
    return 0


def _seconds(text: str) -> float:
    """Seconds of a text like 90, 1:30 or 0:01:30.5."""
    parts = text.split(":")
    if len(parts) > 3 or not all(re.fullmatch(r"\d+(\.\d+)?", part) for part in parts):
        raise argparse.ArgumentTypeError(f"expected seconds or h:mm:ss, got {text}")
    return sum(float(part) * 60**place for place, part in enumerate(reversed(parts)))
