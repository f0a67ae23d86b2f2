"""Several sources at once through one network: each frame's people of all of them are one batch."""

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np

from ..errors import UserError
from ..interrupt import AfterStep
from .ahead import ahead
from .outputs import OutputError
from .progress import Progress
from .sources import Frame, Source
from .streams import PersonStreams, Pose


class Job(Protocol):
    """One source on its way to its files (`pipeline.Job`); a context manager."""

    media: Source
    key: Hashable
    streams: PersonStreams

    def __enter__(self) -> Any: ...

    def __exit__(self, *failure: Any) -> None: ...

    def boxes(self, frame: Frame) -> dict[int, np.ndarray]: ...

    def take(self, frame: Frame, poses: Mapping[int, Pose]) -> None: ...

    def finish(self) -> Any: ...

    def keep_partial(self) -> str: ...


class _Lane:
    """A job that has begun, and its frames to come."""

    def __init__(self, job: Job) -> None:
        with ExitStack() as stack:
            stack.enter_context(job)
            self.job, self.frames = job, ahead(job.media.frames())
            stack.callback(self.frames.close)
            self._stack = stack.pop_all()

    def close(self, error: UserError | None = None) -> UserError | None:
        """End the job, by an error where there is one, which may be put in other words there."""
        try:
            self._stack.__exit__(type(error) if error else None, error, None)
        except UserError as reworded:
            return reworded
        return error


def together(
    jobs: Iterator[Job],
    progress: Progress,
    *,
    lanes: int,
    failed: Callable[[Job, UserError], None],
) -> Generator[tuple[Job, Any], None, None]:
    """Each job and what its `finish` returns, in the order in which they end.

    Args:
        jobs: of one network (`streams`).
        lanes: so many jobs are gone through side by side; where one ends the next one begins.
        failed: told of a job whose source is broken; the others go on. Results that cannot be written
            (`outputs.OutputError`) end everything.

    Raises:
        KeyboardInterrupt: Ctrl-C; what is finished of each job is kept (`Job.keep_partial`) and told. Of sources
            without end this is the end, and no failure.
    """
    open_lanes: list[_Lane] = []

    def leave(lane: _Lane, error: UserError | None = None) -> UserError | None:
        open_lanes.remove(lane)
        lane.job.streams.forget_all(lane.job.key)
        return lane.close(error)

    with AfterStep() as interrupt:
        try:
            while True:
                while len(open_lanes) < lanes and (job := next(jobs, None)) is not None:
                    open_lanes.append(_Lane(job))
                if not open_lanes:
                    return
                looks = []
                for lane in list(open_lanes):
                    try:
                        frame = _next(lane, interrupt)
                        boxes = {} if frame is None else lane.job.boxes(frame)
                    except UserError as error:
                        _fail(lane.job, leave(lane, error), failed)
                        continue
                    if frame is not None:
                        looks.append((lane, frame, boxes))
                        continue
                    try:
                        result = lane.job.finish()
                    except UserError as error:
                        _fail(lane.job, leave(lane, error), failed)
                        continue
                    leave(lane)
                    yield lane.job, result
                if not looks:
                    continue
                streams = looks[0][0].job.streams
                found = streams.next_frames(
                    [(lane.job.key, frame.image, boxes) for lane, frame, boxes in looks]
                )
                for (lane, frame, _), poses in zip(looks, found):
                    lane.job.take(frame, poses)
                    progress.step()
        except _Stopped:
            told = []
            for lane in list(open_lanes):
                if lane.job.media.live:
                    result = lane.job.finish()
                    leave(lane)
                    yield lane.job, result
                else:
                    told.append(lane.job.keep_partial())
            if told:
                raise KeyboardInterrupt("; ".join(told)) from None
        finally:
            for lane in open_lanes[::-1]:  # the first one made the folder of all
                leave(lane, OutputError("given up"))


class _Stopped(Exception):
    """Ctrl-C between two frames: of each job the frames before are finished."""


def _next(lane: _Lane, interrupt: AfterStep) -> Frame | None:
    try:
        with interrupt.at_once():
            return next(lane.frames, None)
    except KeyboardInterrupt:
        raise _Stopped from None


def _fail(job: Job, error: UserError, failed: Callable[[Job, UserError], None]) -> None:
    if isinstance(error, OutputError):
        raise error
    failed(job, error)
