"""Synthetic clips of moving people in the files of a real data set: who draws them, and in how many processes."""

import importlib
import json
import multiprocessing
import os
import secrets
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from rpstn_training.errors import UserError
from rpstn_training.files import write_json
from rpstn_training.interrupt import ignore_interrupt
from rpstn_training.words import several

from . import coco_layout, hieve_layout, mpii_layout, penn_layout, posetrack2018_layout, sub_jhmdb_layout
from .layout import Layout

LAYOUTS: dict[str, Layout] = {
    "penn_action": penn_layout.LAYOUT,
    "sub_jhmdb": sub_jhmdb_layout.LAYOUT,
    "posetrack2018": posetrack2018_layout.LAYOUT,
    "hieve": hieve_layout.LAYOUT,
    "coco": coco_layout.LAYOUT,
    "mpii": mpii_layout.LAYOUT,
    "custom": coco_layout.CUSTOM,
}
OTHERS: dict[str, Layout] = {
    "everyday": penn_layout.EVERYDAY,
    "company": penn_layout.COMPANY,
}  # of penn_action
VERSION = 2  # of the generator: another number, other pictures
_NOTE = "synth.json"
_SMALLEST, _LARGEST = 64, 4096


def synthesise(
    out: Path,
    *,
    dataset: str = "penn_action",
    clips: int = 60,
    seed: int = 0,
    frames: int = 24,
    size: tuple[int, int] = (320, 240),
    workers: int | None = None,
    kind: str | None = None,
) -> None:
    """Write `clips` clips of `frames` frames; the folder appears when all are finished, or not at all.

    A folder that holds the same clips already is kept and said so. size: (width, height) in pixels. kind: of
    penn_action, "everyday" (people who stand, walk, run, jump and pick something up too, beside the set's own actions)
    or "company" (the same, and others beside the person with labels in every other four clips).
    Raises UserError for values out of range and for a folder with something else in it.
    """
    if dataset not in LAYOUTS:
        raise UserError(f"--dataset: expected one of {', '.join(LAYOUTS)}, got {dataset}")
    if kind is not None and dataset != "penn_action":
        raise UserError(f"--{kind}: expected dataset penn_action, which it adds to, got {dataset}")
    layout = _layout(dataset, kind)
    for option, value, low, high in (
        ("--clips", clips, layout.fewest, 9999),
        ("--frames", frames, 1, 9999),
        ("--seed", seed, 0, 2**63 - 1),
        ("--size, width", size[0], _SMALLEST, _LARGEST),
        ("--size, height", size[1], _SMALLEST, _LARGEST),
        ("--workers", 1 if workers is None else workers, 1, 1024),
    ):
        if not low <= value <= high:
            raise UserError(f"{option}: expected {low} to {high}, got {value}")
    if layout.even and (size[0] % 2 or size[1] % 2):
        raise UserError(f"--size: expected even numbers for {dataset}'s videos, got {size[0]}x{size[1]}")
    note = {
        "dataset": dataset,
        "clips": clips,
        "seed": seed,
        "frames": frames,
        "size": list(size),
        "version": VERSION,
    } | ({} if kind is None else {kind: True})
    if _is_there(out, note):
        print(f"{out}: kept, it holds these {several(clips, 'clip')} already")
        return
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        skeleton = _skeleton(layout.dataset)
        number, length = (clips * frames, 1) if layout.stills else (clips, frames)
        make = partial(_make, temporary, dataset, kind, seed, number, length, size, skeleton)
        parts = _in_parallel(
            make, number, workers or os.cpu_count() or 1, "picture" if layout.stills else "clip"
        )
        if layout.finish is not None:
            layout.finish(temporary, parts, skeleton)
        write_json(temporary / _NOTE, note)
        if out.is_dir():
            out.rmdir()  # empty, as _is_there found
        temporary.rename(out)
    except OSError as error:
        raise UserError(f"{out}: could not be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    drawn = f"{several(clips, 'clip')} of {several(frames, 'frame')}"
    if layout.stills:
        drawn = several(clips * frames, "picture")
    print(f"{out}: {drawn}, {size[0]}x{size[1]}")


def _is_there(out: Path, note: dict) -> bool:
    """Whether the same clips are there already; False for an empty or no folder, UserError for anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / _NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{out}: expected a new or empty folder, found other files in it; name another --out"
        ) from None
    if found != note:
        differing = (
            ", ".join(key for key in sorted(note | found) if found.get(key) != note.get(key))
            if isinstance(found, dict)
            else _NOTE
        )
        raise UserError(
            f"{out}: holds synthetic clips of other options ({differing}); remove it or name another --out"
        )
    return True


def _layout(dataset: str, kind: str | None) -> Layout:
    return LAYOUTS[dataset] if kind is None else OTHERS[kind]


def _skeleton(dataset: str | None) -> dict[str, Any]:
    if dataset is None:
        return {}
    return importlib.import_module(f"rpstn_training.data.sets.{dataset}").SKELETON.to_dict()


def _make(
    root: Path,
    dataset: str,
    kind: str | None,
    seed: int,
    clips: int,
    frames: int,
    size: tuple[int, int],
    skeleton: dict[str, Any],
    number: int,
) -> Any:
    layout = _layout(dataset, kind)
    return layout.write(root, number, clips, layout.make(seed, number, frames=frames, size=size), skeleton)


def _in_parallel(make: Callable[[int], Any], number: int, workers: int, unit: str) -> list[Any]:
    """What `make` returns for 0 .. number - 1, in this order."""
    bar = partial(tqdm, total=number, desc=f"synthetic {unit}s", unit=unit, dynamic_ncols=True, disable=None)
    if min(workers, number) == 1:
        return [make(each) for each in bar(range(number))]
    context = multiprocessing.get_context(
        "spawn"
    )  # forking a process that has run PyTorch's threads is not safe
    with context.Pool(min(workers, number), initializer=_start_worker) as pool:
        return list(bar(pool.imap(make, range(number), chunksize=1)))


def _start_worker() -> None:
    cv2.setNumThreads(1)
    ignore_interrupt(0)
