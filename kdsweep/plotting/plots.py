"""Pictures of runs and sweeps, as PNG files.

Figures are plain objects (no pyplot), so that any thread of any process may draw. matplotlib takes
half a second to import and is imported when something is drawn. Colours are safe for the
colour-blind.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

from kdsweep.common.cells import MAX_TABLE_SIDE, is_scattered
from kdsweep.plotting.drawing import save
from kdsweep.tracking.results_table import without_soft_words
from kdsweep.tracking.run_dir import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

# Okabe and Ito (2008)
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#666666",
)
DPI = 110
MAX_WRITTEN_CLASSES = 20  # more counts than that cannot be read
MAX_NAMED_CLASSES = 40
MAX_PANELS_IN_A_ROW = 4
TITLE_LETTERS = 10  # an inch
TITLE_LINES = 6
CLASS_LETTERS, SAMPLE_LETTERS = 24, 14  # of a class name

Cells = Mapping[tuple[float, float], Sequence[float]]  # (T, alpha) -> val/acc of each run


def curves(rows: Sequence[Row], path: Path, title: str = "") -> None:
    """Draw accuracy, loss and learning rate against the epoch (rows of metrics.jsonl)."""
    from matplotlib.ticker import MaxNLocator

    names = dict.fromkeys(key for row in rows for key in row["metrics"])
    has_rate = "lr" in names
    figure = _figure(14 if has_rate else 9.5, 3.8)
    panels = figure.subplots(1, 3 if has_rate else 2)
    _draw_accuracy(panels[0], rows)
    _draw_loss(panels[1], rows, names)
    if has_rate:
        _draw_line(panels[2], rows, "lr", color=BLUE)
        panels[2].set(title="Learning rate", ylabel="learning rate")
    for panel in panels:
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    _save(figure, path, title)


def confusion(matrix: Any, class_names: Sequence[str], path: Path, title: str = "") -> None:
    """Draw a confusion matrix (C, C) of counts: rows are the true classes, columns the answers.

    A colour is the share of its true class, a number the count of images.
    """
    import numpy as np

    counts = np.asarray(_on_host(matrix), dtype=float)
    size = len(class_names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(5.0, 0.5 * size + 2), 12.0)
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    # Mistakes are rare: on a linear scale one would not see them.
    picture = axes.imshow(np.sqrt(shares), cmap="cividis", vmin=0, vmax=1)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class (%)")
    bar.set_ticks([math.sqrt(share) for share in (0, 0.01, 0.1, 0.25, 0.5, 1)])
    bar.set_ticklabels(["0", "1", "10", "25", "50", "100"])
    if size <= MAX_WRITTEN_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = _readable_on(picture, math.sqrt(shares[row, column]))
                axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=color)
    if size <= MAX_NAMED_CLASSES:
        names = [_shortened(name, CLASS_LETTERS) for name in class_names]
        long = max(map(len, names)) > 3
        axes.set_xticks(range(size), names, rotation=90 if long else 0)
        axes.set_yticks(range(size), names)
    axes.set(xlabel="predicted class", ylabel="true class")
    right, total = np.trace(counts), counts.sum()
    summary = f"{right:.0f} of {total:.0f} images right ({100 * right / max(total, 1):.2f} %)"
    _save(figure, path, f"{title}\n{summary}" if title else summary)


def heatmap(results: Iterable[Mapping[str, Any]], path: Path) -> bool:
    """Draw val/acc over T and alpha, the mean over seeds, in percent.

    There is a panel for everything else that the sweep varies: a loss, a learning rate.
    ``results`` are rows of `kdsweep.tracking.results_table.collect`; those without an effect of T
    or of alpha are left out, and so are panels of one point. Returns False, and writes nothing,
    if nothing is left.
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
    figure = _figure(columns * width + 1.2, rows * height + 0.4)
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
    _save(figure, path, "Validation accuracy, mean over seeds (%)")
    return True


def samples(images: Any, labels: Any, class_names: Sequence[str], path: Path) -> None:
    """Draw images, uint8 (N, channels, H, W), as a grid with the names of their labels (N,)."""
    import numpy as np

    pixels = np.asarray(_on_host(images)).transpose(0, 2, 3, 1)  # (N, H, W, channels)
    names = [class_names[int(label)] for label in _on_host(labels)]
    columns = min(8, len(names))
    rows = math.ceil(len(names) / columns)
    figure = _figure(1.25 * columns + 0.3, 1.5 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, name in zip(grid, pixels, names, strict=False):
        grey = image.shape[-1] == 1
        axes.imshow(
            image[..., 0] if grey else image,
            cmap="gray" if grey else None,
            vmin=0,
            vmax=255,
            interpolation="nearest",
        )
        axes.set_title(_shortened(name, SAMPLE_LETTERS), fontsize=9)
    _save(figure, path, "Training images, as the students see them")


def _shortened(name: str, letters: int) -> str:
    return name if len(name) <= letters else name[: letters - 1] + "…"


def _figure(width: float, height: float) -> "Figure":
    """An empty figure; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _save(figure: "Figure", path: Path, title: str) -> None:
    if title:
        figure.suptitle(title, fontsize=12)
    save(figure, path, bbox_inches="tight", pad_inches=0.12)


def _draw_line(
    axes: "Axes", rows: Sequence[Row], key: str, *, scale: float = 1, **style: Any
) -> None:
    points = [(row["epoch"], row["metrics"][key]) for row in rows if key in row["metrics"]]
    if not points:
        return
    epochs = [epoch for epoch, _ in points]
    values = [math.nan if value is None else scale * value for _, value in points]
    marker = "o" if len(points) == 1 else None  # a line of one point would not be seen
    axes.plot(epochs, values, **{"label": key, "marker": marker} | style)


def _draw_accuracy(axes: "Axes", rows: Sequence[Row]) -> None:
    _draw_line(axes, rows, "train/acc", scale=100, color=SKY)
    _draw_line(axes, rows, "val/acc", scale=100, color=BLUE)
    _draw_line(axes, rows, "val/agreement", scale=100, color=GREEN, linestyle=":")
    _draw_line(axes, rows, "test/acc", scale=100, color=RED, marker="D", linestyle="none")
    axes.set(title="Accuracy", ylabel="accuracy (%)")
    _legend(axes, "lower right")


def _draw_loss(axes: "Axes", rows: Sequence[Row], names: Iterable[str]) -> None:
    terms = [name for name in names if name.startswith("train/")]
    terms = [name for name in terms if name not in ("train/loss", "train/acc")]
    _draw_line(axes, rows, "train/loss", color=SKY)
    _draw_line(axes, rows, "val/loss", color=BLUE)
    for number, name in enumerate(terms):
        color = (ORANGE, PURPLE, GREEN, GREY)[number % 4]
        _draw_line(axes, rows, name, color=color, linestyle="--", linewidth=1)
    axes.set(title="Loss (terms unscaled)", ylabel="loss (mean per image)")
    _legend(axes, "upper right")


def _legend(axes: "Axes", place: Literal["lower right", "upper right"]) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, fontsize=8, framealpha=0.8)


def _cells_by_panel(results: Iterable[Mapping[str, Any]]) -> dict[str, Cells]:
    """The points of each panel, by what its runs share beside T and alpha: `kl optimizer.lr=0.1`.

    A single point shows no influence of T or alpha. In a search with more keys each run is one.
    """
    panels: dict[str, dict[tuple[float, float], list[float]]] = {}
    for row in results:
        needed = [row.get(key) for key in ("T", "alpha", "val/acc")]
        if row.get("same_as") is None and None not in needed:
            cells = panels.setdefault(without_soft_words(row), defaultdict(list))
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
        axes.text(
            column,
            row,
            f"{mean:.2f}\nn={len(values)}",
            ha="center",
            va="center",
            color=_readable_on(colors, mean),
        )
    axes.imshow(means, origin="lower", aspect="auto", **_scale(colors))
    axes.set_facecolor("0.9")
    axes.set_xticks(range(len(Ts)), [f"{T:g}" for T in Ts])
    axes.set_yticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])


def _draw_points(axes: "Axes", cells: Cells, colors: "ScalarMappable") -> None:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    means = [100 * fmean(values) for values in cells.values()]
    axes.scatter(
        [T for T, _ in cells],
        [alpha for _, alpha in cells],
        c=means,
        s=90,
        edgecolors="black",
        linewidths=0.5,
        **_scale(colors),
    )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)


def _scale(colors: "ScalarMappable") -> dict[str, Any]:
    return {"cmap": colors.cmap, "norm": colors.norm}


def _readable_on(colors: "ScalarMappable", value: float) -> str:
    """Black or white, whichever can be read on the colour of ``value``."""
    import numpy as np

    red, green, blue, _ = colors.to_rgba(np.array([value]))[0]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def _on_host(values: Any) -> Any:
    return values.cpu() if hasattr(values, "cpu") else values
