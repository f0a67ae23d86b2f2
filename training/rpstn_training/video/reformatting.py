"""Other files, and filtered values, from a predictions.json: nobody predicts twice for them."""

from collections.abc import Sequence
from pathlib import Path

from . import outputs
from .filters import Filtering
from .formats import check_formats, file_names, write_formats
from .recording import read_recording


def reformat(
    predictions: str | Path,
    formats: Sequence[str],
    *,
    out: str | Path | None = None,
    smooth: str | None = None,
    fill_gaps: float = 0.0,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write the files that `rpstn predict` would have written with these options.

    Args:
        predictions: a predictions.json of `rpstn predict`.
        formats: of `formats.FORMATS`.
        out: folder, made if it is missing; by default the one of `predictions`.
        smooth: a filter in words, like "butterworth=6" (`filters.smoother`).
        fill_gaps: seconds up to which a missing joint is interpolated (`filters.Filtering`).
        overwrite: replace files that are there. `predictions` itself is never replaced.

    Returns:
        the files written, by name

    Raises:
        UserError: something does not fit; nothing was written.

    Example:
        reformat("joints/predictions.json", ["trc", "mot"], smooth="butterworth=6")
    """
    predictions = Path(predictions)
    out = predictions.parent if out is None else Path(out)
    filtering = Filtering.of(smooth, fill_gaps)
    made = file_names(check_formats(formats), filtered=filtering is not None)
    names = tuple(name for name in made if (out / name).resolve() != predictions.resolve())
    recording = read_recording(predictions)
    outputs.require_free(out, names, overwrite=overwrite, found="file here, found one of before")
    with outputs.staged(out, names) as staged, outputs.refusals(out):
        write_formats(recording, filtering, formats, staged.folder)
        staged.publish()
    return {name: out / name for name in names}
