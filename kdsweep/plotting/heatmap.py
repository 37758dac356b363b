"""Validation accuracy over T and alpha."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING, Any

from kdsweep.common.cells import MAX_TABLE_SIDE, is_scattered
from kdsweep.plotting.drawing import new_figure, save_with_title
from kdsweep.plotting.palette import text_color_on
from kdsweep.tracking.results_table import cell_without_T_and_alpha

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

MAX_PANELS_IN_A_ROW = 4
TITLE_LETTERS = 10  # an inch
TITLE_LINES = 6

Cells = Mapping[tuple[float, float], Sequence[float]]  # (T, alpha) -> val/acc of each run


def draw_heatmap(results: Iterable[Mapping[str, Any]], path: Path) -> bool:
    """Draw val/acc over T and alpha, the mean over seeds, in percent.

    There is a panel for everything else that the sweep varies: a loss, a learning rate.
    ``results`` are rows of `kdsweep.tracking.results_table.collect`; those without an effect of T
    or of alpha are left out, and so are panels of one point, such as each run of a search over more
    keys, which show no influence of either. Returns False, and writes nothing, if nothing is left.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    panels = _cells_by_panel(results)
    if not panels:
        return False
    means = [100 * fmean(values) for cells in panels.values() for values in cells.values()]
    low, high = min(means), max(means)
    if high - low < 0.1:  # ties are one colour, not noise blown up
        low, high = low - 0.05, high + 0.05
    colors = ScalarMappable(Normalize(low, high), "cividis")
    width = max(3.2, max(1.0 * _side(cells, 0) + 1.4 for cells in panels.values()))
    height = max(3.0, max(0.75 * _side(cells, 1) + 1.6 for cells in panels.values()))
    columns = min(len(panels), MAX_PANELS_IN_A_ROW)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(columns * width + 1.2, rows * height + 0.4)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, cells) in zip(all_axes, panels.items(), strict=False):
        draw = _draw_points if is_scattered(cells) else _draw_table
        draw(axes, cells, colors)
        title = fill(name, int(TITLE_LETTERS * width), max_lines=TITLE_LINES, placeholder=" …")
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="T (temperature)", ylabel="alpha (soft weight)")
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    figure.colorbar(colors, ax=list(all_axes), label="val/acc (%)")
    save_with_title(figure, path, "Validation accuracy, mean over seeds (%)")
    return True


def _cells_by_panel(results: Iterable[Mapping[str, Any]]) -> dict[str, Cells]:
    """The points of each panel, by what its runs share but T and alpha: `kl optimizer.lr=0.1`."""
    panels: dict[str, dict[tuple[float, float], list[float]]] = {}
    for row in results:
        needed = [row.get(key) for key in ("T", "alpha", "val/acc")]
        if row.get("same_as") is None and None not in needed:
            cells = panels.setdefault(cell_without_T_and_alpha(row), defaultdict(list))
            cells[float(row["T"]), float(row["alpha"])].append(row["val/acc"])
    return {name: cells for name, cells in sorted(panels.items()) if len(cells) > 1}


def _values(cells: Cells, axis: int) -> list[float]:
    return sorted({point[axis] for point in cells})


def _side(cells: Cells, axis: int) -> int:
    return MAX_TABLE_SIDE if is_scattered(cells) else len(_values(cells, axis))


def _draw_table(axes: "Axes", cells: Cells, colors: "ScalarMappable") -> None:
    import numpy as np

    Ts, alphas = _values(cells, 0), _values(cells, 1)
    means = np.full((len(alphas), len(Ts)), np.nan)
    for (T, alpha), values in cells.items():
        row, column = alphas.index(alpha), Ts.index(T)
        means[row, column] = mean = 100 * fmean(values)
        color, text = text_color_on(colors, mean), f"{mean:.2f}\nn={len(values)}"
        axes.text(column, row, text, ha="center", va="center", color=color)
    axes.imshow(means, origin="lower", aspect="auto", **_scale(colors))
    axes.set_facecolor("0.9")
    axes.set_xticks(range(len(Ts)), [f"{T:g}" for T in Ts])
    axes.set_yticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])


def _draw_points(axes: "Axes", cells: Cells, colors: "ScalarMappable") -> None:
    from matplotlib.ticker import NullFormatter

    means = [100 * fmean(values) for values in cells.values()]
    Ts, alphas = zip(*cells, strict=True)
    style: dict[str, Any] = {"s": 90, "edgecolors": "black", "linewidths": 0.5}
    axes.scatter(Ts, alphas, c=means, **style, **_scale(colors))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)


def _scale(colors: "ScalarMappable") -> dict[str, Any]:
    return {"cmap": colors.cmap, "norm": colors.norm}
