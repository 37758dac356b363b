"""Where the units of a graph are trained: what the controller requires of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kdsweep.execution.worklist import WorkUnit
from kdsweep.tracking.result import RunResult


@dataclass(frozen=True)
class Outcome:
    """A unit that is over.

    Attributes:
        failure: why it could not be trained; None if it could, whatever its runs have come to.
        results: of its runs, by fingerprint.
        raised: whether an exception in another process is the failure, not the end of processes.
    """

    number: int
    failure: str | None = None
    results: Mapping[str, RunResult] = field(default_factory=dict)
    raised: bool = False


class Placement(Protocol):
    """Trains units, in this process or in others."""

    def free(self) -> int:
        """How many more units it takes now."""

    def submit(self, units: Mapping[int, WorkUnit]) -> None:
        """Have units trained whose inputs are there, by their numbers."""

    def poll(self, seconds: float) -> Sequence[Outcome]:
        """The units that are over since the last call; waits for one at most so long."""

    def close(self, *, leave: bool = False) -> None:
        """End what is still at work, to be resumed; with ``leave``, what can go on alone does."""
