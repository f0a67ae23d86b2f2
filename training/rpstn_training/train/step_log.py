"""steps.jsonl: a line for every so many steps, of numbers that only the training decides."""

import json
from pathlib import Path
from types import TracebackType

from torch import Tensor

from ..files import write_text


class StepLog:
    """`run/steps.jsonl`, a line every `every` steps; None: nothing. A context manager.

    A line has step (from 1), epoch (from 1), loss (of the whole batch), gradient_norm (before it is clipped; null where
    it is not finite) and learning_rate. After a resume at step `step` the lines of later steps are gone; they come
    again.
    """

    def __init__(self, run: Path, every: int | None, step: int) -> None:
        self._path, self._every, self._begun_with, self._file = run / "steps.jsonl", every, step, None

    def __enter__(self) -> "StepLog":
        if self._every is not None:
            known = (
                self._path.read_text(encoding="utf-8").splitlines(keepends=True)
                if self._path.is_file()
                else []
            )
            whole = [
                line for line in known if line.endswith("\n")
            ]  # a process that died may have left half a line
            write_text(
                self._path, "".join(line for line in whole if json.loads(line)["step"] <= self._begun_with)
            )
            self._file = open(self._path, "a", encoding="utf-8")
        return self

    def add(self, step: int, epoch: int, loss: Tensor, norm: Tensor, rate: float) -> None:
        """After step `step`; a GPU is waited for where there is a line to write."""
        if self._file is None or step % self._every != 0:
            return
        value = norm.item()
        row = {
            "step": step,
            "epoch": epoch + 1,
            "loss": loss.item(),
            "gradient_norm": value if abs(value) < float("inf") else None,
            "learning_rate": rate,
        }
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
