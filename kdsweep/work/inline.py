"""Trains units in this process, one after the other, and logs their runs to MLflow at once."""

from collections.abc import Mapping, Sequence

from kdsweep.execution.context import TrainingContext
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.scheduler import train_unit
from kdsweep.execution.worklist import WorkUnit
from kdsweep.work.placement import Outcome


class Inline:
    """The placement of a sweep with one worker. `resume` and `on_epoch` as for `train_unit`."""

    def __init__(
        self,
        context: TrainingContext,
        *,
        resume: bool = False,
        on_epoch: EpochCallback | None = None,
    ) -> None:
        self._context, self._resume, self._on_epoch = context, resume, on_epoch
        self._waiting: dict[int, WorkUnit] = {}

    def free(self) -> int:
        return 0 if self._waiting else 1

    def submit(self, units: Mapping[int, WorkUnit]) -> None:
        self._waiting |= units

    def poll(self, seconds: float) -> Sequence[Outcome]:
        """Train the units that were submitted. What `train_unit` raises ends the sweep."""
        units, self._waiting = self._waiting, {}
        return [self._train(number, unit) for number, unit in units.items()]

    def _train(self, number: int, unit: WorkUnit) -> Outcome:
        results = train_unit(unit, self._context, resume=self._resume, on_epoch=self._on_epoch)
        return Outcome(number, results=results)

    def close(self, *, leave: bool = False) -> None:
        """Nothing is at work: what stopped the training has ended its runs."""
