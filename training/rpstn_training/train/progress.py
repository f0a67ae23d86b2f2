"""Where a training stands: what is saved with it, and the sums of the epoch under way."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from .ranks import Ranks


@dataclasses.dataclass(kw_only=True)
class Progress:
    """All of it is saved, so that a training may stop after any step."""

    epoch: int = 0  # completed epochs
    step: int = 0  # completed optimiser steps
    batch: int = 0  # completed batches of the epoch under way, and sums over them:
    clips: int = 0
    loss: float = 0.0  # each batch's loss times its clips
    hits: int = 0
    counted: int = 0
    seconds: float = 0.0
    waited: float = 0.0  # seconds of these spent waiting for data
    best_score: float | None = None
    stale: int = 0  # evaluations since the best score
    metrics: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def next_epoch(self, row: dict[str, Any]) -> None:
        self.metrics.append(row)
        self.epoch += 1
        self.batch = self.clips = self.hits = self.counted = 0
        self.loss = self.seconds = self.waited = 0.0

    def row(self, rate: float) -> dict[str, Any]:
        """The line of metrics.jsonl for the epoch that has just been completed."""
        return {
            "epoch": self.epoch + 1,
            "step": self.step,
            "learning_rate": rate,
            "loss": share(self.loss, self.clips),
            "pck": share(self.hits, self.counted),
            "seconds": round(self.seconds, 3),
            "clips_per_second": round(share(self.clips, self.seconds), 3),
            "data_share": round(share(self.waited, self.seconds), 4),
        }

    def running(self) -> str:
        """The epoch under way in few words."""
        loss, pck = share(self.loss, self.clips), 100 * share(self.hits, self.counted)
        waited = 100 * share(self.waited, self.seconds)
        return f"loss {loss:.5f} PCK {pck:.1f} waiting for data {waited:.0f}%"


class DeviceSums:
    """Sums that stay on the device until somebody reads them, all in one transfer; all ranks do at the same time."""

    def __init__(self, device: torch.device, ranks: Ranks) -> None:
        self._ranks = ranks
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, loss: Tensor, clips: int, hits: Tensor, counted: Tensor) -> None:
        """Of one batch: this rank's share of the loss, the clips of all ranks, this rank's joints."""
        self._sums += torch.stack([loss.detach().double() * clips, hits.double(), counted.double()])

    def move_to(self, progress: Progress) -> None:
        """Add everything since the last time."""
        loss, hits, counted = self._ranks.sum(self._sums).tolist()
        self._sums.zero_()
        progress.loss += loss
        progress.hits += int(hits)
        progress.counted += int(counted)


def share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
