"""How near the joints are on a real clip, by how much is said about where the person is.

    python -m benchmarks.real_clip                            # the weights that come with the package
    python -m benchmarks.real_clip --weights best.pt --shared ../shared --json real_clip.json

The clip is one of JHMDB, 40 frames of 320x240, whose boxes are those of drawn masks. Its frames go through what `rpstn
predict` does: with a box for every frame, with a box for the first one alone, without any, and with the whole picture
as the box. PCK@0.2 counts the joints that JHMDB and the weights' skeleton both name; a frame without a pose is a frame
of misses. Where the weights are calibrated, the expected calibration error of what they say is counted too, with a box
for every frame. One clip is no test set: it says what goes wrong, not how often. And its labels are a drawn puppet that
leaves the person: looked at in every fifth frame, the left arm lies where no arm is in most, and where both arms are up
the head is put on the ball. Joints found right count as misses there, by torso size above all.
"""

import csv
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rpstn_training.calibration import RIGHT
from rpstn_training.data.boxes import person_size
from rpstn_training.data.records import Track
from rpstn_training.data.sets import sub_jhmdb
from rpstn_training.fitting import calibration_error, reliability
from rpstn_training.public_files import open_weights
from rpstn_training.scores.pck import count, torso_size
from rpstn_training.scores.table import mean_of_known
from rpstn_training.video.pipeline import stream

from . import found_joints

GAMMA = 0.2
_SPLITS = (1, 2, 3)
WAYS = {
    "a box for every frame": lambda boxes: {"boxes": boxes, "follow": False},
    "a box for the first frame": lambda boxes: {"boxes": boxes},
    "no box": lambda boxes: {},
    "the whole picture": lambda boxes: {"whole_picture": True},
}


def clip(root: Path) -> Track:
    """The first clip with more than a frame in the folder of JHMDB."""
    tracks = (track for split in _SPLITS for track in sub_jhmdb.read(root, "test", split=split))
    return next(track for track in tracks if len(track.frames) > 1)


def write_boxes(path: Path, boxes: Iterable[np.ndarray]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["frame", "person", "x1", "y1", "x2", "y2"])
        table.writerows([number, 0, *box.tolist()] for number, box in enumerate(boxes))
    return path


def found(track: Track, weights: Path, joints: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Joints [F, K, 2] and probabilities [F, K] of the first person, NaN where there are none."""
    places = np.full((len(track.frames), joints, 2), np.nan)
    probabilities = np.full((len(track.frames), joints), np.nan)
    for frame, poses in stream(track.frames, weights, **options):
        for pose in poses[:1]:
            places[frame.number] = pose.joints
            if pose.probabilities is not None:
                probabilities[frame.number] = pose.probabilities
    return places, probabilities


def measure(track: Track, weights: Path, **options: Any) -> dict[str, Any]:
    """PCK in percent by way, the frames with a pose, and the calibration error (None where nothing is calibrated)."""
    skeleton = open_weights(weights).skeleton
    names = [name for name in sub_jhmdb.SKELETON.joints if name in skeleton.joints]
    of_clip = [sub_jhmdb.SKELETON.joints.index(name) for name in names]
    of_weights = [skeleton.joints.index(name) for name in names]
    truth, sizes = track.joints[:, of_clip], person_size(track.score_boxes)
    torso = names.index("left_shoulder"), names.index("right_hip")
    counted = np.ones(truth.shape[:2], dtype=bool)
    result: dict[str, Any] = {"joints": names, "calibration_error": None}
    with tempfile.TemporaryDirectory() as folder:
        for way, choose in WAYS.items():
            given = track.boxes if way == "a box for every frame" else track.boxes[:1]
            boxes = write_boxes(Path(folder) / "boxes.csv", given)
            places, said = found(track, weights, len(skeleton.joints), **choose(boxes), **options)
            places, said = places[:, of_weights], said[:, of_weights]
            pck = {
                name: 100
                * mean_of_known(
                    count(places, truth, counted, size, (GAMMA,), missing_misses=True).per_joint[0]
                )
                for name, size in (("person", sizes), ("torso", torso_size(truth, places, torso)))
            }
            result[way] = pck | {"frames": int(np.isfinite(places).all(axis=(1, 2)).sum())}
            if way == "a box for every frame" and np.isfinite(said).any():
                right = np.linalg.norm(places - truth, axis=-1) <= RIGHT * sizes[:, None]
                known = np.isfinite(said)
                result["calibration_error"] = calibration_error(reliability(said[known], right[known]))
    return result


def main(arguments: list[str] | None = None) -> int:
    parser = found_joints.parser_of(__doc__)
    parser.add_argument(
        "--shared",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "shared",
        metavar="PATH",
        help="folder that holds samples/jhmdb (default: ../shared beside this checkout)",
    )
    parser.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    args = parser.parse_args(arguments)
    root = args.shared / "samples" / "jhmdb"
    if not root.is_dir():
        print(f"{root}: expected the real clip of JHMDB there, found no folder; name another --shared")
        return 0
    weights, track = found_joints.chosen(args.weights), clip(root)
    facts = found_joints.facts_about(weights, clip=track.name, flip=args.flip)
    result = measure(track, weights, device="cpu", flip=args.flip, show_progress=False)
    joints, frames, error = len(result["joints"]), len(track.frames), result["calibration_error"]
    lines = [
        f"PCK@{GAMMA:g}, percent, mean of {joints} joints over {frames} frames",
        f"{'':28}{'person':>8}{'torso':>8}  frames with a pose",
    ]
    for way in WAYS:
        row = result[way]
        lines.append(f"{way:28}{row['person']:8.1f}{row['torso']:8.1f}  {row['frames']} of {frames}")
    said = "the weights say no probabilities" if error is None else f"{error:.3f}"
    lines.append(f"expected calibration error: {said}")
    found_joints.report(facts, "\n".join(lines), result, args.json)
    return 0


if __name__ == "__main__":
    found_joints.run(main)
