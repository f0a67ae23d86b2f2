"""PoseTrack2018: AP, precision, recall, MOTA and MOTP as the reference tool poseval has them, switches and IDF1.

Labels and predictions are folders with a file <sequence>.json each, in either form that `posetrack_files` reads; both
forms score the same.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from ...data.sets import posetrack2018 as dataset
from ...errors import UserError
from ...files import listed
from ..posetrack_ap import NO_SCORE, ApResult, People, average_precision, pair
from ..posetrack_files import JOINTS, Frame, read, write
from ..posetrack_mota import MotResult, tracking
from ..set_score import SetScore
from ..table import Table, mean_of_known, noted

_HEADINGS = ("Head", "Shou", "Elb", "Wri", "Hip", "Knee", "Ankl")
GROUPS = {
    heading: [JOINTS.index(dataset.SKELETON.joints[joint]) for joint in joints]
    for heading, joints in zip(_HEADINGS, dataset.SKELETON.groups.values())
}
_NAMES = tuple("neck" if name == "head_bottom" else name for name in JOINTS)  # as poseval has them


def score(gt: Path, pred: Path, *, tracking_scores: bool = True) -> Table:
    """Score a folder of predictions against a folder of labels, or one file against another.

    Frames are matched by the names of their pictures; where no name of a sequence is in its labels, by their order,
    as poseval does.

    Args:
        tracking_scores: False leaves MOTA, MOTP, switches and IDF1 out; then neither track ids nor their being unique
            is asked for.

    Raises UserError naming the file and the field that is missing or not what it should be, a sequence or a frame
    without predictions, a frame without labels, and a track id that comes twice in a frame: poseval refuses them too.
    """
    files = _label_files(gt)
    counts: Counter[str] = Counter()
    sequences = []
    for file in tqdm(files, desc="sequences", unit="file", delay=2.0, leave=False):
        found = pred / file.name if pred.is_dir() else pred
        if not found.is_file():
            raise UserError(
                f"{found}: expected the predictions of sequence {file.stem}, found no file; write one for each of "
                f"the {len(files)} sequences, also where nobody is seen"
            )
        truth = read(file, labels=True, tracks=tracking_scores)
        guesses = _align(truth, read(found, labels=False, tracks=tracking_scores), file, found, counts)
        sequences.append(_frames(truth, guesses, counts))
    if pred.is_dir():
        counts["extra"] = len({path.name for path in listed(pred, "*.json")} - {file.name for file in files})
    if not any(sequences):
        raise UserError(f"{gt}: expected people in the labels, found none in {counts['frames']} frames")
    ap = average_precision((frame for frames in sequences for frame in frames), len(JOINTS))
    mot = None
    if tracking_scores:
        bar = tqdm(sequences, desc="tracking", unit="sequence", delay=2.0, leave=False)
        mot = tracking(bar, len(JOINTS))
        counts["single"] = sum(len(frames) == 1 for frames in sequences)
    return _table(ap, mot, counts, len(files))


def _label_files(gt: Path) -> list[Path]:
    files = listed(gt, "*.json") if gt.is_dir() else [gt]
    if not files:
        raise UserError(f"{gt}: expected a label file <sequence>.json per sequence, found none")
    return files


def _align(
    truth: list[Frame], found: list[Frame], file: Path, path: Path, counts: Counter[str]
) -> list[Frame]:
    """The predictions in the order of the labels."""
    wanted = [frame.name for frame in truth]
    by_name = {frame.name: frame for frame in found}
    missing = [name for name in wanted if name not in by_name]
    if len(found) == len(truth) == len(missing):
        counts["by order"] += 1
        return found
    extra = sorted(by_name.keys() - set(wanted))
    if missing or extra:
        what = (
            f"{missing[0]} is missing"
            if missing
            else f"{extra[0]} ({by_name[extra[0]].place.place}) is not in"
        )
        raise UserError(
            f"{path}: expected predictions of exactly the {len(truth)} frames of {file}, got {len(found)}: {what}"
            + (f" ({len(missing)} in all)" if len(missing) > 1 else "" if missing else " the labels")
        )
    counts["reordered"] += wanted != [frame.name for frame in found]
    return [by_name[name] for name in wanted]


def _frames(truth: list[Frame], found: list[Frame], counts: Counter[str]) -> list[tuple[People, People, Any]]:
    """The frames that are scored, after poseval's rules: those in whose labels somebody is."""
    frames = []
    for label, guess in zip(truth, found):
        counts["frames"] += 1
        counts["listed without joints"] += (
            label.entries - len(label.people) + guess.entries - len(guess.people)
        )
        if not label.entries:
            counts["predictions without labels"] += len(guess.people)
            continue
        people, predictions = label.people, guess.people
        if label.regions:
            before = int(people.present.sum()), int(predictions.present.sum())
            counts["odd regions"] += sum(len(region) < 3 for region in label.regions)
            people, predictions = people.without(label.regions), predictions.without(label.regions)
            counts["ignored labels"] += before[0] - int(people.present.sum())
            counts["ignored predictions"] += before[1] - int(predictions.present.sum())
        counts["scored frames"] += 1
        counts["people"] += len(people)
        counts["predictions"] += len(predictions)
        counts["headless"] += int((people.heads <= 0).sum())
        counts["unscored joints"] += int((predictions.present & (predictions.scores == NO_SCORE)).sum())
        frames.append((people, predictions, pair(people, predictions)))
    return frames


def _table(ap: ApResult, mot: MotResult | None, counts: Counter[str], sequences: int) -> Table:
    values = {"AP": ap.ap, "Precision": ap.precision, "Recall": ap.recall}
    if mot is not None:
        values |= {
            "MOTA": mot.mota,
            "MOTP": mot.motp,
            "MOT precision": mot.precision,
            "MOT recall": mot.recall,
            "IDF1": mot.idf1,
        }
    total = {name: mean_of_known(one) for name, one in values.items()}
    rows = {
        name: {heading: 100 * float(one[joints].mean()) for heading, joints in GROUPS.items()}
        | {"Total": 100 * total[name]}
        for name, one in values.items()
    }
    if mot is not None:
        switches = [one.switches for one in mot.counts]
        rows["Switches"] = {heading: sum(switches[j] for j in joints) for heading, joints in GROUPS.items()}
        rows["Switches"]["Total"] = sum(switches)
    details: dict[str, Any] = {
        name: {**dict(zip(_NAMES, 100 * one)), "total": 100 * total[name]} for name, one in values.items()
    }
    details["counts"] = {
        "annotated": dict(zip(_NAMES, ap.annotated)),
        "predicted": dict(zip(_NAMES, ap.predicted)),
        "true positives": dict(zip(_NAMES, ap.hits)),
    }
    if mot is not None:
        for name in ("misses", "switches", "false_positives", "objects", "detections"):
            details["counts"][f"MOT {name}"] = dict(
                zip(_NAMES, (int(getattr(one, name)) for one in mot.counts))
            )
    return Table(
        title="PoseTrack2018, percent",
        rows=rows,
        protocol=_protocol(ap, mot, counts, sequences),
        main=total["AP"],
        main_name="AP",
        details=details,
    )


def _protocol(ap: ApResult, mot: MotResult | None, counts: Counter[str], sequences: int) -> tuple[str, ...]:
    lines = [
        f"Data: {sequences} sequences, {counts['scored frames']} of {counts['frames']} frames have people in their "
        f"labels and are scored; {counts['people']} people with {int(ap.annotated.sum())} joints, "
        f"{counts['predictions']} predictions with {int(ap.predicted.sum())} joints",
        "Rule: poseval, distance at most 0.5 head sizes; annotated joints count, 15 joints without the ears; Total is "
        "the mean over the joints",
        f"Ignored regions: {counts['ignored labels']} annotated and {counts['ignored predictions']} predicted joints "
        "left out",
    ]
    if mot is not None:
        line = "MOTA, MOTP: by joint; the last frame of each sequence is left out, as poseval does"
        if counts["single"]:
            line += f"; {counts['single']} sequences of one frame add nothing (poseval stops at them)"
        lines.append(line)
        lines.append(
            "IDF1: by joint, people and tracks paired for a whole sequence, every scored frame; poseval has none"
        )
    remarks = {
        "extra": "prediction files without labels, not read",
        "reordered": "prediction files with the frames in another order, matched by name",
        "by order": "prediction files with other picture names, frames matched by their order",
        "predictions without labels": "predictions in frames without labels, not scored",
        "listed without joints": "entries without a list of joints, left out",
        "odd regions": "ignored regions of less than three points, without effect",
        "headless": "people with a head box of no size, whom nothing matches",
        "unscored joints": f"predicted joints without a score, taken as {NO_SCORE:g}",
    }
    tied = f"{ap.tied} predicted joints with a score that is not their own: AP depends on their order"
    return (*lines, *noted(counts, remarks, *([tied] if ap.tied else [])))


def labels(root: Path, *, subset: str, images: Literal["val", "test"] = "val") -> Path | None:
    """The folder of labels that `score` reads, None where only the server has them."""
    folder = root / "annotations" / ("train" if subset == "train" else images)
    return folder if folder.is_dir() else None


# Tracking needs numbers of people that are good all through a video, AP does not.
SCORE = SetScore(score=score, write=write, labels=labels, main_alone={"tracking_scores": False})
