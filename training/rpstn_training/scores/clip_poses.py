"""Poses of one person per frame as a file, for the sets that nobody collects results of, and their PCK.

COCO's label form with a score, so that other tools read it too:

    images         id, file_name relative to the data set's root
    annotations    id, image_id, category_id 1, keypoints [x, y, score, ...], score the mean over the joints
    categories     id 1, name "person", keypoints the joints' names

Coordinates are pixels of the original image, first pixel centre at 0, with all their digits. A frame is known by the
folder and the number in its file's name, so frames may come in any order.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from ..data.forms import coco_form, jsonfiles
from ..data.forms.jsonfiles import Fields
from ..data.records import Skeleton, Track
from ..errors import UserError
from ..files import atomic_write
from ..predictions import Prediction
from ..words import several
from .pck import PckResult, every_rule, every_threshold, mean_over_splits, mean_over_videos, pck_table
from .pck_released import released_rows
from .table import Table

_HOW = {"frames": "counts added over all frames of all videos", "videos": "mean over the videos"}


@dataclass(frozen=True, kw_only=True)
class Clips:
    """What differs between the sets: `files(path, split)` are the pose files of predictions by split, the split None
    where the set has none, and given where the caller says which it is; `read(root, subset, split)` gives tracks, for
    which no picture need be there.
    """

    title: str
    skeleton: Skeleton
    files: Callable[[Path, int | None], Mapping[int | None, Path]]
    read: Callable[[Path, str, int | None], list[Track]]


def score(
    clips: Clips,
    gt: Path,
    pred: Path,
    *,
    subset: Literal["test", "train"] = "test",
    split: int | None = None,
    gamma: float = 0.2,
    sweep: bool = False,
    released: bool = False,
    missing: Literal["miss", "skip"] = "miss",
    average: Literal["frames", "videos"] = "frames",
) -> Table:
    """PCK by every normaliser, of all frames of all videos together; of several splits each, and first their mean.

    Args:
        split: of a single file, for a set with several; None goes by the file's name.
        gamma: threshold as a share of the normaliser.
        sweep: also the thresholds 0.1 to 1.0 of the paper's Fig. 11.
        released: also `pck_released`, the released evaluator's figure.
        missing: what a frame without a pose is, a "miss", or nothing that counts ("skip").
        average: add counts over all frames of all videos, or take the mean of the videos' values.

    Raises UserError naming file and field of what is not as it should be.
    """
    protocol = [f"Labels: {gt}, {subset} subset"]
    by_split: dict[int | None, dict[str, PckResult]] = {}
    for number, file in clips.files(pred, split).items():
        name = "Poses" if number is None else f"Split {number}"
        poses = read_poses(file, clips.skeleton)
        tracks = clips.read(gt, subset, number)
        if not tracks:
            which = "" if number is None else f" in split {number}"
            raise UserError(f"{gt}: expected labels of {subset} clips{which}, found none")
        matched = match(poses, tracks, missing)
        rows = rows_of(matched, clips.skeleton, gamma=gamma, missing=missing, average=average, sweep=sweep)
        if released:
            rows |= released_rows(matched.joints, matched.predicted, tracks, clips.skeleton)
        by_split[number] = rows
        counted = f"{several(len(tracks), 'video')}, {several(sum(map(len, tracks)), 'frame')}"
        protocol += [f"{name}: {file}, {counted}", *matched.notes]
    title, main = f"{clips.title} PCK@{gamma:g}", "person"
    if len(by_split) == 1:
        ((number, rows),) = by_split.items()
        title += "" if number is None else f", split {number}"
    else:
        title, main = f"{title}, mean of {len(by_split)} splits", "mean, person"
        rows = {f"mean, {name}": mean_over_splits([one[name] for one in by_split.values()]) for name in rows}
        for number, one in by_split.items():
            rows |= {f"split {number}, {name}": result for name, result in one.items()}
    ungrouped = rows[main].ungrouped
    joints = len(clips.skeleton.joints)
    without = f", {joints - len(ungrouped)} j.: without {' and '.join(ungrouped)}" if ungrouped else ""
    protocol.append(
        f"Score: distance <= threshold * normaliser in pixels of the original image, {_HOW[average]}; "
        f"Mean: over {joints} joints{without}, 7 gr.: over groups, Micro: all hits over all counted"
    )
    return pck_table(title, rows, main=main, protocol=protocol)


def write_poses(
    predictions: Sequence[Prediction], tracks: Sequence[Track], skeleton: Skeleton, path: Path, root: Path
) -> Path:
    """The predicted frames as a file."""
    person = {"id": 1, "name": "person", "keypoints": list(skeleton.joints)}
    images, annotations = [], []
    pairs = list(zip(predictions, tracks))
    for prediction, track in tqdm(pairs, desc="poses", unit="clip", delay=2.0, leave=False):
        for frame in np.flatnonzero(prediction.predicted):
            number = len(images) + 1
            name = track.frames[frame].relative_to(root).as_posix()
            images.append(json.dumps({"id": number, "file_name": name}, ensure_ascii=False))
            peaks = prediction.scores[frame]
            points = np.concatenate([prediction.joints[frame], peaks[:, None]], axis=1)
            annotation = {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "keypoints": points.ravel().tolist(),
                "score": float(peaks.mean()),
            }
            annotations.append(json.dumps(annotation, allow_nan=False))
    with atomic_write(path, "w") as file:
        file.write(f'{{"categories": [{json.dumps(person)}],\n')
        for key, rows, end in (("images", images, ",\n"), ("annotations", annotations, "}\n")):
            file.write(f'"{key}": [\n' + ",\n".join(rows) + f"\n]{end}")
    return path


@dataclass(frozen=True, kw_only=True)
class Poses:
    """`by_frame` maps (folder, frame number) to key points float64 [K, 2] of the file `path`."""

    path: Path
    by_frame: Mapping[tuple[str, int], np.ndarray]


def read_poses(path: Path, skeleton: Skeleton) -> Poses:
    """Raises UserError naming the field: a frame twice, an image that is not listed, other joints, no number."""
    file = Fields(path, "", jsonfiles.load(path))
    category = coco_form.require_joints(file, skeleton.joints, skeleton.name)
    images: dict[int, tuple[str, int]] = {}
    seen: set[tuple[str, int]] = set()
    for fields in file.objects("images"):
        number, place = fields.whole("id"), _place(fields.text("file_name"))
        if place is None:
            raise fields.wrong("file_name", "<folder>/<frame number>.<ending>")
        if number in images or place in seen:
            key = "id" if number in images else "file_name"
            raise UserError(
                f"{fields.where(key)}: expected a frame of its own, got {jsonfiles.describe(fields.values[key])} a "
                "second time"
            )
        images[number] = place
        seen.add(place)
    entries = [
        fields
        for fields in file.objects("annotations")
        if category is None or not fields.has("category_id") or fields.id("category_id") == category.id("id")
    ]
    keypoints = coco_form.numbers_of(entries, "keypoints", 3 * len(skeleton.joints))
    by_frame: dict[tuple[str, int], np.ndarray] = {}
    for fields, points in zip(entries, keypoints):
        number = fields.whole("image_id")
        if number not in images:
            raise fields.wrong("image_id", "the id of one of the images")
        if images[number] in by_frame:
            raise fields.wrong("image_id", "one person per frame, this is the second")
        by_frame[images[number]] = points.reshape(-1, 3)[:, :2]
    return Poses(path=path, by_frame=by_frame)


def _place(name: str) -> tuple[str, int] | None:
    """Folder and frame number of a frame's file name."""
    parts = PurePosixPath(name)
    if not parts.parent.name or not parts.stem.isascii() or not parts.stem.isdigit():
        return None
    return parts.parent.name, int(parts.stem)


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Predictions in the order of tracks, NaN where the file has none; `predicted` bool [F] of each track.

    `notes` say what was missing or too much.
    """

    tracks: Sequence[Track]
    joints: Sequence[np.ndarray]
    predicted: Sequence[np.ndarray]
    notes: tuple[str, ...]

    def apart(self) -> "list[Matched]":
        """Each track by itself."""
        return [
            Matched(tracks=[track], joints=[joints], predicted=[predicted], notes=())
            for track, joints, predicted in zip(self.tracks, self.joints, self.predicted)
        ]


def match(poses: Poses, tracks: Sequence[Track], missing: Literal["miss", "skip"]) -> Matched:
    """The poses of the tracks' frames. Raises UserError where not one is there."""
    joints, predicted = [], []
    for track in tracks:
        found = [poses.by_frame.get((frame.parent.name, int(frame.stem))) for frame in track.frames]
        nothing = np.full(track.joints.shape[1:], np.nan)
        joints.append(np.stack([nothing if points is None else points for points in found]))
        predicted.append(np.array([points is not None for points in found]))
    there, frames = sum(int(some.sum()) for some in predicted), sum(map(len, tracks))
    if not there:
        raise UserError(
            f"{poses.path}: expected poses of the {len(tracks)} labelled clips ({tracks[0].name} ...), got none; "
            "is it another subset or split?"
        )
    notes = []
    if there < frames:
        what = "counted as misses" if missing == "miss" else "left out"
        notes.append(f"Note: frames without a pose, {what} ({frames - there} of {frames})")
    if len(poses.by_frame) > there:
        notes.append(f"Note: poses of frames that are not labelled, left out ({len(poses.by_frame) - there})")
    return Matched(tracks=tracks, joints=joints, predicted=predicted, notes=tuple(notes))


def rows_of(
    matched: Matched,
    skeleton: Skeleton,
    *,
    gamma: float,
    missing: Literal["miss", "skip"],
    average: Literal["frames", "videos"],
    sweep: bool,
) -> dict[str, PckResult]:
    """PCK by every rule, and with `sweep` at the thresholds of Fig. 11 by both normalisers."""
    if average == "videos":
        by_video = [
            rows_of(one, skeleton, gamma=gamma, missing=missing, average="frames", sweep=sweep)
            for one in matched.apart()
        ]
        names = list(max(by_video, key=len))  # a video without occluded joints lacks their rows
        return {name: mean_over_videos([rows[name] for rows in by_video if name in rows]) for name in names}
    options: dict[str, Any] = (
        {"missing_misses": True} if missing == "miss" else {"frames": list(matched.predicted)}
    )
    rows = every_rule(matched.joints, matched.tracks, skeleton, gamma=gamma, **options)
    if sweep:
        rows |= every_threshold(matched.joints, matched.tracks, skeleton, **options)
    return rows
