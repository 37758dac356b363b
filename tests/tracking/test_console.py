import io
import logging
import re
import threading
from collections.abc import Callable

import pytest
from rich.console import Console

from kdsweep.common import pacing
from kdsweep.common.pacing import lines_while, with_lines
from kdsweep.tracking import console as progress_module
from kdsweep.tracking.console import Progress


def shown(run: Callable[[Progress], None], *, terminal: bool, total_runs: int = 9) -> str:
    """What is on the screen, one line per drawn line, without colours and cursor moves."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=140, color_system=None, _environ={})
    with Progress(console, total_runs) as progress:
        run(progress)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


def sweep(progress: Progress) -> None:
    progress.teacher("cnn", 2)
    progress.epoch(1)
    progress.epoch(2)
    for number in (1, 2):
        progress.cohort(number, 2, 4, 3)
        for done in (1, 2, 3):
            progress.epoch(done, best="kl T=4 alpha=0.5 98.77 %")
        progress.note(f"run {number} FAILED: loss is nan [epoch 3]")


def test_without_a_terminal_there_are_only_plain_lines() -> None:
    lines = shown(sweep, terminal=False).splitlines()
    assert [re.sub(r"in [\d.]+ s", "in 0 s", line) for line in lines] == [
        "teacher cnn: 2 epochs",
        "teacher cnn: done in 0 s",
        "cohort 1 of 2, 4 students: 3 epochs",
        "run 1 FAILED: loss is nan [epoch 3]",
        "cohort 1 of 2, 4 students: done in 0 s, best kl T=4 alpha=0.5 98.77 %",
        "cohort 2 of 2, 4 students: 3 epochs",
        "run 2 FAILED: loss is nan [epoch 3]",
        "cohort 2 of 2, 4 students: done in 0 s, best kl T=4 alpha=0.5 98.77 %",
    ]


def test_a_terminal_shows_the_stage_the_sweep_and_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "REDRAW_SECONDS", 0.0)
    text = shown(sweep, terminal=True, total_runs=8)
    assert "teacher cnn" in text
    assert "1/2 epochs" in text
    assert "cohort 1 of 2, 4 students" in text
    assert "best kl T=4 alpha=0.5 98.77 %" in text
    runs = [int(done) for done in re.findall(r"(\d)/8 runs", text)]
    assert runs[0] == 0
    assert runs == sorted(runs)
    assert 4 in runs
    assert runs[-1] == 8
    assert "run 1 FAILED: loss is nan [epoch 3]\n" in text


def test_a_sweep_of_one_cohort_needs_one_bar() -> None:
    def one(progress: Progress) -> None:
        progress.cohort(1, 1, 9, 3)
        progress.epoch(3)

    text = shown(one, terminal=True, total_runs=9)
    assert "9 students" in text
    assert "3/3 epochs" in text
    assert "runs" not in text


def test_short_epochs_are_not_all_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "REDRAW_SECONDS", 60.0)

    def quick(progress: Progress) -> None:
        progress.cohort(1, 1, 1, 500)
        for done in range(1, 501):
            progress.epoch(done)

    text = shown(quick, terminal=True)
    assert "500/500" in text
    assert "250/500" not in text


def test_one_epoch_is_no_plural() -> None:
    text = shown(lambda progress: progress.teacher("cnn", 1), terminal=False)
    assert text.startswith("teacher cnn: 1 epoch\n")


def test_an_interrupted_stage_is_not_called_done() -> None:
    def interrupted(progress: Progress) -> None:
        progress.cohort(1, 1, 1, 5)
        progress.epoch(1)
        raise KeyboardInterrupt

    file = io.StringIO()
    progress = Progress(Console(file=file, force_terminal=False), 1)
    with pytest.raises(KeyboardInterrupt), progress:
        interrupted(progress)
    assert file.getvalue() == "1 student: 5 epochs\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_warnings_of_a_part_are_marked_and_printed_once(
    terminal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("some.part.below")

    def warned(progress: Progress) -> None:
        with progress.warnings_of("some.part"):
            logger.info("not a warning")
            logger.warning("%s is odd", "x")

    text = shown(warned, terminal=terminal)
    assert text.count("warning: x is odd") == 1
    assert "not a warning" not in text
    assert caplog.messages == []
    logger.warning("outside")
    assert caplog.messages == ["outside"]


def test_no_thread_is_started() -> None:
    before = threading.active_count()
    seen = []

    def look(progress: Progress) -> None:
        progress.cohort(1, 1, 1, 5)
        seen.append(threading.active_count())

    shown(look, terminal=True)
    assert seen == [before]


class FakeClock:
    """Seconds that pass only where a test lets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Log:
    """What a Progress prints where the output is no terminal, each line with its second."""

    def __init__(self, total_runs: int = 9) -> None:
        self.clock, self.file = FakeClock(), io.StringIO()
        console = Console(file=self.file, width=40, color_system=None, _environ={})
        self.progress = Progress(console, total_runs, self.clock)
        self.lines: list[tuple[float, str]] = []

    def train(
        self, epochs: range, steps: int, seconds: float, accs: dict[str, float] | None = None
    ) -> None:
        """Epochs of so many steps; each step of 64 images takes so many seconds."""
        self.take()
        for epoch in epochs:
            self.progress.begin_epoch(epoch, 64 * steps)
            for _ in range(steps):
                self.clock.now += seconds
                self.progress.step(64)
                self.take()
            self.progress.epoch(epoch + 1, "best so far", accs)
            self.take()

    def take(self) -> None:
        for line in self.file.getvalue().splitlines()[len(self.lines) :]:
            self.lines.append((self.clock.now, line))

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.lines]


ACCS = {"kl T=1": 0.712, "kl T=4": 0.75, "kl T=16": 0.6}


@pytest.mark.parametrize("seconds_per_step", [1 / 128, 0.25, 0.5, 1.125, 2.5, 3.0, 7.0])
def test_lines_are_neither_dense_nor_rare(seconds_per_step: float) -> None:
    log = Log()
    log.progress.cohort(1, 1, 3, 40)
    log.train(range(40), 20, seconds_per_step, ACCS)
    gaps = [after - before for before, after in zip(log.times, log.times[1:], strict=False)]
    assert min(gaps, default=10) >= 10
    assert max([*gaps, log.clock.now - log.times[-1]]) < 63  # a minute, and the step it ends in
    if seconds_per_step * 20 >= 20:  # every epoch, some seconds later if another line was just out
        for epoch in range(1, 40):
            assert [line for _, line in log.lines if f"epoch {epoch}/40, " in line], epoch


def test_a_line_has_the_epoch_the_best_and_the_worst_the_rate_and_the_time_left() -> None:
    log = Log()
    log.progress.cohort(2, 3, 3, 10)
    log.train(range(2), 16, 1.0, ACCS)
    assert log.lines == [
        (0, "cohort 2 of 3, 3 students: 10 epochs"),
        (
            16,
            "cohort 2 of 3, 3 students: epoch 1/10, best val/acc 75.00% (kl T=4),"
            " worst 60.00% (kl T=16), 64 images/s, ETA 0:02:24, sweep ETA 0:07:44",
        ),
        (
            32,
            "cohort 2 of 3, 3 students: epoch 2/10, best val/acc 75.00% (kl T=4),"
            " worst 60.00% (kl T=16), 64 images/s, ETA 0:02:08, sweep ETA 0:07:28",
        ),
    ]


def test_a_long_epoch_has_lines_too() -> None:
    log = Log()
    log.progress.teacher("cnn", 2)
    log.train(range(1), 200, 1.0)
    assert log.lines[1:4] == [
        (55, "teacher cnn: epoch 1/2 at 28%, 64 images/s, ETA 0:05:45"),
        (110, "teacher cnn: epoch 1/2 at 55%, 64 images/s, ETA 0:04:50"),
        (165, "teacher cnn: epoch 1/2 at 82%, 64 images/s, ETA 0:03:55"),
    ]


def test_a_long_evaluation_has_lines_too() -> None:
    log = Log()
    log.progress.cohort(1, 1, 1, 5)
    log.train(range(1), 1, 1.0, {"kl": 0.5})
    for _ in range(120):
        log.clock.now += 1
        log.progress.evaluated()
        log.take()
    assert log.times == [0, 10, 65, 120]
    assert log.lines[1][1].startswith("1 student: epoch 1/5, val/acc 50.00%, 64 images/s, ETA")


def test_students_that_have_stopped_are_counted() -> None:
    log = Log()
    log.progress.cohort(1, 1, 8, 5)
    log.train(range(1), 1, 20.0, ACCS)
    assert "worst 60.00% (kl T=16), 5 stopped, 3 images/s" in log.lines[-1][1]


def test_the_time_left_of_a_sweep_counts_the_runs_that_are_trained() -> None:
    log = Log(total_runs=8)
    log.progress.leave_out(2)  # finished by an earlier process
    log.progress.cohort(1, 2, 3, 4)
    log.train(range(4), 1, 15.0)
    assert "ETA 0:00:45, sweep ETA 0:01:45" in log.lines[1][1]
    log.progress.cohort(2, 2, 3, 4)
    log.train(range(1), 1, 15.0)
    assert "sweep" not in log.lines[-1][1]  # it ends with this cohort


def test_waiting_for_mlflow_has_a_line_a_minute() -> None:
    log = Log()
    for second in range(130):
        log.clock.now = float(second)
        log.progress.waiting(3, 600.0 - second)
        log.take()
    assert log.times == [0, 55, 110]
    assert log.lines[1][1] == "waiting for MLflow: 3 to upload, 545 s at most"


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_about_reading_data_are_for_logs(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pacing, "MIN_SECONDS", 0)
    text = shown(lambda progress: [*with_lines("a", "hashing")], terminal=terminal)  # type: ignore[arg-type, return-value]
    assert ("hashing: 0 of 1\n" in text) == (not terminal)
    assert caplog.messages == []  # not twice
    list(with_lines("a", "hashing"))
    assert caplog.messages == ["hashing: 0 of 1"]


def test_a_terminal_has_a_bar_while_data_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "FIRST_SECONDS", 0)
    monkeypatch.setattr(pacing, "WATCH_SECONDS", 0)

    def read(progress: Progress) -> None:
        list(with_lines("abc", "hashing"))
        progress.teacher("cnn", 1)

    *drawn, last = [line for line in shown(read, terminal=True).splitlines() if line.strip()]
    assert any("hashing" in line and "2/3" in line for line in drawn)
    assert "teacher cnn" in last
    assert "hashing" not in last


def test_a_terminal_shows_a_call_of_unknown_length() -> None:
    def wait(progress: Progress) -> None:
        with lines_while("downloading", lambda: "12 MiB"):
            pacing.watchers[-1](pacing.Work("downloading, 12 MiB"))

    assert "downloading, 12 MiB" in shown(wait, terminal=True)


def test_a_dumb_terminal_has_lines() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=40, _environ={"TERM": "dumb"})
    with Progress(console) as progress:
        progress.cohort(1, 1, 1, 5)
        assert "1 student: 5 epochs" in file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_path_in_a_note_is_neither_wrapped_nor_changed(terminal: bool) -> None:
    path = "/data/:smile:/[bold]/a folder/" + "x" * 300
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=40, color_system=None, _environ={})
    with Progress(console) as progress:
        progress.cohort(1, 1, 1, 5)
        progress.note(f"runs are logged to {path}")
    assert f"runs are logged to {path}\n" in file.getvalue()
