"""Penn Action: PCK of a pose file. Nobody collects results of this set; `clip_poses` describes the file.

Labels are the data set's root, of which labels/*.mat are read and no picture. Frames without a pose count as misses.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

from ...data.findings import Report
from ...data.records import Skeleton, Track
from ...data.sets import penn_action as dataset
from ...errors import UserError
from ...predictions import Prediction
from .. import clip_poses
from ..set_score import SetScore


def write(
    predictions: Sequence[Prediction], tracks: Sequence[Track], skeleton: Skeleton, out: Path, *, root: Path
) -> Path:
    """`poses.json` in the folder `out`."""
    return clip_poses.write_poses(predictions, tracks, skeleton, out / "poses.json", root)


def _files(path: Path, split: int | None) -> dict[None, Path]:
    if split is not None:
        raise UserError(f"split: expected none, because Penn Action has only one, got {split}; leave it out")
    return {None: path}


CLIPS = clip_poses.Clips(
    title="Penn Action",
    skeleton=dataset.SKELETON,
    files=_files,
    read=lambda root, subset, _: dataset.read_without_pictures(root, subset, Report()),
)
score = functools.partial(clip_poses.score, CLIPS)
SCORE = SetScore(score=score, write=write, by_pck=True)
