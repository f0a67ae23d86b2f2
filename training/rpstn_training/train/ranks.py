"""Training by several processes, the ranks: each has a part of every batch, and a step is that of the whole batch.

`torchrun` starts them and says in the environment who they are. What makes the step that of one process:

* the loss is divided by the summed weights of all ranks, and gradients are added up (DistributedDataParallel alone
  would take their mean);
* every BatchNorm2d normalises by the statistics of the whole batch (`SynchronisedNorm2d`);
* what a training decides, it decides alike everywhere; the first rank alone writes and prints.

Where there is one process, everything here gives back what it was given.
"""

import contextlib
import datetime
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rpstn_ext.ops import reference

from ..device import choose_device
from ..errors import UserError

T = TypeVar("T")

# How long ranks wait for one that evaluates longer videos, or writes. One that has died is noticed at once.
_PATIENCE = datetime.timedelta(minutes=30)
_INTERRUPTED, _FAILED = 130, 1  # exit statuses of a rank that has nothing to add, as `cli` has them


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"


class Ranks:
    """The processes of a training, and this one's place among them. A context manager; the group lives within it.

    rank, world (int): this process's number, from 0, and how many there are.

    Whatever ends one rank ends them all, and one of them tells why: the first that leaves with an exception keeps it,
    in the others it becomes `SystemExit`. A rank that loses the others raises `UserError`.
    """

    def __init__(self) -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if self.world > 1 and missing:
            raise UserError(
                f"train: expected {', '.join(missing)} in the environment beside WORLD_SIZE={self.world}, as torchrun "
                "sets them; start with torchrun --nproc-per-node=N -m rpstn_training train CONFIG.yaml"
            )
        self.rank = int(os.environ["RANK"]) if self.world > 1 else 0
        self._held = contextlib.ExitStack()
        self._parallel: nn.Module | None = None

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.rank == 0

    def __enter__(self) -> "Ranks":
        if self.world > 1:
            try:
                self._store, _, _ = next(dist.rendezvous("env://"))
                dist.init_process_group(
                    "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                    store=dist.PrefixStore("ranks", self._store),
                    rank=self.rank,
                    world_size=self.world,
                    timeout=_PATIENCE,
                )
            except (RuntimeError, ValueError) as error:
                raise UserError(
                    f"train: expected {self.world} processes to meet at {os.environ['MASTER_ADDR']}:"
                    f"{os.environ['MASTER_PORT']}, rank {self.rank} met nobody ({str(error).splitlines()[0]})"
                ) from error
            if not self.first:
                nowhere = self._held.enter_context(open(os.devnull, "w", encoding="utf-8"))
                self._held.enter_context(contextlib.redirect_stdout(nowhere))
            if threading.current_thread() is threading.main_thread():
                before = signal.signal(signal.SIGTERM, self._terminated)
                self._held.callback(signal.signal, signal.SIGTERM, before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.world == 1:
            return
        with self._held:
            if error is None:
                try:
                    dist.barrier()  # what the first rank has written is there when the others go on
                except RuntimeError as late:
                    error = late
            told = error is not None and not self._is_first_to_end()
            if error is None or not torch.cuda.is_available():  # NCCL would wait for those who are gone
                self._release()
                dist.destroy_process_group()
        if told:
            sys.exit(_INTERRUPTED if isinstance(error, KeyboardInterrupt) else _FAILED)
        if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
            raise UserError(
                self._ended("one of them is gone (what it printed, or the system's log, tells why)")
            ) from error

    def _release(self) -> None:
        """What DistributedDataParallel holds of the group. Its reducer, were it the last to let go, would wait for
        gloo's threads with Python's lock held, and a thread that still has a tensor waits for that lock.
        """
        if self._parallel is not None:
            del self._parallel.reducer, self._parallel.logger, self._parallel.process_group

    def _is_first_to_end(self) -> bool:
        try:
            return self._store.add("ended", 1) == 1
        except RuntimeError:  # the store is gone too: better told twice than never
            return True

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        raise UserError(self._ended("SIGTERM came, which torchrun sends when one of them is gone"))

    def _ended(self, why: str) -> str:
        return (
            f"train: expected {self.world} processes until the end, {why}; the run folder is as it was saved last, "
            "continue with --resume"
        )

    def device(self, name: str, key: str) -> torch.device:
        """`choose_device`, and of several GPUs the one of this process."""
        device = choose_device(name, key)
        if self.world == 1 or device.type != "cuda":
            return device
        local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if device.index is not None:
            raise UserError(
                f"{key}: expected auto, cuda or cpu where {self.world} processes train together, got {name}; "
                "torchrun gives each process its GPU"
            )
        if local >= there:
            raise UserError(
                f"{key}: expected a GPU for each process of this machine, PyTorch finds {there} here for process "
                f"{local}, counted from 0; start fewer with --nproc-per-node, or set {key}=cpu"
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def in_words(self, device: torch.device) -> str:
        """The device, and how many processes there are where there are several."""
        return str(device) if self.world == 1 else f"{self.world} processes, each on {device.type},"

    def parallel(self, model: nn.Module, *, parts: int = 1) -> nn.Module:
        """The network as it is called in training, for gradients that are sums over all ranks.

        parts (int): backward passes of a step; more than one need `adding_up`.

        Parameters and buffers of all ranks become those of the first. The model's normalisations are replaced, in
        place; its parameters and the names in its state dict stay. It can be called until the group ends.
        """
        if self.world == 1:
            return model
        _synchronise(model)
        device = next(model.parameters()).device
        with warnings.catch_warnings():  # torch 2.13 renames broadcast_buffers, which earlier versions need
            warnings.simplefilter("ignore", FutureWarning)
            # The same parameters get gradients in every step, not always all: of a clip of one frame nothing is
            # propagated. A static graph takes no gradients that are not reduced.
            self._parallel = nn.parallel.DistributedDataParallel(
                model,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,
                static_graph=parts == 1,
                find_unused_parameters=parts > 1,
            )
        return self._parallel

    def adding_up(self, parallel: nn.Module, *, complete: bool) -> contextlib.AbstractContextManager[None]:
        """About forward and backward of a part of a step: gradients are reduced in the last one, when all are there."""
        return contextlib.nullcontext() if self.world == 1 or complete else parallel.no_sync()

    def summed(self, loss: Tensor) -> Tensor:
        """What to differentiate, so that the mean of gradients that DistributedDataParallel takes is their sum."""
        return loss if self.world == 1 else loss * self.world

    def sum(self, value: Tensor) -> Tensor:
        """Of all ranks' tensors, without gradient."""
        if self.world == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether it is set on any rank."""
        if self.world == 1:
            return flags
        met = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(met, dist.ReduceOp.MAX)
        return tuple(met.bool().tolist())

    def gathered(self, part: Sequence[T]) -> list[T]:
        """The list of which every rank holds the items rank, rank + world, rank + 2 world, ..."""
        if self.world == 1:
            return list(part)
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, list(part))
        whole: list[Any] = [None] * sum(map(len, parts))
        for rank, items in enumerate(parts):
            whole[rank :: self.world] = items
        return whole


def _synchronise(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, SynchronisedNorm2d(child))


class _AllRanks:
    def gather(self, own: Tensor) -> Tensor:
        ranks = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(ranks, own)
        return torch.stack(ranks)

    def add_up(self, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total


class SynchronisedNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all ranks' samples, as `nn.SyncBatchNorm`, which has no CPU version.

    It shares parameters and buffers with the `norm` it takes the place of. A rank may have no sample. The relation
    extractor fuses it as it does a plain one.
    """

    processes = _AllRanks()

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, affine=False, track_running_stats=False, device="meta"
        )
        self.affine, self.track_running_stats, self.training = (
            norm.affine,
            norm.track_running_stats,
            norm.training,
        )
        self._parameters.update(norm._parameters)
        self._buffers.update(norm._buffers)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        out, mean, var, count = reference.normalise_together(
            input, self.weight, self.bias, self.eps, self.processes
        )
        if (
            input.numel() <= self.num_features and count == 1
        ):  # no rank has more than one value: rare, so looked at
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size {list(input.shape)}"
            )
        if self.running_mean is not None:
            self.num_batches_tracked.add_(1)
            share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_((var * (count / (count - 1))).to(self.running_var.dtype), share)
        return out
