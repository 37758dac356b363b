"""The terminal while a sweep trains: one display on a terminal, plain lines elsewhere."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from kdsweep.common import pacing
from kdsweep.common.pacing import Clock, LinePacer, watched
from kdsweep.common.text import clock_time, counted
from kdsweep.tracking.pace import Pace
from kdsweep.tracking.printing import print_line, printed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

REDRAW_SECONDS = 0.1  # a short epoch takes less time than drawing a bar


class Progress:
    """Shows what is trained now and how far the sweep is.

    On a terminal: one bar for the teacher or cohort in training, one for the whole sweep, and one
    for reading data and the like, with elapsed and remaining time. Elsewhere: the notes, a line
    when a teacher or cohort starts and one when it ends, and between them one an epoch, at most one
    in 10 seconds and at least one a minute; also lines about reading data (`common.pacing`). Writes
    to stderr unless given a console. Starts no thread: it draws and prints when one of its methods
    is called.
    """

    def __init__(
        self,
        console: "Console | None" = None,
        total_runs: int = 1,
        clock: Clock = time.monotonic,
    ) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True)
        self.total_runs = total_runs
        self._clock = clock
        self._pacer = LinePacer(clock)
        self._pace = Pace(0, clock)
        self._val_accs: Mapping[str, float] = {}  # of the latest epoch
        # About the latest epoch, if it ended too soon after another line.
        self._late_line: str | None = None
        self._long_work = ExitStack()  # while its lines are printed
        self._trained_runs = 0.0  # by this process, in parts
        self._training_seconds = 0.0  # of the cohorts that have ended
        self._bars: Bars | None = None
        self._stage_bar: TaskID | None = None
        self._sweep_bar: TaskID | None = None
        self._stage: str | None = None
        self._students = 0  # of the cohort in training; 0 for a teacher
        self._finished_runs = 0
        self._best: str | None = None
        self._is_waiting = False
        self._wait_seconds = 0.0
        self._began = 0.0
        self._drawn = 0.0

    def __enter__(self) -> Self:
        if self.console.is_interactive:  # not in a dumb terminal, which draws no bars
            from kdsweep.tracking.bars import WorkBar, new_bars

            self._bars = new_bars(self.console)
            self._bars.start()
            self._long_work.enter_context(watched(WorkBar(self._bars).show))
        self._long_work.enter_context(printed(pacing.logger, logging.INFO, self._note_in_log))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._long_work.close()
        if kind is None:
            self._end_stage()
        if self._bars is not None:
            self._bars.refresh()
            self._bars.stop()
            self._bars = None

    def leave_out(self, runs: int) -> None:
        """So many runs of the sweep need no training: earlier ones, or the same as others."""
        self._finished_runs += runs

    def teacher(self, name: str, epochs: int) -> None:
        """A teacher's training begins."""
        self._begin_stage(f"teacher {name}", epochs, students=0)

    def cohort(self, number: int, of: int, students: int, epochs: int) -> None:
        """The training of cohort ``number`` (from 1) of ``of`` begins."""
        size = "1 student" if students == 1 else f"{students} students"
        stage = size if of == 1 else f"cohort {number} of {of}, {size}"
        self._begin_stage(stage, epochs, students)

    def begin_epoch(self, epoch: int, images: int) -> None:
        """The epoch of this number, from 0, begins: training on so many images."""
        self._pace.begin_epoch(epoch, images)

    def step(self, images: int) -> None:
        """The teacher or cohort has trained on a batch of so many images."""
        self._pace.step(images)
        self._tick()

    def evaluated(self) -> None:
        """A batch has been evaluated."""
        self._tick()

    def epoch(
        self, done: int, best: str | None = None, val_accs: Mapping[str, float] | None = None
    ) -> None:
        """So many epochs of the teacher or cohort are done.

        Args:
            best: the best run of the sweep so far.
            val_accs: of every student of the cohort, or of the teacher, by name.
        """
        self._best = best or self._best
        self._val_accs = val_accs or {}
        self._pace.end_epoch(done)
        if self._bars is None or self._stage_bar is None:
            # The line of the last epoch is that of the end.
            self._late_line = self._line() if done < self._pace.epochs else None
            self._tick()
            return
        best = f"best {self._best}" if self._best else ""
        self._bars.update(self._stage_bar, completed=done, best=best)
        if self._sweep_bar is not None:
            runs = self._finished_runs + self._students * self._pace.fraction
            self._bars.update(self._sweep_bar, completed=runs)
        self._redraw(force=done >= self._pace.epochs)

    def waiting(self, pending: int, seconds: float) -> None:
        """Training is over and waits for so many uploads, at most so many seconds from now."""
        what = "waiting for MLflow"
        if self._bars is None:
            if not self._is_waiting and seconds >= 1:
                self.line(f"{what}, {seconds:.0f} s at most")
                self._pacer.restart()
            elif self._pacer.is_overdue():
                self.line(f"{what}: {pending} to upload, {seconds:.0f} s at most")
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

    @property
    def state(self) -> dict[str, Any]:
        """How far the teacher or cohort in training is; empty before there is one."""
        pace, accs = self._pace, self._val_accs
        if self._stage is None:
            return {}
        best = max(accs.items(), key=lambda entry: entry[1], default=None)
        return {
            "epoch": pace.done,
            "epochs": pace.epochs,
            "fraction": pace.fraction,
            "images_per_second": pace.images_per_second,
            "seconds_left": pace.seconds_left,
            "best": best,
        }

    @property
    def seconds_of_epoch_left(self) -> float | None:
        """To the end of the epoch in training; None between epochs, and before the first step."""
        return self._pace.seconds_of_epoch_left

    def note(self, line: str) -> None:
        """A line that stays, above the bars; it is never wrapped or cut."""
        self.line(line)

    def line(self, line: str) -> None:
        """A line about how far the training is, which another display would show in its own way."""
        print_line(self.console, line)

    @property
    def bars(self) -> "Bars | None":
        """The bars of a terminal; None elsewhere."""
        return self._bars

    def warning(self, text: str) -> None:
        """A note of what may be wrong."""
        self.note(f"warning: {text}")

    @contextmanager
    def warnings_of(self, name: str) -> Iterator[None]:
        """Inside, warnings of the logger of that name and of those below are printed as such."""
        with printed(logging.getLogger(name), logging.WARNING, self.warning):
            yield

    def _begin_stage(self, stage: str, epochs: int, students: int) -> None:
        self._end_stage()
        self._is_waiting = False
        self._stage, self._students = stage, students
        self._pace, self._val_accs = Pace(epochs, self._clock), {}
        self._began = self._clock()
        if self._bars is None:
            self.line(f"{stage}: {counted(epochs, 'epoch')}")
            self._late_line = None
            self._pacer.restart()
            return
        if self._stage_bar is not None:
            self._bars.remove_task(self._stage_bar)
        self._stage_bar = self._bars.add_task(stage, total=epochs, unit="epochs", best="")
        if students and self._sweep_bar is None and self.total_runs > students:
            self._sweep_bar = self._bars.add_task(
                "sweep",
                total=self.total_runs,
                completed=self._finished_runs,
                unit="runs",
                best="",
            )
        self._redraw(force=True)

    def _end_stage(self) -> None:
        if self._stage is None:
            return
        seconds = self._clock() - self._began
        if self._bars is None or not self._students:
            best = f", best {self._best}" if self._best and self._students else ""
            self.line(f"{self._stage}: done in {seconds:.1f} s{best}")
        self._finished_runs += self._students
        if self._students:
            self._trained_runs += self._students * self._pace.trained_fraction
            self._training_seconds += seconds
        self._stage = None

    def _tick(self) -> None:
        """Print a line if one is due. Called after every batch: this costs two clock readings."""
        if self._bars is not None or self._stage is None:
            return
        if self._late_line is not None and self._pacer.is_due():
            self.line(self._late_line)
            self._late_line = None
        elif self._pacer.is_overdue():
            self.line(self._line())

    def _line(self) -> str:
        return f"{self._stage}: {', '.join(self._state())}"

    def _note_in_log(self, line: str) -> None:
        """A line that a terminal, with its bars, does without."""
        if self._bars is None:
            self.line(line)

    def _state(self) -> Iterator[str]:
        """How far the teacher or cohort is, in parts of a line."""
        pace, accs = self._pace, self._val_accs
        epoch = f"epoch {pace.done + pace.in_epoch}/{pace.epochs}"
        yield f"{epoch} at {pace.fraction_of_epoch:.0%}" if pace.in_epoch else epoch
        if len(accs) == 1:
            yield f"val/acc {next(iter(accs.values())):.2%}"
        elif accs:
            worst, *_, best = sorted(accs, key=accs.__getitem__)
            yield f"best val/acc {accs[best]:.2%} ({best})"
            yield f"worst {accs[worst]:.2%} ({worst})"
        if accs and len(accs) < self._students:
            yield f"{self._students - len(accs)} stopped"
        if (rate := pace.images_per_second) is not None:
            yield f"{rate:,.0f} images/s"
        if (left := pace.seconds_left) is not None:
            yield f"ETA {clock_time(left)}"
        if (all_left := self._seconds_of_sweep_left()) is not None:
            yield f"sweep ETA {clock_time(all_left)}"

    def _seconds_of_sweep_left(self) -> float | None:
        """What the cohort in training and those after it take; None if it is the last."""
        runs_after = self.total_runs - self._finished_runs - self._students
        pace = self._pace
        trained = self._trained_runs + self._students * pace.trained_fraction
        if not self._students or runs_after <= 0 or trained <= 0:
            return None
        left = runs_after + self._students * (1 - pace.fraction)
        return (self._training_seconds + pace.seconds) / trained * left

    def _redraw(self, *, force: bool) -> None:
        now = self._clock()
        if self._bars is not None and (force or now - self._drawn > REDRAW_SECONDS):
            self._bars.refresh()
            self._drawn = now
