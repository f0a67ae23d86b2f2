"""Find the persons in a set's pictures, by torchvision's Faster R-CNN with ResNet-50.

  rpstn detect training/configs/hieve.yaml --set data.root=FOLDER --weights cache --out FOLDER/boxes.json

The set is that of a configuration (hieve, coco, posetrack2018); HiEve's videos are decoded as for training. The file is
COCO's list of results, image_id, category_id 1, bbox [x, y, width, height] and score, which data.options.detections
reads. It is written whole or not at all.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..arguments import add_overrides
from ..config import load_config
from ..data.images import read_image
from ..data.records import Picture
from ..data.sets import load_pictures
from ..detection import detector
from ..device import choose_device
from ..errors import UserError
from ..files import write_text
from ..interrupt import ignore_interrupt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", type=Path, metavar="CONFIG.yaml", help="the experiment whose pictures are looked through"
    )
    add_overrides(parser, "data.options.images=test")
    parser.add_argument(
        "--weights",
        required=True,
        metavar="FILE|cache",
        help="of rpstn train-detector or of torchvision; cache: torchvision's own for COCO, downloaded if need be",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="where the boxes go")
    parser.add_argument(
        "--subset",
        choices=("test", "train"),
        default="test",
        help="whose pictures: of the part that is tested on or of the other one (default: test)",
    )
    parser.add_argument(
        "--min-score", type=float, default=0.05, metavar="S", help="lowest score of a box (default: 0.05)"
    )
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="every N-th picture of a folder or video (default: 1)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=4, metavar="B", help="pictures that go through at once (default: 4)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")


def run(args: argparse.Namespace) -> int:
    if not 0 <= args.min_score < 1:
        raise UserError(f"--min-score: expected at least 0 and less than 1, got {args.min_score:g}")
    for option, value in (("--every", args.every), ("--batch-size", args.batch_size)):
        if value < 1:
            raise UserError(f"{option}: expected at least 1, got {value}")
    if args.out.suffix != ".json":
        raise UserError(f"--out: expected the name of a file that ends in .json, got {args.out}")
    config = load_config(args.config, args.overrides)
    device = choose_device(args.device, "--device")
    model = detector.load(detector.read_weights(args.weights)).to(device)
    pictures = every_nth(load_pictures(config.data, args.subset), args.every)
    rows: list[dict[str, Any]] = []
    with_people = 0
    loader = DataLoader(
        _Images(pictures),
        batch_size=args.batch_size,
        num_workers=config.data.workers,
        collate_fn=list,
        worker_init_fn=ignore_interrupt,
    )
    with tqdm(total=len(pictures), desc="pictures", unit="picture", leave=False, dynamic_ncols=True) as bar:
        for batch in loader:
            numbers, images = zip(*batch)
            found = detector.find_people(model, images, min_score=args.min_score)
            for number, (boxes, scores) in zip(numbers, found):
                rows += _rows(pictures[number], boxes, scores)
                with_people += bool(len(boxes))
            bar.update(len(batch))
    if not rows:
        raise UserError(
            f"{args.weights}: expected persons with a score of {args.min_score:g} or more in {len(pictures)} pictures, "
            "found none and wrote nothing; lower --min-score, or take other weights"
        )
    write_text(args.out, json.dumps(rows, allow_nan=False) + "\n")
    print(f"{len(rows):,} persons in {with_people:,} of {len(pictures):,} pictures\n{args.out}")
    return 0


def every_nth(pictures: list[Picture], step: int) -> list[Picture]:
    """Of each folder, which a video has for itself, the pictures 0, N, 2N ..."""
    kept, seen = [], {}
    for picture in pictures:
        place = seen.get(picture.path.parent, 0)
        seen[picture.path.parent] = place + 1
        if place % step == 0:
            kept.append(picture)
    return kept


class _Images(Dataset):
    def __init__(self, pictures: list[Picture]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, number: int) -> tuple[int, np.ndarray]:
        picture = self.pictures[number]
        return number, read_image(picture.path, orientation=picture.orientation, size=picture.size)


def _rows(picture: Picture, boxes: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).round(2)
    return [
        {"image_id": picture.id, "category_id": 1, "bbox": box, "score": score}
        for box, score in zip(sizes.tolist(), scores.round(5).tolist())
    ]
