"""All units in training at once: lines in a log, bars on a terminal."""

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from kdsweep.tracking.console import Progress
from kdsweep.work.display import BARS, UnitDisplay
from kdsweep.work.unit_file import UnitFile, UnitRun


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def unit(number: int, runs: int = 2, role: str = "run") -> UnitFile:
    run = UnitRun(
        name="teacher cnn digits",
        fingerprint="f0",
        folder="0",
        further=(),
        epochs=10,
        parent_run_id=None,
        root=0,
    )
    return UnitFile(
        number=number,
        role=role,
        name=run.name,
        needs=(),
        place=(number, 3),
        cwd="/",
        parent_run_id=None,
        roots=(),
        runs=(run,) * runs,
    )


def state(fraction: float, left: float | None, best: tuple[str, float] | None = None) -> Any:
    return {"fraction": fraction, "seconds_left": left, "best": best}


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_lines_where_the_output_is_no_terminal(clock: Clock) -> None:
    text = StringIO()
    with Progress(Console(file=text, width=200)) as progress:
        display = UnitDisplay(progress, units=3, work=50, clock=clock)
        display.begin(0, unit(0, runs=1, role="teacher"))
        clock.now = 5
        display.end(0, None)
        display.begin(1, unit(1))
        display.begin(2, replace(unit(2), place=(2, 3)))
        display.update(1, {})  # it does not train yet
        display.update(1, state(0.5, 20.0, ("kl T=4 seed=0", 0.9)))
        display.update(2, state(0.25, 60.0, ("kl T=4 seed=1", 0.8)))
        display.draw()
        clock.now = 16
        display.draw()
        display.draw()  # not again so soon
        display.end(2, "no memory is left")
    assert text.getvalue().splitlines() == [
        "unit 0: teacher cnn digits: 10 epochs",
        "unit 0: teacher cnn digits: done in 5.0 s",
        "unit 1: cohort 1 of 3, 2 students: 10 epochs",
        "unit 2: cohort 2 of 3, 2 students: 10 epochs",
        # 25 epochs of all runs are left, at half and a quarter of an epoch a second
        "sweep: 1 of 3 units done, 2 in training, best val/acc 90.00% (kl T=4 seed=0), ETA 0:01:00",
        "unit 2: cohort 2 of 3, 2 students: no memory is left",
    ]


def test_the_accuracy_of_a_teacher_is_not_the_best_of_the_sweep(clock: Clock) -> None:
    text = StringIO()
    with Progress(Console(file=text, width=200)) as progress:
        display = UnitDisplay(progress, units=1, work=10, clock=clock)
        display.begin(0, unit(0, runs=1, role="teacher"))
        display.update(0, state(0.5, 5.0, ("teacher cnn digits", 0.99)))
        clock.now = 20
        display.draw()
    assert "best" not in text.getvalue()


def test_a_bar_for_each_unit_and_one_for_all_on_a_terminal(clock: Clock) -> None:
    text = StringIO()
    console = Console(file=text, width=120, force_terminal=True, force_interactive=True)
    with Progress(console) as progress:
        display = UnitDisplay(progress, units=2, work=40, clock=clock)
        display.begin(1, unit(1))
        display.update(1, state(0.5, 20.0, ("kl T=4 seed=0", 0.9)))
        display.draw()
        assert progress.bars is not None
        shown = [(task.description, task.completed, task.total) for task in progress.bars.tasks]
        assert shown == [("sweep", 0, 2), ("cohort 1 of 3, 2 students", 5.0, 10)]
        display.end(1, None)
        display.draw()
        shown = [(task.description, task.completed, task.total) for task in progress.bars.tasks]
        assert shown == [("sweep", 1, 2)]
        display.begin(2, unit(2))
        display.close()
        assert len(progress.bars.tasks) == 1
    assert "unit 1" not in text.getvalue()


@pytest.mark.ci
def test_of_a_long_queue_some_units_have_bars_and_the_next_ones_once_they_train(
    clock: Clock,
) -> None:
    console = Console(file=StringIO(), width=120, force_terminal=True, force_interactive=True)
    with Progress(console) as progress:
        display = UnitDisplay(progress, units=3 * BARS, work=30 * BARS, clock=clock)
        for number in range(3 * BARS):
            display.begin(number, unit(number))
        assert progress.bars is not None
        assert len(progress.bars.tasks) == 1 + BARS
        display.end(0, None)
        display.update(2 * BARS, state(0.5, 20.0))
        assert progress.bars.tasks[-1].completed == 5.0
        assert len(progress.bars.tasks) == 1 + BARS
