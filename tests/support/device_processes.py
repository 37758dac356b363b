"""Processes on the CPU that train together, of which the first one is that of the tests.

Each of the others does what the tests call, at the same time: starting one takes seconds.
"""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from kdsweep.training.device_group import DeviceGroup, join_group

Result = TypeVar("Result")


class Processes:
    """Call functions in all processes at once, with their group and equal arguments."""

    def __init__(self, group: DeviceGroup, pipes: list[Connection]) -> None:
        self._group, self._pipes = group, pipes

    def run(self, function: Callable[..., Result], *arguments: Any) -> list[Result]:
        """What a function of a module returns, by rank. Raises what it raises here or elsewhere."""
        for pipe in self._pipes:
            pipe.send((function, arguments))
        try:
            results = [function(self._group, *arguments)]
        except Exception:
            self._receive()  # what has failed elsewhere comes first
            raise
        return [*results, *self._receive()]

    def _receive(self) -> list[Any]:
        results = []
        for pipe in self._pipes:
            failure, result = pipe.recv()  # EOFError: it has died
            assert failure is None, failure
            results.append(result)
        return results


@contextmanager
def processes(folder: Path, size: int = 2) -> Iterator[Processes]:
    """Start the others, which end with the block; they find each other by a file in a folder."""
    path = str(folder / "store")
    store = dist.FileStore(path, size)
    context = multiprocessing.get_context("spawn")
    pipes, others = [], []
    for rank in range(1, size):
        ours, theirs = context.Pipe()
        other = context.Process(target=_serve, args=(rank, size, path, theirs), daemon=True)
        other.start()
        theirs.close()  # so that reading from one that has died does not wait
        pipes.append(ours)
        others.append(other)
    torch.set_num_threads(1)
    join_group(store, 0, size, torch.device("cpu"))
    try:
        yield Processes(DeviceGroup(0, size, store=store), pipes)
    finally:
        for other in others:
            other.kill()
            other.join()
        dist.destroy_process_group()


def _serve(rank: int, size: int, path: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(path, size)
    join_group(store, rank, size, torch.device("cpu"))
    group = DeviceGroup(rank, size, store=store)
    while True:
        function, arguments = pipe.recv()
        try:
            pipe.send((None, function(group, *arguments)))
        except Exception:
            pipe.send((f"process {rank}: {traceback.format_exc()}", None))
            os._exit(1)  # the others wait for it otherwise
