"""All units in training at once: a bar each on a terminal, lines elsewhere."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdsweep.common.pacing import Clock, LinePacer
from kdsweep.common.text import clock_time, counted
from kdsweep.tracking.console import Progress
from kdsweep.work.pace import Share, seconds_left
from kdsweep.work.unit_file import UnitFile

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


BARS = 20  # of units at a time: a queue has thousands


class UnitDisplay:
    """Shows how far the units in training are, and all of them together.

    Args:
        units: how many there are to be trained; None: not known yet.
        work: the epochs of all of their runs together.
    """

    def __init__(
        self,
        progress: Progress,
        units: int | None = None,
        work: int = 0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._progress, self._clock = progress, clock
        self._units, self._work = units, work
        self._name = "search" if units is None else "sweep"
        self._over, self._done_work = 0, 0
        self._training: dict[int, _Shown] = {}
        self._best: tuple[str, float] | None = None
        self._pacer = LinePacer(clock)
        self._all: TaskID | None = None
        self._bars = 0  # of units

    def begin(self, number: int, unit: UnitFile) -> None:
        """A unit is placed."""
        shown = self._training[number] = _Shown(unit, self._clock())
        if (bars := self._progress.bars) is None:
            self._progress.line(f"unit {number}: {shown.what}: {counted(shown.epochs, 'epoch')}")
            self._pacer.restart()
            return
        if self._all is None:
            self._all = bars.add_task(self._name, total=self._units, unit="units", best="")
        self._show_bar(shown, bars)

    def _show_bar(self, shown: "_Shown", bars: "Bars") -> None:
        """Show a unit that is placed or trains, if there is room for it."""
        if shown.bar is None and self._bars < BARS:
            self._bars += 1
            shown.bar = bars.add_task(shown.what, total=shown.epochs, unit="epochs", best="")

    def update(self, number: int, state: Mapping[str, Any]) -> None:
        """How far a unit is, as its process has it; empty before it trains."""
        if not state:
            return
        shown = self._training[number]
        shown.state = state
        if state["best"] is not None and shown.is_run:
            name, acc = state["best"]
            if self._best is None or acc >= self._best[1]:
                self._best = name, acc
        if (bars := self._progress.bars) is None:
            return
        self._show_bar(shown, bars)
        if shown.bar is not None:
            best = f"best {state['best'][1]:.2%}" if state["best"] else ""
            bars.update(shown.bar, completed=state["fraction"] * shown.epochs, best=best)

    def end(self, number: int, failure: str | None) -> None:
        """A unit is over."""
        shown = self._training.pop(number)
        self._over += 1
        self._done_work += shown.work
        seconds = self._clock() - shown.began
        if (bars := self._progress.bars) is not None:
            if shown.bar is not None:
                bars.remove_task(shown.bar)
                self._bars -= 1
            if failure is not None:
                self._progress.line(f"unit {number}: {shown.what}: {failure}")
            return
        how = f"done in {seconds:.1f} s" if failure is None else failure
        self._progress.line(f"unit {number}: {shown.what}: {how}")

    def draw(self) -> None:
        """Show how far all are, if it is time."""
        if (bars := self._progress.bars) is not None:
            if self._all is not None:
                best = f"best {self._best[0]} {self._best[1]:.2%}" if self._best else ""
                bars.update(self._all, completed=self._over, best=best)
            bars.refresh()
        elif self._training and self._pacer.is_due():
            self._progress.line(self._line())

    def close(self) -> None:
        """Remove what is shown of units that are not over."""
        if (bars := self._progress.bars) is not None:
            for shown in self._training.values():
                if shown.bar is not None:
                    bars.remove_task(shown.bar)
            if self._all is not None:
                bars.update(self._all, completed=self._over)
        self._training.clear()

    def _line(self) -> str:
        training = len(self._training)
        over = counted(self._over, "unit")
        if self._units is not None:
            over = f"{self._over} of {counted(self._units, 'unit')}"
        parts = [f"{over} done", f"{training} in training"]
        if self._best is not None:
            parts.append(f"best val/acc {self._best[1]:.2%} ({self._best[0]})")
        shares = [shown.share for shown in self._training.values()]
        waiting = (
            self._work - self._done_work - sum(shown.work for shown in self._training.values())
        )
        if self._units is not None and (left := seconds_left(shares, waiting)) is not None:
            parts.append(f"ETA {clock_time(left)}")
        return f"{self._name}: {', '.join(parts)}"


class _Shown:
    """A unit in training."""

    def __init__(self, unit: UnitFile, began: float) -> None:
        self.began = began
        self.state: Mapping[str, Any] = {}
        self.bar: TaskID | None = None
        self.epochs = unit.runs[0].epochs
        self.work = self.epochs * len(unit.runs)
        self.is_run = unit.role == "run"
        (number, count), size = unit.place, counted(len(unit.runs), "student")
        if unit.role in ("run", "stage"):
            self.what = size if count == 1 else f"cohort {number} of {count}, {size}"
        else:
            self.what = unit.name

    @property
    def share(self) -> Share:
        fraction, left = self.state.get("fraction", 0.0), self.state.get("seconds_left")
        return Share(self.work, fraction, left)
