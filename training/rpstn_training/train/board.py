"""TensorBoard curves, where they are asked for."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import UserError

_CURVES = ("loss", "pck", "learning_rate", "score", "clips_per_second", "data_share")


class Board:
    """Curves in `run/tensorboard`; not `wanted`, it does nothing. A context manager."""

    def __init__(self, run: Path, wanted: bool, epoch: int) -> None:
        self._writer = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UserError(
                    "train.tensorboard: expected the package tensorboard, it is not installed; "
                    "pip install tensorboard, or set train.tensorboard=false"
                ) from error
            self._writer = SummaryWriter(run / "tensorboard", purge_step=epoch + 1)

    def __enter__(self) -> "Board":
        return self

    def add(self, row: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl."""
        if self._writer is not None:
            for name in _CURVES:
                if name in row:
                    self._writer.add_scalar(name, row[name], row["epoch"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
