"""Processes that tests give work to, and that no failure leaves behind.

Each is the leader of a session of its own, so that its data workers end with it, and dies with the process that made
it. Work has a time limit; after a failure the next one gets fresh processes.
"""

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

DIED = "died"
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of linux/prctl.h


class Team:
    """Up to `size` processes, each of which does one thing after the other. A context manager."""

    def __init__(self, size: int, *, limit: float) -> None:
        self._size, self._limit = size, limit
        self._members: list[tuple[Any, connection.Connection]] = []

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def run(
        self, work: Callable[..., Any], each: Sequence[tuple[Any, ...]], *, may_die: bool = False
    ) -> list[Any]:
        """What `work` gives for the arguments of each member, at the same time. Fails, and ends all, where one raises,
        dies or is not done within the limit (seconds). Where members may die, `DIED` is the answer of those who do.
        """
        while len(self._members) < self._size:
            self._members.append(_start())
        chosen = [pipe for _, pipe in self._members[: len(each)]]
        for pipe, arguments in zip(chosen, each, strict=True):
            pipe.send((work, arguments))
        answers: dict[connection.Connection, Any] = {}
        deadline = time.monotonic() + self._limit
        while len(answers) < len(chosen):
            open_ones = [pipe for pipe in chosen if pipe not in answers]
            ready = connection.wait(open_ones, max(0.0, deadline - time.monotonic()))
            failure = None if ready else f"not done after {self._limit} s"
            for pipe in ready:
                try:
                    done, answers[pipe] = pipe.recv()
                except (EOFError, ConnectionResetError):
                    done, answers[pipe] = may_die, DIED
                failure = failure if done else str(answers[pipe])
            if failure is not None:
                numbers = [number for number, pipe in enumerate(chosen) if pipe not in answers]
                self._show(numbers)
                self.end()
                raise AssertionError(
                    f"a process of {len(chosen)}: {failure} (at work still: {numbers}; done: {list(answers.values())})"
                )
        if DIED in answers.values():
            self.end()
        return [answers[pipe] for pipe in chosen]

    def _show(self, numbers: Sequence[int]) -> None:
        """On stderr, where these members are."""
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self._members[number][0].pid, signal.SIGUSR1)
        time.sleep(bool(numbers))  # until they have written it

    def end(self) -> None:
        """Kill all, with their children."""
        for process, pipe in self._members:
            end_session(process.pid)
            process.join()
            pipe.close()
        self._members.clear()


def end_session(leader: int) -> None:
    """Kill a process that leads a session, and what is left of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(leader, signal.SIGKILL)  # it may not lead its group yet


def die_with_parent() -> None:
    """End this process when the one that started it ends."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _start() -> tuple[Any, connection.Connection]:
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["rpstn_training.train.engine"])  # before the first start; ignored after it
    ours, theirs = server.Pipe()
    process = server.Process(target=_member, args=(theirs,))
    process.start()
    theirs.close()
    return process, ours


def _member(pipe: connection.Connection) -> None:
    os.setsid()
    die_with_parent()
    faulthandler.register(signal.SIGUSR1)
    multiprocessing.set_start_method(
        "fork", force=True
    )  # of data workers, which need what a test has patched
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background shell's children begin with it ignored
    while True:
        try:
            work, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, work(*arguments)))
        except BaseException:
            pipe.send((False, traceback.format_exc()))
