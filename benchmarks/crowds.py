"""Who is who in drawn crowds: AP, MOTA, IDF1 and switches as `rpstn score` counts them, by where the boxes come from.

    python -m benchmarks.crowds --weights best.pt                     # draws the crowds into a folder of its own
    python -m benchmarks.crowds --weights best.pt --root FOLDER --json crowds.json

The crowds are those of `rpstn synth --dataset posetrack2018`: two to six people who cross, leave and come. Their frames
go through what `rpstn predict` does, with

  true boxes     those of the labels, without numbers
  noisy boxes    the same, each side moved at random (5 % of the box), a tenth of them left out, 5 % of others added
  no boxes       nothing: as many people are searched for as the labels have at most in a frame

`ids alone` takes the true joints in place of the network's: true boxes, and the numbers that they are given. What is
left there is the fault of the numbers alone. A switch of a joint may also come from a pose that lies on another person.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rpstn_synth.synthesis import synthesise
from rpstn_training.data.boxes import from_corner
from rpstn_training.data.sets import posetrack2018
from rpstn_training.data.tracking import link
from rpstn_training.errors import UserError
from rpstn_training.packaged import packaged_weights
from rpstn_training.public_files import open_weights
from rpstn_training.scores.sets.posetrack2018 import score
from rpstn_training.video.pipeline import stream

from .common import provenance

FPS = 15.0  # of the drawn clips
CLIPS, FRAMES, SEED = 20, 45, 303  # every fourth clip is a test clip
WAYS = ("ids alone", "true boxes", "noisy boxes", "no boxes")
NAMES = posetrack2018.SKELETON.joints
_JITTER, _DROPPED, _FALSE = 0.05, 0.1, 0.05


def predictions(
    way: str, folder: Path, labels: dict[str, Any], weights: Path, names: list[str]
) -> list[dict[str, Any]]:
    """PoseTrack's annotations of one sequence. `names` are the joints of the weights."""
    images = sorted(labels["images"], key=lambda image: image["file_name"])
    place = {image["id"]: number for number, image in enumerate(images)}
    rows = [
        (place[entry["image_id"]], from_corner(np.array(entry["bbox"], dtype=np.float64)), entry)
        for entry in labels["annotations"]
    ]
    if way == "ids alone":
        numbers = link(
            [frame for frame, _, _ in rows], np.stack([box for _, box, _ in rows]), max_missed=round(FPS)
        )
        return [
            {
                "image_id": entry["image_id"],
                "track_id": int(number),
                "keypoints": entry["keypoints"],
                "scores": [1.0] * len(NAMES),
            }
            for number, (_, _, entry) in zip(numbers, rows)
        ]
    frames = tuple(folder / image["file_name"] for image in images)
    options: dict[str, Any] = {"fps": FPS, "device": "cpu", "show_progress": False}
    with tempfile.TemporaryDirectory() as temporary:
        if way == "no boxes":
            options["persons"] = max(Counter(frame for frame, _, _ in rows).values())
        else:
            options["boxes"] = Path(temporary) / "boxes.csv"
            with open(options["boxes"], "w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow(["frame", "x1", "y1", "x2", "y2"])
                table.writerows(_boxes(rows, noisy=way == "noisy boxes"))
        return [
            _annotation(images[frame.number]["id"], pose, names)
            for frame, poses in stream(frames, weights, **options)
            for pose in poses
        ]


def _boxes(rows: list[tuple[int, np.ndarray, dict[str, Any]]], *, noisy: bool) -> Iterator[list[float]]:
    rng = np.random.default_rng(len(rows))
    for frame, box, _ in rows:
        if not noisy:
            yield [frame, *box.tolist()]
            continue
        sides = box[2:] - box[:2]
        if rng.random() >= _DROPPED:
            yield [frame, *(box + rng.normal(0, _JITTER, 4) * np.tile(sides, 2)).tolist()]
        if rng.random() < _FALSE:  # of somebody's size, somewhere in the picture
            corner = rng.uniform(0, 200, 2)
            yield [frame, *corner.tolist(), *(corner + sides).tolist()]


def _annotation(image_id: int, pose: Any, names: list[str]) -> dict[str, Any]:
    keypoints, scores = np.zeros((len(NAMES), 3)), np.zeros(len(NAMES))
    for joint, name in enumerate(NAMES):
        if name in names:
            own = names.index(name)
            keypoints[joint], scores[joint] = (*pose.joints[own], 1), pose.scores[own]
    return {
        "image_id": image_id,
        "track_id": pose.person,
        "keypoints": keypoints.ravel().tolist(),
        "scores": scores.tolist(),
    }


def measure(root: Path, weights: Path, ways: tuple[str, ...] = WAYS) -> dict[str, dict[str, float]]:
    """AP, MOTA and IDF1 in percent and the number of joints' switches by way, over the sequences of the part val."""
    names = [] if ways == ("ids alone",) else list(open_weights(weights).skeleton.joints)
    results = {}
    truth = root / "annotations" / "val"
    if not truth.is_dir():
        raise UserError(
            f"{truth}: expected the labels of rpstn synth --dataset posetrack2018, found no folder"
        )
    for way in ways:
        with tempfile.TemporaryDirectory() as folder:
            for file in sorted(truth.glob("*.json")):
                labels = json.loads(file.read_text(encoding="utf-8"))
                content = {
                    "images": labels["images"],
                    "annotations": predictions(way, root, labels, weights, names),
                    "categories": [{"id": 1, "name": "person", "keypoints": list(NAMES)}],
                }
                (Path(folder) / file.name).write_text(json.dumps(content), encoding="utf-8")
            table = score(truth, Path(folder))
        results[way] = {name: table.rows[name]["Total"] for name in ("AP", "MOTA", "IDF1", "Switches")}
    return results


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="default: those that come with the package"
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="crowds that are there (default: drawn, and deleted)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the numbers go")
    args = parser.parse_args(arguments)
    weights = args.weights or packaged_weights()
    facts = {"weights": open_weights(weights).sentence} | provenance()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or Path(folder) / "crowds"
        if args.root is None:
            synthesise(root, dataset="posetrack2018", clips=CLIPS, frames=FRAMES, seed=SEED)
        results = measure(root, weights)
    for name, value in facts.items():
        print(f"{name}: {value}")
    print(f"\n{'':16}{'AP':>8}{'MOTA':>8}{'IDF1':>8}  switches of joints")
    for way, row in results.items():
        print(f"{way:16}{row['AP']:8.1f}{row['MOTA']:8.1f}{row['IDF1']:8.1f}  {row['Switches']}")
    if args.json is not None:
        args.json.write_text(json.dumps(facts | results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(str(error))
