"""MPII: PCKh of `pred.mat` as SimpleBaselines and HRNet compute it from gt_valid.mat, and such files.

    pred.mat        preds [N, 16, 2], 1-based pixels, people in the order of the label file
    gt_valid.mat    dataset_joints, jnt_missing [16, N], pos_gt_src [16, 2, N], headboxes_src [2, 2, N]

valid.json has no head boxes, and without them there is no PCKh that compares with others'. Where only the json is
there, the head's size is the distance from upper neck to head top of the labels, and the table says so; people without
one of the two are left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.io

from ...data.forms import jsonfiles, matfiles
from ...data.forms.jsonfiles import Fields
from ...data.records import Skeleton, Track
from ...data.sets import mpii as dataset
from ...errors import UserError
from ...files import atomic_write
from ...predictions import Prediction
from ..pckh import head_sizes, means, pckh
from ..set_score import SetScore
from ..table import Table

_JOINTS = len(dataset.SKELETON.joints)
_HEAD_TOP, _UPPER_NECK = map(dataset.SKELETON.joints.index, ("head_top", "upper_neck"))
# The joints' names in gt_valid.mat, in the order of the skeleton.
_NAMES = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head"),
    *("rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
# The official headings; under "Head" it has the top alone.
_HEADINGS = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
_COLUMNS = dict(zip(_HEADINGS, dataset.SKELETON.groups.values())) | {"Head": (_HEAD_TOP,)}
_NARROW = 0.11  # what HRNet prints as Mean@0.1: entry 11 of its thresholds 0, 0.01, 0.02 ...


def score(gt: Path, pred: Path, *, threshold: float = 0.5) -> Table:
    """PCKh at `threshold` of the head size.

    gt: gt_valid.mat, or valid.json, or the folder of one of them (annot, or the data set's root).

    Raises UserError naming the file and the field that is missing or not what it should be.
    """
    if threshold <= 0:
        raise UserError(f"threshold: expected a share of the head size above 0, got {threshold:g}")
    gt = _label_file(gt)
    if gt.suffix == ".mat":
        truth, annotated, heads = _read_mat(gt)
        by = "0.6 of the head box's diagonal"
    else:
        truth, annotated, heads = _read_json(gt)
        by = "upper neck to head top, NOT the head box that the official PCKh takes: gt_valid.mat is missing"
    predicted = _read_predictions(pred, len(truth))
    sized = ~np.isnan(heads)
    absent = np.isnan(predicted).any(axis=-1)
    counts = pckh(
        predicted[sized],
        truth[sized],
        annotated[sized],
        heads[sized],
        thresholds=(threshold, 0.1, _NARROW),
    )
    per_joint, mean = counts.per_joint, means(counts)
    shares = {name: per_joint[0, list(joints)].mean() for name, joints in _COLUMNS.items()}
    shares |= {"Mean": mean[0], "Mean@0.1": mean[2]}
    notes = []
    if not sized.all():
        notes.append(f"Note: people without a head size, left out ({(~sized).sum()})")
    if absent[annotated].any():
        notes.append(
            f"Note: annotated joints without a prediction, counted as misses ({absent[annotated].sum()})"
        )
    name = "PCKh" if gt.suffix == ".mat" else "PCK by head segment"
    return Table(
        title=f"MPII {name}@{threshold:g}",
        rows={name: {column: 100 * float(share) for column, share in shares.items()}},
        protocol=(
            f"Labels: {gt}, {len(truth)} people, {int(counts.counted.sum())} annotated joints",
            f"Predictions: {pred}",
            *notes,
            f"Score: distance <= {threshold:g} of the head size ({by}); the mean is over all annotated joints without "
            f"pelvis and thorax; Mean@0.1 is at {_NARROW:g}, as HRNet has it",
        ),
        main=float(mean[0]),
        main_name=f"{name}@{threshold:g}",
        details={
            "per_joint": dict(zip(dataset.SKELETON.joints, per_joint[0])),
            "counted": dict(zip(dataset.SKELETON.joints, counts.counted)),
            "mean_at_0.1": float(mean[1]),
            "head_boxes": gt.suffix == ".mat",
        },
    )


def write(
    predictions: Sequence[Prediction], tracks: Sequence[Track], skeleton: Skeleton, out: Path, *, root: Path
) -> Path:
    """`pred.mat` in the folder `out`. People whom nobody predicted are NaN."""
    people = 1 + max(track.person for track in tracks)
    joints = np.full((people, len(skeleton.joints), 2), np.nan)
    for prediction, track in zip(predictions, tracks):
        if prediction.predicted[0]:
            joints[track.person] = prediction.joints[0]
    with atomic_write(out / "pred.mat") as file:
        scipy.io.savemat(file, {"preds": joints + 1})
    return out / "pred.mat"


def labels(
    root: Path,
    *,
    subset: str,
    train: Literal["train", "trainval"] = "train",
    test: Literal["valid", "test"] = "valid",
) -> Path | None:
    """The label file of `subset` that `score` reads, None where the labels are hidden."""
    part = train if subset == "train" else test
    if part == "test":
        return None
    head_boxes = root / "annot" / f"gt_{part}.mat"
    return head_boxes if head_boxes.is_file() else root / "annot" / f"{part}.json"


def _label_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    names = ("gt_valid.mat", "annot/gt_valid.mat", "valid.json", "annot/valid.json")
    found = next((path / name for name in names if (path / name).is_file()), None)
    if found is None:
        raise UserError(
            f"{path}: expected gt_valid.mat or valid.json in this folder or its annot, found none"
        )
    return found


def _read_mat(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints [N, 16, 2] in 1-based pixels, which of them are annotated bool [N, 16], head sizes [N]."""
    keys = ("dataset_joints", "jnt_missing", "pos_gt_src", "headboxes_src")
    variables = matfiles.load(path, keys)
    names = tuple(
        str(np.ravel(name)[0]) if np.size(name) else "" for name in variables["dataset_joints"].ravel()
    )
    if names != _NAMES:
        raise UserError(f"{path}: expected dataset_joints {', '.join(_NAMES)}, got {', '.join(names)}")
    positions = matfiles.numbers(path, variables, "pos_gt_src", (_JOINTS, 2, None), missing=True)
    people = positions.shape[2]
    missing = matfiles.numbers(path, variables, "jnt_missing", (_JOINTS, people))
    boxes = matfiles.numbers(path, variables, "headboxes_src", (2, 2, people))
    if not np.isin(missing, (0, 1)).all():
        raise UserError(f"{path}: expected jnt_missing to hold 0 and 1 only, got {np.unique(missing)}")
    annotated = missing.T == 0
    positions = positions.transpose(2, 0, 1)
    if np.isnan(positions[annotated]).any():
        raise UserError(f"{path}: expected pos_gt_src of every joint that jnt_missing does not name, got NaN")
    return positions, annotated, head_sizes(boxes.transpose(2, 0, 1).reshape(people, 4))


def _read_json(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_read_mat`, with the head's segment as its size, NaN where it is not known."""
    values = jsonfiles.load_list(path, "people")
    entries = [Fields(path, f"[{number}]", value) for number, value in enumerate(values)]
    people = [dataset.read_joints(fields) for fields in entries]
    joints = np.array([joints for joints, _ in people]).reshape(-1, _JOINTS, 2)
    annotated = np.array([annotated for _, annotated in people], dtype=bool).reshape(-1, _JOINTS)
    heads = np.linalg.norm(joints[:, _HEAD_TOP] - joints[:, _UPPER_NECK], axis=1)
    return joints, annotated, np.where(annotated[:, [_HEAD_TOP, _UPPER_NECK]].all(axis=1), heads, np.nan)


def _read_predictions(path: Path, people: int) -> np.ndarray:
    """`preds` [N, 16, 2]; a person of whom nothing was predicted is NaN."""
    variables = matfiles.load(path, ("preds",))
    preds = matfiles.numbers(path, variables, "preds", (None, _JOINTS, None), missing=True)
    if len(preds) != people or preds.shape[2] < 2:
        raise UserError(
            f"{path}: expected preds to be {people}x{_JOINTS}x2, a row for each person of the label file in its "
            f"order, got {'x'.join(map(str, preds.shape))}"
        )
    return preds[..., :2]


SCORE = SetScore(score=score, write=write, labels=labels)
