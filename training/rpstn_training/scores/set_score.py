"""What a data set says of its score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.records import Skeleton, Track
from ..errors import UserError
from .table import Table


def _no_labels(root: Path) -> Path | None:
    return None


def _nothing_more(root: Path, skeleton: Skeleton) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class SetScore:
    """The score of a data set by its owners' rules, and the file they want handed in.

        score(gt: Path, pred: Path, *, option: annotation = default, ...) -> Table
        write(predictions, tracks, skeleton, out: Path, *, root: Path, option ...) -> Path
        labels(root: Path, *, option ...) -> Path | None
        as_labelled(root: Path, skeleton: Skeleton, *, option ...) -> dict

    `score` reads labels and predictions in the data set's official forms; neither a model nor pictures are needed. It
    reads what `write` writes from the predictions (`predictions.Prediction`) of tracks (`data.records.Track`) of the
    data set in `root`, and what `labels` says, None where only a server has labels. `as_labelled` gives options of
    `score` that go by joint in the order of the labels, where that may be another than the skeleton's. All take what
    they name among the fields of `DataConfig`, its `options`, and `subset`, `nms`, `videos` (their numbers) and
    `algorithm`.

    by_pck: the owners define PCK, which `rpstn eval` counts without the detour of a file.
    several_poses: a person may have several poses, which `write` thins out by its option `nms`.
    main_alone: options of `score` that leave out what `Table.main` does not need.
    """

    score: Callable[..., Table]
    write: Callable[..., Path]
    labels: Callable[..., Path | None] = _no_labels
    as_labelled: Callable[..., dict[str, Any]] = _nothing_more
    by_pck: bool = False
    several_poses: bool = False
    main_alone: Mapping[str, Any] = field(default_factory=dict)


def require_tracks(tracks: Sequence[Track], skeleton: Skeleton, own: Skeleton, out: Path) -> None:
    """For files that have room for the joints of one skeleton alone, and for no empty set of videos."""
    if skeleton.joints != own.joints:
        raise UserError(f"{out}: expected the joints of {own.name}, got those of {skeleton.name}")
    if not tracks:
        raise UserError(f"{out}: expected predictions to write, got none")
