"""Who is who in drawn crowds: AP, MOTA, IDF1 and switches as `rpstn score` counts them, by where the boxes come from.

    python -m benchmarks.crowds --weights best.pt                     # draws the crowds into a folder of its own
    python -m benchmarks.crowds --weights best.pt --root FOLDER --json crowds.json

MOTA, IDF1 and switches are of the joints that the weights' calibration takes for right (all, where there is none): what
is hidden or unsure is a false alarm there. AP is of all joints, which it orders by their scores.

A switch of a joint may come from a pose that lies on another person for a frame. Switches of people are counted by
whole poses, matched by OKS of at least 0.5 over the joints with labels; who is away for more than a second may come
back as somebody else.

The crowds are those of `rpstn synth --dataset posetrack2018`: two to six people who cross, leave and come. Their frames
go through what `rpstn predict` does, with

  true boxes     those of the labels, without numbers
  noisy boxes    the same, each side moved at random (5 % of the box), a tenth of them left out, 5 % of others added
  no boxes       nothing: as many people are searched for as the labels have at most in a frame, ignored ones too

`ids alone` takes the true joints in place of the network's: true boxes, and the numbers that these alone are given.
What is left there is the fault of the numbers.
"""

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rpstn_synth.synthesis import synthesise
from rpstn_training.data.boxes import from_corner
from rpstn_training.data.sets import posetrack2018
from rpstn_training.data.similarity import pose_similarity
from rpstn_training.data.tracking import link
from rpstn_training.errors import UserError
from rpstn_training.public_files import open_weights
from rpstn_training.scores.posetrack_ap import Pairs, People
from rpstn_training.scores.posetrack_mota import tracking
from rpstn_training.scores.sets.posetrack2018 import score
from rpstn_training.video.pipeline import stream

from . import found_joints

FPS = 15.0  # of the drawn clips
CLIPS, FRAMES, SEED = 20, 45, 303  # every fourth clip is a test clip
WAYS = ("ids alone", "true boxes", "noisy boxes", "no boxes")
NAMES = posetrack2018.SKELETON.joints
COLUMNS = ("AP", "MOTA", "IDF1", "Switches", "Switches of people")
_SIGMA, _MATCH = 0.07, 0.5  # of joints in OKS, and the OKS from which a pose is a person's
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
                "probabilities": [1.0] * len(NAMES),
            }
            for number, (_, _, entry) in zip(numbers, rows)
        ]
    frames = tuple(folder / image["file_name"] for image in images)
    options: dict[str, Any] = {"fps": FPS, "device": "cpu", "show_progress": False}
    with tempfile.TemporaryDirectory() as temporary:
        if way == "no boxes":
            options["persons"] = _most(images, rows)
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


def _most(images: list[dict[str, Any]], rows: list[tuple[int, np.ndarray, dict[str, Any]]]) -> int:
    """How many people there are at most in a frame; they are in ignored regions too."""
    labelled = Counter(frame for frame, _, _ in rows)
    return max(
        labelled[number] + len(image.get("ignore_regions_x", ())) for number, image in enumerate(images)
    )


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
    keypoints, scores, probabilities = np.zeros((len(NAMES), 3)), np.zeros(len(NAMES)), np.zeros(len(NAMES))
    for joint, name in enumerate(NAMES):
        if name in names:
            own = names.index(name)
            keypoints[joint], scores[joint] = (*pose.joints[own], 1), pose.scores[own]
            probabilities[joint] = 1.0 if pose.probabilities is None else pose.probabilities[own]
    return {
        "image_id": image_id,
        "track_id": pose.person,
        "keypoints": keypoints.ravel().tolist(),
        "scores": scores.tolist(),
        "probabilities": probabilities.tolist(),
    }


def _taken_for_right(entry: dict[str, Any], least: float) -> dict[str, Any]:
    """An annotation without the joints of lower probability."""
    keypoints = np.array(entry["keypoints"]).reshape(-1, 3)
    keypoints[np.array(entry["probabilities"]) < least] = 0
    return entry | {"keypoints": keypoints.ravel().tolist()}


def whole_people(labels: dict[str, Any], found: list[dict[str, Any]]) -> list[tuple[People, People, Pairs]]:
    """The labelled frames of one sequence with people as if each were one joint, at a distance of 1 - OKS."""
    frames = []
    last: dict[int, tuple[int, int]] = {}  # of a person: the frame, and how often away for more than a second
    for number, image in enumerate(sorted(labels["images"], key=lambda image: image["file_name"])):
        true = [entry for entry in labels["annotations"] if entry["image_id"] == image["id"]]
        if not image.get("is_labeled", True) or not true:
            continue
        for person in (entry["track_id"] for entry in true):
            before, times = last.get(person, (number, 0))
            last[person] = number, times + (number - before > FPS)
        tracks = [entry["track_id"] + 10**6 * last[entry["track_id"]][1] for entry in true]
        guesses = [entry for entry in found if entry["image_id"] == image["id"]]
        alike = np.array([[_oks(entry, guess) for entry in true] for guess in guesses])
        alike = alike.reshape(len(guesses), len(true), 1)
        pairs = Pairs(distances=1 - alike, matches=alike >= _MATCH, assigned=np.zeros(len(guesses), int))
        frames.append((_people(tracks), _people([guess["track_id"] for guess in guesses]), pairs))
    return frames


def _people(tracks: list[int]) -> People:
    count = len(tracks)
    return People(
        joints=np.zeros((count, 1, 2)),
        present=np.ones((count, 1), bool),
        scores=np.ones((count, 1)),
        heads=np.ones(count),
        tracks=np.array(tracks, int),
    )


def _oks(true: dict[str, Any], found: dict[str, Any]) -> float:
    """OKS over the joints that both have."""
    ours, theirs = (np.array(entry["keypoints"]).reshape(-1, 3) for entry in (found, true))
    both = (ours[:, 2] > 0) & (theirs[:, 2] > 0)
    area = np.prod(true["bbox"][2:])
    if not both.any():
        return 0.0
    sigmas = np.full(int(both.sum()), _SIGMA)
    return float(pose_similarity(theirs[both, :2], ours[None, both, :2], area, np.array([area]), sigmas)[0])


def measure(root: Path, weights: Path, ways: tuple[str, ...] = WAYS) -> dict[str, dict[str, float]]:
    """AP, MOTA and IDF1 in percent and the numbers of switches by way, over the sequences of the part val."""
    names, least = [], 0.0
    if ways != ("ids alone",):
        opened = open_weights(weights)
        names = list(opened.skeleton.joints)
        least = (opened.calibration and opened.calibration.joint_threshold) or 0.0
    truth = root / "annotations" / "val"
    if not truth.is_dir():
        raise UserError(
            f"{truth}: expected the labels of rpstn synth --dataset posetrack2018, found no folder"
        )
    return {way: _measure_way(way, root, truth, weights, names, least) for way in ways}


def _measure_way(
    way: str, root: Path, truth: Path, weights: Path, names: list[str], least: float
) -> dict[str, float]:
    people = []
    with tempfile.TemporaryDirectory() as every, tempfile.TemporaryDirectory() as right:
        for file in sorted(truth.glob("*.json")):
            labels = json.loads(file.read_text(encoding="utf-8"))
            found = predictions(way, root, labels, weights, names)
            people.append(whole_people(labels, found))
            for folder, entries in (
                (every, found),
                (right, [_taken_for_right(entry, least) for entry in found]),
            ):
                content = {
                    "images": labels["images"],
                    "annotations": entries,
                    "categories": [{"id": 1, "name": "person", "keypoints": list(NAMES)}],
                }
                (Path(folder) / file.name).write_text(json.dumps(content), encoding="utf-8")
        ap = score(truth, Path(every), tracking_scores=False).rows["AP"]["Total"]
        table = score(truth, Path(right))
    numbers = {name: table.rows[name]["Total"] for name in ("MOTA", "IDF1", "Switches")}
    return {"AP": ap, **numbers, "Switches of people": tracking(people, 1).counts[0].switches}


def main(arguments: list[str] | None = None) -> int:
    parser = found_joints.parser_of(__doc__)
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="crowds that are there (default: drawn, and deleted)"
    )
    args = parser.parse_args(arguments)
    weights = found_joints.chosen(args.weights)
    facts = found_joints.facts_about(weights)
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or Path(folder) / "crowds"
        if args.root is None:
            synthesise(root, dataset="posetrack2018", clips=CLIPS, frames=FRAMES, seed=SEED)
        results = measure(root, weights)
    lines = [f"{'':16}{'AP':>8}{'MOTA':>8}{'IDF1':>8}  switches of joints, of people"]
    for way, row in results.items():
        scores = "".join(f"{row[name]:8.1f}" for name in COLUMNS[:3])
        lines.append(f"{way:16}{scores}  {row['Switches']}, {row['Switches of people']}")
    found_joints.report(facts, "\n".join(lines), results, args.json)
    return 0


if __name__ == "__main__":
    found_joints.run(main)
