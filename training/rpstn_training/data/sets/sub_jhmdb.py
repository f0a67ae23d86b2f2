"""Sub-JHMDB: the 316 clips of JHMDB that show the whole body, one person each, 15 joints, three splits.

    Rename_Images/<action>/<clip>/00001.png ...
    joint_positions/<action>/<clip>/joint_positions.mat    pos_img [2, 15, T], 1-based
    puppet_mask/<action>/<clip>/puppet_mask.mat            part_mask [H, W, T], 0 is background
    sub_splits/<action>_test_split_<1|2|3>.txt             lines "<clip>.avi 1" (train) or "... 2" (test)

A split is read by itself: a test clip of one split is a training clip of another, so pooling them would leak.
Boxes are those of the masks. All joints count as visible.
"""

import re
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...errors import UserError
from ...files import listed
from .. import boxes as box_rules
from ..findings import Report, frame_ranges, reporting
from ..forms import matfiles
from ..images import image_size, numbered_files
from ..records import Skeleton, Track

_TRUNK = ((2, 0), (0, 1))
_ARMS = ((0, 3), (3, 7), (7, 11), (0, 4), (4, 8), (8, 12))
_LEGS = ((1, 5), (5, 9), (9, 13), (1, 6), (6, 10), (10, 14))

SKELETON = Skeleton(
    name="sub_jhmdb",
    joints=(
        "neck",
        "belly",
        "head",
        "right_shoulder",
        "left_shoulder",
        "right_hip",
        "left_hip",
        "right_elbow",
        "left_elbow",
        "right_knee",
        "left_knee",
        "right_wrist",
        "left_wrist",
        "right_ankle",
        "left_ankle",
    ),
    limbs=(*_TRUNK, *_ARMS, *_LEGS),
    flip_pairs=((3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14)),
    groups={
        "Head": (2,),
        "Sho": (3, 4),
        "Elb": (7, 8),
        "Wri": (11, 12),
        "Hip": (5, 6),
        "Knee": (9, 10),
        "Ank": (13, 14),
    },
    torso=(4, 5),
    torso_paper=(4, 5),
)

OFFICIAL = {"all": {"videos": 316, "frames": 11200}}  # train and test of one split together

_SUBSETS = {"1": "train", "2": "test"}


def read(root: Path, subset: str, *, split: int = 1, report: Report | None = None) -> list[Track]:
    """The tracks of `subset`, "train" or "test", of one `split`, 1, 2 or 3.

    Raises UserError naming the file that is missing or defective, or the split line that cannot be meant.
    Labels and pictures of different number: the smaller number counts, with a warning.
    """
    root = Path(root)
    if subset not in _SUBSETS.values():
        raise UserError(f"{root}: expected subset train or test, got {subset}")
    chosen = [(action, clip) for action, clip, which in read_split(root, split) if which == subset]
    tracks = []
    with reporting(report) as report:
        for action, clip in tqdm(chosen, desc="labels", unit="clip", delay=2.0, leave=False):
            with report.file():
                tracks.append(_track(root, action, clip, subset, report))
    return tracks


def read_split(root: Path, split: int) -> list[tuple[str, str, str]]:
    """(action, clip, "train" or "test") of each line of the files of one split, in order of their names."""
    if split not in (1, 2, 3):
        raise UserError(f"{root}: expected split 1, 2 or 3, got {split}")
    folder = next((root / name for name in ("sub_splits", "sub-splits") if (root / name).is_dir()), None)
    if folder is None:
        raise UserError(f"{root / 'sub_splits'}: expected the folder of the split files, found none")
    files = listed(folder, f"*_test_split_{split}.txt")
    if not files:
        raise UserError(f"{folder}: expected files <action>_test_split_{split}.txt, found none")
    return [entry for file in files for entry in _read_split_file(file, split)]


def _read_split_file(file: Path, split: int) -> list[tuple[str, str, str]]:
    action = file.name.removesuffix(f"_test_split_{split}.txt")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: expected lines '<clip>.avi 1' or '<clip>.avi 2', got no text") from error
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, flag = line.strip().rpartition(" ")
        clip = name.strip().removesuffix(".avi")
        # The name becomes part of a path and must stay inside the data set.
        if flag not in _SUBSETS or not clip or clip in (".", "..") or re.search(r"[/\\\x00]", clip):
            raise UserError(f"{file}, line {number}: expected '<clip>.avi 1' or '<clip>.avi 2', got {line!r}")
        entries.append((action, clip, _SUBSETS[flag]))
    return entries


def read_joints(path: Path) -> np.ndarray:
    """`joint_positions.mat` as float64 [T, 15, 2], 0-based pixels; only `pos_img` is needed."""
    variables = matfiles.load(path, ("pos_img",))
    if np.ndim(variables["pos_img"]) == 2:  # MATLAB drops a last axis of length 1
        variables["pos_img"] = variables["pos_img"][..., None]
    positions = matfiles.numbers(path, variables, "pos_img", (2, len(SKELETON.joints), None))
    if positions.shape[2] == 0:
        raise UserError(f"{path}: expected pos_img of at least one frame, got none")
    return positions.transpose(2, 1, 0) - 1


def read_boxes(path: Path) -> np.ndarray:
    """Tight boxes float64 [T, 4] around the person in `puppet_mask.mat`, 0-based; NaN for an empty mask."""
    mask = np.asarray(matfiles.load(path, ("part_mask",))["part_mask"])
    if mask.ndim == 2:
        mask = mask[..., None]
    if mask.ndim != 3 or mask.dtype.kind not in "fiub" or 0 in mask.shape:
        raise UserError(f"{path}: expected part_mask to be numbers rows x columns x frames, got {mask.shape}")
    person = mask != 0
    columns, rows = person.any(axis=0), person.any(axis=1)  # [W, T], [H, T]
    first = [axis.argmax(axis=0) for axis in (columns, rows)]
    last = [len(axis) - 1 - axis[::-1].argmax(axis=0) for axis in (columns, rows)]
    boxes = np.stack(first + last, axis=1).astype(np.float64)
    return np.where(columns.any(axis=0)[:, None], boxes, np.nan)


def read_without_pictures(root: Path, subset: str, split: int, report: Report) -> list[Track]:
    """As `read`, for scores: a clip's pictures need not be there, then its labels say how many frames it has."""
    chosen = [(action, clip) for action, clip, which in read_split(root, split) if which == subset]
    clips = tqdm(chosen, desc="labels", unit="clip", delay=2.0, leave=False)
    return [_track(root, action, clip, subset, report, needs_pictures=False) for action, clip in clips]


def _track(
    root: Path, action: str, clip: str, subset: str, report: Report, *, needs_pictures: bool = True
) -> Track:
    joint_file = root / "joint_positions" / action / clip / "joint_positions.mat"
    mask_file = root / "puppet_mask" / action / clip / "puppet_mask.mat"
    joints, boxes = read_joints(joint_file), read_boxes(mask_file)
    folder = root / "Rename_Images" / action / clip
    if needs_pictures or folder.is_dir():
        pictures = numbered_files(folder, 5, ".png")
    else:
        pictures = [folder / f"{frame:05d}.png" for frame in range(1, len(joints) + 1)]
    frames = min(len(joints), len(pictures))
    if not len(joints) == len(boxes) == len(pictures):
        place = f"{len(pictures)} frames, {len(joints)} labels, {len(boxes)} masks"
        done = "the smaller number of frames and labels is used"
        report.defect(joint_file, place, "different numbers of frames, labels and masks", done)
    missing = np.full((max(frames - len(boxes), 0), 4), np.nan)
    joints, boxes = joints[:frames], np.concatenate([boxes, missing])[:frames]
    everything = np.ones(joints.shape[:2], dtype=bool)
    mended = box_rules.mend(boxes, joints, everything, lambda: image_size(pictures[0]))
    empty = ~box_rules.usable(boxes)
    if empty.any():
        done = "replaced by the last usable box, else by that of the joints or of the next frames"
        report.defect(mask_file, frame_ranges(np.flatnonzero(empty) + 1), "no mask of the person", done)
    report.count("videos")
    report.count("frames", frames)
    report.count("joints", everything.sum())
    return Track(
        name=clip,
        split=subset,
        action=action,
        frames=tuple(pictures[:frames]),
        joints=joints,
        visible=everything,
        labelled=everything,
        boxes=mended,
        score_boxes=box_rules.for_scoring(boxes, mended),
        video=clip,
        image_ids=tuple(range(1, frames + 1)),
    )
