"""Read a data set once, before a training does: count, compare with the official numbers, list every defect.

  rpstn check-data training/configs/posetrack2018.yaml --set data.root=data/posetrack18

The folder --out gets counts.json, defects.csv (file, place, what it is, what was done about it) and train.png and
test.png, random samples as training and evaluation see them. The exit status is 1 where something would stop a
training, such as a missing picture, and 0 with known defects, which are mended or masked.
"""

import argparse
import csv
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..arguments import add_overrides
from ..building import outline
from ..codec import Codec
from ..config import Config, load_config
from ..data.clips import EvalClips, TrainClips, read_frame
from ..data.findings import Report, frame_ranges
from ..data.images import Notes
from ..data.records import Skeleton, Track
from ..data.sets import DATASETS, conventions, load_skeleton, load_tracks
from ..data.subsets import load_subset
from ..errors import UserError
from ..evaluation import require_scores
from ..figures.contact_sheet import contact_sheet
from ..figures.pictures import write_png
from ..files import write_json, write_text
from ..words import several

_SAMPLES = 12
_NEARLY_ALL = 0.9  # of joints outside their pictures: no defect of some, but of the whole
_MOST_LINES = 20  # of errors on the screen
_SUBSETS = ("train", "test")


@dataclass(kw_only=True)
class Checked:
    """What was found in one subset."""

    report: Report
    tracks: list[Track] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", type=Path, metavar="CONFIG.yaml", help="the experiment whose data is checked"
    )
    add_overrides(parser, "data.root=FOLDER")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the findings; by default the run folder's name + -check",
    )
    parser.add_argument("--labels-only", action="store_true", help="do not read all pictures")


def run(args: argparse.Namespace) -> int:
    config = load_config(args.config, args.overrides)
    out = args.out or Path(f"{config.output.rstrip('/')}-check")
    # The clip one trains on may be all there is: a subset that the configuration does not use is not asked for.
    used = ("train",) if {config.eval.subset, config.eval.select} == {"train"} else _SUBSETS
    skeleton = load_skeleton(config.data)
    codec = Codec.of(config, outline(config.model, skeleton, config.heatmap.maps_per_joint))
    checked = {
        subset: check(config, subset, skeleton, codec, pictures=not args.labels_only) for subset in used
    }
    if not any(found.report.errors for found in checked.values()):
        _require_scores(config, skeleton, checked)
    sheets = [
        path
        for subset, found in checked.items()
        if (path := draw(config, subset, found, skeleton, codec, out)) is not None
    ]
    write_findings(out, checked)
    print(describe(config, checked, skeleton, out, sheets))
    return 1 if any(found.report.errors for found in checked.values()) else 0


def check(config: Config, subset: str, joints: Skeleton, codec: Codec, *, pictures: bool = True) -> Checked:
    """Read the labels of one subset, and every picture that they name."""
    found = Checked(report=Report(keep_going=True))
    with found.report.file():
        found.tracks = load_tracks(config.data, subset, found.report)
        wrong = next((track for track in found.tracks if track.joints.shape[1] != len(joints.joints)), None)
        if wrong is not None:
            raise UserError(
                f"{wrong.name}: expected {len(joints.joints)} joints like {joints.name}, got {wrong.joints.shape[1]}"
            )
    found.counts = found.report.counts | {"tracks": len(found.tracks)}
    if found.tracks:
        clips = _clips(config, subset, found.tracks, joints, codec)
        found.counts[f"clips of {config.data.clip_length}"] = len(clips)
        if subset == "train" and not any(track.visible.any() for track in found.tracks):
            found.report.error(
                f"{config.data.root}: expected visible joints in the training clips, found none"
            )
    if pictures:
        _read_pictures(found, subset, config.data.workers)
    return found


def _require_scores(config: Config, skeleton: Skeleton, checked: dict[str, Checked]) -> None:
    """A training chooses weights by a score: whether there is one is found here and not after its first epochs."""
    report = checked["train" if config.eval.select == "train" else "test"].report
    with report.file():
        require_scores(load_subset(config, config.eval.select), skeleton)


def _files_with_errors(report: Report) -> set[str]:
    return {error.partition(": expected")[0] for error in report.errors}


def _read_pictures(found: Checked, subset: str, workers: int) -> None:
    """Decode every picture once, and note joints that lie outside theirs."""
    told = _files_with_errors(found.report)
    first: dict[Path, tuple[Track, int]] = {}
    for track in found.tracks:
        for index, path in enumerate(track.frames):
            if str(path) not in told:  # a picture that is not there has its line
                first.setdefault(path, (track, index))

    def size(place: tuple[Track, int]) -> tuple[tuple[int, int], Notes] | UserError:
        notes: Notes = []
        try:
            return read_frame(*place, notes).shape[1::-1], notes
        except UserError as error:
            return error

    sizes: dict[Path, tuple[int, int]] = {}
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        bar = tqdm(total=len(first), desc=f"{subset} pictures", unit="picture", leave=False, disable=None)
        with bar:
            for path, result in zip(first, pool.map(size, first.values())):
                if isinstance(result, UserError):
                    found.report.error(str(result))
                else:
                    sizes[path], notes = result
                    for what, done in notes:
                        found.report.defect(path, "", what, done)
                bar.update()
    found.counts["pictures read"] = len(sizes)
    joints = outsiders = 0
    for track in found.tracks:
        limits = np.array([sizes.get(path, (np.inf, np.inf)) for path in track.frames], dtype=np.float64)
        outside = ((track.joints < -0.5) | (track.joints >= limits[:, None] - 0.5)).any(
            axis=-1
        ) & track.visible
        joints, outsiders = joints + int(track.visible.sum()), outsiders + int(outside.sum())
        if outside.any():
            frames = np.flatnonzero(outside.any(axis=1))
            place = f"track {track.name}: {several(outside.sum(), 'joint')}, {frame_ranges(frames)}"
            done = "kept; without weight where outside the crop"
            found.report.defect(track.frames[frames[0]], place, "joints outside the picture", done)
    if outsiders > _NEARLY_ALL * joints:
        found.report.error(
            f"{found.tracks[0].frames[0].parent}: expected joints in their pictures, {outsiders} of {joints} lie "
            "outside; are these the pictures that were labelled, and their pixels?"
        )


def _clips(
    config: Config, subset: str, tracks: list[Track], joints: Skeleton, codec: Codec
) -> TrainClips | EvalClips:
    """The clips of a subset, as a training sees them or as an evaluation does."""
    if subset == "train":
        return TrainClips(tracks, joints, config.data, codec, config.augmentation, config.seed)
    return EvalClips(tracks, joints, config.data, codec)


def draw(
    config: Config, subset: str, found: Checked, joints: Skeleton, codec: Codec, out: Path
) -> Path | None:
    """`<subset>.png`: random samples of the training, or clips that evaluation sees, spread over the subset."""
    if not found.tracks:
        return None
    clips = _clips(config, subset, found.tracks, joints, codec)
    number = min(len(clips), _SAMPLES)
    chosen: Sequence[int] = range(number)  # a training's order is random already
    if subset != "train":
        chosen = sorted(np.random.default_rng(config.seed).choice(len(clips), number, replace=False).tolist())
    told = _files_with_errors(found.report)
    samples = []
    for index in chosen:
        try:
            samples.append(clips[index])
        except UserError as error:
            if str(error).partition(": expected")[0] not in told:
                found.report.error(str(error))
    if not samples:
        return None
    sheet = contact_sheet(samples, joints, codec)
    write_png(out / f"{subset}.png", sheet)
    return out / f"{subset}.png"


def write_findings(out: Path, checked: dict[str, Checked]) -> None:
    """counts.json and defects.csv; errors are lines of the latter too."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["subset", "file", "place", "what", "done"])
    for subset, found in checked.items():
        writer.writerows([subset, "", "", error, "stops a training"] for error in found.report.errors)
        writer.writerows([subset, d.file, d.place, d.what, d.done] for d in found.report.defects)
    write_text(out / "defects.csv", table.getvalue())
    write_json(
        out / "counts.json",
        {
            subset: {
                "counts": found.counts,
                "defects": {f"{what}: {done}": len(of) for (what, done), of in found.report.kinds().items()},
                "errors": found.report.errors,
            }
            for subset, found in checked.items()
        },
    )


def describe(
    config: Config, checked: dict[str, Checked], skeleton: Skeleton, out: Path, sheets: Sequence[Path]
) -> str:
    """Counts, defects and errors in plain text."""
    parts = [f"{config.data.name} in {config.data.root}\n", _table(config.data.name, checked)]
    if any(found.tracks for found in checked.values()):
        parts += ["", *conventions(skeleton, config.augmentation.flip)]
    for subset, found in checked.items():
        kinds = found.report.kinds()
        if kinds:
            parts.append(f"\nKnown defects, {subset} (all of them: {out / 'defects.csv'}):")
            for (what, done), of in kinds.items():
                first = ", ".join(filter(None, (str(of[0].file), of[0].place)))
                parts.append(f"  {len(of):7,}  {what}: {done}\n           first: {first}")
    if sheets:
        parts.append(f"\nSamples as the network sees them: {', '.join(map(str, sheets))}")
    errors = list(dict.fromkeys(error for found in checked.values() for error in found.report.errors))
    if not errors:
        return "\n".join([*parts, "\nNothing found that would stop a training."])
    for subset, found in checked.items():
        kinds = found.report.error_kinds()
        if len(kinds) < len(found.report.errors):
            parts.append(f"\nWhat would stop a training, {subset}, by kind:")
            parts += [f"  {number:7,}  {kind}" for kind, number in kinds.items()]
    parts.append("\nThis would stop a training:")
    parts += [f"  {error}" for error in errors[:_MOST_LINES]]
    if len(errors) > _MOST_LINES:
        parts.append(f"  ... and {len(errors) - _MOST_LINES} more, see {out / 'defects.csv'}")
    return "\n".join(parts)


def _table(name: str, checked: dict[str, Checked]) -> str:
    official = getattr(DATASETS.get(name), "OFFICIAL", {})
    counts = {subset: dict(found.counts) for subset, found in checked.items()}
    if "all" in official:
        counts["all"] = {
            noun: sum(found.counts.get(noun, 0) for found in checked.values()) for noun in official["all"]
        }
    nouns = list(dict.fromkeys(noun for of in [*counts.values(), *official.values()] for noun in of))
    lines = [f"{'':34}" + "".join(f"{subset:>12}{'official':>12}" for subset in counts)]
    for noun in nouns:
        cells = ""
        for subset, of in counts.items():
            published = official.get(subset, {}).get(noun)
            here = f"{of[noun]:,}" if noun in of else "-"
            cells += f"{here:>12}{'' if published is None else f'{published:,}':>12}"
        lines.append(f"{noun:34}{cells}".rstrip())
    return "\n".join(lines)
