"""How `rpstn predict` goes through a source, said once for a command, a call and a record of what results depend on."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import PRECISIONS
from ..errors import UserError
from . import outputs
from .filters import Filtering
from .formats import DEFAULT_FORMATS, check_formats
from .pictures import OVERLAYS, usual_overlay
from .selection import Selection
from .sources import Source, Window, open_source

_OF_NO_CONSEQUENCE = ("device", "overwrite", "show_progress")
_FILES = ("boxes", "poses")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a source is gone through.

    Args:
        skeleton: the data set (`data.sets.SKELETONS`) whose joints public weights find, or None where their number
            tells; of a checkpoint only its own.
        boxes: .csv, .json or .txt file (`data.forms.box_files`). Between two boxes of a person the others are
            interpolated; beyond the last one the person is followed (`people.InGivenBoxes`). Boxes of which none says
            whose it is are linked first, where a frame has several (`detected.Detected`). None searches for people
            (`people.Searched`, of several `searched_crowd.SearchedCrowd`).
        follow: False takes the boxes of the file as all there are.
        persons: how many people are searched for at most, 1 unless given; with a detector, how many are followed at a
            time, all unless given.
        detector: "fasterrcnn_resnet50_fpn", or with "=" and a file of weights, finds the people (`detected.Detected`).
        detect_every: frames from one detection to the next.
        select: "largest", "centre" or a point "X,Y" (`selection`): of several people this one alone.
        whole_picture: do not search: the whole picture is the box of person 0.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        precision: what the network's products are computed in, float32 (on every device, unless asked for), bfloat16 or
            float16. With the package's weights the maps of the first frames are then off by less than 0.03 and 0.004 of
            their largest value.
        overlay: "mp4", "webm", "both" or "none"; mp4 unless given, webm where FFmpeg has no encoder of H.264. For one
            picture the overlay is a picture too, overlay.png. Frames of few pixels are enlarged by a whole number in
            it (`overlay.enlargement`).
        min_score: joints whose scores are lower are drawn hollow; it changes nothing in the tables. Unless given, 0.2,
            and with calibrated weights none: there hollow are the hidden, and pale those whose probability is below
            the calibration's threshold (`overlay.strength_of`).
        fps: frames per second of pictures (25 unless given), or instead of a video's own times.
        start, end: seconds between which frames are gone through, all unless given. Frames keep numbers and times.
        every: of the frames numbered 0, 1, 2, ... only every so many-th is gone through.
        stills: the frames are pictures that have nothing to do with each other: no state is carried from one to the
            next, and their sizes may differ (the overlay video has the first one's, others are fitted into it).
        poses: for weights of a network that refines poses, a checkpoint of one that finds them.
        flip: average with what is found in the mirrored picture, which takes twice as long.
        formats: files that are made beside predictions.json, which is always there (`formats.FORMATS`).
        smooth: a filter in words, like "butterworth=6" (`filters.smoother`); what it gives is written into files of
            its own, with _filtered in their names.
        fill_gaps: seconds up to which a missing joint is interpolated, in the same files.
        overwrite: replace results that are there. Without it, those of the same source, weights and options are left
            and returned, and any others are an error.
        show_progress: a bar on a terminal, else a line a minute on standard error.
    """

    skeleton: str | None = None
    boxes: str | Path | None = None
    follow: bool = True
    persons: int | None = None
    detector: str | None = None
    detect_every: int = 1
    select: str | None = None
    whole_picture: bool = False
    device: str = "auto"
    precision: str = "float32"
    overlay: str = field(default_factory=usual_overlay)
    min_score: float | None = None
    fps: float | None = None
    start: float | None = None
    end: float | None = None
    every: int = 1
    stills: bool = False
    poses: str | Path | None = None
    flip: bool = False
    formats: Sequence[str] = DEFAULT_FORMATS
    smooth: str | None = None
    fill_gaps: float = 0.0
    overwrite: bool = False
    show_progress: bool = True

    def __post_init__(self) -> None:
        if self.overlay not in OVERLAYS:
            raise UserError(f"--overlay: expected one of {', '.join(OVERLAYS)}, got {self.overlay}")
        if self.precision not in PRECISIONS:
            raise UserError(f"--precision: expected one of {', '.join(PRECISIONS)}, got {self.precision}")
        if self.min_score is not None and not np.isfinite(self.min_score):
            raise UserError(f"--min-score: expected a finite number, got {self.min_score}")
        _require_one_way(self.boxes, self.follow, self.persons, self.whole_picture)
        _require_other_ways(self)
        check_formats(self.formats)
        Filtering.of(self.smooth, self.fill_gaps)

    @property
    def searches(self) -> bool:
        """Whether people are searched for, because nothing else says where they are."""
        return not (self.boxes or self.detector or self.whole_picture)

    def open(self, source: str | Path | Sequence[str | Path]) -> Source:
        window = Window(start=self.start, end=self.end, every=self.every)
        look_ahead = self.searches and not self.stills
        return replace(open_source(source, fps=self.fps, window=window), look_ahead=look_ahead)

    @property
    def that_matter(self) -> dict[str, Any]:
        """What results depend on, in plain types; of files their content."""
        values = asdict(self) | {"formats": list(self.formats)}
        for name in _OF_NO_CONSEQUENCE:
            del values[name]
        for name in _FILES:
            if values[name] is not None:
                path = Path(values[name])
                values[name] = outputs.file_mark(path) if path.is_file() else f"{path}, read at {time.time()}"
        file = Path((self.detector or "").partition("=")[2])
        if file.is_file():
            values["detector"] = outputs.file_mark(file)
        return values


def _require_other_ways(options: Options) -> None:
    """A detector is a way of its own, and of one person none can be selected."""
    if options.detect_every < 1:
        raise UserError(f"--detect-every: expected at least 1, got {options.detect_every}")
    if options.detect_every > 1 and options.detector is None:
        raise UserError("--detect-every: expected with --detector, got none")
    others = {
        "--boxes": options.boxes is not None,
        "--whole-picture": options.whole_picture,
    }
    for name, given in others.items():
        if options.detector is not None and given:
            raise UserError(
                f"--detector: expected without {name}, because the detector says where the people are"
            )
    if options.select is None:
        return
    Selection.read(options.select)
    if options.whole_picture or (options.persons or 1) > 1:
        other = "--whole-picture" if options.whole_picture else "--persons"
        raise UserError(f"--select: expected without {other}, because one of several people is followed")


def _require_one_way(
    boxes: str | Path | None, follow: bool, persons: int | None, whole_picture: bool
) -> None:
    """Boxes are given, or searched for, or the whole picture."""
    if persons is not None and persons < 1:
        raise UserError(f"--persons: expected a number from 1 on, got {persons}")
    if boxes is not None and (persons is not None or whole_picture):
        other = "--persons" if persons is not None else "--whole-picture"
        raise UserError(f"--boxes: expected without {other}, because the file says where the people are")
    if whole_picture and persons is not None:
        raise UserError(
            "--whole-picture: expected without --persons, because the whole picture is one person's"
        )
    if boxes is None and not follow:
        raise UserError("--no-follow: expected with --boxes, which are then all there are; got none")
