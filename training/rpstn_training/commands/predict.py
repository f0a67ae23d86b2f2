"""Find the joints of persons in a video or in pictures.

  rpstn predict clip.mp4 --weights runs/penn_action_r50/best.pt --out joints
  rpstn predict frames/ --fps 30 --boxes boxes.csv --weights best.pt --out joints
  rpstn predict clip.mp4 --weights pose_hrnet_w32_256x192.pth --skeleton coco --out joints

Writes predictions.json (COCO key points), predictions.csv (frame, time, person, joint, x, y, score) and
overlay.mp4 into the folder --out; all of them or, if something fails, none.

Without --boxes the whole picture is the box of one person. Boxes come as .csv with the header
frame,person,x1,y1,x2,y2 or as .json, a list of {"image_id" or "frame", "bbox": [x, y, width, height],
"track_id"} or a COCO file, in pixels. Frames count from 0; a picture may also be named by its file name. Of
several categories (category_id) the persons' is taken. With --stills nobody needs a number.

Public weights are taken as they were downloaded, by the rules of rpstn convert; what was taken for granted is printed.

Pictures are turned by their EXIF orientation, as viewers show them.

A person is followed from the first box on: every frame is searched with what the frame before told. After
frames without a box the search goes on from the last one with a box.
"""

import argparse
import statistics
from pathlib import Path

_LOW_SCORE = 0.5  # of a pose, the mean of its joints


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        type=Path,
        nargs="+",
        metavar="SOURCE",
        help="a video, a folder of frames (natural order), or pictures",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="FILE",
        help="a checkpoint of rpstn train, or public weights",
    )
    parser.add_argument(
        "--skeleton",
        metavar="NAME",
        help="the data set whose joints public weights find, for example coco; what other weights were trained with",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--boxes", type=Path, metavar="FILE", help="persons' boxes, .csv or .json (see above)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.2,
        metavar="S",
        help="joints with a lower score are drawn hollow (default: 0.2)",
    )
    parser.add_argument(
        "--overlay",
        choices=("mp4", "webm", "both", "none"),
        default="mp4",
        help="format of the video with the skeletons (default: mp4; browsers play webm)",
    )
    parser.add_argument(
        "--fps",
        type=float,
        metavar="N",
        help="frames per second of pictures (default: 25), or instead of the video's own",
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


def run(args: argparse.Namespace) -> int:
    from ..video.pipeline import predict

    result = predict(
        args.source,
        args.weights,
        args.out,
        skeleton=args.skeleton,
        boxes=args.boxes,
        device=args.device,
        overlay=args.overlay,
        min_score=args.min_score,
        fps=args.fps,
        stills=args.stills,
        poses=args.poses,
        flip=args.flip,
    )
    print(
        f"{len(result.frames)} frames, {len(result.persons)} person{'s' * (len(result.persons) != 1)}, "
        f"{len(result.poses)} poses of {len(result.skeleton.joints)} joints, {result.speed:.1f} frames/s"
    )
    print(f"weights: {result.weights}")
    typical = statistics.median([float(pose.scores.mean()) for pose in result.poses] or [1.0])
    if typical < _LOW_SCORE:
        hint = (
            "check the boxes"
            if args.boxes
            else "if people do not fill the picture, give their boxes with --boxes"
        )
        print(f"the scores are low ({typical:.2f}; a joint that is plain to see has about 1): {hint}")
    for file in result.files.values():
        print(file)
    return 0
