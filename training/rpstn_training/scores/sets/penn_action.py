"""Penn Action: PCK of a pose file. Nobody collects results of this set; `clip_poses` describes the file.

Labels are the data set's root, of which labels/*.mat are read and no picture. Frames without a pose count as misses.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ...data.findings import Report
from ...data.records import Skeleton, Track
from ...data.sets import penn_action as dataset
from ...errors import UserError
from ...predictions import Prediction
from .. import clip_poses
from ..pck_released import released_rows
from ..table import Table


def score(
    gt: Path,
    pred: Path,
    *,
    subset: Literal["test", "train"] = "test",
    gamma: float = 0.2,
    sweep: bool = False,
    released: bool = False,
    missing: Literal["miss", "skip"] = "miss",
    average: Literal["frames", "videos"] = "frames",
) -> Table:
    """PCK by every normaliser, of all frames of all videos together.

    Args:
        gamma: threshold as a share of the normaliser.
        sweep: also the thresholds 0.1 to 1.0 of the paper's Fig. 11.
        released: also `pck_released`, the released evaluator's figure.
        missing: what a frame without a pose is, a "miss", or nothing that counts ("skip").
        average: add counts over all frames of all videos, or take the mean of the videos' values.

    Raises UserError naming file and field of what is not as it should be.
    """
    poses = clip_poses.read_poses(pred, dataset.SKELETON)
    report = Report()
    tracks = dataset.read_without_pictures(gt, subset, report)
    if not tracks:
        raise UserError(f"{gt / 'labels'}: expected labels of {subset} clips, found none")
    matched = clip_poses.match(poses, tracks, missing)
    rows = clip_poses.rows_of(
        matched, dataset.SKELETON, gamma=gamma, missing=missing, average=average, curves=sweep
    )
    if released:
        rows |= released_rows(matched.joints, matched.predicted, tracks, dataset.SKELETON)
    return clip_poses.table_of(
        f"Penn Action PCK@{gamma:g}",
        rows,
        dataset.SKELETON,
        "person",
        (
            f"Labels: {gt}, {subset} subset, {len(tracks)} videos, {sum(map(len, tracks))} frames",
            f"Poses: {pred}",
            *matched.notes,
            f"Score: distance <= threshold * normaliser in pixels of the original image, {clip_poses.HOW[average]}; "
            "Mean: over joints, 7 gr.: over groups, Micro: all hits over all counted",
        ),
    )


def write(
    predictions: Sequence[Prediction],
    tracks: Sequence[Track],
    skeleton: Skeleton,
    out: Path,
    *,
    root: Path,
) -> Path:
    """`poses.json` in the folder `out`."""
    return clip_poses.write_poses(predictions, tracks, skeleton, out / "poses.json", root)
