"""The bars of a terminal."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from kdsweep.common.pacing import Work


class _Count(TextColumn):
    """`3/9 runs`; nothing of work without a total."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


def new_bars(console: Console) -> Progress:
    """Bars with counts, elapsed and remaining time, which draw themselves only when refreshed."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        _Count("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left", style="dim"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[best]}", markup=False, style="bold"),
        console=console,
        auto_refresh=False,
    )


class WorkBar:
    """The bar of reading, decoding and the like, which disappears when that has ended."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def show(self, work: Work | None) -> None:
        """Draw how far work is; None: it has ended."""
        if work is None:
            self._remove()
            return
        if self._task is None:
            self._task = self._bars.add_task(work.what, total=work.total, unit="", best="")
        self._bars.update(self._task, description=work.what, completed=work.done, total=work.total)
        self._bars.refresh()

    def _remove(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
            self._bars.refresh()
