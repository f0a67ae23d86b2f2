"""How far a long work is: a bar on a terminal, a line a minute elsewhere."""

import sys
import time
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from ..words import several

EVERY = 60.0  # seconds between two lines of a log


class Progress:
    """Frames that are done; a context manager.

    Args:
        name: of what is gone through.
        expected: frames, None where nobody knows.
        show: False shows nothing.
        file: standard error unless given; a terminal gets a bar, anything else a line a minute.
    """

    def __init__(self, name: str, expected: int | None, show: bool, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        terminal = self._file.isatty()
        self._lines = show and not terminal
        self._bar = tqdm(
            total=expected,
            desc=name,
            unit="frame",
            dynamic_ncols=True,
            file=self._file,
            disable=not (show and terminal),
        )
        self._name, self._expected, self._done = name, expected, 0
        self._began = self._said = time.monotonic()

    def rename(self, name: str) -> None:
        self._name = name
        self._bar.set_description(name, refresh=False)

    def step(self) -> None:
        """One more frame is done."""
        self._done += 1
        self._bar.update()
        now = time.monotonic()
        if self._lines and now - self._said >= EVERY:
            self._said = now
            done = several(self._done, "frame")
            if self._expected is not None:
                done = f"{self._done:,} of {several(self._expected, 'frame')}"
            rate = self._done / (now - self._began)
            print(f"{self._name}: {done}, {rate:.1f} frames/s", file=self._file, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
