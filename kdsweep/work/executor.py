"""What places work units on processes: local ones, or those of a cluster's scheduler."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from kdsweep.work.unit_file import UnitFile


class Exit(NamedTuple):
    """The end of a process that was to train a unit.

    ``reason``: how it has ended, if not in order: `killed by signal 9`, the end of its stderr.
    """

    number: int
    reason: str | None = None


class Executor(Protocol):
    """Starts `kdsweep work FOLDER N`, or an equivalent process, for units of one sweep.

    It need not know what a unit has come to: that is in the sweep's folder.
    """

    @property
    def workers(self) -> int:
        """How many units may be trained at the same time."""

    def free(self) -> int:
        """How many more units it takes now. One that has a queue takes any number."""

    def submit(self, numbers: Sequence[int]) -> None:
        """Have units trained whose inputs are there. Raises UserError if it takes none at all."""

    def poll(self, seconds: float) -> Sequence[Exit]:
        """What has ended since the last call; waits for it at most so long.

        Raises RunFailed if no process can be started.
        """

    def close(self, *, leave: bool = False) -> None:
        """End what is still at work, parked; with ``leave``, jobs that need no controller continue.

        It may be called again, and then does nothing.
        """


class Queue(Executor, Protocol):
    """An executor whose units are trained whether this process lives or not."""

    def submit_chain(self, units: Sequence[UnitFile]) -> None:
        """Have units trained, each once those that it needs are done. Raises UserError."""


# Makes an executor for the sweep in a folder.
ExecutorFactory = Callable[[Path], Executor]
