"""The units of a sweep that other controllers have planned, earlier ones or some at work now."""

import time
from collections.abc import Collection, Iterable

from kdsweep.common.pacing import lines_while
from kdsweep.errors import UserError
from kdsweep.execution.target import SweepLocation
from kdsweep.work import attempt
from kdsweep.work.outcomes import lacking
from kdsweep.work.unit_file import UnitFile, numbers, read_unit

Key = tuple[str, ...]  # the role of a unit, and the fingerprints of its runs


class OtherUnits:
    """Finds those units of other controllers that are not over. Each file is read once for that."""

    def __init__(self, sweep: SweepLocation) -> None:
        self._folder = sweep.folder
        self._keys: dict[int, Key] = {}
        self._read: set[int] = set()

    def leave_out(self, number: int) -> None:
        """A unit is of this controller."""
        self._read.add(number)
        self._keys.pop(number, None)

    def all(self) -> list[UnitFile]:
        """All of them. A damaged file counts as none."""
        self._read_new()
        return self._open(self._keys)

    def of_runs(self, fingerprints: Collection[str]) -> list[UnitFile]:
        """Those in which any of these runs is trained."""
        self._read_new()
        return self._open(
            [n for n, (_, *runs) in self._keys.items() if not set(runs).isdisjoint(fingerprints)]
        )

    def _read_new(self) -> None:
        for number in numbers(self._folder):
            if number in self._read:
                continue
            self._read.add(number)
            for unit in self._open([number]):
                self._keys[number] = (unit.role, *(run.fingerprint for run in unit.runs))

    def _open(self, candidates: Iterable[int]) -> list[UnitFile]:
        units = []
        for number in candidates:
            try:
                unit = read_unit(self._folder, number)
            except UserError:
                continue
            last = attempt.latest(self._folder, number)
            is_over = last is not None and last.state in (attempt.DONE, attempt.WITHDRAWN)
            if not is_over and lacking(self._folder, unit, again=last is None):
                units.append(unit)
        return units


def withdraw(units: Iterable[UnitFile], sweep: SweepLocation) -> None:
    """Have no process train these units any more; those in training are waited for.

    This process trains their runs itself.
    """
    observer = attempt.Observer()
    for unit in units:
        with lines_while(f"waiting for work unit {unit.number}, which another process trains"):
            while not attempt.withdraw(sweep.folder, unit.number, observer) and lacking(
                sweep.folder, unit
            ):
                time.sleep(attempt.LOOK_SECONDS)
