"""Learning curves, and whose histories are read for them."""

from pathlib import Path
from typing import Any

from measured import MeasuredRun, ce_rows, measured, soft_rows, text

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sections import learning_curves, overfitting
from kdsweep.report.sources.collection import RunCollection


def test_curves_are_those_of_the_best_its_baseline_and_a_few() -> None:
    made = measured([*ce_rows(), *soft_rows((1, 2, 4, 8, 16))])
    found = grid(made.rows)
    section = learning_curves.section(made, found)
    assert section is not None
    lines = [trace for trace in section.figures[0].data if trace.fill is None]
    assert len(lines) == learning_curves.MOST_CELLS
    assert {"ce", found.cells[0].name} <= {line.name for line in lines}
    bands = [trace for trace in section.figures[0].data if trace.fill == "toself"]
    assert len(bands) == 2
    assert "8 of 11 cells are drawn" in text(section)
    read = [run for run in made.runs if isinstance(run, MeasuredRun) and run.reads]
    assert len(read) == 5 * learning_curves.MOST_CELLS, "other histories stay unread"


def test_one_epoch_is_no_curve() -> None:
    class Short(MeasuredRun):
        @property
        def history(self) -> list[Any]:
            return super().history[:1]

    made = soft_rows()
    found = RunCollection("short", [Short(r) for r in made], Path())
    assert learning_curves.section(found, grid(made)) is None
    assert overfitting.section(found, grid(made)) is None
