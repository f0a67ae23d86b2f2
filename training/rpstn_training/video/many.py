"""Many sources by one call: what is broken is told and the rest goes on; what is there already is left."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..packaged import packaged_weights
from ..words import several
from .inputs import Input, inputs
from .lanes import together
from .options import Options
from .pipeline import Job, Predictor, boxes_for, made_with_these, results_before, settings_mark
from .progress import Progress
from .result import Result

LANES = 4  # sources side by side: more do not fill a processor better, and each holds some frames in memory


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a source: its `result`, or the `error` in a sentence; `out` is the folder for its results."""

    source: str
    out: Path
    result: Result | None = None
    error: str | None = None


def predict_many(
    sources: str | Path | Sequence[str | Path], weights: str | Path | None, out: str | Path, **options: Any
) -> list[Outcome]:
    """`predict` for each of several sources, whose results get folders of their own in `out`.

    Several are gone through side by side, the crops of their people as one batch. A source that is broken is told in
    its outcome and stops no other one. Results that are there, of the same source, weights and options, are left, so
    that a call that was stopped can be made again. Ctrl-C ends as it does in `predict`, with all that were under way.

    Args:
        sources: see `inputs.inputs`.
        weights, options: as for `predict`; boxes are for one source alone.

    Returns:
        an outcome for each source, in the order of the sources.

    Raises:
        UserError: options or weights do not fit, nothing can be written, or the disk is full.

    Example:
        for outcome in predict_many("videos", "best.pt", "joints"):
            print(outcome.source, outcome.error or outcome.result.pose_count)
    """
    named = inputs(sources, Path(out))
    done = {outcome.out: outcome for outcome in outcomes(named, weights, Options(**options))}
    return [done[one.out] for one in named]


def outcomes(named: Sequence[Input], weights: str | Path | None, options: Options) -> Iterator[Outcome]:
    """Each source's outcome as soon as it is there (`predict_many`)."""
    if options.boxes is not None and len(named) > 1:
        raise UserError(f"--boxes: expected one source, whose boxes these are, got {len(named)}")
    weights = packaged_weights() if weights is None else weights
    settings = settings_mark(weights, options)
    told: list[Outcome] = []  # of sources that need no work, or got none

    def jobs() -> Iterator[Job]:
        predictor: Predictor | None = None
        for one in named:
            try:
                media = options.open(one.source)
                made_with = made_with_these(media, settings)
                before = results_before(one.out, made_with, options)
                table = boxes_for(media, options) if before is None else None
            except UserError as error:
                told.append(_outcome(one.out, by_out, error=str(error)))
                continue
            if before is not None:
                told.append(_outcome(one.out, by_out, result=before))
                continue
            predictor = predictor or Predictor(weights, options)  # what is wrong with it is no source's fault
            try:
                job = Job(media, table, predictor, one.out, made_with)
            except UserError as error:
                told.append(_outcome(one.out, by_out, error=str(error)))
                continue
            yield job

    def failed(job: Job, error: UserError) -> None:
        told.append(_outcome(job.out, by_out, error=str(error)))

    by_out = {one.out: str(one.source) for one in named}
    ended = 0
    with Progress(_so_far(0, len(named)), None, options.show_progress) as progress:
        for job, result in together(jobs(), progress, lanes=LANES, failed=failed):
            now = [*told, _outcome(job.out, by_out, result=result)]
            told.clear()
            ended += len(now)
            progress.rename(_so_far(ended, len(named)))
            yield from now
        yield from told


def _outcome(out: Path, by_out: dict[Path, str], **what: Any) -> Outcome:
    return Outcome(source=by_out[out], out=out, **what)


def _so_far(ended: int, total: int) -> str:
    return f"{ended} of {several(total, 'source')}"
