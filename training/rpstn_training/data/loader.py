"""The batches of a training: their order, and the processes that make them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..config import Config
from ..errors import UserError
from ..interrupt import ignore_interrupt
from .clips import TrainClips


class Batches:
    """The batches of one epoch after the other, each in its own random order, by workers that live on.

    part (int, int): rank and number of the processes that share each batch out; every world-th clip of it is this
    one's. Where a batch has fewer clips than there are processes, some get one of no clips.
    """

    def __init__(
        self, clips: TrainClips, config: Config, device: torch.device, *, part: tuple[int, int] = (0, 1)
    ) -> None:
        self._clips, self._seed, self._size = clips, config.seed, config.train.batch_size
        self._part = part
        if self._size < part[1]:
            raise UserError(
                f"train.batch_size: expected at least {part[1]} clips, one for each process that trains, got "
                f"{self._size}; it is the size of the whole batch, which the processes share out"
            )
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

    def clips_in(self, number: int) -> int:
        """Clips of batch `number` of an epoch, those of all processes."""
        return min(self._size, len(self._clips) - number * self._size)

    def epoch(self, epoch: int, done: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of an epoch without the first `done` ones. Ends those of the epoch before."""
        self._clips.set_epoch(epoch)
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._clips)).tolist()
        starts = range(done * self._size, len(order), self._size)
        rank, world = self._part
        batches = [order[first : first + self._size] for first in starts]
        own = [batch[rank::world] for batch in batches]
        # A loader makes no batch of nothing: one clip says what an empty batch looks like.
        self._batches[:] = [clips or batch[:1] for clips, batch in zip(own, batches)]
        return (batch if clips else _without_clips(batch) for batch, clips in zip(iter(self._loader), own))


def _without_clips(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: values[:0] for name, values in batch.items()}
