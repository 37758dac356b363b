"""Optuna's plots of a search: a PNG each, and one page with all of them.

The page contains plotly's script once, so that it opens without a network and in MLflow's viewer,
which shows a page without the files next to it.

Optuna draws with pyplot, whose state is global to the process: no other thread may draw meanwhile.
Both of Optuna's drawing modules are imported when something is drawn.
"""

import html
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdsweep.common.files import write_text_atomic
from kdsweep.common.text import format_number
from kdsweep.plotting.drawing import DPI, save_figure, warn_on_failure
from kdsweep.search.space import Space
from kdsweep.sweeps.record import PLOTS

if TYPE_CHECKING:
    from matplotlib.axis import Axis

PAGE = "search.html"
SOFT = ("T", "alpha")
FEW_DECADES = 2.5  # a log axis up to this length has room for 1, 2, 5, 10

Labels = Mapping[str, Sequence[str]]  # of the keys that are searched by position


class Plot(NamedTuple):
    """One call of a plot function of Optuna."""

    name: str
    function: str  # the same in optuna.visualization and in its matplotlib twin
    study: optuna.Study
    options: dict[str, Any]


def draw(study: optuna.Study, space: Space, objectives: Sequence[str], folder: Path) -> None:
    """Write the plots of a search into ``plots/`` of its folder, over existing ones.

    What cannot be drawn is left out with a warning: no plot is worth a search.
    """
    with warn_on_failure("plots of the search"), warnings.catch_warnings():
        # Optuna calls its matplotlib plots experimental, and has since 2020.
        warnings.simplefilter("ignore", ExperimentalWarning)
        if not (plots := plots_of(study, space, objectives)):
            return
        labels = {
            dimension.key: [format_number(value) for value in dimension.ordered]
            for dimension in space.dimensions
            if dimension.ordered is not None
        }
        (folder / PLOTS).mkdir(exist_ok=True)
        for plot in plots:
            with warn_on_failure(f"{plot.name}.png of the search"):
                _write_picture(plot, labels, folder / PLOTS / f"{plot.name}.png")
        _write_page(plots, labels, folder.name, folder / PLOTS / PAGE)


def plots_of(study: optuna.Study, space: Space, objectives: Sequence[str]) -> list[Plot]:
    """The plots for which a study has enough trials that differ.

    Several objectives have a Pareto front, and each has plots of its own.
    """
    if len(objectives) == 1:
        return list(_plots_of_one(_view(study, space, [0]), space, objectives[0], ""))
    whole = _view(study, space, range(len(objectives)))
    plots = []
    if len(objectives) <= 3 and len(_complete(whole)) > 1:
        options = {"target_names": list(objectives)}
        plots = [Plot("pareto_front", "plot_pareto_front", whole, options)]
    for index, objective in enumerate(objectives):
        suffix = f"_{objective.replace('/', '-')}"
        plots += _plots_of_one(_view(study, space, [index]), space, objective, suffix)
    return plots


def _plots_of_one(study: optuna.Study, space: Space, objective: str, suffix: str) -> Iterator[Plot]:
    trials = _complete(study)
    if len(trials) < 2:
        return
    named = {"target_name": objective}
    yield Plot(f"history{suffix}", "plot_optimization_history", study, named)
    keys = [key for key in space.keys if _vary(trials, [key])]
    if keys and len({trial.value for trial in trials}) > 1:
        yield Plot(f"importances{suffix}", "plot_param_importances", study, named)
    if keys:
        yield Plot(f"slice{suffix}", "plot_slice", study, {**named, "params": keys})
    if pair := _pair(trials, space):
        yield Plot(f"contour{suffix}", "plot_contour", study, {**named, "params": pair})


def _pair(trials: Sequence[FrozenTrial], space: Space) -> list[str] | None:
    """The keys of the contour: T and alpha if they vary, otherwise the first two numbers."""
    numbers = [
        d.key for d in space.dimensions if not isinstance(d.distribution, CategoricalDistribution)
    ]
    pairs = [list(pair) for pair in (SOFT, *combinations(numbers, 2))]
    return next((pair for pair in pairs if _vary(trials, pair)), None)


def _vary(trials: Sequence[FrozenTrial], keys: Sequence[str]) -> bool:
    """Whether each key has several values in the trials that have all of them."""
    points = [trial.params for trial in trials if trial.params.keys() >= set(keys)]
    return all(len({params[key] for params in points}) > 1 for key in keys)


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])


def _view(study: optuna.Study, space: Space, objectives: Sequence[int]) -> optuna.Study:
    """A copy of the study in memory, with config keys for names and some of the objectives.

    A study of one objective has a direction; of several, Optuna's plots take each as minimized.
    """

    def copied(trial: FrozenTrial) -> FrozenTrial:
        dimensions = [d for d in space.dimensions if d.name in trial.params]
        is_complete = trial.state is TrialState.COMPLETE
        return create_trial(
            state=trial.state,
            values=[trial.values[index] for index in objectives] if is_complete else None,
            params={d.key: trial.params[d.name] for d in dimensions},
            distributions={d.key: d.distribution for d in dimensions},
        )

    view = optuna.create_study(directions=[study.directions[index] for index in objectives])
    view.add_trials(copied(trial) for trial in study.trials)
    return view


def _write_picture(plot: Plot, labels: Labels, path: Path) -> None:
    import optuna.visualization.matplotlib

    with _pyplot() as pyplot:
        getattr(optuna.visualization.matplotlib, plot.function)(plot.study, **plot.options)
        figure = pyplot.gcf()
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                _set_ticks(axis, labels)
        save_figure(figure, path, dpi=DPI, bbox_inches="tight", pad_inches=0.12)


@contextmanager
def _pyplot() -> Iterator[Any]:
    """pyplot without a window; its figures and settings are restored afterwards."""
    import matplotlib
    from matplotlib import pyplot

    others = pyplot.get_fignums()
    with matplotlib.rc_context({"text.parse_math": False}):
        pyplot.switch_backend("agg")
        try:
            yield pyplot
        finally:
            for figure in set(pyplot.get_fignums()) - set(others):
                pyplot.close(figure)


def _set_ticks(axis: "Axis", labels: Labels) -> None:
    """Values as labels, where matplotlib has positions or powers of ten."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    name = axis.get_label_text()
    if name in labels:
        axis.set_ticks(range(len(labels[name])), labels[name])
    elif name == "Trial":
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    elif axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        is_short = high / low < 10**FEW_DECADES
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_short else (1,)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _write_page(plots: Sequence[Plot], labels: Labels, name: str, path: Path) -> None:
    import optuna.visualization
    from plotly.offline import get_plotlyjs

    title = html.escape(f"Search {name}")
    parts = [
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>",
        "<style>body {font: 1em sans-serif; max-width: 1100px; margin: auto; padding: 1em}</style>",
        f"<script>{get_plotlyjs()}</script></head><body><h1>{title}</h1>",
    ]
    for plot in plots:
        with warn_on_failure(f"{plot.name} on {path.name} of the search"):
            figure = getattr(optuna.visualization, plot.function)(plot.study, **plot.options)
            for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
                if (key := axis.title.text) in labels:
                    axis.update(tickvals=list(range(len(labels[key]))), ticktext=labels[key])
            division = figure.to_html(
                full_html=False,
                include_plotlyjs=False,
                div_id=plot.name,
                default_height="450px",
                config={"displaylogo": False, "responsive": True},
            )
            parts.append(division)
    write_text_atomic(path, "\n".join([*parts, "</body></html>"]))
