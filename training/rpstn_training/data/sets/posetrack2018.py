"""PoseTrack2018: videos of many people, 15 joints in 17 slots (the ears are never annotated).

    images/{train,val,test}/<sequence>/000000.jpg ...
    annotations/{train,val}/<sequence>.json            one file per sequence, in COCO's form

The subset "test" is the validation set, whose labels are public, or with `images: test` the hidden test set,
of which only boxes of a detector can be cut out. An annotated joint counts as visible. Frames without labels
lie between labelled ones of a track and are seen, not scored.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from ...errors import UserError
from ...files import listed
from ..findings import Report, reporting
from ..forms import box_files, box_rows, coco_form, jsonfiles, sense
from ..forms.jsonfiles import Fields
from ..forms.people import Pose, Video, track_box, track_people
from ..images import Pictures, image_size
from ..records import Picture, Skeleton, Track
from . import coco

SKELETON = Skeleton(
    name="posetrack2018",
    joints=(
        "nose",
        "head_bottom",
        "head_top",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    limbs=(
        *((2, 0), (0, 1), (1, 5), (1, 6), (5, 11), (6, 12), (11, 12)),
        *((5, 7), (7, 9), (6, 8), (8, 10)),
        *((11, 13), (13, 15), (12, 14), (14, 16)),
    ),
    flip_pairs=((3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    groups={
        "Head": (2, 1, 0),
        "Sho": (5, 6),
        "Elb": (7, 8),
        "Wri": (9, 10),
        "Hip": (11, 12),
        "Knee": (13, 14),
        "Ank": (15, 16),
    },
    torso=(5, 12),
    torso_paper=(5, 12),
)

OFFICIAL = {
    "train": {"videos": 593},
    "test": {"videos": 170, "labelled frames": 8923},  # v0.45; v0.2 has 74 with 3,902
}

_EARS = (3, 4)
MOST_TRACKS = 10000  # poseval refuses track ids from here on


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """One video with its poses. `ignore_regions` maps a frame to polygons [N, 2]: people there are not labelled."""

    file: Path
    video: Video
    poses: list[Pose]
    names: tuple[str, ...]
    ignore_regions: dict[int, list[np.ndarray]]


# The options by which the subset "test" is the owners' validation part.
VALIDATION: dict[str, str] = {"images": "val"}


def read(
    root: Path,
    subset: str,
    *,
    clip_length: int = 5,
    images: Literal["val", "test"] = "val",
    train_labels: str | None = None,
    test_labels: str | None = None,
    detections: str | None = None,
    detection_threshold: float = 0.2,
    report: Report | None = None,
) -> list[Track]:
    """The tracks of `subset`, "train" or "test".

    Args:
        clip_length: frames of the clip of a detected box; the box belongs to the last one.
        images: what "test" stands for, "val" or "test".
        train_labels, test_labels: a file with all sequences of the subset merged, relative to `root`, instead
            of the folder.
        detections: file with the boxes of a detector, relative to `root`, for the subset "test": each box of
            at least `detection_threshold` is a clip of its own. None takes the annotated tracks.

    Raises UserError naming the file and the field that is missing or not what it should be.
    """
    root = Path(root)
    if subset not in ("train", "test") or images not in ("val", "test"):
        raise UserError(
            f"{root}: expected subset train or test, and images val or test, got {subset}, {images}"
        )
    part = "train" if subset == "train" else images
    labels = train_labels if subset == "train" else test_labels
    if part == "test" and detections is None:
        raise UserError(
            "data.options.detections: expected a file with boxes, because the labels of PoseTrack's test set "
            "are hidden; got none"
        )
    with reporting(report) as report:
        if part == "test" and labels is None:
            sequences = _unlabelled(root / "images" / "test", subset)
        else:
            sequences = read_sequences(root, part, subset, labels, report)
        if detections is not None and subset == "test":
            return _from_boxes(root, sequences, detections, detection_threshold, clip_length, report)
        return [
            track
            for sequence in sequences
            for track in track_people(sequence.video, sequence.poses, sequence.file, report)
        ]


def pictures(
    root: Path,
    subset: str,
    *,
    images: Literal["val", "test"] = "val",
    train_labels: str | None = None,
    test_labels: str | None = None,
    report: Report | None = None,
) -> list[Picture]:
    """Every frame of `subset` that has a number. Arguments as of `read`."""
    root = Path(root)
    part = "train" if subset == "train" else images
    labels = train_labels if subset == "train" else test_labels
    with reporting(report) as report:
        if part == "test" and labels is None:
            sequences = _unlabelled(root / "images" / "test", subset)
        else:
            sequences = read_sequences(root, part, subset, labels, report)
    return [
        Picture(id=number, path=path, size=sequence.video.size)
        for sequence in sequences
        for number, path in zip(sequence.video.image_ids, sequence.video.frames)
    ]


def read_sequences(root: Path, part: str, subset: str, labels: str | None, report: Report) -> list[Sequence]:
    """All sequences of `part` ("train", "val"), or of the merged file `labels`."""
    pictures = Pictures()
    if labels is not None:
        files = [jsonfiles.inside(root, labels, f"data.options.{subset}_labels")]
    else:
        files = listed(root / "annotations" / part, "*.json")
        if not files:
            raise UserError(f"{root / 'annotations' / part}: expected a label file per sequence, found none")
    sequences: list[Sequence] = []
    for path in tqdm(files, desc="labels", unit="file", delay=2.0, leave=False):
        with report.file():
            sequences += _read_file(root, path, subset, pictures, report)
    return sequences


def _read_file(root: Path, path: Path, subset: str, pictures: Pictures, report: Report) -> list[Sequence]:
    file = Fields(path, "", jsonfiles.load(path))
    category = coco_form.require_joints(file, SKELETON.joints, SKELETON.name)
    images = coco_form.read_images(file, root, pictures, report)
    annotations = coco_form.read_annotations(
        file, SKELETON.joints, images, report, category and category.id("id")
    )
    by_folder: dict[Path, list[coco_form.Image]] = {}
    for image in images.by_id.values():
        by_folder.setdefault(image.path.parent, []).append(image)
    by_image: dict[coco_form.Id, list[coco_form.Annotation]] = {}
    for annotation in annotations:
        by_image.setdefault(annotation.image.id, []).append(annotation)
    return [
        _sequence(path, folder.name, subset, sorted(found, key=lambda image: image.path), by_image, report)
        for folder, found in by_folder.items()
    ]


def _sequence(
    path: Path,
    name: str,
    subset: str,
    images: list[coco_form.Image],
    by_image: dict[coco_form.Id, list[coco_form.Annotation]],
    report: Report,
) -> Sequence:
    poses: list[Pose] = []
    regions: dict[int, list[np.ndarray]] = {}
    labelled = np.zeros(len(images), dtype=bool)
    for frame, image in enumerate(images):
        found = by_image.get(image.id, [])
        labelled[frame] = image.fields.flag("is_labeled", bool(found))
        if found and not labelled[frame]:
            place = f"{image.fields.place}.is_labeled"
            report.defect(path, place, "people in a frame called unlabelled", "taken as a labelled frame")
            labelled[frame] = True
        regions[frame] = ignore_regions(image.fields)
        for annotation in found:
            with report.file():
                poses.append(_pose(annotation, frame, report))
        if labelled[frame]:
            report.count("labelled frames")
            report.count("labelled frames without people", not found)
    sense.look(path, poses, report)
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise images[0].fields.wrong("width", f"the same size in all frames of {name}")
    size = None
    with report.file():
        size = image_size(images[0].path)
        if sizes != {None} and sizes != {size}:
            stated = "x".join(map(str, images[0].size or ()))
            raise UserError(
                f"{images[0].path}: expected {stated} pixels as {images[0].fields.where('width')} says, "
                f"got {size[0]}x{size[1]}; unpack the original pictures"
            )
    report.count("videos")
    report.count("frames", len(images))
    report.count("ignore regions", sum(map(len, regions.values())))
    report.count("people", len({pose.person for pose in poses}))
    report.count("poses", len(poses))
    report.count("joints", sum(int(pose.visible.sum()) for pose in poses))
    return Sequence(
        file=path,
        video=Video(
            name=name,
            split=subset,
            frames=tuple(image.path for image in images),
            image_ids=tuple(image.written for image in images),
            labelled=labelled,
            size=size,
            stated_size=images[0].size,
        ),
        poses=poses,
        names=tuple(image.fields.text("file_name") for image in images),
        ignore_regions=regions,
    )


def _pose(annotation: coco_form.Annotation, frame: int, report: Report) -> Pose:
    fields = annotation.fields
    person = fields.whole("track_id")
    if person >= MOST_TRACKS:
        done = "kept; poseval refuses such a file"
        report.defect(fields.path, annotation.place, f"a track_id of {MOST_TRACKS} or more", done)
    if not fields.filled("bbox_head"):
        done = "kept; poseval needs it for scoring"
        report.defect(fields.path, annotation.place, "no bbox_head", done)
    else:
        fields.numbers("bbox_head", 4)
    if not fields.filled("keypoints"):
        done = "neither trained on nor scored"
        report.defect(fields.path, annotation.place, "a person without key points", done)
    pose = coco_form.pose(annotation, frame, person, report, zero_counts=True)
    if pose.labelled[list(_EARS)].any():
        report.defect(
            fields.path, annotation.place, "an annotated ear, which the set does not have", "masked"
        )
        pose.labelled[list(_EARS)] = False  # visible is the same array
    return pose


def ignore_regions(image: Fields) -> list[np.ndarray]:
    """The polygons [N, 2] of one frame."""
    keys = ("ignore_regions_x", "ignore_regions_y")
    if not any(image.has(key) for key in keys):
        return []
    columns = []
    for key in keys:
        polygons = image.items(key)
        parts = Fields(image.path, f"{image.place}.{key}", dict(enumerate(polygons)))
        columns.append([parts.numbers(number, None) for number in parts.values])
    lengths = [[len(part) for part in parts] for parts in columns]
    if lengths[0] != lengths[1]:
        raise UserError(f"{image.where(keys[1])}: expected as many numbers as in {keys[0]}, got others")
    return [np.stack(pair, axis=1) for pair in zip(*columns)]


def frame_id(picture: Path) -> int:
    """The set's number of a frame: 1, the six digits its folder begins with, its own number in four."""
    return int(f"1{picture.parent.name[:6]}{int(picture.stem):04d}")


def _unlabelled(folder: Path, subset: str) -> list[Sequence]:
    """Sequences of which only the pictures are there."""
    sequences = []
    for sequence in (entry for entry in listed(folder, "*") if entry.is_dir()):
        frames = tuple(listed(sequence, "[0-9]*.jpg"))
        number = re.match(r"\d{6}", sequence.name)
        if not frames or number is None:
            raise UserError(
                f"{sequence}: expected frames 000000.jpg ... in a folder named by six digits, found none"
            )
        ids = tuple(frame_id(frame) for frame in frames)
        video = Video(
            name=sequence.name,
            split=subset,
            frames=frames,
            image_ids=ids,
            labelled=np.zeros(len(frames), dtype=bool),
            size=image_size(frames[0]),
        )
        names = tuple(f"images/test/{sequence.name}/{frame.name}" for frame in frames)
        sequences.append(Sequence(file=sequence, video=video, poses=[], names=names, ignore_regions={}))
    if not sequences:
        raise UserError(f"{folder}: expected a folder of frames per sequence, found none")
    return sequences


def _from_boxes(
    root: Path, sequences: list[Sequence], name: str, threshold: float, clip_length: int, report: Report
) -> list[Track]:
    path = jsonfiles.inside(root, name, "data.options.detections")
    find = box_files.finder(
        (number, name, (sequence, frame))
        for sequence in sequences
        for frame, (number, name) in enumerate(zip(sequence.video.image_ids, sequence.names))
    )
    tracks = []
    for box in box_files.read(path, report, category=coco.PERSON, threshold=threshold):
        with report.file():
            found = find(box)
            if found is None:
                what = "a box in a frame that is not in the label files"
                report.defect(path, box_rows.short_place(box.where), what, "left out")
                continue
            sequence, frame = found
            pose = coco_form.detected(box, frame, len(tracks), len(SKELETON.joints))
            clip_name = f"{sequence.video.name}/{sequence.video.frames[frame].stem}/{len(tracks)}"
            tracks.append(track_box(sequence.video, pose, clip_length, clip_name, path, report))
    return tracks
