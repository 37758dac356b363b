"""The terminal while a sweep trains: one display on a terminal, plain lines elsewhere."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

REDRAW_SECONDS = 0.1  # a short epoch takes less time than drawing a bar


class Progress:
    """Shows what is trained now and how far the sweep is.

    On a terminal: one bar for the teacher or cohort in training, one for the whole sweep, with
    elapsed and remaining time. Elsewhere: the notes, and a line when a teacher or cohort starts
    and one when it ends. Writes to stderr unless given a console. Starts no thread: it draws when
    one of its methods is called.
    """

    def __init__(self, console: "Console | None" = None, total_runs: int = 1) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True)
        self.total_runs = total_runs
        self._bars: Bars | None = None
        self._stage_bar: TaskID | None = None
        self._sweep_bar: TaskID | None = None
        self._stage: str | None = None
        self._epochs = 0
        self._students = 0  # of the cohort in training; 0 for a teacher
        self._finished_runs = 0
        self._best: str | None = None
        self._is_waiting = False
        self._wait_seconds = 0.0
        self._began = 0.0
        self._drawn = 0.0

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            from rich import progress

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(bar_width=24),
                progress.TextColumn(
                    "{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}", markup=False
                ),
                progress.TimeElapsedColumn(),
                progress.TextColumn("left", style="dim"),
                progress.TimeRemainingColumn(compact=True),
                progress.TextColumn("{task.fields[best]}", markup=False, style="bold"),
                console=self.console,
                auto_refresh=False,
            )
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._end_stage()
        if self._bars is not None:
            self._bars.refresh()
            self._bars.stop()
            self._bars = None

    def teacher(self, name: str, epochs: int) -> None:
        """A teacher's training begins."""
        self._begin_stage(f"teacher {name}", epochs, students=0)

    def cohort(self, number: int, of: int, students: int, epochs: int) -> None:
        """The training of cohort ``number`` (from 1) of ``of`` begins."""
        size = "1 student" if students == 1 else f"{students} students"
        stage = size if of == 1 else f"cohort {number} of {of}, {size}"
        self._begin_stage(stage, epochs, students)

    def epoch(self, done_epochs: int, best: str | None = None) -> None:
        """``done_epochs`` of the teacher or cohort are done; ``best`` is the best run so far."""
        self._best = best or self._best
        if self._bars is None or self._stage_bar is None:
            return
        best = f"best {self._best}" if self._best else ""
        self._bars.update(self._stage_bar, completed=done_epochs, best=best)
        if self._sweep_bar is not None:
            fraction = self._students * done_epochs / max(self._epochs, 1)
            self._bars.update(self._sweep_bar, completed=self._finished_runs + fraction)
        self._redraw(force=done_epochs >= self._epochs)

    def waiting(self, pending: int, seconds: float) -> None:
        """Training is over and waits for so many uploads, at most so many seconds from now."""
        what = "waiting for MLflow"
        if self._bars is None:
            if not self._is_waiting and seconds >= 1:
                self.note(f"{what}, {seconds:.0f} s at most")
            self._is_waiting = True
            return
        if self._stage_bar is None or not self._is_waiting:
            self._end_stage()
            if self._stage_bar is not None:
                self._bars.remove_task(self._stage_bar)
            self._wait_seconds = seconds
            self._stage_bar = self._bars.add_task(what, total=seconds, unit="s", best="")
        self._is_waiting = True
        left = f"{pending} to upload" if pending else ""
        self._bars.update(self._stage_bar, completed=self._wait_seconds - seconds, best=left)
        self._redraw(force=False)

    def note(self, line: str) -> None:
        """A line that stays, above the bars."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def warning(self, text: str) -> None:
        """A note of what may be wrong."""
        self.note(f"warning: {text}")

    @contextmanager
    def warnings_of(self, name: str) -> Iterator[None]:
        """Inside, warnings of the logger of that name and of those below are printed as such.

        Hydra's own handler would print them unmarked, to stdout, across the bars.
        """
        logger, handler = logging.getLogger(name), _Warnings(self)
        propagates, logger.propagate = logger.propagate, False
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagates

    def _begin_stage(self, stage: str, epochs: int, students: int) -> None:
        self._end_stage()
        self._is_waiting = False
        self._stage, self._epochs, self._students = stage, epochs, students
        self._began = time.monotonic()
        if self._bars is None:
            self.note(f"{stage}: {epochs} epochs")
            return
        if self._stage_bar is not None:
            self._bars.remove_task(self._stage_bar)
        self._stage_bar = self._bars.add_task(stage, total=epochs, unit="epochs", best="")
        if students and self._sweep_bar is None and self.total_runs > students:
            self._sweep_bar = self._bars.add_task(
                "sweep", total=self.total_runs, unit="runs", best=""
            )
        self._redraw(force=True)

    def _end_stage(self) -> None:
        if self._stage is None:
            return
        seconds = time.monotonic() - self._began
        if self._bars is None or not self._students:
            best = f", best {self._best}" if self._best and self._students else ""
            self.note(f"{self._stage}: done in {seconds:.1f} s{best}")
        self._finished_runs += self._students
        self._stage = None

    def _redraw(self, *, force: bool) -> None:
        now = time.monotonic()
        if self._bars is not None and (force or now - self._drawn > REDRAW_SECONDS):
            self._bars.refresh()
            self._drawn = now


class _Warnings(logging.Handler):
    """Shows the warnings of a logger on the display."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.warning(record.getMessage())
