"""Readers of data sets as their owners ship them.

A reader module has `SKELETON` and `read(root, subset, **options) -> list[Track]`; its options are those of
`DataConfig` that concern it.
"""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import UserError
from . import penn_action, sub_jhmdb
from .records import Skeleton, Track

if TYPE_CHECKING:
    from ..config import DataConfig

DATASETS: dict[str, ModuleType] = {"penn_action": penn_action, "sub_jhmdb": sub_jhmdb}


def skeleton(name: str) -> Skeleton:
    """The skeleton of the data set called `name`."""
    return _module(name).SKELETON


def load_tracks(data: "DataConfig", subset: str) -> list[Track]:
    """All tracks of `subset` ("train" or "test") of the data set that `data` names.

    Raises UserError: unknown name, missing folder, defective file (which it names), or not one clip in the
    subset.
    """
    module = _module(data.name)
    root = Path(data.root).expanduser()
    if not root.is_dir():
        raise UserError(f"data.root: expected the folder of the data set {data.name}, found no folder {root}")
    options = {"split": data.split} if module is sub_jhmdb else {}
    tracks = module.read(root, subset, **options)
    if not tracks:
        which = f"split {data.split}, " if module is sub_jhmdb else ""
        raise UserError(f"{root}: expected clips of {data.name} ({which}subset {subset}), found none")
    return tracks


def _module(name: str) -> ModuleType:
    if name not in DATASETS:
        raise UserError(f"data.name: expected one of {', '.join(DATASETS)}, got {name}")
    return DATASETS[name]


__all__ = ["DATASETS", "Skeleton", "Track", "load_tracks", "skeleton"]
