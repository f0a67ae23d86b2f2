"""Penn Action: 2,326 videos of one person each, 13 joints, `frames/NNNN/NNNNNN.jpg` and `labels/NNNN.mat`.

The label files are read as shipped. Numbers come as float64, uint16 or uint8 and are cast before any
arithmetic; two files lack the last box; ten have boxes of no size; `dimensions` is wrong in four and
therefore not used; coordinates are 1-based.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...errors import UserError
from ...files import listed
from ...words import several
from .. import boxes as box_rules
from ..findings import Report, frame_ranges, reporting
from ..forms import matfiles
from ..images import image_size, numbered_files
from ..records import Skeleton, Track

_HEAD = ((0, 1), (0, 2))
_TRUNK = ((1, 2), (1, 7), (2, 8), (7, 8))
_ARMS = ((1, 3), (3, 5), (2, 4), (4, 6))
_LEGS = ((7, 9), (9, 11), (8, 10), (10, 12))

SKELETON = Skeleton(
    name="penn_action",
    joints=(
        "head",
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
    limbs=(*_HEAD, *_TRUNK, *_ARMS, *_LEGS),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12)),
    groups={
        "Head": (0,),
        "Sho": (1, 2),
        "Elb": (3, 4),
        "Wri": (5, 6),
        "Hip": (7, 8),
        "Knee": (9, 10),
        "Ank": (11, 12),
    },
    torso=(2, 7),
    torso_paper=(1, 8),
)

OFFICIAL = {
    "train": {"videos": 1258, "frames": 87543, "joints": 889216},
    "test": {"videos": 1068, "frames": 76298, "joints": 771216},
}

_KEYS = ("action", "x", "y", "visibility", "train", "bbox", "nframes")
# A joint that nobody placed lies at (0, 0) or at (1, 1) times the factor by which the video was resized, at
# most 1.53 in the 2,326 files; no joint with a real position is nearer to the corner than 8.
_PLACEHOLDER_BELOW = 2.0
_NARROW = 20.0  # pixels: so narrow or low a box cannot hold the person


@dataclass(frozen=True, kw_only=True)
class Label:
    """One label file. Coordinates are 0-based pixels of the frames.

    `joints` [F, 13, 2], `visible` and `labelled` bool [F, 13] as in `Track`; `boxes` [F, 4] as annotated,
    with NaN in the row that is missing. `stated_size` (width, height) is only compared with the joints;
    `narrow_integers` names the variables that are stored as such.
    """

    name: str
    subset: str
    action: str
    joints: np.ndarray
    visible: np.ndarray
    labelled: np.ndarray
    boxes: np.ndarray
    stated_size: tuple[float, float] = (np.inf, np.inf)
    narrow_integers: str = ""


def read_label(path: Path) -> Label:
    """Read `labels/NNNN.mat`; no pictures are needed.

    A joint is `labelled` unless it is invisible and lies on the placeholder in the image's corner.
    Invisible joints elsewhere carry the annotator's guess: labelled, not visible.

    Raises UserError naming the file and the variable that is missing, of the wrong shape or not finite.
    """
    path = Path(path)
    variables = matfiles.load(path, _KEYS, optional=("dimensions",))
    joints_per_frame = len(SKELETON.joints)
    frames = _count(path, matfiles.numbers(path, variables, "nframes", (1, 1)).item())
    shape = (frames, joints_per_frame)
    position = np.stack([matfiles.numbers(path, variables, axis, shape) for axis in ("x", "y")], axis=-1)
    visibility = matfiles.numbers(path, variables, "visibility", shape)
    if not np.isin(visibility, (0, 1)).all():
        raise UserError(f"{path}: expected visibility to hold 0 and 1 only, got {np.unique(visibility)}")
    flag = matfiles.numbers(path, variables, "train", (1, 1)).item()
    if flag not in (1, -1):
        raise UserError(f"{path}: expected train to be 1 (train) or -1 (test), got {flag:g}")

    boxes = matfiles.numbers(path, variables, "bbox", (None, 4))
    if len(boxes) not in (frames, frames - 1):  # 1154 and 1865 lack the last row
        raise UserError(f"{path}: expected bbox to have {frames} rows like nframes, got {len(boxes)}")
    boxes = np.concatenate([boxes, np.full((frames - len(boxes), 4), np.nan)])

    visible = visibility == 1
    placeholder = ~visible & (position < _PLACEHOLDER_BELOW).all(axis=-1)
    return Label(
        name=path.stem,
        subset="train" if flag == 1 else "test",
        action=matfiles.word(path, variables, "action"),
        joints=position - 1,
        visible=visible,
        labelled=~placeholder,
        boxes=boxes - 1,
        stated_size=_stated_size(variables),
        narrow_integers=", ".join(
            key for key in ("x", "y", "bbox") if np.asarray(variables[key]).dtype.kind in "iu"
        ),
    )


def _stated_size(variables: dict[str, Any]) -> tuple[float, float]:
    """Width and height in `dimensions`, which nothing depends on; infinite where they are not there."""
    dimensions = np.asarray(variables.get("dimensions", ()))
    if dimensions.dtype.kind not in "fiu" or dimensions.size != 3:
        return np.inf, np.inf
    height, width, _ = (float(side) for side in dimensions.flat)
    return width, height


def _count(path: Path, number: float) -> int:
    if number < 1 or number != int(number):
        raise UserError(f"{path}: expected nframes to be a whole number above 0, got {number:g}")
    return int(number)


def read_labels(root: Path, report: Report | None = None) -> list[Label]:
    """All of `labels/*.mat` in the order of their names: 2,326 files take about two seconds."""
    files = listed(Path(root) / "labels", "*.mat")
    if not files:
        raise UserError(f"{Path(root) / 'labels'}: expected the label files 0001.mat ..., found none")
    labels = []
    with reporting(report) as report:
        for file in tqdm(files, desc="labels", unit="file", delay=2.0, leave=False):
            with report.file():
                labels.append(read_label(file))
    return labels


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Size of a subset, to compare with the published one."""

    clips: int
    frames: int
    visible_joints: int


def count(labels: list[Label]) -> dict[str, Counts]:
    """Clips, frames and visible joints of "train" and "test"; the whole set has 1,258 and 1,068 clips."""
    subsets = {name: [label for label in labels if label.subset == name] for name in ("train", "test")}
    return {
        name: Counts(
            clips=len(chosen),
            frames=sum(len(label.joints) for label in chosen),
            visible_joints=sum(int(label.visible.sum()) for label in chosen),
        )
        for name, chosen in subsets.items()
    }


def read(root: Path, subset: str, *, report: Report | None = None) -> list[Track]:
    """The tracks of `subset`, "train" or "test", by the flag in the label files.

    Raises UserError where a label file is defective or has more frames than there are pictures, naming the
    file. More pictures than labelled frames: the rest is left out, with a warning.
    """
    if subset not in ("train", "test"):
        raise UserError(f"{root}: expected subset train or test, got {subset}")
    root = Path(root)
    tracks = []
    with reporting(report) as report:
        for label in read_labels(root, report):
            if label.subset == subset:
                with report.file():
                    tracks.append(_track(root, label, report))
    return tracks


def _track(root: Path, label: Label, report: Report) -> Track:
    file = root / "labels" / f"{label.name}.mat"
    report.count("videos")
    report.count("frames", len(label.joints))
    report.count("joints", int(label.visible.sum()))
    for place, what, done in label_defects(label):
        report.defect(file, place, what, done)
    pictures = numbered_files(root / "frames" / label.name, 6, ".jpg")
    frames = len(label.joints)
    if len(pictures) < frames:
        missing = pictures[0].with_name(f"{len(pictures) + 1:06d}.jpg")
        raise UserError(f"{missing}: expected {frames} frames as in labels/{label.name}.mat, found none here")
    if len(pictures) > frames:
        place = f"{len(pictures)} frames but {frames} labels"
        report.defect(pictures[0].parent, place, "more pictures than labels", "the rest is left out")
    return _labelled(label, pictures[:frames], lambda: image_size(pictures[0]))


def read_without_pictures(root: Path, subset: str, report: Report) -> list[Track]:
    """As `read`, for scores: the pictures need not be there."""
    tracks = []
    for label in read_labels(root, report):
        if label.subset == subset:
            folder = Path(root) / "frames" / label.name
            pictures = [folder / f"{frame:06d}.jpg" for frame in range(1, len(label.joints) + 1)]
            tracks.append(_labelled(label, pictures, functools.partial(_size_for_score, label, pictures[0])))
    return tracks


def _size_for_score(label: Label, picture: Path) -> tuple[int, int]:
    """Of a clip that has neither a box nor a visible joint, so it hardly matters."""
    if picture.is_file():
        return image_size(picture)
    far = label.joints.max(axis=(0, 1)) + 1
    width, height = np.where(np.isfinite(label.stated_size), label.stated_size, far)
    return max(int(width), 2), max(int(height), 2)


def _labelled(label: Label, pictures: list[Path], size: Callable[[], tuple[int, int]]) -> Track:
    boxes = box_rules.mend(label.boxes, label.joints, label.visible, size)
    return Track(
        name=label.name,
        split=label.subset,
        action=label.action,
        frames=tuple(pictures),
        joints=label.joints,
        visible=label.visible,
        labelled=label.labelled,
        boxes=boxes,
        score_boxes=box_rules.for_scoring(label.boxes, boxes),
        video=label.name,
        image_ids=tuple(range(1, len(pictures) + 1)),
    )


def label_defects(label: Label) -> list[tuple[str, str, str]]:
    """(place, what, what is done about it) for every known defect of a label file. Frames are counted from 1."""
    found = []
    if label.narrow_integers:
        found.append(
            (label.narrow_integers, "numbers in narrow integers", "cast to float64 before arithmetic")
        )
    usable = box_rules.usable(label.boxes)
    absent = np.isnan(label.boxes).all(axis=1)
    nowhere = ~label.visible.any(axis=1)
    sides = label.boxes[:, 2:] - label.boxes[:, :2]
    with np.errstate(invalid="ignore"):
        outside = (
            usable[:, None]
            & label.visible
            & ((label.joints < label.boxes[:, None, :2]) | (label.joints > label.boxes[:, None, 2:])).any(
                axis=-1
            )
        )
        narrow = usable & (sides < _NARROW).any(axis=1)
    mended = "replaced by the last usable box, else by that of the joints or of the next frames"
    for mask, what, done in (
        (absent, "no row of bbox", mended),
        (~usable & ~absent, "a box without width or height", mended),
        (narrow, f"a box narrower or lower than {_NARROW:g} pixels", "kept"),
        (nowhere, "no visible joint", "neither trained on nor scored"),
    ):
        if mask.any():
            found.append((frame_ranges(np.flatnonzero(mask) + 1), what, done))
    if outside.any():
        place = f"{several(outside.sum(), 'joint')}, {frame_ranges(np.flatnonzero(outside.any(axis=1)) + 1)}"
        found.append((place, "visible joints outside the box", "kept"))
    if not label.labelled.all():
        found.append((several((~label.labelled).sum(), "joint"), "joints on the placeholder", "masked"))
    if label.visible.any():
        far = label.joints[label.visible].max(axis=0) + 1  # 1-based, as the file has it
        if (far > np.array(label.stated_size) + 1).any():
            width, height = label.stated_size
            place = f"dimensions {width:.0f}x{height:.0f}, joints to {far[0]:.0f}, {far[1]:.0f}"
            found.append((place, "wrong dimensions", "not used; the picture's own size counts"))
    return found
