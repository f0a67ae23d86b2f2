"""Predictions in the form that a data set's owners want handed in, and the official score of that file.

The file is the one truth: `rpstn eval` prints what `rpstn score` prints for it. The functions `write` and `score` of
`scores.sets.<data set>`, `labels(root, *, ...) -> Path | None`, which says where the labels are, and
`as_labelled(root, skeleton, *, ...)`, the options of `score` in the order of the labels' joints, take what they name
among the fields of `DataConfig`, its `options`, and `subset`, `nms`, `videos` (their numbers) and `algorithm`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..config import Config
from ..data.records import Track
from ..data.sets import load_skeleton
from ..errors import UserError
from ..options import convert_options, options_of
from ..predictions import Prediction
from .sets import SCORERS
from .table import Table

# Their owners define PCK, which `rpstn eval` counts without a detour.
_SCORED_BY_PCK = ("penn_action", "sub_jhmdb")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """`path` is what was written, None for a data set of no official form. `table` is its official score, None where
    there is none; `reason` says why.
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
    folder: Path,
    *,
    nms: str | None = None,
) -> Submission:
    """Write the predictions of `tracks` in the official form into `folder`, and score what was written.

    nms: how poses of one person from several boxes are thinned out, for the sets scored by COCO's rules; "oks" (the
    default), "soft" or "none".
    """
    module = SCORERS.get(config.data.name)
    if module is None:
        return Submission(path=None, table=None, reason=f"{config.data.name} has no official form")
    thins_out = "nms" in options_of(module.write)
    if nms is not None and not thins_out:
        raise UserError(f"--nms: expected a set scored by COCO's rules, got {config.data.name}; leave it out")
    nms = nms or "oks"
    root, subset, skeleton = (
        Path(config.data.root).expanduser(),
        config.eval.subset,
        load_skeleton(config.data),
    )
    given = {
        **{name: getattr(config.data, name) for name in ("split", "input_size", "box_scale", "clip_length")},
        **config.data.options,
        "subset": subset,
        "nms": nms,
        "videos": sorted({int(track.video) for track in tracks if track.video.isdecimal()}),
        "algorithm": config.model.name.replace("_", "-"),
    }
    path = module.write(
        predictions, tracks, skeleton, folder, root=root, **_taken(module.write, given, "root")
    )
    protocol = ()
    if thins_out:
        protocol = (f"Poses: {_NMS[nms if skeleton.sigmas else 'none']}",)
    if config.data.name in _SCORED_BY_PCK:
        return Submission(path=path, table=None, protocol=protocol)
    if config.data.name == "custom" and not skeleton.sigmas:
        reason = "No score by COCO's rules: the joints have no tolerances, give data.options.sigmas"
        return Submission(path=path, table=None, reason=reason, protocol=protocol)
    labels = _labels(module, root, tracks, given)
    if labels is None:
        reason = (
            "No score: there are no labels of this part here, those of a test part are the server's; "
            f"rpstn score --dataset {config.data.name} takes labels from elsewhere"
        )
        return Submission(path=path, table=None, reason=reason, protocol=protocol)
    if hasattr(module, "as_labelled"):
        given |= module.as_labelled(root, skeleton, **_taken(module.as_labelled, given))
    try:
        table = module.score(labels, path, **_taken(module.score, given))
    except UserError as error:  # the predictions are written, and their PCK is not to be lost
        return Submission(path=path, table=None, reason=f"No score: {error}", protocol=protocol)
    return Submission(path=path, table=table, protocol=protocol)


def _labels(module: ModuleType, root: Path, tracks: Sequence[Track], given: dict[str, Any]) -> Path | None:
    """What the module's `score` reads as labels; None where there are none."""
    if hasattr(module, "labels"):
        return module.labels(root, **_taken(module.labels, given))
    # Sets of videos keep the labels of a part in a folder of its own, named as that of its frames.
    folder = root / "annotations" / tracks[0].frames[0].parent.parent.name
    return folder if folder.is_dir() else None


_RESCORED = "score of the box times mean of the joint scores above 0.2"
_NMS = {
    "oks": f"{_RESCORED}; one more similar than OKS 0.9 to a better one of its picture is left out",
    "soft": f"{_RESCORED}; at most 20 a picture, chosen by soft OKS-NMS",
    "none": f"{_RESCORED}; none is left out",
}


def _taken(function: Callable, given: dict[str, Any], *without: str) -> dict[str, Any]:
    """Those of `given` that are keyword-only arguments of the function, of the types of their annotations."""
    known = options_of(function, without)
    chosen = {name: value for name, value in given.items() if name in known}
    return convert_options(chosen, known, prefix="data.options.", owner=function.__module__)
