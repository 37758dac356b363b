"""Accuracy against the cost of a student: parameters, and milliseconds for one image.

Each student is represented by its cell that came first on validation: the highest one on test would
be chosen by the very figure that is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from kdsweep.plotting.palette import GREY
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.sections import style
from kdsweep.report.sections.section import Figure, Section
from kdsweep.report.sections.style import COLORS, SYMBOLS, label, percent
from kdsweep.report.sources.collection import RunCollection

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

    def cost(self, key: str) -> float | None:
        """Mean over all its runs: they train the same network."""
        costs = [row[key] for cell in self.cells for row in cell.rows if row.get(key)]
        return fmean(costs) if costs else None


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The trade-off; None if all students have equally many parameters."""
    every = students(grid.finished)
    shown = every[:MOST_STUDENTS]
    if len({student.cost("num_params") for student in shown} - {None}) < 2:
        return None
    front = frontier(shown, "num_params")
    costs = [key for key in COSTS if sum(student.cost(key) is not None for student in shown) > 1]
    sentences = [
        "Large marks are the cell of each student that came first on validation, small ones its"
        f" other cells. On the front are {', '.join(student.first.name for student in front)}: no"
        " student here has both fewer parameters and a higher mean. Neighbours on the front may"
        " change places with other seeds."
    ]
    if len(costs) > 1:
        sentences.append(
            "Latency was measured during training, one image at a time: only clear differences"
            " can be relied on."
        )
    if len(every) > len(shown):
        sentences.append(f"{len(shown)} of {len(every)} students are drawn, best on validation.")
    return Section(TITLE, sentences, figures=[_figure(shown, costs)])


def students(cells: Sequence[Cell]) -> list[Student]:
    """The cells by network: its name and its number of parameters."""
    by_network: dict[tuple[str, int | None], list[Cell]] = {}
    for cell in cells:
        row = next(row for row in cell.rows if row["status"] == "FINISHED")
        by_network.setdefault((str(row.get("student")), row.get("num_params")), []).append(cell)
    names = [name for name, _ in by_network]
    return [
        Student(name if names.count(name) == 1 else f"{name} ({size})", own)
        for (name, size), own in by_network.items()
    ]


def frontier(among: Sequence[Student], key: str) -> list[Student]:
    """Those that no other one beats in accuracy at the same cost or less, the cheapest first."""
    priced = [(cost, student) for student in among if (cost := student.cost(key)) is not None]
    front: list[Student] = []
    for _, student in sorted(priced, key=lambda each: (each[0], -each[1].first.test_mean)):
        if not front or student.first.test_mean > front[-1].first.test_mean:
            front.append(student)
    return front


def _figure(shown: Sequence[Student], costs: Sequence[str]) -> Figure:
    figure = style.canvas(1, len(costs), height=430, shared_yaxes=True, horizontal_spacing=0.05)
    for column, key in enumerate(costs, start=1):
        front = frontier(shown, key)
        costs_of_front = [student.cost(key) or 0.0 for student in front]
        means = [student.first.test_mean for student in front]
        line = {"color": GREY, "width": 1.5, "dash": "dot", "shape": "hv"}
        legend = {"name": "front", "legendgroup": "front", "showlegend": column == 1}
        style.draw_line(figure, costs_of_front, means, line, column, hoverinfo="skip", **legend)
        for number, student in enumerate(shown):
            if (cost := student.cost(key)) is not None:
                _draw_student(figure, student, cost, number, column)
        figure.update_xaxes(type="log", title_text=COSTS[key], dtick="D2", col=column)
    figure.update_yaxes(title_text="test/acc (%)", col=1)
    return figure


def _draw_student(figure: Figure, student: Student, cost: float, number: int, column: int) -> None:
    color, symbol = COLORS[number % len(COLORS)], SYMBOLS[number % len(SYMBOLS)]
    others, faint = student.cells[1:], style.translucent(color, 0.35)
    for cells, size, shade in ((others, 5, faint), ([student.first], 12, color)):
        is_first = size == 12
        figure.add_scatter(
            x=[cost] * len(cells),
            y=[percent(cell.test_mean) for cell in cells],
            error_y={**style.error_bars(cells), "color": color} if is_first else None,
            mode="markers",
            name=label(student.name),
            legendgroup=student.name,
            showlegend=is_first and column == 1,
            marker={"color": shade, "symbol": symbol, "size": size},
            text=[label(cell.name) for cell in cells],
            hovertemplate="%{text}<br>%{y:.2f} % at %{x:.4g}<extra></extra>",
            row=1,
            col=column,
        )
