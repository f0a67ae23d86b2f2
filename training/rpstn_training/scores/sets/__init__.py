"""Scores from files, as the owners of the data sets define them, and the files they want handed in.

A score is a module of this package, named as its data set, with

    score(gt: Path, pred: Path, *, option: annotation = default, ...) -> Table
    write(predictions, tracks, skeleton, out: Path, *, root: Path) -> Path

`score` reads labels and predictions in the data set's official forms; neither a model nor pictures are needed. It
reads what `write` writes from the predictions (`predictions.Prediction`) of tracks
(`data.records.Track`) of the data set in `root`.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import UserError
from ...options import convert_options, options_of
from ..table import Table
from . import coco, custom, hieve, mpii, penn_action, posetrack2018, sub_jhmdb

SCORERS: dict[str, ModuleType] = {
    "coco": coco,
    "custom": custom,
    "hieve": hieve,
    "mpii": mpii,
    "penn_action": penn_action,
    "posetrack2018": posetrack2018,
    "sub_jhmdb": sub_jhmdb,
}


def score(name: str, gt: Path, pred: Path, options: Mapping[str, Any], prefix: str = "--set ") -> Table:
    """The official score of predictions `pred` against labels `gt`, files or folders of the data set `name`.

    options: of the module's `score`, checked by its annotations. prefix: what messages about them begin with.
    Raises UserError: unknown name or option, nothing at one of the paths, or a defective file (which it names).
    """
    if name not in SCORERS:
        raise UserError(f"--dataset: expected one of {', '.join(SCORERS)}, got {name}")
    module = SCORERS[name]
    converted = convert_options(options, options_of(module.score), prefix=prefix, owner=f"the {name} score")
    for what, path in (("labels", gt), ("predictions", pred)):
        if not Path(path).exists():
            raise UserError(f"{path}: expected the {what} of {name}, found nothing there")
    return module.score(Path(gt), Path(pred), **converted)


__all__ = ["SCORERS", "Table", "score"]
