"""How much of the variation of accuracy each swept key explains.

In a complete grid these are the main effects of an analysis of variance (Fisher 1925): the variance
of the means of a key's values. Of other runs it is Optuna's fANOVA: a random forest is fitted, and
its variance is taken apart by key (Hutter, Hoos and Leyton-Brown, ICML 2014). The seed is one of
the keys where there are several: what matters less than the seed has not been shown to matter.
"""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, pvariance
from typing import TYPE_CHECKING

from kdsweep.common.cells import CellName
from kdsweep.plotting.palette import BLUE, GREY
from kdsweep.report.analysis.aggregate import Cell, Grid, values_by_seed
from kdsweep.report.sections.section import Figure, Section
from kdsweep.report.sections.style import canvas, label
from kdsweep.report.sources.collection import RunCollection

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

TITLE = "What mattered"
FEWEST_CELLS = 4
MOST_RUNS = 300  # a forest of more takes many seconds and gives the same
LOG_FROM = 4  # a key whose largest value is as many times its smallest is taken on a log scale
SEED = "seed"

Settings = dict[str, str]  # key -> value, as on the command line
Measured = tuple[Settings, float]  # a run's settings, its seed among them, and its test/acc


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """The importances; None with fewer than two varying keys or too few cells."""
    cells = comparable(grid.finished)
    keys = varying([settings(cell) for cell in cells])
    runs: list[Measured] = [
        ({key: settings(cell)[key] for key in keys} | {SEED: str(seed)}, accuracy)
        for cell in cells
        for seed, accuracy in values_by_seed(cell.rows, "test/acc").items()
    ]
    if len(keys) < 2 or len(cells) < FEWEST_CELLS or len({acc for _, acc in runs}) < 2:
        return None
    if (exact := main_effects(runs)) is None and len(runs) > MOST_RUNS:
        runs = random.Random(0).sample(runs, MOST_RUNS)
    shares = exact or importances(runs)
    first = next(iter(shares))
    sentences = [
        f"{first} explains most of the variation of accuracy on test: {100 * shares[first]:.0f} %"
        f" of what the keys explain one by one, over {len(runs)} runs of {len(cells)} cells with"
        " the same keys."
    ]
    if exact is None:
        sentences[0] += (
            " A forest is fitted to few runs: read it as an order, not as a measurement."
        )
    below = [key for key in shares if key != SEED and shares[key] < shares.get(SEED, 0.0)]
    if below:
        sentences.append(f"Less than the seed explains: {', '.join(below)}.")
    if grid.seeds < 2:
        sentences.append("One seed each: how much of it is noise is not known.")
    return Section(TITLE, sentences, figures=[_figure(shares)])


def settings(cell: Cell) -> Settings:
    """`kl T=4 optimizer.lr=0.1` by key, the loss among them."""
    name = CellName.parse(cell.name)
    return {"loss": name.loss, **name.settings}


def comparable(cells: Sequence[Cell]) -> list[Cell]:
    """The largest group of cells that have the same keys: cross-entropy has no T to vary."""
    groups = Counter(frozenset(settings(cell)) for cell in cells)
    largest = max(groups, key=lambda keys: (groups[keys], len(keys)), default=None)
    return [cell for cell in cells if frozenset(settings(cell)) == largest]


def varying(every: Sequence[Settings]) -> list[str]:
    """The keys with several values, in the order of the first."""
    return [key for key in (every[0] if every else ()) if len({each[key] for each in every}) > 1]


def main_effects(runs: Sequence[Measured]) -> dict[str, float] | None:
    """Key -> share of the variance that it alone explains, largest first; they add up to 1.

    None unless there is one run of each combination of values, or if no key explains anything.
    """
    keys = varying([values for values, _ in runs])
    levels = {key: {values[key] for values, _ in runs} for key in keys}
    points = {tuple(values[key] for key in keys) for values, _ in runs}
    if not len(runs) == len(points) == math.prod(map(len, levels.values())):
        return None
    effects = {
        key: pvariance(
            fmean(accuracy for values, accuracy in runs if values[key] == level) for level in each
        )
        for key, each in levels.items()
    }
    total = math.fsum(effects.values())
    if total == 0:
        return None
    return {key: effects[key] / total for key in sorted(effects, key=effects.__getitem__)[::-1]}


def importances(runs: Sequence[Measured]) -> dict[str, float]:
    """As `main_effects`, of any runs; approximately, as by a forest."""
    import optuna  # with scikit-learn, which takes a second to import
    from optuna.distributions import FloatDistribution
    from optuna.trial import create_trial

    keys = varying([values for values, _ in runs])
    distributions = {key: _distribution([values[key] for values, _ in runs]) for key in keys}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(
        create_trial(
            params={
                key: float(values[key]) if isinstance(of, FloatDistribution) else values[key]
                for key, of in distributions.items()
            },
            distributions=distributions,
            value=accuracy,
        )
        for values, accuracy in runs
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares: Mapping[str, float] = optuna.importance.get_param_importances(
        study, evaluator=evaluator
    )
    return {key: float(share) for key, share in shares.items()}


def _distribution(values: Sequence[str]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return CategoricalDistribution(sorted(set(values)))
    low, high = min(numbers), max(numbers)
    return FloatDistribution(low, high, log=low > 0 and high / low >= LOG_FROM)


def _figure(shares: Mapping[str, float]) -> Figure:
    keys = list(shares)[::-1]
    figure = canvas(height=110 + 34 * len(keys))
    figure.add_bar(
        x=[100 * shares[key] for key in keys],
        y=[label(key) for key in keys],
        orientation="h",
        text=[f"{100 * shares[key]:.0f} %" for key in keys],
        textposition="outside",
        cliponaxis=False,
        marker={"color": [GREY if key == SEED else BLUE for key in keys]},
        hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
    )
    figure.update_xaxes(title_text="share of the explained variation (%)", rangemode="tozero")
    figure.update_yaxes(showgrid=False)
    return figure
