"""Accuracy against what a student costs: parameters, and milliseconds for one image.

Of each student the cell that came first on validation stands for it: the highest one on test would
be chosen by the very figure that is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from kdsweep.plotting.palette import GREY
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.sections.section import Section
from kdsweep.report.sections.style import (
    COLORS,
    SYMBOLS,
    canvas,
    error_bars,
    finished,
    label,
    percent,
    translucent,
)
from kdsweep.report.sources.collection import Evidence

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TITLE = "Accuracy against cost"
COSTS = {"num_params": "parameters (log scale)", "latency_ms": "latency (ms an image, log scale)"}
MOST_STUDENTS = 24


@dataclass(frozen=True)
class Student:
    """All cells of one network, the best on validation first."""

    name: str
    cells: list[Cell]

    @property
    def first(self) -> Cell:
        return self.cells[0]

    @property
    def acc(self) -> float:
        """Mean accuracy on test of the cell that stands for it; a fraction."""
        assert self.first.test is not None
        return self.first.test.mean

    def cost(self, key: str) -> float | None:
        """Mean over all its runs: they train the same network."""
        costs = [row[key] for cell in self.cells for row in cell.rows if row.get(key)]
        return fmean(costs) if costs else None


def section(evidence: Evidence, grid: Grid) -> Section | None:
    """The trade-off; None if all students have as many parameters."""
    known = students(finished(grid))
    found = known[:MOST_STUDENTS]
    if len({student.cost("num_params") for student in found} - {None}) < 2:
        return None
    front = frontier(found, "num_params")
    costs = [key for key in COSTS if sum(student.cost(key) is not None for student in found) > 1]
    said = [
        "Large marks are the cell of each student that came first on validation, small ones its"
        f" other cells. On the front are {', '.join(student.first.name for student in front)}: no"
        " student here has both fewer parameters and a higher mean. Neighbours on the front may"
        " change places with other seeds.",
        "Latency was measured beside the training, one image at a time: good to tell apart what"
        " differs clearly, and no more.",
    ]
    if len(costs) == 1:
        del said[1:]
    if len(known) > len(found):
        said.append(f"{len(found)} of {len(known)} students are drawn, the best on validation.")
    return Section(TITLE, said, figures=[_figure(found, costs)])


def students(cells: Sequence[Cell]) -> list[Student]:
    """The cells by network: its name and its number of parameters."""
    found: dict[tuple[str, int | None], list[Cell]] = {}
    for cell in cells:
        row = next(row for row in cell.rows if row["status"] == "FINISHED")
        found.setdefault((str(row.get("student")), row.get("num_params")), []).append(cell)
    names = [name for name, _ in found]
    return [
        Student(name if names.count(name) == 1 else f"{name} ({size})", of_it)
        for (name, size), of_it in found.items()
    ]


def frontier(found: Sequence[Student], key: str) -> list[Student]:
    """Those that no other one beats in accuracy at the same cost or less, the cheapest first."""
    priced = [(cost, student) for student in found if (cost := student.cost(key)) is not None]
    front: list[Student] = []
    for _, student in sorted(priced, key=lambda each: (each[0], -each[1].acc)):
        if not front or student.acc > front[-1].acc:
            front.append(student)
    return front


def _figure(found: Sequence[Student], costs: Sequence[str]) -> "Figure":
    figure = canvas(1, len(costs), height=430, shared_yaxes=True, horizontal_spacing=0.05)
    for column, key in enumerate(costs, start=1):
        _draw_frontier(figure, frontier(found, key), key, column)
        for number, student in enumerate(found):
            if (cost := student.cost(key)) is not None:
                _draw_student(figure, student, cost, number, column)
        figure.update_xaxes(type="log", title_text=COSTS[key], dtick="D2", col=column)
    figure.update_yaxes(title_text="test/acc (%)", col=1)
    return figure


def _draw_student(
    figure: "Figure", student: Student, cost: float, number: int, column: int
) -> None:
    from plotly.graph_objects import Scatter

    color, symbol = COLORS[number % len(COLORS)], SYMBOLS[number % len(SYMBOLS)]
    others = [cell for cell in student.cells[1:] if cell.test is not None]
    for cells, size, shade in ((others, 5, translucent(color, 0.35)), ([student.first], 12, color)):
        leads = size == 12
        figure.add_trace(
            Scatter(
                x=[cost] * len(cells),
                y=[percent(cell.test.mean) for cell in cells if cell.test is not None],
                error_y={**error_bars(cells), "color": color} if leads else None,
                mode="markers",
                name=label(student.name),
                legendgroup=student.name,
                showlegend=leads and column == 1,
                marker={"color": shade, "symbol": symbol, "size": size},
                text=[label(cell.name) for cell in cells],
                hovertemplate="%{text}<br>%{y:.2f} % at %{x:.4g}<extra></extra>",
            ),
            row=1,
            col=column,
        )


def _draw_frontier(figure: "Figure", front: Sequence[Student], key: str, column: int) -> None:
    from plotly.graph_objects import Scatter

    figure.add_trace(
        Scatter(
            x=[student.cost(key) for student in front],
            y=[percent(student.acc) for student in front],
            mode="lines",
            name="front",
            legendgroup="front",
            showlegend=column == 1,
            line={"color": GREY, "width": 1.5, "dash": "dot", "shape": "hv"},
            hoverinfo="skip",
        ),
        row=1,
        col=column,
    )
