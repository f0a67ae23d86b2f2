"""Label files in the form of COCO's key points, which COCO, PoseTrack2018 and people's own sets use:
`images`, `annotations`, `categories`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .. import boxes as box_rules
from ..findings import Report
from ..images import Pictures
from ..records import Track
from . import jsonfiles
from .jsonfiles import Fields
from .people import Pose, Video, track_box, track_people


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """One entry of `images`. `size` (width, height) as stated, None where it is not."""

    id: int
    path: Path
    size: tuple[int, int] | None
    fields: Fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """One entry of `annotations`: `keypoints` [K, 3] x, y, flag; `box` [4] corners, NaN where there is none."""

    keypoints: np.ndarray
    box: np.ndarray
    image: Image
    fields: Fields

    @property
    def place(self) -> str:
        return f"{self.fields.place} in {self.image.path.name}"


def read_images(file: Fields, root: Path, pictures: Pictures, report: Report) -> dict[int, Image]:
    """The entries of `images` by id, in their order. Each picture must exist, and lie inside `root`."""
    images: dict[int, Image] = {}
    for fields in file.objects("images"):
        number = fields.whole("id")
        if number in images:
            raise UserError(f"{fields.where('id')}: expected an id of its own, got {number} a second time")
        size = None
        if fields.has("width") and fields.has("height"):
            size = (fields.whole("width"), fields.whole("height"))
            if min(size) < 1:
                raise UserError(f"{fields.where('width')}: expected a size above 0, got {size[0]}x{size[1]}")
        path = jsonfiles.inside(root, fields.text("file_name"), fields.where("file_name"))
        with report.file():
            pictures.require(path, fields.where("file_name"))
        images[number] = Image(id=number, path=path, size=size, fields=fields)
    return images


def read_annotations(
    file: Fields, joints: int, images: dict[int, Image], category: int | None = None
) -> list[Annotation]:
    """The entries of `annotations`, of one category where the file has several.

    Raises UserError for an id that comes twice, an image that is not in `images`, and fields that are absent or
    not what they should be.
    """
    entries, ids = [], set()
    for fields in file.objects("annotations"):
        if category is not None and fields.whole("category_id", category) != category:
            continue
        number = fields.whole("id")
        if number in ids:
            raise UserError(f"{fields.where('id')}: expected an id of its own, got {number} a second time")
        ids.add(number)
        if fields.whole("image_id") not in images:
            raise fields.wrong("image_id", "the id of one of the images")
        entries.append(fields)
    keypoints = numbers_of(entries, "keypoints", 3 * joints).reshape(len(entries), joints, 3)
    with_box = [fields.has("bbox") for fields in entries]
    boxes = np.full((len(entries), 4), np.nan)
    boxes[with_box] = box_rules.from_corner(
        numbers_of([fields for fields, has in zip(entries, with_box) if has], "bbox", 4)
    )
    return [
        Annotation(keypoints=points, box=box, image=images[fields.whole("image_id")], fields=fields)
        for points, box, fields in zip(keypoints, boxes, entries)
    ]


def numbers_of(entries: Sequence[Fields], key: str, width: int) -> np.ndarray:
    """`key` of all entries as float64 [N, width]: at once, and one by one only to name what is wrong."""
    rows = [fields.values.get(key) for fields in entries]
    try:
        table = np.array(rows) if rows else np.empty((0, width))
    except ValueError:  # rows of different lengths
        table = np.empty((0, 0), dtype=object)
    plain = table.shape == (len(rows), width) and table.dtype.kind in "iuf" and np.isfinite(table).all()
    # numpy takes true for 1 among numbers.
    if plain and not any(isinstance(value, bool) for row in rows for value in row):
        return table.astype(np.float64)
    return np.stack([fields.numbers(key, width) for fields in entries]) if entries else table


def require_joints(file: Fields, joints: tuple[str, ...], name: str) -> int | None:
    """The id of the category with key points, whose names must be `joints` where they are given."""
    if not file.has("categories"):
        return None
    with_joints = [fields for fields in file.objects("categories") if fields.has("keypoints")]
    if not with_joints:
        raise UserError(f"{file.where('categories')}: expected a category with keypoints, got none")
    fields = with_joints[0]
    if len(with_joints) > 1 or fields.texts("keypoints") != joints:
        raise fields.wrong("keypoints", f"the {len(joints)} joints of {name} ({', '.join(joints)})")
    return fields.whole("id")


def pose(
    annotation: Annotation, frame: int, person: int, report: Report, *, zero_counts: bool = False
) -> Pose:
    """Key points with a flag above 0 are visible and labelled; one at (0, 0) is a placeholder, whatever its flag.

    zero_counts: a key point with flag 0 that has a position counts too, as poseval has it for PoseTrack.
    """
    position, flags = annotation.keypoints[:, :2], annotation.keypoints[:, 2]
    if not np.isin(flags, (0, 1, 2)).all():
        raise annotation.fields.wrong("keypoints", "flags 0, 1 or 2 after each x, y")
    placed, flagged = (position != 0).any(axis=1), flags > 0
    odd = placed & ~flagged
    if odd.any():
        done = "counted as annotated, as poseval does" if zero_counts else "taken as not labelled"
        for joint in np.flatnonzero(odd):
            place = f"{annotation.place}, key point {joint}"
            report.defect(annotation.fields.path, place, "a position with flag 0", done)
    for joint in np.flatnonzero(flagged & ~placed):
        place = f"{annotation.place}, key point {joint}"
        report.defect(
            annotation.fields.path, place, "a labelled key point at (0, 0)", "masked as a placeholder"
        )
    labelled = placed & (flagged | zero_counts)
    return Pose(
        person=person,
        frame=frame,
        joints=position,
        visible=labelled,
        labelled=labelled,
        box=annotation.box,
        place=annotation.place,
    )


def still(image: Image, split: str) -> Video:
    """A single picture as a video of one frame. Boxes are cut by its stated size, which `Track.size` checks."""
    return Video(
        name=image.fields.text("file_name"),
        split=split,
        frames=(image.path,),
        image_ids=(image.id,),
        labelled=np.ones(1, dtype=bool),
        size=image.size,
        stated_size=image.size,
    )


def still_tracks(annotations: list[Annotation], split: str, report: Report) -> list[Track]:
    """A track of one frame for each person of single pictures, without crowds and without people that have no
    key points or no extent, which SimpleBaselines leaves out too.
    """
    tracks: list[Track] = []
    videos: dict[int, Video] = {}
    for annotation in annotations:
        fields, image = annotation.fields, annotation.image
        person = pose(annotation, 0, fields.whole("id"), report)
        why_not = _left_out(annotation, person)
        if why_not is not None:
            report.defect(fields.path, annotation.place, why_not, "left out")
            continue
        video = videos.setdefault(image.id, still(image, split))
        tracks += track_people(video, [person], fields.path, report)
        report.count("people")
        report.count("joints", int(person.visible.sum()))
    report.count("images with people", len(videos))
    return tracks


def _left_out(annotation: Annotation, person: Pose) -> str | None:
    fields = annotation.fields
    if fields.flag("iscrowd", False):
        return "a crowd instead of one person"
    if not person.labelled.any():
        return "a person without key points"
    if fields.has("area") and fields.number("area") <= 0:
        return "a person of no area"
    return None


def box_tracks(
    images: dict[int, Image], joints: int, path: Path, threshold: float, split: str, report: Report
) -> list[Track]:
    """A track of one frame for each box of the detection file `path`; nothing in it is labelled."""
    nothing = np.zeros(joints, dtype=bool)
    by_name = {image.path.name: image for image in images.values()}
    tracks: list[Track] = []
    for detection in read_detections(path, threshold, report):
        image = (
            images.get(detection.image) if isinstance(detection.image, int) else by_name.get(detection.image)
        )
        if image is None:
            report.defect(
                path, detection.place, "a box in a picture that is not in the label file", "left out"
            )
            continue
        found = Pose(
            person=len(tracks),
            frame=0,
            joints=np.zeros((joints, 2)),
            visible=nothing,
            labelled=nothing,
            box=detection.box,
            place=detection.place,
            score=detection.score,
        )
        name = f"{image.path.name}/{len(tracks)}"
        tracks.append(track_box(still(image, split), found, 1, name, path, report))
    return tracks


def require_stills(name: str, clip_length: int) -> None:
    """Single pictures make clips of one frame."""
    if clip_length != 1:
        raise UserError(
            f"data.clip_length: expected 1, because {name} has single pictures, got {clip_length}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """A person box found by a detector: `image` an id or a file name, `box` [4] corners."""

    image: int | str
    box: np.ndarray
    score: float
    place: str


def read_detections(path: Path, threshold: float, report: Report) -> list[Detection]:
    """Boxes with a score of `threshold` or more from a list of {image_id or image_name, bbox, score}."""
    values: Any = jsonfiles.load(path)
    if not isinstance(values, list):
        raise UserError(f"{path}: expected a list of detected boxes, got {jsonfiles.describe(values)}")
    entries = [Fields(path, f"[{i}]", value) for i, value in enumerate(values)]
    entries = [fields for fields in entries if fields.whole("category_id", 1) == 1]
    boxes = box_rules.from_corner(numbers_of(entries, "bbox", 4))
    found = [
        Detection(
            image=fields.whole("image_id") if fields.has("image_id") else fields.text("image_name"),
            box=box,
            score=fields.number("score"),
            place=fields.place,
        )
        for fields, box in zip(entries, boxes)
    ]
    kept = [detection for detection in found if detection.score >= threshold]
    report.count("detected boxes", len(found))
    report.count(f"detected boxes with a score of {threshold:g} or more", len(kept))
    return kept


def mirrored(name: str) -> str:
    """The name of a joint's mirror image: left for right, l for r; the name itself where it has no side."""
    swap = {"left": "right", "right": "left", "l": "r", "r": "l"}

    def exchange(match: re.Match[str]) -> str:
        word = match.group()
        other = swap[word.lower()]
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    return re.sub(r"(?<![a-zA-Z])(left|right|l|r)(?![a-zA-Z])", exchange, name, flags=re.IGNORECASE)
