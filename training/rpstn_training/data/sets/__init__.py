"""Readers of data sets as their owners ship them.

A data set is a module of this package with `SKELETON` and `read(root, subset, **options) -> list[Track]`, entered in
`DATASETS`: one file and one line (and the same in `scores.sets`, where its owners score it). Its options are `report`
(what was found, `findings.Report`), the fields of `DataConfig` that it names among its arguments, and those that the
configuration gives under `data.options`. Where the joints depend on the options, `skeleton(root, **options)` stands in
place of `SKELETON`. Where persons can be looked for in its pictures, `pictures(root, subset, **options)` lists them
(`records.Picture`) by some of the options of `read`. `OFFICIAL` may hold the counts that its owners publish, by subset.
"""

import difflib
from pathlib import Path
from types import ModuleType
from typing import Any

from ...config import DataConfig
from ...errors import UserError
from ...options import convert_options, options_of
from ..findings import Report
from ..forms import joint_names
from ..records import Picture, Skeleton, Track
from . import coco, custom, hieve, mpii, penn_action, posetrack2018, sub_jhmdb

DATASETS: dict[str, ModuleType] = {
    "coco": coco,
    "custom": custom,
    "hieve": hieve,
    "mpii": mpii,
    "penn_action": penn_action,
    "posetrack2018": posetrack2018,
    "sub_jhmdb": sub_jhmdb,
}

# The sets whose joints are the same whatever their options.
SKELETONS: dict[str, Skeleton] = {
    name: module.SKELETON for name, module in DATASETS.items() if hasattr(module, "SKELETON")
}


def named_skeleton(name: str, key: str = "--skeleton") -> Skeleton:
    """The skeleton of the data set of this name; `key` is what an error message begins with."""
    if name not in SKELETONS:
        near = difflib.get_close_matches(name, SKELETONS, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise UserError(f"{key}: expected one of {', '.join(SKELETONS)}, got {name}{hint}")
    return SKELETONS[name]


def load_skeleton(data: DataConfig) -> Skeleton:
    """The skeleton of the data set that `data` names."""
    module = _module(data.name)
    if hasattr(module, "SKELETON"):
        return module.SKELETON
    return module.skeleton(_root(data), **_options(data, module))


def has_splits(name: str) -> bool:
    """Whether the set has several splits, of which `data.split` names one."""
    return "split" in options_of(_module(name).read)


def load_tracks(data: DataConfig, subset: str, report: Report | None = None) -> list[Track]:
    """All tracks of `subset` ("train" or "test") of the data set that `data` names.

    What is defective in a known way goes to `report`, or without one to the log. Raises UserError: unknown name,
    missing folder, defective file (which it names), or not one clip in the subset.
    """
    module = _module(data.name)
    root = _root(data)
    options = _options(data, module)
    tracks = module.read(root, subset, **options, report=report)
    if not tracks and (report is None or not report.errors):
        which = f"split {data.split}, " if "split" in options else ""
        raise UserError(f"{root}: expected clips of {data.name} ({which}subset {subset}), found none")
    return tracks


def load_pictures(data: DataConfig, subset: str) -> list[Picture]:
    """The pictures of `subset` in which a detector looks for persons, those without labels too.

    Raises UserError as `load_tracks`, and for a set whose persons are known by their clips.
    """
    module = _module(data.name)
    if not hasattr(module, "pictures"):
        those = [name for name, other in DATASETS.items() if hasattr(other, "pictures")]
        raise UserError(
            f"data.name: expected a set that takes detected boxes, {', '.join(those)}, got {data.name}"
        )
    options, wanted = _options(data, module), options_of(module.pictures)
    found = module.pictures(
        _root(data), subset, **{name: value for name, value in options.items() if name in wanted}
    )
    if not found:
        raise UserError(f"{data.root}: expected pictures of {data.name} (subset {subset}), found none")
    return found


def conventions(skeleton: Skeleton, flip: float) -> list[str]:
    """What is taken for granted of the joints, in a line each: the pairs that a mirrored picture exchanges, the torso,
    the tolerances. Where pictures are mirrored (`flip`, `augmentation.flip`, above 0) and pairs seem to be missing,
    the first line says so.
    """
    names = skeleton.joints
    pairs = ", ".join(f"{names[left]}/{names[right]}" for left, right in skeleton.flip_pairs)
    paired = {joint for pair in skeleton.flip_pairs for joint in pair}
    alone = [name for joint, name in enumerate(names) if joint not in paired]
    advice = "unless that is meant give data.options.flip_pairs, or augmentation.flip=0"
    lines = []
    if flip > 0 and not pairs:
        lines.append(
            f"Warning: no joints are pairs of left and right, and pictures are mirrored (augmentation.flip {flip:g}); "
            + advice
        )
    elif flip > 0 and (odd := joint_names.without_partner(alone)):
        lines.append(
            f"Warning: no partner on the other side for {', '.join(odd)}, and pictures are mirrored "
            f"(augmentation.flip {flip:g}); {advice}"
        )
    single = f"; by themselves: {', '.join(alone)}" if alone and pairs else ""
    lines.append(f"Flip pairs: {pairs or 'none'}{single}")
    lines.append(f"Torso of PCK: {names[skeleton.torso[0]]} to {names[skeleton.torso[1]]}")
    sigmas = ", ".join(f"{name} {sigma:g}" for name, sigma in zip(names, skeleton.sigmas))
    if sigmas or skeleton.name == "custom":  # other sets without tolerances have no AP anyway
        lines.append(
            f"Tolerances of AP: {sigmas or 'none, so there is no AP; data.options.sigmas gives some'}"
        )
    return lines


def _module(name: str) -> ModuleType:
    if name not in DATASETS:
        raise UserError(f"data.name: expected one of {', '.join(DATASETS)}, got {name}")
    return DATASETS[name]


def _root(data: DataConfig) -> Path:
    root = Path(data.root).expanduser()
    if not root.is_dir():
        raise UserError(f"data.root: expected the folder of the data set {data.name}, found no folder {root}")
    return root


def _options(data: DataConfig, module: ModuleType) -> dict[str, Any]:
    """The keyword arguments of the module's `read`, of the types of their annotations."""
    annotations = options_of(module.read, without=("report",))
    shared = {name: getattr(data, name) for name in annotations if hasattr(data, name)}
    own = {name: annotation for name, annotation in annotations.items() if name not in shared}
    return shared | convert_options(data.options, own, prefix="data.options.", owner=data.name)


__all__ = [
    "DATASETS",
    "SKELETONS",
    "Report",
    "Skeleton",
    "Track",
    "conventions",
    "load_pictures",
    "load_skeleton",
    "load_tracks",
    "named_skeleton",
]
