"""Sub-JHMDB: PCK of a pose file per split, and the mean of the three splits, which are never pooled.

Labels are the data set's root; no picture is read. Predictions are the pose file of one split, split_1.json,
split_2.json or split_3.json (of another name with the option `split`), or a folder with the three. `clip_poses`
describes the file. Frames without a pose count as misses.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...data.findings import Report
from ...data.records import Skeleton, Track
from ...data.sets import sub_jhmdb as dataset
from ...errors import UserError
from ...predictions import Prediction
from .. import clip_poses
from ..set_score import SetScore

_FILES = {split: f"split_{split}.json" for split in (1, 2, 3)}


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
    return clip_poses.write_poses(predictions, tracks, skeleton, out / _FILES[split], root)


def _files(path: Path, given: int | None) -> Mapping[int, Path]:
    if given is not None:
        if given not in _FILES:
            raise UserError(f"split: expected 1, 2 or 3, got {given}")
        return {given: path / _FILES[given] if path.is_dir() else path}
    if path.is_dir():
        return {split: path / name for split, name in _FILES.items()}
    found = {split: path for split, name in _FILES.items() if name == path.name}
    if not found:
        raise UserError(
            f"{path}: expected {', '.join(_FILES.values())} or a folder with all of them, because the name says which "
            "split it is; rename the file, or say it with --set split=N"
        )
    return found


CLIPS = clip_poses.Clips(
    title="Sub-JHMDB",
    skeleton=dataset.SKELETON,
    files=_files,
    read=lambda root, subset, split: dataset.read_without_pictures(root, subset, split, Report()),
)
score = functools.partial(clip_poses.score, CLIPS)
SCORE = SetScore(score=score, write=write, by_pck=True)
