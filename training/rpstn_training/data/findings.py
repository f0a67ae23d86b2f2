"""What reading a data set brought to light: counts, defects with what was done about each, and errors."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Defect:
    """Something in a file that is not as it should be but stops nothing.

    `place` says where in the file (a frame, a person, a field), `what` the kind of defect in words that are
    the same for all of its kind, `done` what was done about it.
    """

    file: Path
    place: str
    what: str
    done: str


class Report:
    """Collects what readers find.

    `counts` maps "videos", "frames", "people", "joints" and a set's own nouns to numbers; `defects` is the
    full list. A mistake that would stop a training is raised, or, with `keep_going`, noted in `errors` while
    the next file is read.
    """

    def __init__(self, *, keep_going: bool = False) -> None:
        self.keep_going = keep_going
        self.counts: dict[str, int] = {}
        self.defects: list[Defect] = []
        self.errors: list[str] = []
        self._said: set[str] = set()

    def count(self, noun: str, number: int = 1) -> None:
        self.counts[noun] = self.counts.get(noun, 0) + int(number)

    def defect(self, file: Path, place: str, what: str, done: str) -> None:
        self.defects.append(Defect(file=file, place=place, what=what, done=done))

    def error(self, sentence: str) -> None:
        """Note what would stop a training, once."""
        if sentence not in self._said:
            self._said.add(sentence)
            self.errors.append(sentence)

    @contextmanager
    def file(self) -> Iterator[None]:
        """Around the reading of one file, picture or entry that others do not depend on."""
        try:
            yield
        except UserError as error:
            if not self.keep_going:
                raise
            self.error(str(error))

    def kinds(self) -> dict[tuple[str, str], list[Defect]]:
        """The defects by (what, done), in the order in which the kinds first came up."""
        kinds: dict[tuple[str, str], list[Defect]] = defaultdict(list)
        for defect in self.defects:
            kinds[defect.what, defect.done].append(defect)
        return dict(kinds)

    def error_kinds(self) -> dict[str, int]:
        """How many errors there are of each kind: the same expectation about the same field, whichever file, entry and
        value it is.
        """
        kinds: dict[str, int] = defaultdict(int)
        for sentence in self.errors:
            place, _, rest = sentence.partition(": expected")
            field = place.rpartition(": ")[2] if ": " in place else ""
            expected = re.sub(r"\[\d+\]", "[]", re.split(r"[,;(]", rest)[0])
            expected = re.sub(r"/.*: (?=\w+\[)", "", expected)  # a label file that the expectation names
            field = re.sub(r"\[\d+\]", "[]", field)
            kinds[f"{field}: expected{expected}" if field else f"expected{expected}"] += 1
        return dict(kinds)

    def warn(self) -> None:
        """One log line for each kind of defect: nothing is mended or left out in silence."""
        for (what, done), found in self.kinds().items():
            first = found[0]
            _log.warning("%s: %s (%d, first: %s, %s)", what, done, len(found), first.file, first.place)


def frame_ranges(frames: Iterable[int]) -> str:
    """Frame numbers in few words.

    >>> frame_ranges([3, 4, 5, 9])
    'frames 3-5, 9'
    """
    ranges: list[list[int]] = []
    for frame in sorted(frames):
        if ranges and frame == ranges[-1][1] + 1:
            ranges[-1][1] = frame
        else:
            ranges.append([int(frame), int(frame)])
    words = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
    return ("frame " if len(ranges) == 1 and ranges[0][0] == ranges[0][1] else "frames ") + ", ".join(words)


@contextmanager
def reporting(report: Report | None) -> Iterator[Report]:
    """`report`, or for a reader that was given none, a new one whose defects are logged in the end."""
    if report is not None:
        yield report
        return
    report = Report()
    yield report
    report.warn()
