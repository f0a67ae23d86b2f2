"""Sub-JHMDB: PCK of a pose file per split, and the mean of the three splits, which are never pooled.

Labels are the data set's root; no picture is read. Predictions are the pose file of one split, or a folder with
split_1.json, split_2.json and split_3.json. `clip_poses` describes the file. Frames without a pose count as misses.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ...data.findings import Report
from ...data.records import Skeleton, Track
from ...data.sets import sub_jhmdb as dataset
from ...errors import UserError
from ...predictions import Prediction
from .. import clip_poses
from ..pck import PckResult, mean_over_splits
from ..pck_released import released_rows
from ..table import Table

_SPLITS = (1, 2, 3)


def score(
    gt: Path,
    pred: Path,
    *,
    subset: Literal["test", "train"] = "test",
    split: int = 1,
    gamma: float = 0.2,
    sweep: bool = False,
    released: bool = False,
    missing: Literal["miss", "skip"] = "miss",
    average: Literal["frames", "videos"] = "frames",
) -> Table:
    """PCK by every normaliser: of one split, or for a folder of each split and the mean of the three, per joint.

    Args:
        split: of a single file. The other arguments are those of Penn Action.

    Raises UserError naming file and field of what is not as it should be.
    """
    whole = pred.is_dir()
    rows: dict[str, PckResult] = {}
    protocol = [f"Labels: {gt}, {subset} subset"]
    by_split = []
    for number in _SPLITS if whole else (split,):
        file = pred / f"split_{number}.json" if whole else pred
        poses = clip_poses.read_poses(file, dataset.SKELETON)
        tracks = dataset.read_without_pictures(gt, subset, number, Report())
        if not tracks:
            raise UserError(f"{gt}: expected {subset} clips in split {number}, found none")
        matched = clip_poses.match(poses, tracks, missing)
        found = clip_poses.rows_of(
            matched, dataset.SKELETON, gamma=gamma, missing=missing, average=average, curves=sweep
        )
        if released:
            found |= released_rows(matched.joints, matched.predicted, tracks, dataset.SKELETON)
        by_split.append(found)
        rows |= {f"split {number}, {name}" if whole else name: result for name, result in found.items()}
        protocol += [
            f"Split {number}: {file}, {len(tracks)} videos, {sum(map(len, tracks))} frames",
            *matched.notes,
        ]
    if whole:
        means = {name: mean_over_splits([found[name] for found in by_split]) for name in by_split[0]}
        rows = {**{f"mean, {name}": result for name, result in means.items()}, **rows}
    protocol.append(
        f"Score: distance <= threshold * normaliser in pixels of the original image, {clip_poses.HOW[average]}; Mean: "
        "over 15 joints, 13 j.: without neck and belly, 7 gr.: over groups, Micro: all hits over all counted"
    )
    name = "mean of three splits" if whole else f"split {split}"
    main = "mean, person" if whole else "person"
    return clip_poses.table_of(f"Sub-JHMDB PCK@{gamma:g}, {name}", rows, dataset.SKELETON, main, protocol)


def write(
    predictions: Sequence[Prediction],
    tracks: Sequence[Track],
    skeleton: Skeleton,
    out: Path,
    *,
    root: Path,
    split: int = 1,
) -> Path:
    """`split_<n>.json` in the folder `out`."""
    return clip_poses.write_poses(predictions, tracks, skeleton, out / f"split_{split}.json", root)
