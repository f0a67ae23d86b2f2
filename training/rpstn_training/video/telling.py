"""What `rpstn predict` says of its results."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ..words import several
from .inputs import Input
from .many import outcomes
from .options import Options
from .result import Result

_LOW = 0.5  # of a pose, the mean of its joints' probabilities


def about(result: Result, *, boxed: bool) -> list[str]:
    """Lines about the result of a single source, whose people had given boxes or not."""
    lines = []
    if result.skipped:
        lines.append(
            f"{result.source}: done before with the same weights and options; --overwrite does it again"
        )
    joints = several(len(result.skeleton.joints), "joint")
    lines += [
        f"{_counts(result)} of {joints}, {result.speed:.1f} frames/s",
        f"weights: {result.weights}",
        f"people: {result.boxes}",
    ]
    if result.mean_score is not None:
        lines.append(_worth(result))
    return [*lines, *_remarks(result, boxed), *map(str, result.files.values())]


def go_through(named: Sequence[Input], weights: Path | None, options: Options) -> int:
    """Predict for each source, with a line for it as it ends; status 1 where one failed."""
    results, failures, remarks = [], 0, {}
    for outcome in outcomes(named, weights, options):
        if outcome.error is not None:
            failures += 1
            with tqdm.external_write_mode():  # a bar may be there
                print(f"rpstn: error: {outcome.error}", file=sys.stderr)
            continue
        results.append(outcome.result)
        result = outcome.result
        likely = "" if result.mean_probability is None else f", probability {result.mean_probability:.2f}"
        how = "done before with the same weights and options" if result.skipped else str(outcome.out)
        with tqdm.external_write_mode():
            print(f"{outcome.source}: {_counts(result)}{likely}; {how}", flush=True)
        for line in _remarks(result, options.boxes is not None):
            remarks.setdefault(line, []).append(result.source)
    if results:
        print(f"weights: {results[0].weights}")
        print(f"people: {results[0].boxes}")
        if results[0].calibrated is None:
            print(_worth(results[0]))
    for line, sources in remarks.items():
        print(f"{', '.join(sources)}: {line}")
    before = sum(result.skipped for result in results)
    parts = [f"{len(results)} of {several(len(named), 'source')} done"]
    parts += [f"{before} of them before (--overwrite does them again)"] if before else []
    parts += [f"{failures} failed"] if failures else []
    print(", ".join(parts))
    return 1 if failures else 0


def _counts(result: Result) -> str:
    return (
        f"{several(result.frame_count, 'frame')}, {several(len(result.persons), 'person')}, "
        f"{several(result.pose_count, 'pose')}"
    )


def _worth(result: Result) -> str:
    if result.calibrated is None:
        return "scores: peaks of the maps, nobody has measured what they are worth (rpstn calibrate does)"
    return (
        f"a joint is within 0.1 of the person's size with a probability of {result.mean_probability:.2f} on the mean "
        f"(calibrated on {result.calibrated})"
    )


def _remarks(result: Result, boxed: bool) -> list[str]:
    """What to look at."""
    lines = []
    if result.varying_rate:
        lines.append("the rate of the frames varies: times are those of the file, not numbers / rate")
    if result.mean_score is None:
        hint = (
            "no box of the file led to a pose in these frames"
            if boxed
            else "give the people's boxes with --boxes"
        )
        lines.append(f"nobody was found: {hint}")
    elif result.mean_probability is not None and result.mean_probability < _LOW:
        hint = "check the boxes" if boxed else "look at the overlay, and give the people's boxes with --boxes"
        lines.append(f"most joints are probably wrong: {hint}")
    return lines
