"""Accuracy on test as T changes, and as alpha does, beside what the labels alone give."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdsweep.plotting.palette import GREY
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.sections.heatmap import log_axis
from kdsweep.report.sections.panels import Panel, panels
from kdsweep.report.sections.section import Section
from kdsweep.report.sections.style import (
    COLORS,
    ONE_SEED,
    SCALE,
    SYMBOLS,
    baseline_of,
    canvas,
    color_bar,
    error_bars,
    label,
    leading,
    percent,
    translucent,
)
from kdsweep.report.sources.collection import Evidence

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TITLE = "Response to T and to alpha"
MOST_PANELS = 4
MOST_LINES = 8
KEYS = ("T", "alpha")
AXES = {"T": "T (temperature, log scale)", "alpha": "alpha (soft weight)"}


def section(evidence: Evidence, grid: Grid) -> Section | None:
    """The curves; None without two cells that differ in T or alpha alone."""
    found = panels(grid)
    if not found:
        return None
    shown = found[:MOST_PANELS]
    said = [ONE_SEED if grid.seeds < 2 else "Bars: 95 % t-interval of the mean over seeds."]
    if any(_baseline(grid, panel) for panel in shown):
        grey = "dashed line" if grid.seeds < 2 else "band with its dashed line"
        said[0] += f" The grey {grey} is cross-entropy on the labels alone."
    said += [sentence for key in KEYS if (sentence := _range(shown[0], key, grid))]
    if len(found) > MOST_PANELS:
        said.append(f"The first {MOST_PANELS} of {len(found)} panels are drawn, best first.")
    return Section(TITLE, said, figures=[_figure(panel, grid) for panel in shown])


def _moves(panel: Panel, key: str) -> bool:
    return len(_values(panel, key)) > 1


def _values(panel: Panel, key: str) -> list[float]:
    return panel.Ts if key == "T" else panel.alphas


def _range(panel: Panel, key: str, grid: Grid) -> str | None:
    """How far the mean moves along one key, through the best cell; None where it stands alone."""
    other = KEYS[1 - KEYS.index(key)]
    first = leading(grid)
    cells = list(panel.cells.values())
    through = first if any(cell is first for cell in cells) else cells[0]
    assert through is not None
    fixed = float(through.rows[0][other])
    line = sorted(_line(panel, key, fixed), key=_mean)
    if len(line) < 2:
        return None
    lowest, highest = line[0], line[-1]
    moved = percent(_mean(highest)) - percent(_mean(lowest))
    ends = [f"{key}={float(cell.rows[0][key]):g}" for cell in (lowest, highest)]
    low, high = (f"{percent(_mean(cell)):.2f} %" for cell in (lowest, highest))
    return (
        f"{panel.name}, {other}={fixed:g}: over {key} the mean moves by {moved:.2f} points, from"
        f" {low} at {ends[0]} to {high} at {ends[1]}."
    )


def _line(panel: Panel, key: str, other: float) -> list[Cell]:
    """The cells along one key where the other one has this value."""
    along = 0 if key == "T" else 1
    points = sorted(point for point in panel.cells if point[1 - along] == other)
    return [panel.cells[point] for point in points]


def _mean(cell: Cell) -> float:
    assert cell.test is not None
    return cell.test.mean


def _baseline(grid: Grid, panel: Panel) -> Cell | None:
    return baseline_of(grid, next(iter(panel.cells.values())))


def _figure(panel: Panel, grid: Grid) -> "Figure":
    keys = [key for key in KEYS if _moves(panel, key)]
    figure = canvas(
        1,
        len(keys),
        height=470 if panel.is_scattered else 420,
        titles=[f"{panel.name}: over {key}" for key in keys],
        shared_yaxes=True,
        horizontal_spacing=0.06,
    )
    for column, key in enumerate(keys, start=1):
        _draw_baseline(figure, panel, key, grid, column)
        others = _values(panel, KEYS[1 - KEYS.index(key)])
        draw = _draw_lines if len(others) <= MOST_LINES else _draw_points
        draw(figure, panel, key, column)
        if key == "T":
            figure.update_xaxes(**log_axis(panel.Ts), col=column)
        elif len(panel.alphas) <= MOST_LINES:
            figure.update_xaxes(tickvals=panel.alphas, col=column)
        figure.update_xaxes(title_text=AXES[key], col=column)
    figure.update_yaxes(title_text="test/acc (%)", col=1)
    return figure


def _draw_lines(figure: "Figure", panel: Panel, key: str, column: int) -> None:
    """A line for each value of the other key; their points stand side by side."""
    from plotly.graph_objects import Scatter

    other = KEYS[1 - KEYS.index(key)]
    values = _values(panel, other)
    for number, value in enumerate(values):
        cells = _line(panel, key, value)
        color = COLORS[number]
        place = number - (len(values) - 1) / 2
        figure.add_trace(
            Scatter(
                x=[_aside(float(cell.rows[0][key]), place, panel, key) for cell in cells],
                y=[percent(_mean(cell)) for cell in cells],
                error_y={**error_bars(cells), "color": color},
                mode="lines+markers",
                name=f"{other}={value:g}",
                legend="legend" if column == 1 else "legend2",
                line={"color": color, "width": 2},
                marker={"symbol": SYMBOLS[number], "size": 8},
                text=[label(cell.name) for cell in cells],
                hovertemplate="%{text}: %{y:.2f} %<extra></extra>",
            ),
            row=1,
            col=column,
        )
    left = 0 if column == 1 else 0.53
    legend = {"orientation": "h", "x": left, "y": -0.22, "yanchor": "top"}
    figure.update_layout({"legend" if column == 1 else "legend2": legend})


def _aside(value: float, place: float, panel: Panel, key: str) -> float:
    values = _values(panel, key)
    if key == "T":
        return value * float((values[-1] / values[0]) ** (0.008 * place))
    return value + 0.008 * place * (values[-1] - values[0])


def _draw_points(figure: "Figure", panel: Panel, key: str, column: int) -> None:
    """The points of a search, the other key as colour."""
    from plotly.graph_objects import Scatter

    along, both = KEYS.index(key), all(_moves(panel, each) for each in KEYS)
    cells = list(panel.cells.values())
    figure.add_trace(
        Scatter(
            x=[point[along] for point in panel.cells],
            y=[percent(_mean(cell)) for cell in cells],
            error_y={**error_bars(cells), "color": GREY},
            mode="markers",
            marker={
                "color": [point[1 - along] for point in panel.cells],
                "colorscale": SCALE,
                "size": 10,
                "line": {"color": "black", "width": 0.7},
                "colorbar": _bar_below(KEYS[1 - along], column if both else None),
            },
            text=[label(cell.name) for cell in cells],
            hovertemplate="%{text}: %{y:.2f} %<extra></extra>",
            showlegend=False,
        ),
        row=1,
        col=column,
    )


def _bar_below(key: str, column: int | None) -> dict[str, Any]:
    """A bar of colours under a panel, or under the only one."""
    place = {"x": 0.0 if column in (None, 1) else 0.53, "xanchor": "left", "y": -0.2}
    bar = color_bar(key)
    title = {**bar["title"], "side": "bottom"}
    size = {"len": 1.0 if column is None else 0.47, "thickness": 10}
    return {**bar, **place, **size, "title": title, "orientation": "h", "yanchor": "top"}


def _draw_baseline(figure: "Figure", panel: Panel, key: str, grid: Grid, column: int) -> None:
    from plotly.graph_objects import Scatter

    baseline = _baseline(grid, panel)
    if baseline is None or baseline.test is None:
        return
    ends = _ends(_values(panel, key), key)
    style = {"name": "ce", "legendgroup": "baseline", "showlegend": column == 1}
    if baseline.test.t_interval is not None:
        low, high = (percent(limit) for limit in baseline.test.t_interval)
        band = Scatter(
            x=[*ends, *reversed(ends)],
            y=[low, low, high, high],
            mode="lines",
            fill="toself",
            fillcolor=translucent(GREY, 0.18),
            line={"width": 0},
            hoverinfo="skip",
            **{**style, "showlegend": False},
        )
        figure.add_trace(band, row=1, col=column)
    middle = percent(baseline.test.mean)
    line = Scatter(
        x=ends,
        y=[middle, middle],
        mode="lines",
        line={"color": GREY, "width": 2, "dash": "dash"},
        hovertemplate=f"{label(baseline.name)}: %{{y:.2f}} %<extra></extra>",
        **style,
    )
    figure.add_trace(line, row=1, col=column)


def _ends(values: Sequence[float], key: str) -> list[float]:
    low, high = values[0], values[-1]
    if key == "T":
        margin = (high / low) ** 0.06
        return [low / margin, high * margin]
    margin = 0.06 * (high - low)
    return [low - margin, high + margin]
