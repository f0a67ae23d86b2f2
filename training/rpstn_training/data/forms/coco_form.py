"""Label files in the form of COCO's key points, which COCO, PoseTrack2018 and people's own sets use:
`images`, `annotations`, `categories`.

An entry that cannot be read is one line of the report (`Report.file`), and the next one is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .. import boxes as box_rules
from ..findings import Report
from ..images import Orientation, Pictures
from ..records import Track
from . import box_files, box_rows, jsonfiles, sense
from .jsonfiles import Fields
from .people import Pose, Video, box_pose, track_box, track_people

Id = int | str


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """One entry of `images`. `id` to find it by, `written` the same as the file has it, for what is handed in; `size`
    (width, height) as stated, None where it is not.
    """

    id: Id
    written: Id
    path: Path
    size: tuple[int, int] | None
    fields: Fields


@dataclass(frozen=True, kw_only=True)
class Images:
    """`by_id` in their order; `broken` are the ids of entries that have a line of the report instead."""

    by_id: dict[Id, Image] = field(default_factory=dict)
    broken: set[Id] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """One entry of `annotations`: `keypoints` [K, 3] x, y, flag; `box` [4] corners, NaN where there is none; `number`
    its id, or for an id in words its place in the file.
    """

    keypoints: np.ndarray
    box: np.ndarray
    image: Image
    number: int
    fields: Fields

    @property
    def place(self) -> str:
        return f"{self.fields.place} in {self.image.path.name}"


def entries(file: Fields, key: str, report: Report) -> Iterator[Fields]:
    """The objects in the list `key` of the file."""
    for number, value in enumerate(file.items(key)):
        found = None
        with report.file():
            found = Fields(file.path, f"{key}[{number}]", value)
        if found is not None:
            yield found


def read_images(file: Fields, root: Path, pictures: Pictures, report: Report, base: str = "") -> Images:
    """The entries of `images`. Each picture must exist, and lie inside `root`; base: the option that names `root`."""
    images = Images()
    for fields in entries(file, "images", report):
        number = None
        with report.file():
            number = fields.id("id")
            if number in images.by_id:
                raise UserError(
                    f"{fields.where('id')}: expected an id of its own, got {number} a second time"
                )
            images.broken.add(number)
            path = jsonfiles.inside(root, fields.text("file_name"), fields.where("file_name"), base)
            size = _stated_size(fields)
            with report.file():
                path = pictures.require(path, fields.where("file_name"), report)
            written = fields.values["id"] if isinstance(fields.values["id"], str) else number
            images.by_id[number] = Image(id=number, written=written, path=path, size=size, fields=fields)
            images.broken.discard(number)
    return images


def _stated_size(fields: Fields) -> tuple[int, int] | None:
    if not (fields.has("width") and fields.has("height")):
        return None
    size = (fields.whole("width"), fields.whole("height"))
    if min(size) < 1:
        raise UserError(f"{fields.where('width')}: expected a size above 0, got {size[0]}x{size[1]}")
    return size


def people(file: Fields, category: Id | None, report: Report) -> Iterator[Fields]:
    """The entries of `annotations` of one category (None: of all), each with an id of its own."""
    ids = set()
    for fields in entries(file, "annotations", report):
        found = None
        with report.file():
            if category is None or not fields.has("category_id") or fields.id("category_id") == category:
                number = fields.id("id")
                if number in ids:
                    raise UserError(
                        f"{fields.where('id')}: expected an id of its own, got {number} a second time"
                    )
                ids.add(number)
                found = fields
        if found is not None:
            yield found


def read_annotations(
    file: Fields, joints: Sequence[str], images: Images, report: Report, category: Id | None = None
) -> list[Annotation]:
    """The entries of `annotations`, of one category where the file has several. `keypoints` [] or none at all is a
    person without key points, `bbox` [] one without a box.
    """
    listed = []
    for fields in people(file, category, report):
        with report.file():
            number = fields.id("image_id")
            if number in images.by_id:
                listed.append(fields)
            elif number not in images.broken:
                raise fields.wrong("image_id", "the id of one of the images")
    keypoints, good = read_keypoints(listed, joints, report)
    boxes, with_box = read_boxes(listed, report)
    found = []
    for number, fields in enumerate(listed):
        if good[number] and with_box[number]:
            own = fields.id("id")
            found.append(
                Annotation(
                    keypoints=keypoints[number],
                    box=boxes[number],
                    image=images.by_id[fields.id("image_id")],
                    number=own if isinstance(own, int) else number,
                    fields=fields,
                )
            )
    return found


def read_keypoints(
    listed: Sequence[Fields], joints: Sequence[str], report: Report
) -> tuple[np.ndarray, np.ndarray]:
    """`keypoints` [N, K, 3] x, y, flag, all 0 where there are none; and bool [N], False for those that have a line of
    the report instead.
    """
    points = np.zeros((len(listed), len(joints), 3))
    good = np.ones(len(listed), dtype=bool)
    filled = [number for number, fields in enumerate(listed) if fields.filled("keypoints")]
    table = _plain_table([listed[number].values["keypoints"] for number in filled], 3 * len(joints))
    if table is not None:
        points[filled] = table.reshape(-1, len(joints), 3)
        return points, good
    for number in filled:  # one by one only where something is odd
        good[number] = False
        with report.file():
            points[number] = _odd_keypoints(listed[number], joints, report)
            good[number] = True
    return points, good


def _odd_keypoints(fields: Fields, joints: Sequence[str], report: Report) -> np.ndarray:
    """Key points [K, 3] of which some may be NaN or null: with flag 0, or without any, they are not labelled."""
    values = fields.items("keypoints")
    if len(values) != 3 * len(joints):
        raise UserError(
            f"{fields.where('keypoints')}: expected {3 * len(joints)} numbers, x, y and flag of {len(joints)} joints, "
            f"got {len(values)}"
        )
    points, empty = np.zeros((len(joints), 3)), 0
    for joint, name in enumerate(joints):
        found = values[3 * joint : 3 * joint + 3]
        if all(_is_number(value) for value in found):
            points[joint] = found
        elif found[2] == 0 or all(value is None or value != value for value in found):
            empty += 1
        else:
            got = jsonfiles.describe(found)
            raise UserError(
                f"{fields.where('keypoints')}: expected finite numbers x, y and flag for joint {name}, got {got}; "
                "a joint that is not labelled has flag 0"
            )
    if empty:
        report.defect(
            fields.path, fields.place, "NaN or null with flag 0 in keypoints", "taken as not labelled"
        )
    return points


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def read_boxes(listed: Sequence[Fields], report: Report) -> tuple[np.ndarray, np.ndarray]:
    """`bbox` as corners [N, 4], NaN where there is none; and bool [N] as for `read_keypoints`."""
    boxes = np.full((len(listed), 4), np.nan)
    good = np.ones(len(listed), dtype=bool)
    filled = [number for number, fields in enumerate(listed) if fields.filled("bbox")]
    table = _plain_table([listed[number].values["bbox"] for number in filled], 4)
    if table is not None:
        boxes[filled] = box_rules.from_corner(table)
        return boxes, good
    for number in filled:
        value = listed[number].values["bbox"]
        if isinstance(value, list) and all(side is None or side != side for side in value):
            continue
        good[number] = False
        with report.file():
            boxes[number] = box_rules.from_corner(listed[number].numbers("bbox", 4))
            good[number] = True
    return boxes, good


def _plain_table(rows: Sequence[Any], width: int) -> np.ndarray | None:
    """Rows of `width` finite numbers as float64, in one go; None where one is anything else."""
    try:
        table = np.array(rows) if rows else np.empty((0, width))
    except (ValueError, OverflowError):  # rows of different lengths
        return None
    if table.shape != (len(rows), width) or table.dtype.kind not in "iuf" or not np.isfinite(table).all():
        return None
    # numpy takes true for 1 among numbers.
    if any(isinstance(value, bool) for row in rows for value in row):
        return None
    return table.astype(np.float64)


def numbers_of(listed: Sequence[Fields], key: str, width: int) -> np.ndarray:
    """`key` of all entries as float64 [N, width]: at once, and one by one only to name what is wrong."""
    table = _plain_table([fields.values.get(key) for fields in listed], width)
    return table if table is not None else np.stack([fields.numbers(key, width) for fields in listed])


def categories_with_joints(file: Fields) -> list[Fields]:
    """The categories that name key points: an empty list of them is none."""
    return [fields for fields in file.objects("categories") if fields.filled("keypoints")]


def require_joints(file: Fields, joints: tuple[str, ...], name: str) -> Fields | None:
    """The category with key points, whose names must be `joints`; None where the file lists no categories."""
    if not file.has("categories"):
        return None
    with_joints = categories_with_joints(file)
    if not with_joints:
        raise UserError(f"{file.where('categories')}: expected a category with keypoints, got none")
    fitting = [fields for fields in with_joints if fields.texts("keypoints") == joints]
    if len(fitting) != 1:
        expected = f"the {len(joints)} joints of {name} ({', '.join(joints)}), in one category"
        raise with_joints[0].wrong("keypoints", expected)
    return fitting[0]


def pose(
    annotation: Annotation, frame: int, person: int, report: Report, *, zero_counts: bool = False
) -> Pose:
    """Key points with a flag above 0 are visible and labelled; one at (0, 0) is a placeholder, whatever its flag.

    zero_counts: a key point with flag 0 that has a position counts too, as poseval has it for PoseTrack.
    """
    fields = annotation.fields
    position, flags = annotation.keypoints[:, :2], annotation.keypoints[:, 2]
    if not (known := np.isin(flags, (0, 1, 2))).all():
        joint = int(np.flatnonzero(~known)[0])
        raise UserError(
            f"{fields.where('keypoints')}: expected flags 0, 1 or 2 after each x, y, got {flags[joint]:g} at key point "
            f"{joint}"
        )
    placed, flagged = (position != 0).any(axis=1), flags > 0
    odd = placed & ~flagged
    if odd.any():
        done = "counted as annotated, as poseval does" if zero_counts else "taken as not labelled"
        for joint in np.flatnonzero(odd):
            place = f"{annotation.place}, key point {joint}"
            report.defect(fields.path, place, "a position with flag 0", done)
    for joint in np.flatnonzero(flagged & ~placed):
        place = f"{annotation.place}, key point {joint}"
        report.defect(fields.path, place, "a labelled key point at (0, 0)", "masked as a placeholder")
    stated = fields.whole("num_keypoints", None)
    if stated is not None and stated != flagged.sum():
        what = "num_keypoints differs from the flags"
        done = "the flags count; AP ignores whom num_keypoints says to have none"
        report.defect(fields.path, f"{annotation.place}: {stated} instead of {flagged.sum()}", what, done)
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


def still(image: Image, split: str, orientation: Orientation) -> Video:
    """A single picture as a video of one frame. Boxes are cut by its stated size, which `Track.size` checks."""
    return Video(
        name=image.fields.text("file_name"),
        split=split,
        frames=(image.path,),
        image_ids=(image.written,),
        labelled=np.ones(1, dtype=bool),
        size=image.size,
        stated_size=image.size,
        orientation=orientation,
    )


def still_tracks(
    file: Fields,
    annotations: list[Annotation],
    images: Images,
    split: str,
    report: Report,
    orientation: Orientation = "auto",
) -> list[Track]:
    """A track of one frame for each person of single pictures, without crowds and without people that have no
    key points or no extent, which SimpleBaselines leaves out too.
    """
    tracks: list[Track] = []
    videos: dict[Id, Video] = {}
    poses: list[Pose] = []
    left_out = 0
    for annotation in annotations:
        with report.file():
            fields, image = annotation.fields, annotation.image
            person = pose(annotation, 0, annotation.number, report)
            why_not = _left_out(annotation, person)
            if why_not is not None:
                left_out += 1
                report.defect(fields.path, annotation.place, why_not, "left out")
                continue
            video = videos.setdefault(image.id, still(image, split, orientation))
            tracks += track_people(video, [person], fields.path, report)
            poses.append(person)
            report.count("people")
            report.count("joints", int(person.visible.sum()))
    report.count("images with people", len(videos))
    with report.file():
        sense.look(file.path, poses, report)
        if not tracks and not report.errors:
            listed = len(file.items("annotations"))
            others = listed - left_out
            raise UserError(
                f"{file.path}: expected annotated people with key points, got {len(images.by_id)} images and {listed} "
                f"annotations{f', {left_out} of people who are left out' if left_out else ''}"
                f"{f', {others} of other categories' if others else ''}; export it with its key points"
            )
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


def box_category(file: Fields, fields: Fields | None) -> box_files.Category | None:
    """Whose boxes are taken from a detector's file: the category `fields` of the label file, None where it has none."""
    if fields is None:
        return None
    name = fields.values.get("name")
    return box_files.Category(
        id=fields.id("id"), name=name if isinstance(name, str) else None, source=str(file.path)
    )


def box_tracks(
    images: Images,
    joints: int,
    path: Path,
    threshold: float,
    split: str,
    report: Report,
    category: box_files.Category | None,
    orientation: Orientation = "auto",
) -> list[Track]:
    """A track of one frame for each box of the detection file `path`; nothing in it is labelled."""
    find = box_files.finder(
        (image.id, image.fields.text("file_name"), image) for image in images.by_id.values()
    )
    tracks: list[Track] = []
    for box in box_files.read(path, report, category=category, threshold=threshold):
        with report.file():
            image = find(box)
            if image is None:
                what = "a box in a picture that is not in the label file"
                report.defect(path, box_rows.short_place(box.where), what, "left out")
                continue
            found = detected(box, 0, len(tracks), joints)
            name = f"{image.path.name}/{len(tracks)}"
            tracks.append(track_box(still(image, split, orientation), found, 1, name, path, report))
    return tracks


def detected(box: box_files.Box, frame: int, person: int, joints: int) -> Pose:
    """A detected box as a pose in which nothing is labelled."""
    place = box_rows.short_place(box.where)
    return box_pose(box.sides, frame, person, joints, place=place, score=box.score)


def require_stills(name: str, clip_length: int) -> None:
    """Single pictures make clips of one frame."""
    if clip_length != 1:
        raise UserError(
            f"data.clip_length: expected 1, because {name} has single pictures, got {clip_length}"
        )
