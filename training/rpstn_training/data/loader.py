"""The batches of a training: their order, and the processes that make them."""

import functools
import os
from collections.abc import Iterator, Sequence
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

    A batch comes in `config.train.accumulate` parts, or in fewer where it has not so many clips; the clips go to them
    in turn.

    part (int, int): rank and number of the processes that share each part out; every world-th clip of it is this
    one's. Where a part has fewer clips than there are processes, some get one of no clips.
    """

    def __init__(
        self, clips: TrainClips, config: Config, device: torch.device, *, part: tuple[int, int] = (0, 1)
    ) -> None:
        self._clips, self._seed, self._size = clips, config.seed, config.train.batch_size
        self._parts, self._part = config.train.accumulate, part
        if self._size < part[1] * self._parts:
            each = "each process that trains" if self._parts == 1 else "each part of each process that trains"
            raise UserError(
                f"train.batch_size: expected at least {part[1] * self._parts} clips, one for {each}, got "
                f"{self._size}; it is the size of the whole batch, which the processes share out"
            )
        self._batches: list[list[int]] = []
        workers = min(config.data.workers, len(self) * self._parts)
        self._loader = DataLoader(
            clips,
            batch_sampler=self._batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=functools.partial(_begin, cores=_own_cores() if config.data.pin_workers else ()),
            generator=torch.Generator(),  # or the loader would draw from, and move, the global one
            pin_memory=device.type == "cuda",
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-len(self._clips) // self._size)

    def clips_in(self, number: int) -> int:
        """Clips of batch `number` of an epoch, those of all processes."""
        return min(self._size, len(self._clips) - number * self._size)

    def epoch(self, epoch: int, done: int = 0) -> Iterator[list[dict[str, Any]]]:
        """The batches of an epoch without the first `done` ones, each as its parts. Ends those of the epoch before."""
        self._clips.set_epoch(epoch)
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._clips)).tolist()
        starts = range(done * self._size, len(order), self._size)
        rank, world = self._part
        whole = [self._in_parts(order[first : first + self._size]) for first in starts]
        # A loader makes no batch of nothing: one clip says what an empty batch looks like.
        self._batches[:] = [part[rank::world] or part[:1] for parts in whole for part in parts]
        loaded = iter(self._loader)  # begins now, not when the first batch is asked for
        empty = [[len(part) <= rank for part in parts] for parts in whole]
        return ([_without_clips(next(loaded)) if none else next(loaded) for none in parts] for parts in empty)

    def _in_parts(self, batch: list[int]) -> list[list[int]]:
        return [batch[number :: self._parts] for number in range(min(self._parts, len(batch)))]


def _begin(worker: int, cores: Sequence[int]) -> None:
    ignore_interrupt(worker)
    if cores:
        os.sched_setaffinity(0, {cores[worker % len(cores)]})


def _own_cores() -> list[int]:
    """The share of this process of the cores that those of this machine may use; a neighbouring one's where there are
    fewer cores than processes.
    """
    if not hasattr(os, "sched_getaffinity"):
        raise UserError(
            "data.pin_workers: expected false on a system that does not bind processes to cores, got true"
        )
    cores = sorted(os.sched_getaffinity(0))
    rank, world = (
        int(os.environ.get(name, default)) for name, default in (("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    )
    first, end = (len(cores) * place // world for place in (rank, rank + 1))
    return cores[first : max(end, first + 1)]


def _without_clips(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: values[:0] for name, values in batch.items()}
