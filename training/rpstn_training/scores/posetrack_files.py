"""PoseTrack's label and prediction files, in PoseTrack18's form (images, annotations, categories with the names of the
15 or 17 joints) or in PoseTrack17's ("annolist", 15 joints by number).
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from ..data.forms import annolist, jsonfiles
from ..data.forms.jsonfiles import Fields
from ..data.records import Skeleton, Track
from ..data.sets.posetrack2018 import MOST_TRACKS, SKELETON, frame_id, ignore_regions
from ..errors import UserError
from ..files import listed, write_json
from ..predictions import Prediction
from .posetrack_ap import HEAD_SHARE, NO_SCORE, People
from .set_score import require_tracks

JOINTS = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("head_bottom", "nose", "head_top"),
)  # poseval's own order, not that of the labels; it calls head_bottom neck


@dataclass(frozen=True, kw_only=True)
class Frame:
    """`name` is the picture's, without folders. `people` are those with a list of joints, even an empty one; `entries`
    counts the others too.
    """

    name: str
    people: People
    entries: int
    regions: list[np.ndarray]
    place: Fields


def read(path: Path, *, labels: bool, tracks: bool) -> list[Frame]:
    file = Fields(path, "", jsonfiles.load(path))
    frames = (
        _read_annolist(file, labels, tracks) if file.has("annolist") else _read_images(file, labels, tracks)
    )
    names = Counter(frame.name for frame in frames)
    for frame in frames:
        if names[frame.name] > 1:
            key = "name" if file.has("annolist") else "file_name"
            raise frame.place.wrong(key, "a picture of its own for each frame")
    return frames


def _read_annolist(file: Fields, labels: bool, tracks: bool) -> list[Frame]:
    frames = []
    for entry in annolist.frames(file, len(JOINTS)):
        listed = [rect for rect in entry.rects if rect.points is not None]
        joints, scores, present = annolist.place([rect.points for rect in listed], len(JOINTS))
        people = People(
            joints=joints,
            present=present,
            scores=np.where(np.isnan(scores), NO_SCORE, scores),
            heads=np.zeros(len(listed)),
            tracks=np.zeros(len(listed), dtype=np.int64),
        )
        for number, rect in enumerate(listed):
            if labels:
                if np.isnan(rect.box).any():
                    raise UserError(f"{rect.fields.where('x1')}: expected x1, y1, x2, y2 of the head's box")
                people.heads[number] = _head_size(rect.box[2:] - rect.box[:2])
            if tracks:
                people.tracks[number] = _track_id(rect.fields, rect.track_id)
        if tracks and not labels:
            _require_unique(people.tracks, [rect.fields for rect in listed])
        frames.append(
            Frame(
                name=PurePosixPath(entry.name).name,
                people=people,
                entries=len(entry.rects),
                regions=entry.ignore_regions,
                place=entry.image,
            )
        )
    return frames


def _read_images(file: Fields, labels: bool, tracks: bool) -> list[Frame]:
    categories = file.objects("categories")
    if len(categories) != 1:
        raise file.wrong("categories", "one category, person")
    category = categories[0]
    names = category.texts("keypoints")
    missing = [name for name in JOINTS if name not in names]
    if missing:
        raise category.wrong("keypoints", f"the names of PoseTrack's 15 joints ({missing[0]} among them)")
    columns = [names.index(name) for name in JOINTS]
    images: dict[int, Fields] = {}
    by_image: dict[int, list[Fields]] = {}
    for image in file.objects("images"):
        number = image.whole("id")
        if number in images:
            raise UserError(f"{image.where('id')}: expected an id of its own, got {number} a second time")
        images[number] = image
        by_image[number] = []
    for annotation in file.objects("annotations"):
        if annotation.whole("image_id") not in images:
            raise annotation.wrong("image_id", "the id of one of the images")
        by_image[annotation.whole("image_id")].append(annotation)
    if len({PurePosixPath(image.text("file_name")).parent for image in images.values()}) > 1:
        raise UserError(f"{file.where('images')}: expected the frames of one sequence, got several folders")
    frames = []
    for number, image in images.items():
        people = _nobody(len(by_image[number]))
        for row, annotation in enumerate(by_image[number]):
            keypoints = annotation.numbers("keypoints", 3 * len(names)).reshape(-1, 3)[columns]
            people.joints[row] = keypoints[:, :2]
            people.present[row] = (keypoints != 0).any(axis=1)  # (x, y, 0) is a joint too
            if annotation.has("scores") and annotation.items("scores"):
                people.scores[row] = annotation.numbers("scores", len(names))[columns]
            if labels:
                people.heads[row] = _head_size(annotation.numbers("bbox_head", 4)[2:])
            if tracks:
                track = annotation.whole("track_id") if annotation.has("track_id") else None
                people.tracks[row] = _track_id(annotation, track)
        if tracks and not labels:
            _require_unique(people.tracks, by_image[number])
        frames.append(
            Frame(
                name=PurePosixPath(image.text("file_name")).name,
                people=people,
                entries=len(people),
                regions=ignore_regions(image) if labels else [],
                place=image,
            )
        )
    return frames


def _nobody(count: int) -> People:
    """Room for `count` people."""
    shape = (count, len(JOINTS))
    return People(
        joints=np.zeros((*shape, 2)),
        present=np.zeros(shape, dtype=bool),
        scores=np.full(shape, NO_SCORE),
        heads=np.zeros(count),
        tracks=np.zeros(count, dtype=np.int64),
    )


def _head_size(sides: np.ndarray) -> float:
    return HEAD_SHARE * float(np.linalg.norm(sides))


def _track_id(person: Fields, track: int | None) -> int:
    if track is None or track >= MOST_TRACKS:
        expected = f"a whole number below {MOST_TRACKS}, or --set tracking_scores=false"
        raise person.wrong("track_id", expected)
    return track


def _require_unique(tracks: np.ndarray, people: list[Fields]) -> None:
    for row, fields in enumerate(people):
        if tracks[row] in tracks[:row]:
            expected = "each track once in a frame, or --set tracking_scores=false"
            raise fields.wrong("track_id", expected)


def write(
    predictions: Sequence[Prediction], tracks: Sequence[Track], skeleton: Skeleton, out: Path, *, root: Path
) -> Path:
    """A folder `out` with a file <sequence>.json for every sequence of the tracks' part ("val", "test"), in
    PoseTrack18's form. A joint's score is its own times that of the person's box.

    Frames come from the label files in `root`, or where there are none from its folders of pictures. Tracks keep their
    numbers; those of detected boxes are numbered within their sequence, and begin anew at 10000, which poseval refuses.
    Raises UserError where a file is in the way, and for a frame that is not in `root`.
    """
    require_tracks(tracks, skeleton, SKELETON, out)
    if out.exists() and (not out.is_dir() or any(path.suffix != ".json" for path in listed(out, "*"))):
        raise UserError(f"{out}: expected a new folder or one with predictions alone, found something else")
    sequences: dict[str, list[tuple[int, str]]] = {}
    for part in sorted({track.frames[0].parent.parent.name for track in tracks}):
        sequences |= _images(Path(root), part, {track.video for track in tracks})
    people = _people(predictions, tracks)
    part_folder = out.with_name(f".{out.name}.part")
    shutil.rmtree(part_folder, ignore_errors=True)
    try:
        for name, images in tqdm(sequences.items(), desc="writing", unit="file", delay=2.0, leave=False):
            known = {number for number, _ in images}
            annotations = people.get(name, [])
            for annotation in annotations:
                if annotation["image_id"] not in known:
                    raise UserError(f"{root}: expected frame {annotation['image_id']} in {name}, found none")
            write_json(part_folder / f"{name}.json", _content(images, annotations))
        shutil.rmtree(out, ignore_errors=True)
        part_folder.rename(out)
    finally:
        shutil.rmtree(part_folder, ignore_errors=True)
    return out


def _images(root: Path, part: str, names: set[str]) -> dict[str, list[tuple[int, str]]]:
    """Id and name of each frame, by sequence."""
    sequences = {}
    for file in listed(root / "annotations" / part, "*.json"):
        images = Fields(file, "", jsonfiles.load(file)).objects("images")
        sequences[file.stem] = [(image.whole("id"), image.text("file_name")) for image in images]
    folders = [folder for folder in listed(root / "images" / part, "*") if folder.is_dir()]
    for folder in folders:
        if folder.name not in sequences and (not sequences or folder.name in names):
            sequences[folder.name] = [
                (frame_id(frame), frame.relative_to(root).as_posix())
                for frame in sorted(folder.glob("[0-9]*.jpg"))
            ]
    return sequences


def _people(predictions: Sequence[Prediction], tracks: Sequence[Track]) -> dict[str, list[dict[str, Any]]]:
    """The annotations by sequence."""
    people: dict[str, list[dict[str, Any]]] = {}
    own_number: dict[str, dict[int, int]] = {}
    taken: dict[str, set[tuple[int, int]]] = {}
    scored = np.array([not joint.endswith("_ear") for joint in SKELETON.joints])
    annotated = all(track.person < MOST_TRACKS for track in tracks)
    for prediction, track in zip(predictions, tracks):
        numbers = own_number.setdefault(track.video, {})
        used = taken.setdefault(track.video, set())
        frames = np.flatnonzero(prediction.predicted)
        number = track.person if annotated else numbers.setdefault(track.person, len(numbers)) % MOST_TRACKS
        while any((track.image_ids[frame], number) in used for frame in frames):
            number = (number + 1) % MOST_TRACKS  # a person twice in one frame
        for frame in frames:
            used.add((track.image_ids[frame], number))
            points = np.where(scored[:, None], prediction.joints[frame], 0.0).round(3)
            scores = np.where(scored, prediction.scores[frame] * track.box_score_at(frame), 0.0)
            x1, y1, x2, y2 = track.boxes[frame].round(3).tolist()
            annotation = {
                "image_id": track.image_ids[frame],
                "track_id": number,
                "category_id": 1,
                "keypoints": np.column_stack([points, scored.astype(float)]).ravel().tolist(),
                "scores": scores.tolist(),
                "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
                "score": float(scores[scored].mean()),
            }
            people.setdefault(track.video, []).append(annotation)
    return people


def _content(images: list[tuple[int, str]], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    order = {number: place for place, (number, _) in enumerate(images)}
    annotations = sorted(annotations, key=lambda one: (order[one["image_id"]], one["track_id"]))
    return {
        "images": [
            {"id": number, "frame_id": number, "file_name": name, "nframes": len(images)}
            for number, name in images
        ],
        "annotations": [{"id": number, **one} for number, one in enumerate(annotations)],
        "categories": [
            {
                "id": 1,
                "name": "person",
                "supercategory": "person",
                "keypoints": list(SKELETON.joints),
                "skeleton": [[first + 1, second + 1] for first, second in SKELETON.limbs],
            }
        ],
    }
