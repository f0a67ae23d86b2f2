"""trace.json: what the processor and the GPU did in some steps, for chrome://tracing or ui.perfetto.dev."""

from pathlib import Path
from types import TracebackType

import torch
from torch import profiler

from ..files import atomic_write

_BEFORE = 2  # steps that are left out: the first ones make what later ones reuse


class Trace:
    """`run/trace.json` of `steps` steps after the first two of this process; None: nothing. A context manager.

    Ended earlier, it holds the steps there were, if any. Recording slows these steps down.
    """

    def __init__(self, run: Path, steps: int | None, device: torch.device) -> None:
        self._path, self._profiler = run / "trace.json", None
        if steps is not None:
            kinds = [profiler.ProfilerActivity.CPU]
            kinds += [profiler.ProfilerActivity.CUDA] if device.type == "cuda" else []
            self._profiler = profiler.profile(
                activities=kinds,
                schedule=profiler.schedule(wait=_BEFORE - 1, warmup=1, active=steps, repeat=1),
                on_trace_ready=self._write,
            )

    def __enter__(self) -> "Trace":
        if self._profiler is not None:
            self._profiler.start()
        return self

    def step(self) -> None:
        """A step is done."""
        if self._profiler is not None:
            self._profiler.step()

    def _write(self, done: profiler.profile) -> None:
        with atomic_write(self._path) as file:
            done.export_chrome_trace(file.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._profiler is not None:
            self._profiler.stop()
