"""Where the workers of this machine compute: each on cores, or on a GPU, of its own."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import torch

from kdsweep.common.machine import usable_cores
from kdsweep.config.limits import MOST
from kdsweep.config.threads import thread_count
from kdsweep.errors import UserError

AUTO = "auto"
KEY = "hydra.launcher.workers"
VISIBLE = "CUDA_VISIBLE_DEVICES"
SIBLINGS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Place:
    """What a worker computes with.

    Attributes:
        cpus: that its threads run on; None: any.
        environment: variables that it has in addition to those of this process.
    """

    cpus: frozenset[int] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def pin(self, pid: int) -> None:
        """Have all threads of a process run there. Some systems have no such thing."""
        if self.cpus is None or not hasattr(os, "sched_setaffinity"):
            return
        with suppress(OSError):  # it has ended, or the container has other cores by now
            for thread in [pid, *map(int, os.listdir(f"/proc/{pid}/task"))]:
                os.sched_setaffinity(thread, self.cpus)


def find_places(workers: object, device: str, threads: int) -> list[Place]:
    """A place for each worker.

    Args:
        workers: a number, or `auto`: one for each GPU, else one for each `threads` physical cores.
        device: of the trainer, resolved.
        threads: of the trainer.

    Raises UserError for another value, or for more workers than the machine has cores for.
    """
    count = thread_count(workers)
    most = MOST["workers"]
    if workers != AUTO and (count is None or not 1 <= count <= most):
        raise UserError(f"{KEY} must be auto or from 1 to {most}, got {workers}")
    if device.partition(":")[0] == "cpu":
        return _on_cores(count or max(usable_cores(physical=True) // threads, 1), threads)
    if device.startswith("cuda"):
        return _on_gpus(count, device)
    return [Place() for _ in range(count or 1)]


def _on_cores(count: int, threads: int) -> list[Place]:
    cores = usable_cores(physical=False)
    if threads > 1 and count > 1 and count * threads > cores:
        raise UserError(
            f"{KEY} must be at most {max(cores // threads, 1)} with trainer.threads={threads} on"
            f" {cores} cores, got {count}"
        )
    if count == 1 or not hasattr(os, "sched_getaffinity"):
        return [Place() for _ in range(count)]
    cpus = sorted(os.sched_getaffinity(0), key=_core)
    if count > len(cpus):
        return [Place() for _ in range(count)]
    bounds = [len(cpus) * place // count for place in range(count + 1)]
    return [Place(frozenset(cpus[first:last])) for first, last in pairwise(bounds)]


def _core(cpu: int) -> tuple[int, int]:
    """The first hyper-thread of a CPU's core, and the CPU: those of a core stay together."""
    try:
        text = (SIBLINGS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text()
        return int(text.replace("-", ",").split(",")[0]), cpu
    except (OSError, ValueError):
        return cpu, cpu


def _on_gpus(count: int | None, device: str) -> list[Place]:
    if ":" in device and count != 1:
        raise UserError(
            f"trainer.device must be auto or cuda with {KEY}={count or AUTO}, got {device}: each"
            " worker has a GPU of its own"
        )
    gpus = _visible_gpus()
    number = count or len(gpus)
    if number == 1:
        return [Place()]
    return [Place(environment={VISIBLE: gpus[one % len(gpus)]}) for one in range(number)]


def _visible_gpus() -> Sequence[str]:
    """The GPUs of this process, as the variable names them."""
    given = os.environ.get(VISIBLE)
    if given:
        return given.split(",")
    return [str(index) for index in range(torch.cuda.device_count())]
