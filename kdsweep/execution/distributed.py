"""The processes that train a cohort on several devices (`trainer.devices`).

This process is the first one: it records, evaluates, and writes checkpoints. Each of the others has
a device, builds the same students from the same specs, gets their state from this one, and calls
`fit` as well. They end with it: when the cohort has ended, or an error ends it, or it dies.
"""

import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist

from kdsweep.builders.data import build_dataset, build_source, build_stream
from kdsweep.builders.device import resolve_device
from kdsweep.common.disk_cache import DiskCache
from kdsweep.config.schema import CacheConfig
from kdsweep.errors import RunFailed
from kdsweep.execution.teacher_store import read_teacher
from kdsweep.runs.spec import RunSpec
from kdsweep.runs.units import build_online_teacher, build_unit, taught, view_of_teacher
from kdsweep.training.checkpoint import share_state
from kdsweep.training.device_group import SINGLE, DeviceGroup, join_group
from kdsweep.training.memory import is_out_of_memory
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.student import Student
from kdsweep.training.trainer import AnyTeacher, CohortUnit, fit, students_of

LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # network interfaces of a machine's own, by platform
INTERFACE = "GLOO_SOCKET_IFNAME"
ENDING_SECONDS = 30.0  # in which processes end that have nothing left to do
MEMORY = "memory"  # the kind of failure of a process that had none left
REASON_SECONDS = 5.0  # in which it is known why a process does not answer any more


@dataclass(frozen=True)
class Work:
    """What one of the other processes needs to know."""

    specs: tuple[RunSpec, ...]
    cache: CacheConfig
    size: int
    store: Path  # a file of keys and values that all processes share


@contextmanager
def device_group(specs: Sequence[RunSpec], cache: CacheConfig) -> Iterator[DeviceGroup]:
    """Start the other processes of a cohort and yield the group; they end with the block.

    Raises RunFailed if one of them ends before it has joined.
    """
    trainer = specs[0].config.trainer
    size = trainer.devices
    if size == 1:
        yield SINGLE
        return
    with TemporaryDirectory(prefix="kdsweep-") as folder:
        # A file and not a port, which would be open to other machines.
        work = Work(tuple(specs), cache, size, Path(folder) / "store")
        others = _Others(work)
        try:
            others.start()
            with _all_joined(others, torch.device(resolve_device(trainer.device))):
                yield DeviceGroup(0, size, trainer.sync_batchnorm, others.store, others.lost)
                others.wait_until_ended()
        finally:
            others.kill()


@contextmanager
def _all_joined(others: "_Others", device: torch.device) -> Iterator[None]:
    """Within it this process is in a group with the others; an error ends these."""
    _join(others.store, 0, others.size, device)
    world, on_gpu = dist.group.WORLD, device.type == "cuda"
    if on_gpu:  # elsewhere torch notices that a process has ended
        threading.Thread(target=others.abort_when_lost, args=(world,), daemon=True).start()
    try:
        yield
    except BaseException:
        others.kill()
        if on_gpu:  # what is queued waits for them
            world.abort()
        raise
    finally:
        dist.destroy_process_group()


@contextmanager
def lost_process_named(group: DeviceGroup) -> Iterator[None]:
    """Raise why another process has ended in place of the errors that follow from it."""
    try:
        yield
    except RuntimeError as error:
        until = time.monotonic() + (REASON_SECONDS if group.size > 1 else 0.0)
        while (reason := group.lost()) is None and time.monotonic() < until:
            time.sleep(0.05)
        if reason is not None:
            raise reason from error
        raise


class _Others:
    """The other processes, as the first one sees them."""

    def __init__(self, work: Work) -> None:
        self.store, self.size = dist.FileStore(str(work.store), work.size), work.size
        spawn = get_context("spawn")  # a fork would share the threads' locks, and CUDA
        self._processes: dict[int, SpawnProcess] = {
            rank: spawn.Process(target=take_part, args=(rank, work), name=f"device-{rank}")
            for rank in range(1, work.size)
        }
        self._is_over = False  # this process ends them

    def start(self) -> None:
        """Wait until all have imported what they need. Raises RunFailed if one has ended."""
        for process in self._processes.values():
            process.start()
        keys = [_ready(rank) for rank in self._processes]
        while not self.store.check(keys):
            if (reason := self.lost()) is not None:
                raise reason
            time.sleep(0.05)

    def abort_when_lost(self, group: "dist.ProcessGroup") -> None:
        """Have this process wait for the others no more, once one of them has ended too early."""
        sentinels = {process.sentinel for process in self._processes.values()}
        while sentinels:
            sentinels -= set(connection.wait(list(sentinels)))
            if self._is_over:
                return
            if self.lost() is not None:
                group.abort()
                return

    def lost(self) -> Exception | None:
        """Why a process has ended before its time; None while none has."""
        for rank, process in self._processes.items():
            if process.exitcode:
                return reason_of_end(self.store, rank, process.exitcode, self.size)
        return None

    def wait_until_ended(self) -> None:
        """Wait until they have ended, which they are about to."""
        until = time.monotonic() + ENDING_SECONDS
        for process in self._processes.values():
            process.join(max(until - time.monotonic(), 0))

    def kill(self) -> None:
        """End those that are left."""
        self._is_over = True
        for process in self._processes.values():
            if process.pid is not None:
                process.kill()
                process.join()


def reason_of_end(store: "dist.Store", rank: int, code: int, size: int) -> Exception:
    """Why a process has ended, from its exit code and what it has left in the store."""
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    if store.check([_failure(rank)]):
        kind, _, message = store.get(_failure(rank)).decode().partition(" ")
        if kind == MEMORY:
            return torch.OutOfMemoryError(message)
        how = f"failed: {message}"
    return RunFailed(
        f"process {rank} of the {size} of trainer.devices={size} {how}; resume=true continues from"
        " the last checkpoint"
    )


def take_part(rank: int, work: Work) -> None:
    """What another process does: train the cohort of the first one, with its own rows."""
    _follow_the_first()
    store = dist.FileStore(str(work.store), work.size)
    try:
        _train(rank, work, store)
    except BaseException as error:
        kind = MEMORY if is_out_of_memory(error) else "error"
        message = f"{type(error).__name__}: {error}".replace("\n", " ")
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        with suppress(Exception):  # the first process has ended
            store.set(_failure(rank), f"{kind} {message}")
        os._exit(1)  # no destructor waits for other processes


def _train(rank: int, work: Work, store: "dist.Store") -> None:
    specs, trainer = work.specs, work.specs[0].config.trainer
    device = resolve_device(trainer.device)
    if device == "cuda":
        torch.cuda.set_device(rank)  # `cuda` is this one from now on
    store.set(_ready(rank), "")
    _join(store, rank, work.size, torch.device(device))
    group = DeviceGroup(rank, work.size, trainer.sync_batchnorm, store)
    config = specs[0].config
    cache = DiskCache(Path(work.cache.folder), work.cache.gib)
    dataset = build_dataset(config.dataset, device, build_source(config.dataset, cache))
    view = view_of_teacher(specs)
    stream = build_stream(config, dataset, device, group.rows, teacher_view=view)
    steps, spec = stream.steps_per_epoch, taught(specs)
    teacher: AnyTeacher | None
    if spec is not None and spec.online_teacher is not None:
        teacher = build_online_teacher(spec.online_teacher, specs, dataset, steps)
    else:
        teacher = read_teacher(specs, dataset)
    networks = teacher.networks if teacher else ()
    units = [build_unit(one, dataset, networks, steps) for one in specs]
    share_state(trained_students(units, teacher), group)
    fit(
        units,
        stream,
        teacher=teacher,
        splits=[],
        epochs=trainer.epochs,
        threads=trainer.threads,
        record=_record_nothing,
        group=group,
    )
    dist.destroy_process_group()


def trained_students(units: Sequence[CohortUnit], teacher: AnyTeacher | None) -> list[Student]:
    """The students of a cohort, with that of an online teacher."""
    online = [teacher.student] if isinstance(teacher, OnlineTeacher) else []
    return [*students_of(units), *online]


def _record_nothing(student: Student, metrics: dict[str, float]) -> None:
    """The first process records."""


def _follow_the_first() -> None:
    """Leave it to the first process when to end, and end when it has died."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # What there is to warn of, the first process does.
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "it was started by the first process"
    connection.wait([parent.sentinel])
    os._exit(1)


def _join(store: "dist.Store", rank: int, size: int, device: torch.device) -> None:
    """Open torch's default process group, by the network interface of the machine's own."""
    interface = LOOPBACK.get(sys.platform)
    if is_ours := interface is not None and INTERFACE not in os.environ:
        os.environ[INTERFACE] = str(interface)
    try:
        join_group(store, rank, size, device)
    finally:
        if is_ours:
            del os.environ[INTERFACE]


def _ready(rank: int) -> str:
    return f"ready/{rank}"


def _failure(rank: int) -> str:
    return f"failure/{rank}"
