"""HiEve: AP and w-AP of poses, unofficial because the rules are published in part only (`scores.hieve_ap`), and the
zip file that is handed in.

Labels are a folder of files <n>.json, predictions a zip with the same in its root, or a folder of them: PoseTrack17's
form "annolist" with 14 joints, frames by number.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from ...data.findings import Report
from ...data.forms import annolist, jsonfiles
from ...data.forms.jsonfiles import Fields
from ...data.records import Skeleton, Track
from ...data.sets import hieve
from ...errors import UserError
from ...files import atomic_write
from ...predictions import Prediction
from ..hieve_ap import ALPHAS, CRITERIA, WEIGHTS, CrowdFrame, crowd_index, frame_weight, hieve_ap
from ..posetrack_ap import HEAD_SHARE, NO_SCORE, People, in_regions
from ..set_score import SetScore, require_tracks
from ..table import Table, noted

_JOINTS = len(hieve.SKELETON.joints)
_ANOMALOUS = (11, 12, 14)  # fighting, fall-over, crouching-bowing among HiEve's actions 1..14
_LARGEST = 1 << 30  # bytes of one unpacked file, read and not believed


def score(
    gt: Path,
    pred: Path,
    *,
    criterion: Literal["pckh_fraction", "oks", "poseval_distance"] = "pckh_fraction",
    weight: Literal["A", "B", "none"] = "A",
    alphas: tuple[float, ...] = ALPHAS,
    head_share: float = HEAD_SHARE,
    point_score: Literal["auto", "flag", "positive"] = "auto",
    videos: tuple[int, ...] | None = None,
    actions: str | None = None,
    between: Literal["hold", "zero"] = "hold",
) -> Table:
    """Score predictions against labels.

    Args:
        criterion: what AP@alpha means, see `CRITERIA`.
        weight: formula of a frame's weight in w-AP, see `WEIGHTS`; "none" gives no w-AP.
        head_share: head size as a share of the diagonal of x1..y2, which in HiEve is the person's box; poseval's 0.6.
        point_score: what the scores of points mean in the labels, see `data.sets.hieve`.
        videos: numbers of the videos to score; None scores all that have labels.
        actions: JSON file {video: {frame: [action numbers 1..14 seen in it]}}, for N; None takes N = 0.
        between: N in frames without an entry: that of the last entry before, or 0.

    Raises UserError naming the file and the field that is missing or not what it should be, and for a video without
    predictions.
    """
    if not alphas or not all(0 < alpha <= 1 for alpha in alphas) or head_share <= 0:
        raise UserError(
            f"--set: expected alphas above 0 and at most 1 and a head_share above 0, got {list(alphas)}, {head_share:g}"
        )
    report = Report()
    labels = [hieve.read_label(file) for file in tqdm(_label_files(gt, videos), **_bar("labels"))]
    files = _prediction_files(pred)
    seen = _actions(Path(actions)) if actions is not None else {}
    is_flag = point_score == "flag" or (point_score == "auto" and hieve.scores_are_flags(labels))
    counts: Counter[str] = Counter(extra=len(files.keys() - {label.number for label in labels}))
    frames: list[CrowdFrame] = []
    for label in tqdm(labels, **_bar("videos")):
        if label.number not in files:
            numbers = ", ".join(map(str, sorted(files)))
            raise UserError(
                f"{pred}: expected predictions {label.number}.json of each video of {gt}, got those of {numbers}; name "
                f"the videos to score, for example --set videos=[{numbers}]"
            )
        found = _read_predictions(files[label.number])
        numbers = _anomalies(seen.get(label.number, {}), label.frames, between)
        frames += _frames(label, found, numbers, is_flag, weight, head_share, report, counts)
    if not any(len(frame.truth) for frame in frames):
        raise UserError(f"{gt}: expected people with visible joints in the labels, found none")
    counts["defects"] = len(report.defects)
    return _table(frames, alphas, criterion, weight, is_flag, actions, between, counts)


def _bar(name: str) -> dict[str, Any]:
    return {"desc": name, "unit": "video", "delay": 2.0, "leave": False}


def _label_files(gt: Path, videos: tuple[int, ...] | None) -> list[Path]:
    """The label files of `videos`, or all of them, in the order of their numbers."""
    if not gt.is_dir():
        return [_numbered(gt)]
    files = hieve.numbered_files(gt)
    if not files:
        raise UserError(f"{gt}: expected label files 1.json ..., found none")
    missing = [number for number in videos or () if number not in files]
    if missing:
        raise UserError(f"{gt}: expected the labels of video {missing[0]}, found no {missing[0]}.json")
    return [file for number, file in files.items() if videos is None or number in videos]


def _numbered(file: Path) -> Path:
    if not file.stem.isdecimal():
        raise UserError(f"{file}: expected a label file named by its video's number, like 3.json")
    return file


def _prediction_files(pred: Path) -> dict[int, Fields]:
    """The parsed files by the number of their video."""
    if pred.is_dir():
        files = hieve.numbered_files(pred)
        if not files:
            raise UserError(f"{pred}: expected prediction files 20.json ... or a zip of them, found none")
        return {number: Fields(file, "", jsonfiles.load(file)) for number, file in files.items()}
    if pred.suffix == ".json":
        return {int(_numbered(pred).stem): Fields(pred, "", jsonfiles.load(pred))}
    found: dict[int, Fields] = {}
    try:
        with zipfile.ZipFile(pred) as archive:
            for member in archive.infolist():
                path = pred / member.filename
                number = member.filename.removesuffix(".json")
                if not number.isdecimal() or int(number) in found:
                    raise UserError(
                        f"{path}: expected files 20.json ..., each once, in the zip's root and nothing else"
                    )
                with archive.open(member) as file:
                    data = file.read(_LARGEST + 1)
                if len(data) > _LARGEST:
                    raise UserError(
                        f"{path}: expected at most {_LARGEST >> 20} MiB of JSON, it unpacks to more"
                    )
                found[int(number)] = Fields(path, "", jsonfiles.parse(data, path))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(
            f"{pred}: expected a zip of files 20.json ..., it does not unpack ({error})"
        ) from error
    return found


def _read_predictions(file: Fields) -> dict[int, annolist.Frame]:
    frames: dict[int, annolist.Frame] = {}
    for entry in annolist.frames(file, _JOINTS):
        number = hieve.frame_number(entry)
        if number in frames:
            raise entry.image.wrong("name", "each frame once")
        frames[number] = entry
    return frames


def _actions(path: Path) -> dict[int, dict[int, set[int]]]:
    file = Fields(path, "", jsonfiles.load(path))
    result: dict[int, dict[int, set[int]]] = {}
    for video, values in file.values.items():
        frames = Fields(path, video, values)
        for frame in frames.values:
            numbers = frames.numbers(frame, None)
            if not (video.isdecimal() and frame.isdecimal() and np.isin(numbers, np.arange(1, 15)).all()):
                raise frames.wrong(frame, "numbers of video and frame, and a list of actions 1 to 14")
            result.setdefault(int(video), {})[int(frame)] = {int(number) for number in numbers}
    return result


def _anomalies(seen: dict[int, set[int]], frames: Sequence[int], between: str) -> dict[int, int]:
    """N of each frame: how many of the anomalous kinds of action are seen."""
    numbers, last = {}, 0
    for frame in sorted({*frames, *seen}):
        if frame in seen:
            last = len(seen[frame].intersection(_ANOMALOUS))
        elif between == "zero":
            last = 0
        numbers[frame] = last
    return numbers


def _frames(
    label: hieve.Label,
    found: dict[int, annolist.Frame],
    anomalies: dict[int, int],
    is_flag: bool,
    weight: str,
    head_share: float,
    report: Report,
    counts: Counter[str],
) -> list[CrowdFrame]:
    by_frame: dict[int, list[hieve.Person]] = {frame: [] for frame in label.frames}
    for person in label.people:
        by_frame[person.frame].append(person)
    counts["unlabelled frames"] += len(found.keys() - by_frame.keys())
    frames = []
    for number, people in by_frame.items():
        regions = label.ignore_regions.get(number, [])
        counts["frames"] += 1
        counts["no entry"] += number not in found
        poses = [hieve.pose(person, is_flag=is_flag, file=label.file, report=report) for person in people]
        joints = np.array([pose.joints for pose in poses]).reshape(-1, _JOINTS, 2)
        visible = np.array([pose.visible for pose in poses], dtype=bool).reshape(-1, _JOINTS)
        labelled = np.array([pose.labelled for pose in poses], dtype=bool).reshape(-1, _JOINTS)
        boxes = np.array([pose.box for pose in poses]).reshape(-1, 4)
        index = crowd_index(joints, labelled, boxes)
        visible &= ~in_regions(joints, regions)
        kept = visible.any(axis=1)
        counts["people without visible joints"] += int((~kept).sum())
        if np.isnan(boxes[kept]).any():
            place = people[int(np.flatnonzero(kept & np.isnan(boxes).any(axis=1))[0])].place
            raise UserError(f"{label.file}: {place}: expected x1, y1, x2, y2 of the person's box")
        sides = boxes[kept, 2:] - boxes[kept, :2]
        truth = _people(joints[kept], visible[kept], None, head_share * np.linalg.norm(sides, axis=1))
        predicted, scores = _predicted(found[number].rects if number in found else [], regions, counts)
        counts["people"] += len(truth)
        counts["predictions"] += len(predicted)
        frames.append(
            CrowdFrame(
                truth=truth,
                found=predicted,
                areas=np.maximum(sides, 0).prod(axis=1),
                scores=scores,
                weight=frame_weight(weight, index, anomalies[number]),
            )
        )
    return frames


def _predicted(
    rects: list[annolist.Rect], regions: list[np.ndarray], counts: Counter[str]
) -> tuple[People, np.ndarray]:
    """The predicted poses, and the score of each: its own, or the mean of its points'."""
    joints, scores, present = annolist.place([rect.points for rect in rects], _JOINTS)
    own = np.array([rect.score for rect in rects])
    given = np.isfinite(scores)
    means = np.where(given, scores, 0).sum(axis=1) / np.maximum(given.sum(axis=1), 1)
    means[~given.any(axis=1)] = NO_SCORE
    poses = np.where(np.isnan(own), means, own)
    counts["unscored poses"] += int((poses == NO_SCORE).sum())
    present &= ~in_regions(joints, regions)
    kept = present.any(axis=1)
    counts["predictions without joints"] += int((~kept).sum())
    return _people(joints[kept], present[kept], np.where(given, scores, NO_SCORE)[kept], None), poses[kept]


def _people(
    joints: np.ndarray, present: np.ndarray, scores: np.ndarray | None, heads: np.ndarray | None
) -> People:
    count = len(joints)
    return People(
        joints=joints,
        present=present,
        scores=np.zeros(present.shape) if scores is None else scores,
        heads=np.zeros(count) if heads is None else heads,
        tracks=np.zeros(count, dtype=np.int64),
    )


def _table(
    frames: list[CrowdFrame],
    alphas: tuple[float, ...],
    criterion: str,
    weight: str,
    is_flag: bool,
    actions: str | None,
    between: str,
    counts: Counter[str],
) -> Table:
    columns = ("avg", *(f"@{alpha:g}" for alpha in alphas))
    rows: dict[str, dict[str, float]] = {}
    for prefix, weighted in (("", False), ("w-", True)):
        if weighted and weight == "none":
            continue
        results = 100 * np.array(hieve_ap(frames, alphas, criterion, weighted=weighted))
        for name, values in zip(("AP", "precision", "recall"), results.T):
            rows[f"{prefix}{name}"] = dict(zip(columns, (float(values.mean()), *values.tolist())))
    weights = np.array([frame.weight for frame in frames])
    flags = "flags, 0 visible" if is_flag else "visible above 0"
    protocol = [
        "Unofficial: HiEve publishes its rules in part only; its server alone gives official numbers",
        f"Data: {counts['frames']} labelled frames, {counts['people']} people with visible joints, "
        f"{counts['predictions']} predictions; point scores of the labels taken as {flags}",
        f"Criterion {criterion}: {CRITERIA[criterion]}; one prediction per person, the others are false positives; "
        "frames without people count",
    ]
    if criterion != "oks":
        protocol.append(
            "Head size: a share of the diagonal of the person's box, which is the only one labelled"
        )
    if weight != "none":
        number = (
            "N = 0, no action labels given"
            if actions is None
            else f"N from {actions}, between its frames {between}"
        )
        protocol.append(
            f"Weight {weight}: {WEIGHTS[weight]} of each frame, CI of labelled joints; {number}; "
            f"{weights.min():.3g} to {weights.max():.3g}, mean {weights.mean():.3g}"
        )
    remarks = {
        "extra": "prediction files of other videos, not scored",
        "no entry": "labelled frames without an entry in the predictions, taken as without people",
        "unlabelled frames": "frames of the predictions without labels, not scored",
        "people without visible joints": "labelled people without a visible joint, left out",
        "predictions without joints": "predictions without joints or with all in ignored regions, left out",
        "unscored poses": "predictions without any score, ranked last",
        "defects": "defects of the labels, see rpstn check-data",
    }
    return Table(
        title="HiEve, unofficial, percent",
        rows=rows,
        protocol=(*protocol, *noted(counts, remarks)),
        main=rows["AP"]["avg"] / 100,
        main_name="AP, unofficial",
        details={"weights": {"min": weights.min(), "max": weights.max(), "mean": weights.mean()}, **counts},
    )


def write(
    predictions: Sequence[Prediction], tracks: Sequence[Track], skeleton: Skeleton, out: Path, *, root: Path
) -> Path:
    """A zip file, `out` or hieve.zip in the folder `out`, with <n>.json of every video of the tracks in its root, each
    with an entry per decoded frame.

    Where the videos are those with hidden labels, the decoded ones without anybody have a file too. A point's score is
    its own times that of the person's box, a person's the mean of them.
    """
    require_tracks(tracks, skeleton, hieve.SKELETON, out)
    if out.suffix != ".zip":
        out = out / "hieve.zip"
    folders = {int(track.video): track.frames[0].parent for track in tracks}
    if min(folders) >= hieve.FIRST_HIDDEN:
        store = folders[min(folders)].parent
        decoded = {int(path.name): path for path in store.iterdir() if path.name.isdecimal()}
        folders |= {number: path for number, path in decoded.items() if number >= hieve.FIRST_HIDDEN}
    people: dict[int, dict[int, list[dict[str, Any]]]] = {number: {} for number in folders}
    for prediction, track in zip(predictions, tracks):
        for frame in np.flatnonzero(prediction.predicted):
            rect = _rect(prediction, track, int(frame))
            people[int(track.video)].setdefault(int(track.image_ids[frame]), []).append(rect)
    with atomic_write(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in tqdm(sorted(folders), desc="writing", unit="file", delay=2.0, leave=False):
            entries = [
                {"image": [{"name": name}], "annorect": people[number].get(int(name[:6]), [])}
                for name in sorted(path.name for path in folders[number].glob("[0-9]*.jpg"))
            ]
            archive.writestr(f"{number}.json", json.dumps({"annolist": entries}, allow_nan=False))
    return out


def labels(root: Path, *, subset: str, images: Literal["val", "test"] = "val") -> Path | None:
    """The folder of labels that `score` reads, None where they are hidden."""
    return None if subset == "test" and images == "test" else hieve.label_folder(root)


def _rect(prediction: Prediction, track: Track, frame: int) -> dict[str, Any]:
    scores = prediction.scores[frame] * track.box_score_at(frame)
    corners = track.boxes[frame].round(3).tolist()
    points = [
        {"id": [joint], "x": [x], "y": [y], "score": [score]}
        for joint, ((x, y), score) in enumerate(
            zip(prediction.joints[frame].round(3).tolist(), scores.tolist())
        )
    ]
    return {
        **{key: [value] for key, value in zip(("x1", "y1", "x2", "y2"), corners)},
        "score": [float(scores.mean())],
        "track_id": [track.person],
        "annopoints": [{"point": points}],
    }


SCORE = SetScore(score=score, write=write, labels=labels)
