"""MPII Human Pose: single pictures, 16 joints, label files as SimpleBaselines converted them.

    images/*.jpg
    annot/{train,valid,trainval,test}.json    list of {image, center, scale, joints, joints_vis}

Numbers are 1-based; a joint that was not annotated is at (-1, -1) or (0, 0) with joints_vis 0. A person's square
box has its centre 15 * scale below `center` and sides of 200 * scale: with `data.box_scale` 1.25 the crop is that
of SimpleBaselines. `Track.person` is the place of the entry in the file, which is the order of gt_valid.mat.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from ...errors import UserError
from ..findings import Report, reporting
from ..forms import coco_form, jsonfiles
from ..forms.jsonfiles import Fields
from ..forms.people import Pose, Video, track_people
from ..images import Pictures, image_size
from ..records import Skeleton, Track

SKELETON = Skeleton(
    name="mpii",
    joints=(
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "pelvis",
        "thorax",
        "upper_neck",
        "head_top",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
    ),
    limbs=(
        *((9, 8), (8, 7), (7, 6), (7, 12), (7, 13), (6, 2), (6, 3)),
        *((12, 11), (11, 10), (13, 14), (14, 15)),
        *((2, 1), (1, 0), (3, 4), (4, 5)),
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    groups={
        "Head": (8, 9),
        "Sho": (13, 12),
        "Elb": (14, 11),
        "Wri": (15, 10),
        "Hip": (3, 2),
        "Knee": (4, 1),
        "Ank": (5, 0),
    },
    torso=(13, 2),
    torso_paper=(13, 2),
)

OFFICIAL = {"train": {"people": 22_246}, "test": {"people": 2_958}}

_PIXELS_PER_SCALE = 200.0
_CENTRE_SHIFT = 15.0  # pixels per scale, downwards: the annotated centre is too high for the whole body

# The options by which the subset "test" is the owners' validation part.
VALIDATION: dict[str, str] = {"test": "valid"}


def read(
    root: Path,
    subset: str,
    *,
    clip_length: int = 1,
    train: Literal["train", "trainval"] = "train",
    test: Literal["valid", "test"] = "valid",
    report: Report | None = None,
) -> list[Track]:
    """The people of `subset`, each a track of one frame, in the order of the file `annot/<train or test>.json`.

    Of `test: test` only the boxes are known. Raises UserError naming the file and the field that is missing or not
    what it should be.
    """
    root = Path(root)
    if subset not in ("train", "test"):
        raise UserError(f"{root}: expected subset train or test, got {subset}")
    coco_form.require_stills(SKELETON.name, clip_length)
    path = root / "annot" / f"{train if subset == 'train' else test}.json"
    hidden = path.stem == "test"
    tracks: list[Track] = []
    with reporting(report) as report:
        values = jsonfiles.load_list(path, "people")
        pictures = Pictures()
        seen: set[Path] = set()
        for number, value in enumerate(values):
            with report.file():
                fields = Fields(path, f"[{number}]", value)
                picture = jsonfiles.inside(root / "images", fields.text("image"), fields.where("image"))
                picture = pictures.require(picture, fields.where("image"), report)
                pose = _pose(fields, number, hidden, report)
                tracks += _tracks(picture, pose, subset, path, report)
                seen.add(picture)
                report.count("people")
                report.count("joints", int(pose.visible.sum()))
        report.count("images with people", len(seen))
    return tracks


def _tracks(picture: Path, pose: Pose, split: str, path: Path, report: Report) -> list[Track]:
    video = Video(
        name=picture.name,
        split=split,
        frames=(picture,),
        image_ids=(pose.person,),
        labelled=np.ones(1, dtype=bool),
        size=None if np.isfinite(pose.box).all() else image_size(picture),
    )
    return track_people(video, [pose], path, report)


def _pose(fields: Fields, number: int, hidden: bool, report: Report) -> Pose:
    joints = len(SKELETON.joints)
    centre, scale = fields.numbers("center", 2), fields.number("scale")
    box = np.full(4, np.nan)
    place = f"{fields.place} in {fields.values['image']}"
    if centre[0] != -1 and scale > 0:
        middle = centre - 1 + [0, _CENTRE_SHIFT * scale]
        half = _PIXELS_PER_SCALE * scale / 2
        box = np.concatenate([middle - half, middle + half])
    if hidden:
        positions, visible = np.zeros((joints, 2)), np.zeros(joints, dtype=bool)
        return Pose(
            person=number, frame=0, joints=positions, visible=visible, labelled=visible, box=box, place=place
        )
    positions, flagged = read_joints(fields)
    placeholder = (positions == -1).all(axis=1) | (positions == 0).all(axis=1)
    for joint in np.flatnonzero(flagged & placeholder):
        report.defect(fields.path, f"{place}, joint {joint}", "a visible joint on the placeholder", "masked")
    visible = flagged & ~placeholder
    return Pose(
        person=number,
        frame=0,
        joints=positions - 1,
        visible=visible,
        labelled=visible,
        box=box,
        place=place,
    )


def read_joints(fields: Fields) -> tuple[np.ndarray, np.ndarray]:
    """`joints` [16, 2] of one person, 1-based as in the file, and `joints_vis` bool [16]."""
    joints = len(SKELETON.joints)
    rows = fields.items("joints")
    if len(rows) != joints:
        raise fields.wrong("joints", f"{joints} pairs of numbers")
    pairs = Fields(fields.path, f"{fields.place}.joints", dict(enumerate(rows)))
    positions = np.stack([pairs.numbers(joint, 2) for joint in range(joints)])
    flags = fields.numbers("joints_vis", joints)
    if not np.isin(flags, (0, 1)).all():
        raise fields.wrong("joints_vis", f"{joints} flags 0 or 1")
    return positions, flags == 1
