"""T x alpha as a table of colours: mean, interval, seeds, and which cells tie with the best."""

import math
from collections.abc import Sequence
from typing import Any

from kdsweep.common.cells import is_scattered
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.analysis.statistics import ALPHA
from kdsweep.report.sections.panels import Panel, panels
from kdsweep.report.sections.section import Figure, Section
from kdsweep.report.sections.style import ONE_SEED, SCALE, canvas, color_bar, label, percent
from kdsweep.report.sources.collection import RunCollection

TITLE = "T and alpha"
MOST_PANELS = 6
BOXES_IN_A_ROW = 12  # of all panels in a row; narrower ones cannot be read
BEST, TIED = "★", "≈"
BOX, FRAME = 76, 150  # pixels: the height of a box, and of the surroundings of all panels
SCATTERED_SIDE = 5  # boxes whose room a side of scattered points takes
BETWEEN = 62  # pixels from panel to panel: ticks and a title


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The heatmap; None without two cells that differ in T or alpha alone."""
    every = panels(grid)
    if not every:
        return None
    interval = " ± half of its 95 % interval" if grid.seeds > 1 else ""
    text = f"Mean accuracy on test{interval}, and n, the number of seeds."
    if grid.best is not None:
        text += f" {BEST} was chosen on validation, so one with more on test is no contradiction"
        if grid.seeds > 1 and not all(is_scattered(panel.cells) for panel in every):
            text += f"; {TIED} is not shown to be worse than it (Holm-corrected, {ALPHA:g})"
        text += "."
    sentences = [text, *([ONE_SEED] if grid.seeds < 2 else [])]
    if (left_out := len(every) - MOST_PANELS) > 0:
        sentences.append(f"{left_out} more panels are left out: report.md has all cells.")
    return Section(TITLE, sentences, figures=[_figure(every[:MOST_PANELS])])


def _figure(shown: Sequence[Panel]) -> Figure:
    room = (SCATTERED_SIDE, SCATTERED_SIDE)
    sides = [room if is_scattered(p.cells) else (len(p.Ts), len(p.alphas)) for p in shown]
    widest, tallest = (max(side) for side in zip(*sides, strict=True))
    columns = max(1, min(3, len(shown), BOXES_IN_A_ROW // widest))
    rows = math.ceil(len(shown) / columns)
    height = rows * BOX * tallest + (rows - 1) * BETWEEN + FRAME
    figure = canvas(
        rows,
        columns,
        height=max(height, 260),
        titles=[panel.name for panel in shown],
        horizontal_spacing=0.12 / columns,
        vertical_spacing=BETWEEN / height if rows > 1 else None,
    )
    for number, panel in enumerate(shown):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        draw = _draw_points if is_scattered(panel.cells) else _draw_table
        draw(figure, panel, place)
        if number + columns >= len(shown):
            figure.update_xaxes(title_text="T (temperature)", **place)
        if number % columns == 0:
            figure.update_yaxes(title_text="alpha (soft weight)", **place)
    means = [percent(cell.test_mean) for panel in shown for cell in panel.cells.values()]
    low, high = min(means), max(means)
    if high - low < 0.1:  # ties have one colour: noise must not be enlarged
        low, high = low - 0.05, low + 0.05
    scale = {"colorscale": SCALE, "cmin": low, "cmax": high, "colorbar": color_bar("test/acc (%)")}
    figure.update_layout(coloraxis=scale)
    return figure


def _draw_table(figure: Figure, panel: Panel, place: dict[str, int]) -> None:
    cells = [[panel.cells.get((T, alpha)) for T in panel.Ts] for alpha in panel.alphas]
    figure.add_heatmap(
        x=[f"{T:g}" for T in panel.Ts],
        y=[f"{alpha:g}" for alpha in panel.alphas],
        z=[[cell and percent(cell.test_mean) for cell in line] for line in cells],
        text=[[_text(cell) if cell else "" for cell in line] for line in cells],
        customdata=[[cell and label(cell.name) for cell in line] for line in cells],
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertemplate="%{customdata}<br>%{text}<extra></extra>",
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
        **place,
    )
    figure.update_xaxes(type="category", showgrid=False, **place)
    figure.update_yaxes(type="category", showgrid=False, **place)
    for (T, alpha), cell in panel.cells.items():
        if cell.is_best:
            x, y = panel.Ts.index(T), panel.alphas.index(alpha)
            corners = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
            figure.add_shape(type="rect", **corners, line={"color": "black", "width": 3}, **place)


def _draw_points(figure: Figure, panel: Panel, place: dict[str, int]) -> None:
    cells = list(panel.cells.values())
    figure.add_scatter(
        x=[T for T, _ in panel.cells],
        y=[alpha for _, alpha in panel.cells],
        mode="markers",
        marker={
            "color": [percent(cell.test_mean) for cell in cells],
            "coloraxis": "coloraxis",
            "size": [18 if cell.is_best else 11 for cell in cells],
            "symbol": ["star" if cell.is_best else "circle" for cell in cells],
            "line": {"color": "black", "width": 0.7},
        },
        text=[f"{label(cell.name)}<br>{_text(cell)}" for cell in cells],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
        **place,
    )
    figure.update_xaxes(**log_axis(panel.Ts), **place)


def log_axis(values: Sequence[float]) -> dict[str, Any]:
    """A log axis with powers of two, or with the values themselves if they are few."""
    ticks = list(values)
    if len(ticks) > 8:
        low, high = math.floor(math.log2(min(ticks))), math.ceil(math.log2(max(ticks)))
        ticks = [2.0**power for power in range(low, high + 1)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _text(cell: Cell) -> str:
    """`98.83`, `±0.09`, `n=5 ★`, in lines."""
    assert cell.test is not None
    width = cell.test.half_width
    interval = [] if width is None else [f"±{percent(width):.2f}"]
    tied = f" {TIED}" if cell.verdict_against_best == "TIED" else ""
    mark = f" {BEST}" if cell.is_best else tied
    return "<br>".join(
        [f"<b>{percent(cell.test_mean):.2f}</b>", *interval, f"n={cell.test.n}{mark}"]
    )
