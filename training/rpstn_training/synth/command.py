"""Write synthetic clips of moving people in the files of a real data set.

The people are drawn from their joints, so the truth is exact, also where something hides it. The same seed gives the
same clips.
"""

import argparse
import json
import multiprocessing
import os
import re
import secrets
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from ..errors import UserError
from ..files import write_json
from ..interrupt import ignore_interrupt
from .clip import Clip, make_clip
from .penn_layout import write_clip as write_penn_clip

LAYOUTS: dict[str, Callable[[Path, int, Clip], None]] = {"penn_action": write_penn_clip}
VERSION = 1  # of the generator: another number, other pictures
_NOTE = "synth.json"
_SMALLEST, _LARGEST = 64, 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rpstn synth`."""
    parser.add_argument("--out", type=Path, required=True, help="folder to write, new or empty")
    parser.add_argument(
        "--dataset", default="penn_action", help=f"layout: {', '.join(LAYOUTS)} (default: penn_action)"
    )
    parser.add_argument(
        "--clips", type=int, default=60, help="number of clips, each fourth a test clip (default: 60)"
    )
    parser.add_argument("--seed", type=int, default=0, help="other people and movements (default: 0)")
    parser.add_argument("--frames", type=int, default=24, help="frames of a clip (default: 24)")
    parser.add_argument("--size", default="320x240", help="WIDTHxHEIGHT of the pictures (default: 320x240)")
    parser.add_argument(
        "--workers", type=int, default=None, help="processes (default: one per processor core)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the clips and say where."""
    match = re.fullmatch(r"(\d+)x(\d+)", args.size)
    if match is None:
        raise UserError(f"--size: expected WIDTHxHEIGHT such as 320x240, got {args.size}")
    synthesise(
        args.out,
        dataset=args.dataset,
        clips=args.clips,
        seed=args.seed,
        frames=args.frames,
        size=(int(match[1]), int(match[2])),
        workers=args.workers,
    )
    return 0


def synthesise(
    out: Path,
    *,
    dataset: str = "penn_action",
    clips: int = 60,
    seed: int = 0,
    frames: int = 24,
    size: tuple[int, int] = (320, 240),
    workers: int | None = None,
) -> None:
    """Write `clips` clips of `frames` frames; the folder appears when all are finished, or not at all.

    A folder that holds the same clips already is kept and said so. size: (width, height) in pixels.
    Raises UserError for values out of range and for a folder with something else in it.
    """
    if dataset not in LAYOUTS:
        raise UserError(f"--dataset: expected one of {', '.join(LAYOUTS)}, got {dataset}")
    for option, value, low, high in (
        ("--clips", clips, 1, 9999),
        ("--frames", frames, 1, 9999),
        ("--seed", seed, 0, 2**63 - 1),
        ("--size, width", size[0], _SMALLEST, _LARGEST),
        ("--size, height", size[1], _SMALLEST, _LARGEST),
        ("--workers", 1 if workers is None else workers, 1, 1024),
    ):
        if not low <= value <= high:
            raise UserError(f"{option}: expected {low} to {high}, got {value}")
    note = {
        "dataset": dataset,
        "clips": clips,
        "seed": seed,
        "frames": frames,
        "size": list(size),
        "version": VERSION,
    }
    if _is_there(out, note):
        print(f"{out}: kept, it holds these {clips} clips already")
        return
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        make = partial(_make, temporary, dataset, seed, frames, size)
        _in_parallel(make, clips, workers or os.cpu_count() or 1)
        write_json(temporary / _NOTE, note)
        if out.is_dir():
            out.rmdir()  # empty, as _is_there found
        temporary.rename(out)
    except OSError as error:
        raise UserError(f"{out}: could not be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(f"{out}: {clips} clips of {frames} frames, {size[0]}x{size[1]}")


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
            ", ".join(key for key in note if found.get(key) != note[key])
            if isinstance(found, dict)
            else _NOTE
        )
        raise UserError(
            f"{out}: holds synthetic clips of other options ({differing}); remove it or name another --out"
        )
    return True


def _make(root: Path, dataset: str, seed: int, frames: int, size: tuple[int, int], number: int) -> None:
    LAYOUTS[dataset](root, number, make_clip(seed, number, frames=frames, size=size))


def _in_parallel(make: Callable[[int], None], clips: int, workers: int) -> None:
    bar = partial(tqdm, total=clips, desc="synthetic clips", unit="clip", dynamic_ncols=True, disable=None)
    if min(workers, clips) == 1:
        for number in bar(range(clips)):
            make(number)
        return
    context = multiprocessing.get_context(
        "spawn"
    )  # forking a process that has run PyTorch's threads is not safe
    with context.Pool(min(workers, clips), initializer=_start_worker) as pool:
        for _ in bar(pool.imap_unordered(make, range(clips), chunksize=1)):
            pass


def _start_worker() -> None:
    cv2.setNumThreads(1)
    ignore_interrupt(0)
