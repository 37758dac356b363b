"""Accuracy on test as T changes, and as alpha does, with that of the labels alone."""

from kdsweep.common.cells import is_scattered
from kdsweep.plotting.palette import GREY
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.sections import style
from kdsweep.report.sections.heatmap import log_axis
from kdsweep.report.sections.panels import Panel, panels
from kdsweep.report.sections.section import Figure, Section
from kdsweep.report.sections.style import COLORS, ONE_SEED, SCALE, SYMBOLS, label, percent
from kdsweep.report.sources.collection import RunCollection

TITLE = "Response to T and to alpha"
MOST_PANELS = 4
MOST_LINES = 8
KEYS = ("T", "alpha")
AXES = {"T": "T (temperature, log scale)", "alpha": "alpha (soft weight)"}


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The curves; None without two cells that differ in T or alpha alone."""
    every = panels(grid)
    if not every:
        return None
    shown = every[:MOST_PANELS]
    text = ONE_SEED if grid.seeds < 2 else "Bars: 95 % t-interval of the mean over seeds."
    if any(_baseline(grid, panel) for panel in shown):
        grey = "dashed line" if grid.seeds < 2 else "band with its dashed line"
        text += f" The grey {grey} is cross-entropy on the labels alone."
    effects = [effect for key in KEYS if (effect := _effect(shown[0], key, grid))]
    sentences = [text, *effects]
    if len(every) > MOST_PANELS:
        sentences.append(f"The first {MOST_PANELS} of {len(every)} panels are drawn, best first.")
    return Section(TITLE, sentences, figures=[_figure(panel, grid) for panel in shown])


def _values(panel: Panel, key: str) -> list[float]:
    return panel.Ts if key == "T" else panel.alphas


def _other(key: str) -> str:
    return KEYS[1 - KEYS.index(key)]


def _effect(panel: Panel, key: str, grid: Grid) -> str | None:
    """How far the mean moves along one key, through the best cell; None where it stands alone."""
    other, cells = _other(key), list(panel.cells.values())
    through = next((cell for cell in cells if cell is grid.leading), cells[0])
    fixed = float(through.rows[0][other])
    line = sorted(_line(panel, key, fixed), key=lambda cell: cell.test_mean)
    if len(line) < 2:
        return None
    (low, at_low), (high, at_high) = (
        (percent(cell.test_mean), f"{key}={float(cell.rows[0][key]):g}")
        for cell in (line[0], line[-1])
    )
    return (
        f"{panel.name}, {other}={fixed:g}: over {key} the mean moves by {high - low:.2f} points,"
        f" from {low:.2f} % at {at_low} to {high:.2f} % at {at_high}."
    )


def _line(panel: Panel, key: str, other: float) -> list[Cell]:
    """The cells along one key where the other one has this value."""
    along = KEYS.index(key)
    return [panel.cells[point] for point in sorted(panel.cells) if point[1 - along] == other]


def _baseline(grid: Grid, panel: Panel) -> Cell | None:
    return grid.baseline_of(next(iter(panel.cells.values())))


def _figure(panel: Panel, grid: Grid) -> Figure:
    keys = [key for key in KEYS if len(_values(panel, key)) > 1]
    figure = style.canvas(
        1,
        len(keys),
        height=470 if is_scattered(panel.cells) else 420,
        titles=[f"{panel.name}: over {key}" for key in keys],
        shared_yaxes=True,
        horizontal_spacing=0.06,
    )
    baseline = _baseline(grid, panel)
    for column, key in enumerate(keys, start=1):
        if baseline is not None and baseline.test is not None:
            low, high = _values(panel, key)[0], _values(panel, key)[-1]
            margin = 0.06 * (high - low)
            ends = [low - margin, high + margin]
            if key == "T":
                ends = [low / (high / low) ** 0.06, high * (high / low) ** 0.06]
            _draw_baseline(figure, baseline, ends, column)
        if len(_values(panel, _other(key))) <= MOST_LINES:
            _draw_lines(figure, panel, key, column)
        else:
            _draw_points(figure, panel, key, column, is_alone=len(keys) == 1)
        if key == "T":
            figure.update_xaxes(**log_axis(panel.Ts), col=column)
        elif len(panel.alphas) <= MOST_LINES:
            figure.update_xaxes(tickvals=panel.alphas, col=column)
        figure.update_xaxes(title_text=AXES[key], col=column)
    figure.update_yaxes(title_text="test/acc (%)", col=1)
    return figure


def _draw_lines(figure: Figure, panel: Panel, key: str, column: int) -> None:
    """A line for each value of the other key; their points stand side by side."""
    other, along = _other(key), _values(panel, key)
    values = _values(panel, other)
    for number, value in enumerate(values):
        cells = _line(panel, key, value)
        color = COLORS[number]
        shift = 0.008 * (number - (len(values) - 1) / 2)
        x = [float(cell.rows[0][key]) for cell in cells]
        if key == "T":
            x = [T * float((along[-1] / along[0]) ** shift) for T in x]
        else:
            x = [alpha + shift * (along[-1] - along[0]) for alpha in x]
        figure.add_scatter(
            x=x,
            y=[percent(cell.test_mean) for cell in cells],
            error_y={**style.error_bars(cells), "color": color},
            mode="lines+markers",
            name=f"{other}={value:g}",
            legend="legend" if column == 1 else "legend2",
            line={"color": color, "width": 2},
            marker={"symbol": SYMBOLS[number], "size": 8},
            text=[label(cell.name) for cell in cells],
            hovertemplate="%{text}: %{y:.2f} %<extra></extra>",
            row=1,
            col=column,
        )
    left = 0 if column == 1 else 0.53
    legend = {"orientation": "h", "x": left, "y": -0.22, "yanchor": "top"}
    figure.update_layout({"legend" if column == 1 else "legend2": legend})


def _draw_points(figure: Figure, panel: Panel, key: str, column: int, *, is_alone: bool) -> None:
    """The points of a search, the other key as colour."""
    along, cells = KEYS.index(key), list(panel.cells.values())
    bar = style.color_bar(_other(key))
    bar |= {"title": {**bar["title"], "side": "bottom"}, "orientation": "h", "yanchor": "top"}
    bar |= {"x": 0.0 if column == 1 else 0.53, "xanchor": "left", "y": -0.2}
    bar |= {"len": 1.0 if is_alone else 0.47, "thickness": 10}
    colors = {"color": [point[1 - along] for point in panel.cells], "colorscale": SCALE}
    figure.add_scatter(
        x=[point[along] for point in panel.cells],
        y=[percent(cell.test_mean) for cell in cells],
        error_y={**style.error_bars(cells), "color": GREY},
        mode="markers",
        marker={**colors, "size": 10, "line": {"color": "black", "width": 0.7}, "colorbar": bar},
        text=[label(cell.name) for cell in cells],
        hovertemplate="%{text}: %{y:.2f} %<extra></extra>",
        showlegend=False,
        row=1,
        col=column,
    )


def _draw_baseline(figure: Figure, baseline: Cell, ends: list[float], column: int) -> None:
    legend = {"name": "ce", "legendgroup": "baseline"}
    if baseline.test is not None and baseline.test.t_interval is not None:
        low, high = baseline.test.t_interval
        style.draw_band(figure, ends, [low] * 2, [high] * 2, GREY, column, **legend)
    line = {"color": GREY, "width": 2, "dash": "dash"}
    legend["hovertemplate"] = f"{label(baseline.name)}: %{{y:.2f}} %<extra></extra>"
    means = [baseline.test_mean] * 2
    style.draw_line(figure, ends, means, line, column, showlegend=column == 1, **legend)
