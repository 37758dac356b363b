"""How all figures look, and which cells are drawn.

plotly takes a while to import and is imported when something is drawn. Colours are safe for the
colour-blind. All accuracies are drawn in percent.
"""

import html
from collections.abc import Sequence
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from kdsweep.common.text import escape_unprintable
from kdsweep.plotting.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.analysis.statistics import Summary

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
INK, FAINT = "#222222", "#e6e6e6"
# Lines beside each other; of the cells, the best and the baseline have theirs everywhere.
COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#000000", GREY)
OF_BEST, OF_BASELINE = BLUE, INK
OF_OTHERS = (ORANGE, GREEN, RED, PURPLE, SKY, GREY)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
SCALE = "Cividis"
LONG = 44  # letters of a name; a longer one loses its middle
ONE_SEED = "One seed each: there are no intervals, and no difference here shows anything."


def canvas(
    rows: int = 1, columns: int = 1, *, height: int, titles: Sequence[str] = (), **options: Any
) -> "Figure":
    """An empty figure with rows x columns panels; height in pixels, as wide as the page."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows, columns, subplot_titles=[label(t) for t in titles], **options)
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 24, "t": 44 if titles else 20, "b": 56},
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        hoverlabel={"bgcolor": "white", "font": {"family": FONT, "size": 12}},
        legend={"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0},
    )
    axes = {"showline": True, "linecolor": "#999999", "gridcolor": FAINT, "zeroline": False}
    axes |= {"ticks": "outside", "tickcolor": "#999999", "automargin": True}
    figure.update_xaxes(**axes, title={"font": {"size": 13}, "standoff": 10})
    figure.update_yaxes(**axes, title={"font": {"size": 13}, "standoff": 8})
    figure.update_annotations(font={"family": FONT, "size": 13, "color": INK}, yshift=6)
    return figure


def label(name: str) -> str:
    """A name as plotly shows it: no markup of its own, no ``%{...}``, and not too long."""
    half = LONG // 2
    short = name if len(name) <= LONG else f"{name[: half - 1]} … {name[-half:]}"
    return html.escape(escape_unprintable(short)).replace("%", "&#37;")


def labels(names: Sequence[str]) -> list[str]:
    """The names as plotly shows them, each distinct from the others, even where they are cut."""
    found: list[str] = []
    for name in map(label, names):
        numbered = (f"{name} ({number})" for number in count(2))
        found.append(next(each for each in chain([name], numbered) if each not in found))
    return found


def translucent(color: str, opacity: float) -> str:
    """`#0072B2` at an opacity in [0, 1], as plotly asks for it."""
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def percent(value: float) -> float:
    return round(100 * value, 4)


def half_width(found: Summary | None) -> float | None:
    """Of the 95 % interval of a mean, in points; None with one seed."""
    if found is None or found.t_interval is None:
        return None
    low, high = found.t_interval
    return round(50 * (high - low), 4)


def error_bars(cells: Sequence[Cell]) -> dict[str, Any]:
    """The intervals of the means on test, as plotly's `error_y`; cells of one seed have none."""
    widths = [half_width(cell.test) for cell in cells]
    return {
        "type": "data",
        "array": [0.0 if width is None else width for width in widths],
        "visible": any(width is not None for width in widths),
        "thickness": 1.2,
        "width": 4,
    }


def color_bar(title: str) -> dict[str, Any]:
    """Of a heatmap, its title along it."""
    text = {"text": title, "side": "right", "font": {"size": 13}}
    return {"title": text, "thickness": 14, "outlinewidth": 0}


def finished(grid: Grid) -> list[Cell]:
    """The cells with a mean on test, in the order of the grid."""
    return [cell for cell in grid.cells if cell.test is not None]


def baseline_of(grid: Grid, cell: Cell | None) -> Cell | None:
    """The cell that a cell is compared with; None without one."""
    if cell is None:
        return None
    name = grid.baselines.get(cell.name)
    return next((found for found in grid.cells if found.name == name), None)


def leading(grid: Grid) -> Cell | None:
    """The best cell; where nothing was held out to choose by, the first one."""
    return grid.best or next(iter(finished(grid)), None)


def select(grid: Grid, most: int) -> list[Cell]:
    """At most so many cells: the leading one, its baseline, and others from all over the ranking.

    They are in the order of the grid.
    """
    cells, first = finished(grid), leading(grid)
    baseline = baseline_of(grid, first)
    chosen = [cell for cell in (first, baseline) if cell is not None]
    others = [cell for cell in cells if all(cell is not known for known in chosen)]
    room = max(0, min(most - len(chosen), len(others)))
    step = (len(others) - 1) / max(1, room - 1)
    chosen += [others[round(place * step)] for place in range(room)]
    return [cell for cell in cells if any(cell is known for known in chosen)]


def color_of(grid: Grid, cells: Sequence[Cell]) -> dict[str, str]:
    """Cell -> colour; the leading one and its baseline have the same in every figure."""
    first = leading(grid)
    baseline = baseline_of(grid, first)
    found, others = {}, iter(OF_OTHERS * (1 + len(cells) // len(OF_OTHERS)))
    for cell in cells:
        if cell is first:
            found[cell.name] = OF_BEST
        else:
            found[cell.name] = OF_BASELINE if cell is baseline else next(others)
    return found
