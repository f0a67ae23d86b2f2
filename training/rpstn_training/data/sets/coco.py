"""COCO 2017 key points: single pictures, 17 joints.

    annotations/person_keypoints_{train,val}2017.json, image_info_test-dev2017.json
    train2017/000000000009.jpg ..., val2017/, test2017/         or the same under images/
    person_detection_results/COCO_val2017_detections_AP_H_56_person.json

The subset "test" is val2017, or with `images: test-dev` the test-dev pictures, whose labels only the server has.
Chosen are the people whom SimpleBaselines trains on: no crowds, at least one key point. Hidden joints (flag 1)
count as visible, as there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ...errors import UserError
from ..findings import Report, reporting
from ..forms import box_files, coco_form, joint_names, jsonfiles
from ..forms.jsonfiles import Fields
from ..images import Pictures
from ..records import Picture, Skeleton, Track

SKELETON = Skeleton(
    name="coco",
    joints=(
        "nose",
        "left_eye",
        "right_eye",
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
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6)),
        *((5, 7), (6, 8), (7, 9), (8, 10)),
        *((1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    groups={
        "Head": (0, 1, 2, 3, 4),
        "Sho": (5, 6),
        "Elb": (7, 8),
        "Wri": (9, 10),
        "Hip": (11, 12),
        "Knee": (13, 14),
        "Ank": (15, 16),
    },
    torso=(5, 12),
    torso_paper=(5, 12),
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
)

# COCO's paper gives 57,000 pictures and 150,000 people for training, in round numbers.
OFFICIAL = {"train": {"images with people": 57_000, "people": 150_000}}

PERSON = box_files.Category(id=1, name="person", source="COCO's labels")

LABELS = {  # file and folder of pictures of each part
    "train": ("person_keypoints_train2017.json", "train2017"),
    "val": ("person_keypoints_val2017.json", "val2017"),
    "test-dev": ("image_info_test-dev2017.json", "test2017"),
}

# The options by which the subset "test" is the owners' validation part.
VALIDATION: dict[str, str] = {"images": "val"}


def tolerances(names: Sequence[str]) -> tuple[float, ...] | None:
    """COCO's sigmas of joints that are called as its own, in any usual spelling; None where one is not."""
    known = dict(zip(SKELETON.joints, SKELETON.sigmas))
    plain = [joint_names.plain(name) for name in names]
    return tuple(known[name] for name in plain) if set(plain) <= set(known) else None


def read(
    root: Path,
    subset: str,
    *,
    clip_length: int = 1,
    images: Literal["val", "test-dev"] = "val",
    detections: str | None = None,
    detection_threshold: float = 0.0,
    orientation: Literal["auto", "turned", "stored"] = "auto",
    report: Report | None = None,
) -> list[Track]:
    """The people of `subset`, "train" or "test", each a track of one frame.

    Args:
        images: what "test" stands for, "val" or "test-dev".
        detections: file with the boxes of a detector, relative to `root`, for the subset "test": each box with a
            score of at least `detection_threshold` is a track of its own. None takes the annotated people.
        orientation: as for people's own sets.

    Raises UserError naming the file and the field that is missing or not what it should be.
    """
    root = Path(root)
    part = _part(root, subset, images)
    coco_form.require_stills(SKELETON.name, clip_length)
    if part == "test-dev" and detections is None:
        raise UserError(
            "data.options.detections: expected a file with boxes, because the labels of COCO's test-dev are "
            "hidden; got none"
        )
    path, folder = _files(root, part)
    with reporting(report) as report:
        tracks: list[Track] = []
        with report.file():
            file = Fields(path, "", jsonfiles.load(path))
            images_by_id = coco_form.read_images(file, folder, Pictures(), report)
            report.count("images", len(images_by_id.by_id))
            if subset == "train" or detections is None:
                category = coco_form.require_joints(file, SKELETON.joints, SKELETON.name)
                annotations = coco_form.read_annotations(
                    file, SKELETON.joints, images_by_id, report, category and category.id("id")
                )
                tracks = coco_form.still_tracks(file, annotations, images_by_id, subset, report, orientation)
            else:
                boxes = jsonfiles.inside(root, detections, "data.options.detections", "data.root")
                tracks = coco_form.box_tracks(
                    images_by_id,
                    len(SKELETON.joints),
                    boxes,
                    detection_threshold,
                    subset,
                    report,
                    PERSON,
                    orientation,
                )
        return tracks


def pictures(
    root: Path,
    subset: str,
    *,
    images: Literal["val", "test-dev"] = "val",
    orientation: Literal["auto", "turned", "stored"] = "auto",
    report: Report | None = None,
) -> list[Picture]:
    """Every picture of `subset`. Arguments as of `read`."""
    path, folder = _files(Path(root), _part(Path(root), subset, images))
    with reporting(report) as report:
        found = coco_form.read_images(Fields(path, "", jsonfiles.load(path)), folder, Pictures(), report)
    return [
        Picture(id=image.written, path=image.path, size=image.size, orientation=orientation)
        for image in found.by_id.values()
    ]


def _part(root: Path, subset: str, images: str) -> str:
    """What the subset stands for, a key of `LABELS`."""
    if subset not in ("train", "test"):
        raise UserError(f"{root}: expected subset train or test, got {subset}")
    return "train" if subset == "train" else images


def _files(root: Path, part: str) -> tuple[Path, Path]:
    """The label file and the folder of the pictures."""
    label_file, name = LABELS[part]
    folder = next((f for f in (root / name, root / "images" / name) if f.is_dir()), None)
    if folder is None:
        raise UserError(f"{root / name}: expected the folder of the pictures, found none")
    return root / "annotations" / label_file, folder
