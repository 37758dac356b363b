"""A cohort on several devices: one process for each, with its own rows of every batch.

Every process has all students of the cohort, and the teacher. Their forward passes are those of its
own rows; then the rows of all processes are gathered, and each process computes the objective of
the whole batch. So every loss term is what it is on one device, those that compare images with each
other included, and so are its parameters and its memory. A process carries the gradient on through
the networks from its own rows. Summed over the processes this is the gradient of one device, up to
rounding, whatever the sizes of the slices.

The sum is taken in one buffer for each student, after its backward pass, in an order that depends
on nothing else: a student ends with the same bits in every cohort, and after an interruption.
Processes are numbered from 0; the first one has the weights that count.

Shapes: B images in a batch, R in the rows of a process.
"""

import time
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdsweep.common.types import Output
from kdsweep.training.gathering import GatherRows
from kdsweep.training.synchronized_batch_norm import SynchronizedBatchNorms

LEAST_ROWS = 2  # of a process: BatchNorm cannot process a single image
PATIENCE = 60.0  # seconds that a process waits for the others to fail at the same place

T = TypeVar("T")
Gradients = Sequence[tuple[nn.Parameter, Tensor]]  # parameters may have two (DOT)


class ProcessLost(RuntimeError):
    """Another process of the cohort has ended: nothing more can be trained."""


def nothing_lost() -> Exception | None:
    """Why another process has ended: it has not."""
    return None


@dataclass(frozen=True)
class DeviceGroup:
    """The processes that train a cohort, as one of them sees them; without arguments a single one.

    Attributes:
        rank: of this process, from 0.
        size: the number of processes.
        sync_batchnorm: whether the BatchNorms of networks normalise by the whole batch.
        store: keys and values that all processes share; None for a single one.
        lost: why another process has ended, None while none has; known to the first one.
    """

    rank: int = 0
    size: int = 1
    sync_batchnorm: bool = False
    store: "dist.Store | None" = None
    lost: Callable[[], Exception | None] = nothing_lost

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def splits(self, count: int) -> bool:
        """Whether a batch of so many images is split; else each process has the whole of it.

        The last batch of an epoch may be too small. Its gradient is then that of the first process.
        """
        return self.size > 1 and count >= LEAST_ROWS * self.size

    def counts(self, count: int) -> list[int]:
        """The number of rows of every process, of a batch of so many images that is split."""
        each, more = divmod(count, self.size)
        return [each + (rank < more) for rank in range(self.size)]

    def rows(self, count: int) -> slice:
        """The rows of this process of a batch of so many images."""
        if not self.splits(count):
            return slice(0, count)
        counts = self.counts(count)
        start = sum(counts[: self.rank])
        return slice(start, start + counts[self.rank])

    def seed_parts(self, count: int) -> tuple[int, ...]:
        """What a seed for draws on the own rows depends on in addition; nothing for the first."""
        return (self.rank,) if self.splits(count) and self.rank else ()

    def batch_norms(self, count: int) -> AbstractContextManager[object]:
        """Within it, BatchNorm normalises by the whole batch if it is to, else by the own rows."""
        if self.sync_batchnorm and self.splits(count):
            return SynchronizedBatchNorms()
        return nullcontext()

    def gathered(self, output: Output, count: int) -> Output:
        """The output (B, ...) for the whole batch of ``count`` images, from that for own rows.

        The gradient is that of the own rows. An output of the whole batch is returned as it is.
        """
        if not self.splits(count) or len(output.logits) == count:
            return output
        counts = self.counts(count)

        def whole(rows: Tensor) -> Tensor:
            rows_of_all: Tensor = GatherRows.apply(rows, counts, self.rank)
            return rows_of_all

        return Output(
            whole(output.logits),
            {name: whole(feature) for name, feature in output.features.items()},
            tuple(self.gathered(member, count) for member in output.members),
            None if output.strong is None else self.gathered(output.strong, count),
        )

    def sum_gradients(self, gradients: Gradients, sliced: Container[nn.Parameter]) -> None:
        """Replace gradients, in place, by their sums over the processes.

        Those of ``sliced`` parameters are of the own rows; all others are of the whole batch in
        every process, and only those of the first one count.
        """
        if self.size == 1:
            return
        for parameter, gradient in gradients:
            if not self.is_first and parameter not in sliced:
                gradient.zero_()
        for tensors in by_dtype(gradient for _, gradient in gradients):
            flat = flattened(tensors)
            dist.all_reduce(flat)
            unflatten(flat, tensors)

    @torch.no_grad()
    def synchronize(self, models: Iterable[nn.Module], terms: Iterable[nn.Module]) -> None:
        """Make all tensors of networks and loss terms those of the first process.

        Running statistics of BatchNorm become the mean over the processes before.
        """
        if self.size == 1:
            return
        models = list(models)
        for model in models:
            self._average_statistics(model)
        states = [part.state_dict() for part in (*models, *terms)]
        for tensors in by_dtype(tensor for state in states for tensor in state.values()):
            flat = flattened(tensors)
            dist.broadcast(flat, src=0)
            unflatten(flat, tensors)

    def from_first(self, value: T) -> T:
        """The value that the first process has passed, a plain one, in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def raise_if_lost(self) -> None:
        """Raise ProcessLost if another process has ended; known to the first one."""
        if (reason := self.lost()) is not None:
            raise ProcessLost(str(reason)) from reason

    def all_fail(self, place: str) -> bool:
        """Whether every process fails at a place, of which each has a name of its own.

        What is computed of the whole batch fails everywhere; of what fails in one process alone
        the others do not know, and it cannot go on.
        """
        if self.store is None:
            return True
        self.store.set(f"failed/{place}/{self.rank}", "")
        keys = [f"failed/{place}/{rank}" for rank in range(self.size)]
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.lost() is None:
            if self.store.check(keys):
                return True
            time.sleep(0.05)
        return False

    def _average_statistics(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        statistics = [part for norm in norms for part in (norm.running_mean, norm.running_var)]
        for tensors in by_dtype(tensor for tensor in statistics if tensor is not None):
            flat = flattened(tensors)
            dist.all_reduce(flat)
            unflatten(flat.div_(self.size), tensors)


SINGLE = DeviceGroup()


def join_group(store: "dist.Store", rank: int, size: int, device: torch.device) -> None:
    """Open torch's default process group: gloo, on a GPU with nccl.

    Evaluation, of which the first process takes care, may take long: the others wait for a day.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        store=dist.PrefixStore("group", store),
        rank=rank,
        world_size=size,
        timeout=timedelta(days=1),
    )


def by_dtype(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Tensors of one type each, in their order."""

    def name(tensor: Tensor) -> str:
        return str(tensor.dtype)

    return [list(alike) for _, alike in groupby(sorted(tensors, key=name), key=name)]


def flattened(tensors: Sequence[Tensor]) -> Tensor:
    """A copy of the elements of all tensors, (n,)."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy elements (n,) back into the tensors that they are of."""
    for part, tensor in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True):
        tensor.detach().copy_(part.view(tensor.shape))
