"""Whether T and alpha act independently: what is left of the means after their additive effects.

The mean of a box is taken apart as grand mean + effect of T + effect of alpha + interaction, the
two-way analysis of variance of a complete table. Whether the interaction is more than the noise of
the seeds is tested by the same analysis with repeated measures (statsmodels' AnovaRM), the seeds
being the subjects, measured in every box.
"""

from dataclasses import dataclass
from itertools import product
from statistics import fmean

from kdsweep.report.analysis.aggregate import Grid, values_by_seed
from kdsweep.report.analysis.statistics import ALPHA
from kdsweep.report.sections.panels import Panel, panels
from kdsweep.report.sections.section import Figure, Section
from kdsweep.report.sections.style import canvas, color_bar, percent
from kdsweep.report.sources.collection import RunCollection

TITLE = "Interaction of T and alpha"
MOST_BOXES = 64
ROUNDING = 1e-12  # of accuracies, which are fractions
# Blue is below, orange above what the additive effects give; both ends differ in lightness from
# the middle and are distinct for every kind of colour vision.
DIVERGING = [[0.0, "#0072B2"], [0.5, "#ffffff"], [1.0, "#D55E00"]]


@dataclass(frozen=True)
class Effects:
    """The parts of a table of means; all in points of accuracy."""

    of_T: dict[float, float]
    of_alpha: dict[float, float]
    rest: dict[tuple[float, float], float]  # the interaction

    @property
    def shares(self) -> tuple[float, float, float]:
        """Of the variation between the boxes: T, alpha, interaction; they add up to 1."""
        T = len(self.of_alpha) * sum(effect**2 for effect in self.of_T.values())
        alpha = len(self.of_T) * sum(effect**2 for effect in self.of_alpha.values())
        rest = sum(effect**2 for effect in self.rest.values())
        total = T + alpha + rest
        if total < 1e-12:
            return 0.0, 0.0, 0.0
        return T / total, alpha / total, rest / total


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The interaction in the panel of the best cell; None without a complete table there."""
    panel = next(iter(panels(grid)), None)
    if panel is None or not panel.is_complete or len(panel.cells) > MOST_BOXES:
        return None
    parts = effects(panel)
    sentences = [_size(panel, parts), _significance(panel)]
    return Section(TITLE, sentences, figures=[_figure(parts)])


def effects(panel: Panel) -> Effects:
    """Additive effects of T and alpha on the mean on test, and the residuals."""
    middle = panel.grand_mean
    of_T = {T: fmean(panel.mean(T, alpha) for alpha in panel.alphas) - middle for T in panel.Ts}
    of_alpha = {
        alpha: fmean(panel.mean(T, alpha) for T in panel.Ts) - middle for alpha in panel.alphas
    }
    rest = {
        (T, alpha): panel.mean(T, alpha) - middle - of_T[T] - of_alpha[alpha]
        for T, alpha in panel.cells
    }
    return Effects(
        {T: percent(effect) for T, effect in of_T.items()},
        {alpha: percent(effect) for alpha, effect in of_alpha.items()},
        {point: percent(effect) for point, effect in rest.items()},
    )


def _size(panel: Panel, parts: Effects) -> str:
    of_T, of_alpha, of_both = parts.shares
    if of_T + of_alpha + of_both == 0:
        return f"{panel.name}: all boxes have the same mean on test."
    largest = max(abs(effect) for effect in parts.rest.values())
    return (
        f"{panel.name}: of the variation between the boxes T alone explains {100 * of_T:.0f} %,"
        f" alpha alone {100 * of_alpha:.0f} %, their interaction {100 * of_both:.0f} %: no box is"
        f" further than {largest:.2f} points from what the two effects add up to."
    )


def _significance(panel: Panel) -> str:
    seeds = shared_seeds(panel)
    if len(seeds) < 2:
        return "Fewer than two seeds are shared by all boxes: the interaction may be noise alone."
    p = p_of_interaction(panel, seeds)
    if p is None:
        return "There is no spread over the seeds by which to judge it."
    verdict = "more than seeds explain" if p < ALPHA else "not shown to be more than seeds explain"
    return (
        f"The interaction is {verdict}: p = {p:.3g} (repeated-measures ANOVA over {len(seeds)}"
        " seeds, sphericity assumed)."
    )


def shared_seeds(panel: Panel) -> list[int]:
    """The seeds that finished in every box."""
    per_box = [set(values_by_seed(cell.rows, "test/acc")) for cell in panel.cells.values()]
    return sorted(set.intersection(*per_box))


def p_of_interaction(panel: Panel, seeds: list[int]) -> float | None:
    """Of the F-test of T:alpha within seeds; None where there is no spread to test by."""
    import numpy as np
    from pandas import DataFrame
    from statsmodels.stats.anova import AnovaRM

    measured = {point: values_by_seed(cell.rows, "test/acc") for point, cell in panel.cells.items()}
    points = list(product(panel.Ts, panel.alphas))
    boxes = np.array([[measured[point][seed] for point in points] for seed in seeds])
    cube = boxes.reshape(len(seeds), len(panel.Ts), len(panel.alphas))
    for axis in range(3):  # the residual is the error of the test
        cube = cube - cube.mean(axis=axis, keepdims=True)
    if np.abs(cube).max() < ROUNDING:
        return None
    rows = [
        {"seed": seed, "T": T, "alpha": alpha, "acc": measured[T, alpha][seed]}
        for (T, alpha), seed in product(points, seeds)
    ]
    anova = AnovaRM(DataFrame(rows), "acc", "seed", within=["T", "alpha"]).fit().anova_table
    return float(anova.loc["T:alpha", "Pr > F"])


def _figure(parts: Effects) -> Figure:
    Ts, alphas = list(parts.of_T), list(parts.of_alpha)
    figure = canvas(height=max(270, 60 * len(alphas) + 150))
    most = max(0.05, *(abs(effect) for effect in parts.rest.values()))
    figure.add_heatmap(
        x=[f"{T:g}" for T in Ts],
        y=[f"{alpha:g}" for alpha in alphas],
        z=[[parts.rest[T, alpha] for T in Ts] for alpha in alphas],
        texttemplate="%{z:+.2f}",
        hovertemplate="T=%{x} alpha=%{y}: %{z:+.2f} points<extra></extra>",
        colorscale=DIVERGING,
        zmin=-most,
        zmax=most,
        colorbar=color_bar("interaction (points)"),
        xgap=2,
        ygap=2,
    )
    category = {"type": "category", "showgrid": False}
    ticks = [f"{T:g}<br>({effect:+.2f})" for T, effect in parts.of_T.items()]
    figure.update_xaxes(**category, tickvals=[f"{T:g}" for T in Ts], ticktext=ticks)
    figure.update_xaxes(title_text="T (its effect, points)")
    ticks = [f"{alpha:g} ({effect:+.2f})" for alpha, effect in parts.of_alpha.items()]
    figure.update_yaxes(**category, tickvals=[f"{alpha:g}" for alpha in alphas], ticktext=ticks)
    figure.update_yaxes(title_text="alpha (its effect, points)")
    return figure
