"""Scores from files, as the owners of the data sets define them, and the files they want handed in.

To add one, write a module with its functions and `SCORE = SetScore(...)` (`scores.set_score` says what they take and
give), named as its data set, and enter it in `SCORERS`: one file and one line.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...options import convert_options, options_of
from ..set_score import SetScore
from ..table import Table
from . import coco, custom, hieve, mpii, penn_action, posetrack2018, sub_jhmdb

SCORERS: dict[str, SetScore] = {
    "coco": coco.SCORE,
    "custom": custom.SCORE,
    "hieve": hieve.SCORE,
    "mpii": mpii.SCORE,
    "penn_action": penn_action.SCORE,
    "posetrack2018": posetrack2018.SCORE,
    "sub_jhmdb": sub_jhmdb.SCORE,
}


def scored_by_pck(name: str) -> bool:
    """Whether the owners of the data set define PCK, so that there is no other score."""
    return name in SCORERS and SCORERS[name].by_pck


def score(name: str, gt: Path, pred: Path, options: Mapping[str, Any], prefix: str = "--set ") -> Table:
    """The official score of predictions `pred` against labels `gt`, files or folders of the data set `name`.

    options: of the set's `score`, checked by its annotations. prefix: what messages about them begin with.
    Raises UserError: unknown name or option, nothing at one of the paths, or a defective file (which it names).
    """
    if name not in SCORERS:
        raise UserError(f"--dataset: expected one of {', '.join(SCORERS)}, got {name}")
    known = options_of(SCORERS[name].score)
    converted = convert_options(options, known, prefix=prefix, owner=f"the {name} score")
    for what, path in (("labels", gt), ("predictions", pred)):
        if not Path(path).exists():
            raise UserError(f"{path}: expected the {what} of {name}, found nothing there")
    return SCORERS[name].score(Path(gt), Path(pred), **converted)


__all__ = ["SCORERS", "SetScore", "Table", "score", "scored_by_pck"]
