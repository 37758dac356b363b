"""How much of the variation of accuracy each swept key explains: Optuna's fANOVA.

A random forest is fitted to the runs, and its variance is taken apart by key (Hutter, Hoos and
Leyton-Brown, ICML 2014). The seed is one of the keys where there are several: what matters less
than the seed has not been shown to matter.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kdsweep.plotting.palette import BLUE, GREY
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.sections.section import Section
from kdsweep.report.sections.style import canvas, finished, label
from kdsweep.report.sources.collection import Evidence

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from plotly.graph_objects import Figure

TITLE = "What mattered"
FEWEST_CELLS = 4
MOST_RUNS = 300  # a forest of more takes many seconds and says the same
LOG_FROM = 4  # a key whose largest value is as many times its smallest is taken on a log scale
SEED = "seed"
WORD = re.compile(r" (?=[@+\w./]+=)")  # the space before `key=`; values may hold spaces themselves

Words = dict[str, str]  # key -> value, as on the command line


def section(evidence: Evidence, grid: Grid) -> Section | None:
    """The importances; None with fewer than two varying keys or too few cells."""
    cells = comparable(finished(grid))
    keys = varying([words(cell) for cell in cells])
    runs = _some([run for cell in cells for run in _runs(cell, keys)])
    if len(keys) < 2 or len(cells) < FEWEST_CELLS or len({acc for _, acc in runs}) < 2:
        return None
    found = importances(runs)
    told = f"{len(runs)} runs of {len(cells)} cells with the same keys"
    return Section(TITLE, _sentences(found, grid, told), figures=[_figure(found)])


def words(cell: Cell) -> Words:
    """`kl T=4 optimizer.lr=0.1` by key; the first word is the loss."""
    loss, *others = WORD.split(cell.name)
    return {"loss": loss, **dict(word.split("=", 1) for word in others)}


def comparable(cells: Sequence[Cell]) -> list[Cell]:
    """The largest group of cells that have the same keys: cross-entropy has no T to vary."""
    groups = Counter(frozenset(words(cell)) for cell in cells)
    if not groups:
        return []
    largest = max(groups, key=lambda keys: (groups[keys], len(keys)))
    return [cell for cell in cells if frozenset(words(cell)) == largest]


def varying(found: Sequence[Words]) -> list[str]:
    """The keys with several values, in the order of the cells' words."""
    return [key for key in (found[0] if found else ()) if len({w[key] for w in found}) > 1]


Told = tuple[Words, float]  # a run's keys, the seed among them, and its test/acc


def _runs(cell: Cell, keys: Sequence[str]) -> list[Told]:
    values = {key: words(cell)[key] for key in keys}
    done = (row for row in cell.rows if row["status"] == "FINISHED" and row["test/acc"] is not None)
    return [({**values, SEED: str(row["seed"])}, float(row["test/acc"])) for row in done]


def _some(runs: Sequence[Told]) -> Sequence[Told]:
    """All runs, or as many as are worth their time, drawn at random."""
    return runs if len(runs) <= MOST_RUNS else random.Random(0).sample(runs, MOST_RUNS)


def importances(runs: Sequence[Told]) -> dict[str, float]:
    """Key -> share of the variance that it alone explains, largest first; they add up to 1."""
    import optuna
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
            params={key: _value(values[key], distributions[key]) for key in keys},
            distributions=distributions,
            value=accuracy,
        )
        for values, accuracy in runs
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found: Mapping[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in found.items()}


def _distribution(values: Sequence[str]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return CategoricalDistribution(sorted(set(values)))
    low, high = min(numbers), max(numbers)
    return FloatDistribution(low, high, log=low > 0 and high / low >= LOG_FROM)


def _value(text: str, distribution: "BaseDistribution") -> float | str:
    from optuna.distributions import FloatDistribution

    return float(text) if isinstance(distribution, FloatDistribution) else text


def _sentences(found: Mapping[str, float], grid: Grid, told: str) -> list[str]:
    first = next(iter(found))
    said = [
        f"{first} explains most of the variation of accuracy on test: {100 * found[first]:.0f} % of"
        f" what the keys explain one by one, over {told}. A forest is fitted to few runs: read it"
        " as an order, not as a measurement.",
    ]
    below = [key for key in found if key != SEED and found[key] < found.get(SEED, 0.0)]
    if below:
        said.append(f"Less than the seed explains: {', '.join(below)}.")
    if grid.seeds < 2:
        said.append("One seed each: how much of it is noise cannot be told.")
    return said


def _figure(found: Mapping[str, float]) -> "Figure":
    from plotly.graph_objects import Bar

    keys = list(found)[::-1]
    figure = canvas(height=110 + 34 * len(keys))
    figure.add_trace(
        Bar(
            x=[100 * found[key] for key in keys],
            y=[label(key) for key in keys],
            orientation="h",
            text=[f"{100 * found[key]:.0f} %" for key in keys],
            textposition="outside",
            cliponaxis=False,
            marker={"color": [GREY if key == SEED else BLUE for key in keys]},
            hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="share of the explained variation (%)", rangemode="tozero")
    figure.update_yaxes(showgrid=False)
    return figure
