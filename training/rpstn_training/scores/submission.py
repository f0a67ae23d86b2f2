"""Predictions in the form that a data set's owners want handed in, and the official score of that file.

The file is the one truth: `rpstn eval` prints what `rpstn score` prints for it.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Config
from ..data.records import Skeleton, Track
from ..errors import UserError
from ..options import convert_options, options_of
from ..predictions import Prediction
from .coco_ap import NMS
from .set_score import SetScore
from .sets import SCORERS
from .table import Table


@dataclass(frozen=True, kw_only=True)
class Submission:
    """`path` is what was written, None for a data set of no official form, or where it was removed. `table` is its
    official score, None where there is none; `reason` says why.
    """

    path: Path | None
    table: Table | None
    reason: str = ""
    protocol: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        parts = [*self.protocol, self.table.text if self.table is not None else self.reason]
        return "\n".join(part for part in parts if part)

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "submission": None if self.path is None else str(self.path),
            "official": None if self.table is None else self.table.to_dict(),
            "official_protocol": [part for part in (*self.protocol, self.reason) if part],
        }


def submit(
    predictions: Sequence[Prediction],
    tracks: Sequence[Track],
    config: Config,
    skeleton: Skeleton,
    folder: Path,
    *,
    nms: str | None = None,
    main_alone: bool = False,
) -> Submission:
    """Write the predictions of `tracks` in the official form into `folder`, and score what was written.

    Args:
        nms: how poses of one person from several boxes are thinned out, a key of `NMS`, for the sets scored by COCO's
            rules; None is "oks".
        main_alone: leave out scores that `Table.main` does not need.
    """
    name = config.data.name
    scorer = SCORERS.get(name)
    if scorer is None:
        return Submission(path=None, table=None, reason=f"{name} has no official form")
    if nms is not None and not scorer.several_poses:
        raise UserError(f"--nms: expected a set scored by COCO's rules, got {name}; leave it out")
    nms = nms or "oks"
    root = Path(config.data.root).expanduser()
    given = _given(config, tracks, scorer, nms, main_alone)
    path = scorer.write(
        predictions, tracks, skeleton, folder, root=root, **_taken(scorer.write, given, name, "root")
    )
    protocol = ()
    if scorer.several_poses:  # without tolerances there is no similarity of poses to go by
        protocol = (f"Poses: {NMS[nms if skeleton.sigmas else 'none']}",)
    if scorer.by_pck:
        return Submission(path=path, table=None, protocol=protocol)
    labels = scorer.labels(root, **_taken(scorer.labels, given, name))
    if labels is None:
        reason = (
            "No score: there are no labels of this part here, those of a test part are the server's; "
            f"rpstn score --dataset {name} takes labels from elsewhere"
        )
        return Submission(path=path, table=None, reason=reason, protocol=protocol)
    given |= scorer.as_labelled(root, skeleton, **_taken(scorer.as_labelled, given, name))
    try:
        table = scorer.score(labels, path, **_taken(scorer.score, given, name))
    except UserError as error:  # the predictions are written, and their PCK is not to be lost
        return Submission(path=path, table=None, reason=f"No score: {error}", protocol=protocol)
    return Submission(path=path, table=table, protocol=protocol)


def own_score(
    predictions: Sequence[Prediction],
    tracks: Sequence[Track],
    config: Config,
    skeleton: Skeleton,
    pck: Table,
) -> Submission:
    """The score that the data set goes by, for choosing weights; no file is left behind.

    `table` is always there: `table.main_name` and `table.main` are its name and value, larger is better. For a set that
    is scored by PCK it is `pck`, the table of these predictions (`Evaluation.table`), and so it is where the official
    score is not to be had, of which `reason` says why.
    """
    scorer = SCORERS.get(config.data.name)
    if scorer is None or scorer.by_pck:
        return Submission(path=None, table=pck)
    with tempfile.TemporaryDirectory(prefix="rpstn-score-") as folder:
        found = submit(predictions, tracks, config, skeleton, Path(folder) / "submission", main_alone=True)
    if found.table is None:
        return replace(found, path=None, table=pck)
    if np.isnan(found.table.main):  # nothing there that the owners would count
        return Submission(
            path=None, table=pck, reason=f"{found.table.main_name} is not defined for these labels"
        )
    return replace(found, path=None)


def _given(
    config: Config, tracks: Sequence[Track], scorer: SetScore, nms: str, main_alone: bool
) -> dict[str, Any]:
    """All that the functions of a `SetScore` may name among their arguments."""
    return {
        **{name: getattr(config.data, name) for name in ("split", "input_size", "box_scale", "clip_length")},
        **config.data.options,
        "subset": config.eval.subset,
        "nms": nms,
        "videos": sorted({int(track.video) for track in tracks if track.video.isdecimal()}),
        "algorithm": config.model.name.replace("_", "-"),
        **(scorer.main_alone if main_alone else {}),
    }


def _taken(function: Callable, given: Mapping[str, Any], owner: str, *without: str) -> dict[str, Any]:
    """Those of `given` that are keyword-only arguments of the function, of the types of their annotations."""
    known = options_of(function, without)
    chosen = {name: value for name, value in given.items() if name in known}
    return convert_options(chosen, known, prefix="data.options.", owner=owner)
