"""Ctrl-C that ends a training between two steps, not within one."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


def ignore_interrupt(worker: int) -> None:
    """For data workers: a terminal sends Ctrl-C to them too, but the main process decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class AfterStep:
    """While active, the first Ctrl-C only sets `requested`, so that a step or a file is completed; the second
    raises `KeyboardInterrupt` at once. Within `at_once()` already the first one does. It is `announced` on stderr.
    """

    def __init__(self, *, announced: bool = True) -> None:
        self.requested = False
        self._announced = announced
        self._immediate = False

    def __enter__(self) -> "AfterStep":
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        if self._in_main_thread:  # elsewhere Python delivers no signals
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    @contextmanager
    def at_once(self) -> Iterator[None]:
        self._immediate = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._immediate = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested or self._immediate:
            raise KeyboardInterrupt
        self.requested = True
        if self._announced:
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._in_main_thread:
            signal.signal(signal.SIGINT, self._before)
