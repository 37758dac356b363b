import io
import logging
import re
import threading
from collections.abc import Callable

import pytest
from rich.console import Console

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
