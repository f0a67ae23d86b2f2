"""The batches of a training: their order, and the processes that make them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..config import Config
from ..interrupt import ignore_interrupt
from .clips import TrainClips


class Batches:
    """The batches of one epoch after the other, each in its own random order, by workers that live on."""

    def __init__(self, clips: TrainClips, config: Config, device: torch.device) -> None:
        self._clips, self._seed, self._size = clips, config.seed, config.train.batch_size
        self._batches: list[list[int]] = []
        workers = min(config.data.workers, len(self))
        self._loader = DataLoader(
            clips,
            batch_sampler=self._batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=ignore_interrupt,
            generator=torch.Generator(),  # or the loader would draw from, and move, the global one
            pin_memory=device.type == "cuda",
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-len(self._clips) // self._size)

    def epoch(self, epoch: int, done: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of an epoch without the first `done` ones. Ends those of the epoch before."""
        self._clips.set_epoch(epoch)
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._clips)).tolist()
        starts = range(done * self._size, len(order), self._size)
        self._batches[:] = [order[first : first + self._size] for first in starts]
        return iter(self._loader)
