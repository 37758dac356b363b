"""Which units can be trained now: those whose inputs have been."""

import heapq
from collections import deque
from dataclasses import replace

from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.execution.worklist import WorkUnit, inputs


class UnitGraph:
    """Units by number, in the order in which they are trained, and what each is waiting for.

    A unit that is over is forgotten, so that a large sweep takes no more memory for it.
    """

    def __init__(self, sweep: SweepLocation | None) -> None:
        self._sweep = sweep
        self.units: dict[int, WorkUnit] = {}  # that are not over
        self._needs: dict[int, set[int]] = {}  # those of them that a unit is waiting for
        self._needed_by: dict[int, list[int]] = {}
        self._trained_by: dict[str, int] = {}  # fingerprint of a teacher or a stage -> unit
        self._ready: list[int] = []  # a heap
        self.changed: set[int] = set()  # units that have lost a run since they were added
        self._next = 0

    def add(self, unit: WorkUnit, number: int | None = None) -> int:
        """Add a unit after those that it needs; returns its number, by default the next one."""
        number = self._next if number is None else number
        self._next = max(self._next, number + 1)
        self.units[number] = unit
        if unit.role != "run":
            for target in unit.targets:
                self._trained_by[target.spec.fingerprint] = number
        self._wait(number)
        return number

    def new_part(self, unit: WorkUnit) -> WorkUnit | None:
        """A unit without the teachers and stages that a unit of the graph is to train already."""
        rest = tuple(t for t in unit.targets if t.spec.fingerprint not in self._trained_by)
        return replace(unit, targets=rest) if rest else None

    def needs(self, number: int) -> list[int]:
        """The units that a unit is waiting for."""
        return sorted(self._needs[number])

    def take(self, count: int) -> list[int]:
        """At most so many units that can be trained now, in their order; they are ready no more."""
        return [heapq.heappop(self._ready) for _ in range(min(count, len(self._ready)))]

    def end(self, number: int) -> None:
        """A unit is over: those that were waiting for it alone are ready."""
        self._forget(number)
        for other in self._needed_by.pop(number, []):
            if (waiting := self._needs.get(other)) is not None and number in waiting:
                waiting.discard(number)
                if not waiting:
                    heapq.heappush(self._ready, other)

    def fail(self, number: int) -> list[RunTarget]:
        """A unit has failed: returns the runs, stages and teachers that need what it has not made.

        They are left out of their units; what shares a cohort with them is trained without them.
        """
        failed = {target.spec.fingerprint for target in self.units[number].targets}
        self._forget(number)
        blocked: list[RunTarget] = []
        waiting = deque(self._waiting_for(number))
        while waiting:
            if (unit := self.units.get(other := waiting.popleft())) is None:
                continue
            lost = [
                target
                for target in unit.targets
                if any(one.spec.fingerprint in failed for one in inputs(target, self._sweep))
            ]
            if not lost:
                continue
            blocked += lost
            failed |= {target.spec.fingerprint for target in lost}
            self._forget(other)
            waiting += self._waiting_for(other)
            if rest := tuple(target for target in unit.targets if target not in lost):
                self.add(replace(unit, targets=rest), other)
                self.changed.add(other)
        return blocked

    def _waiting_for(self, number: int) -> list[int]:
        """The units that directly need a unit."""
        return sorted({*self._needed_by.get(number, [])} & self.units.keys())

    def _wait(self, number: int) -> None:
        """Note what a unit is waiting for; it is ready if that is nothing."""
        needs = {
            self._trained_by[one.spec.fingerprint]
            for target in self.units[number].targets
            for one in inputs(target, self._sweep)
            if one.spec.fingerprint in self._trained_by
        }
        self._needs[number] = needs
        for other in needs:
            self._needed_by.setdefault(other, []).append(number)
        if not needs:
            heapq.heappush(self._ready, number)

    def _forget(self, number: int) -> None:
        unit = self.units.pop(number)
        self._needs.pop(number)
        for target in unit.targets:
            if self._trained_by.get(target.spec.fingerprint) == number:
                del self._trained_by[target.spec.fingerprint]
