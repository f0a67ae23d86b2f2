"""Ctrl-C that ends a training between two steps, not within one; and SIGTERM, which ends a command as Ctrl-C does."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


def ignore_interrupt(worker: int = 0) -> None:
    """For workers: a terminal sends Ctrl-C, and `timeout` SIGTERM, to all processes of a group, but the main one
    decides when to stop. So they leave it; whose main process is gone they see.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)


@contextmanager
def terminated_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM in the block, which schedulers and `timeout` send, does what Ctrl-C does at that moment."""
    if threading.current_thread() is not threading.main_thread():  # elsewhere Python delivers no signals
        yield
        return
    before = signal.signal(signal.SIGTERM, _like_ctrl_c)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _like_ctrl_c(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell has its background jobs ignore Ctrl-C
        raise KeyboardInterrupt
    handler(number, frame)


class AfterStep:
    """While active, the first Ctrl-C only sets `requested`, so that a step or a file is completed; the second raises
    `KeyboardInterrupt` at once. Within `at_once()` already the first one does. It is `announced` on stderr. Of a
    command SIGTERM does the same (`terminated_as_by_ctrl_c`).
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
