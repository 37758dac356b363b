"""How all figures look, and which cells are drawn.

plotly takes a while to import and is imported when something is drawn. Colours are safe for the
colour-blind. All accuracies are drawn in percent.
"""

import html
from collections.abc import Sequence
from itertools import chain, count
from typing import Any

from kdsweep.common.text import escape_unprintable
from kdsweep.plotting.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.sections.section import Figure

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
INK, FAINT = "#222222", "#e6e6e6"
# Lines of one figure; the best cell and its baseline have their own colours everywhere.
COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#000000", GREY)
OF_BEST, OF_BASELINE = BLUE, INK
OF_OTHERS = (ORANGE, GREEN, RED, PURPLE, SKY, GREY)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
SCALE = "Cividis"
LONG = 44  # letters of a name; a longer one loses its middle
ONE_SEED = "One seed each: there are no intervals, and no difference here shows anything."


def canvas(
    rows: int = 1, columns: int = 1, *, height: int, titles: Sequence[str] = (), **options: Any
) -> Figure:
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
    unique: list[str] = []
    for name in map(label, names):
        numbered = (f"{name} ({number})" for number in count(2))
        unique.append(next(each for each in chain([name], numbered) if each not in unique))
    return unique


def translucent(color: str, opacity: float) -> str:
    """`#0072B2` at an opacity in [0, 1], in plotly's notation."""
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def percent(value: float) -> float:
    """A fraction in percent, rounded to what a figure can show."""
    return round(100 * value, 4)


def error_bars(cells: Sequence[Cell]) -> dict[str, Any]:
    """The intervals of the means on test, as plotly's `error_y`; cells of one seed have none."""
    widths = [cell.test.half_width if cell.test else None for cell in cells]
    return {
        "type": "data",
        "array": [0.0 if width is None else percent(width) for width in widths],
        "visible": any(width is not None for width in widths),
        "thickness": 1.2,
        "width": 4,
    }


def draw_line(
    figure: Figure,
    x: Sequence[float],
    accuracies: Sequence[float],
    line: dict[str, Any],
    column: int = 1,
    **options: Any,
) -> None:
    """A line of accuracies, which are fractions; ``line`` has its colour, width and dash."""
    y = [percent(value) for value in accuracies]
    figure.add_scatter(x=x, y=y, mode="lines", line=line, row=1, col=column, **options)


def draw_band(
    figure: Figure,
    x: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    color: str,
    column: int = 1,
    **options: Any,
) -> None:
    """The area between two lines of accuracies, which are fractions."""
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[percent(value) for value in [*high, *reversed(low)]],
        mode="lines",
        fill="toself",
        fillcolor=translucent(color, 0.16),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        row=1,
        col=column,
        **options,
    )


def color_bar(title: str) -> dict[str, Any]:
    """Of a heatmap, its title along it."""
    text = {"text": title, "side": "right", "font": {"size": 13}}
    return {"title": text, "thickness": 14, "outlinewidth": 0}


def select(grid: Grid, most: int) -> list[Cell]:
    """At most so many cells: the leading one, its baseline, and others from all over the ranking.

    They are in the order of the grid.
    """
    first = grid.leading
    chosen = [cell for cell in (first, grid.baseline_of(first)) if cell is not None]
    others = [cell for cell in grid.finished if all(cell is not known for known in chosen)]
    room = max(0, min(most - len(chosen), len(others)))
    step = (len(others) - 1) / max(1, room - 1)
    chosen += [others[round(place * step)] for place in range(room)]
    return [cell for cell in grid.finished if any(cell is known for known in chosen)]


def color_of(grid: Grid, cells: Sequence[Cell]) -> dict[str, str]:
    """Cell -> colour; the leading one and its baseline have the same in every figure."""
    first = grid.leading
    baseline = grid.baseline_of(first)
    colors, others = {}, iter(OF_OTHERS * (1 + len(cells) // len(OF_OTHERS)))
    for cell in cells:
        if cell is first:
            colors[cell.name] = OF_BEST
        else:
            colors[cell.name] = OF_BASELINE if cell is baseline else next(others)
    return colors
