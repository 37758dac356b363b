"""Best use of a search's student trainings: more seeds per trial, or more trials.

A synthetic landscape models validation accuracy over T, alpha and a term's weight: smooth, a few
points from best to worst, with a different optimum in every study. A training adds noise of
`--noise` points, part of which is due to the seed and common to all cells that use it. Every
search method runs on the same studies, and its cost is counted in student trainings, including
those of its finalists. Its regret is the true accuracy of the best cell minus that of its result.

    python benchmarks/search_simulation.py                 # the tables of docs/search.md, 3 minutes
    python benchmarks/search_simulation.py --noise 0.75    # a small or noisy validation set

No decision depends on the remaining budget. Each search is therefore simulated once, with the
largest budget, and its results at smaller budgets are computed from the trainings done by then.
"""

import argparse
import math
import random
import statistics
import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple

import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from rich.console import Console
from rich.table import Table

from kdsweep.common.rng import derive
from kdsweep.search.racing import incumbent, may_be_best, seed_noise

SPACE = {
    "T": optuna.distributions.FloatDistribution(1, 32, log=True),
    "alpha": optuna.distributions.FloatDistribution(0, 1),
    "weight": optuna.distributions.FloatDistribution(0.1, 10, log=True),
}
BATCH = 8  # hydra.sweeper.n_jobs
BUDGETS = (15, 30, 60, 120)
GOALS = (30, 60, 120)  # the others should reach with half of these what stock reaches
SHARED = 0.36  # the share of the noise variance that is due to the seed
FRESH = 1000  # finalists get seeds from here on; the search's own count from 0


class Landscape:
    """True accuracy and noise of one study, the same for every search method."""

    def __init__(self, study: int, noise: float) -> None:
        draw = random.Random(derive("optimum", study)).uniform
        self.study = study
        self.noise = noise
        self.optimum = (draw(0.35, 0.75), draw(0.45, 0.85), draw(0.3, 0.7))

    def regret(self, params: dict[str, float]) -> float:
        """Points below the best, without noise."""
        t, a, w = (
            x - best
            for x, best in zip(
                (
                    math.log(params["T"], 32),
                    params["alpha"],
                    math.log10(params["weight"]) / 2 + 0.5,
                ),
                self.optimum,
                strict=True,
            )
        )
        return 6 * t * t + 3.5 * a * a + 2 * w * w + 3 * t * a

    def accuracy(self, params: dict[str, float], trial: int, seed: int) -> float:
        """Accuracy of this trial's cell with this seed, relative to the best true accuracy."""
        of_seed = random.Random(derive("seed", self.study, seed)).gauss()
        rest = random.Random(derive("rest", self.study, trial, seed)).gauss()
        noise = math.sqrt(SHARED) * of_seed + math.sqrt(1 - SHARED) * rest
        return self.noise * noise - self.regret(params)


class Way(NamedTuple):
    """A search method."""

    name: str
    sampler: Callable[[int], BaseSampler]
    seeds: int = 1
    raced: bool = True  # False: every trial gets all seeds
    reseeded: bool = True  # a new sampler for each trial, seeded from (study, trial)
    finalists: tuple[tuple[int, int], ...] = ((2, 2), (3, 3))  # cells x fresh seeds, to compare
    units: int = max(BUDGETS)


class Search(NamedTuple):
    """A simulated search: its cells, and its trainings in execution order."""

    land: Landscape
    cells: list[dict[str, float]]
    trainings: list[tuple[int, float]]


class Answer(NamedTuple):
    """The result of a search with a budget, and the errors of the figures of its best cell."""

    regret: float  # of the selected cell
    search_bias: float  # search mean - truth, of the cell with the best search mean
    fresh_bias: float  # fresh mean - truth, of the same cell; nan without finalists


def stock(seed: int) -> BaseSampler:
    """TPE with the defaults of hydra-optuna-sweeper."""
    return TPESampler(seed=seed, multivariate=False, constant_liar=False, n_startup_trials=10)


def tpe(seed: int) -> BaseSampler:
    """TPE with the settings of kdsweep."""
    return TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=8)


def gp(seed: int) -> BaseSampler:
    """A Gaussian process that estimates the noise; slow."""
    return GPSampler(seed=seed, n_startup_trials=8, deterministic_objective=False)


STOCK = Way("stock: TPE, 3 seeds", stock, 3, raced=False, reseeded=False, finalists=((0, 0),))
WAYS = (
    Way("TPE, 3 seeds raced", tpe, 3),
    Way("TPE, 2 seeds raced", tpe, 2),
    Way("TPE, 1 seed", tpe, finalists=((0, 0), (2, 2), (3, 2), (3, 3))),
    Way("random, 1 seed", lambda seed: RandomSampler(seed=seed)),
)
GP = Way("GP, 1 seed", gp, units=60)


def search(way: Way, land: Landscape) -> Search:
    """Run a study in batches: suggest, train, report."""
    study = optuna.create_study(direction="maximize")
    only = way.sampler(derive("sampler", land.study) % 2**32)
    cells: list[dict[str, float]] = []
    values: list[list[float]] = []
    trainings: list[tuple[int, float]] = []

    def train(trial: int) -> None:
        values[trial].append(land.accuracy(cells[trial], trial, len(values[trial])))
        trainings.append((trial, values[trial][-1]))

    while len(trainings) < way.units:
        batch = []
        for _ in range(BATCH):
            seed = derive("sampler", land.study, len(cells)) % 2**32
            study.sampler = way.sampler(seed) if way.reseeded else only
            batch.append(study.ask(SPACE))
            cells.append(batch[-1].params)
            values.append([])
        numbers = [trial.number for trial in batch]
        if way.raced:
            race(numbers, values, way.seeds, train)
        else:
            for number in numbers:
                for _ in range(way.seeds):
                    train(number)
        for trial in batch:
            study.tell(trial, statistics.fmean(values[trial.number]))
    return Search(land, cells, trainings)


def race(
    batch: list[int], values: list[list[float]], seeds: int, train: Callable[[int], None]
) -> None:
    """Give a batch its seeds one after the other, each to the trials that may still be best."""
    for _ in range(seeds):
        best, noise = incumbent(values, seeds), seed_noise(values)
        batch = [trial for trial in batch if may_be_best(values[trial], best, noise)]
        for trial in batch:
            train(trial)


def answer(done: Search, budget: int, finalists: int, fresh_seeds: int) -> Answer:
    """Rank by search mean, retrain the best with fresh seeds, select the best fresh mean."""
    land, cells, trainings = done
    values: dict[int, list[float]] = {}
    for trial, value in trainings[: budget - finalists * fresh_seeds]:
        values.setdefault(trial, []).append(value)
    means = {trial: statistics.fmean(scores) for trial, scores in values.items()}
    ranked = sorted(means, key=lambda trial: -means[trial])
    fresh = {
        trial: statistics.fmean(
            land.accuracy(cells[trial], trial, FRESH + i) for i in range(fresh_seeds)
        )
        for trial in ranked[:finalists]
    }
    first = ranked[0]
    winner = max(fresh, key=lambda trial: fresh[trial], default=first)
    truth = -land.regret(cells[first])
    return Answer(
        land.regret(cells[winner]), means[first] - truth, fresh.get(first, math.nan) - truth
    )


Curve = dict[int, list[Answer]]  # budget: one result per study


def curves(way: Way, studies: int, noise: float) -> dict[str, Curve]:
    """Results at every budget that leaves trainings for the search, for each finalist round."""
    searches = [search(way, Landscape(study, noise)) for study in range(studies)]
    by_name = {}
    for finalists, fresh_seeds in way.finalists:
        name = way.name + (f", finalists {finalists} x {fresh_seeds}" if finalists else "")
        cost = finalists * fresh_seeds
        by_name[name] = {
            budget: [answer(done, budget, finalists, fresh_seeds) for done in searches]
            for budget in range(cost + max(finalists, 1), way.units + 1)
        }
    return by_name


def regret(curve: Curve, budget: int) -> float:
    """Mean over the studies."""
    return statistics.fmean(outcome.regret for outcome in curve[budget])


def units_needed(curve: Curve, goal: float) -> int | None:
    """The budget from which on the mean regret stays at or below the goal."""
    enough = None
    for budget in sorted(curve, reverse=True):
        if regret(curve, budget) > goal:
            break
        enough = budget
    return enough


def with_error(values: list[float]) -> str:
    """Mean and its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.3f} ± {error:.3f}"


def regret_table(curves_by_name: dict[str, Curve]) -> Table:
    """Mean regret at each budget."""
    table = _table("Mean true regret in points, by student trainings", BUDGETS)
    for name, curve in curves_by_name.items():
        cells = [
            with_error([one.regret for one in curve[budget]]) if budget in curve else "-"
            for budget in BUDGETS
        ]
        table.add_row(name, *cells)
    return table


def units_table(curves_by_name: dict[str, Curve], reference: Curve) -> Table:
    """Trainings until stock's regret is reached, and as a share of stock's trainings."""
    goals = {units: regret(reference, units) for units in GOALS}
    heads = [f"{units} ({goal:.3f})" for units, goal in goals.items()]
    table = _table("Trainings needed for the regret that stock has after ...", heads)
    for name, curve in curves_by_name.items():
        if curve is reference:
            continue
        cells = []
        for units, goal in goals.items():
            needed = units_needed(curve, goal)
            cells.append("-" if needed is None else f"{needed} = {needed / units:.2f}")
        table.add_row(name, *cells)
    return table


def bias_table(curves_by_name: dict[str, Curve], budget: int) -> Table:
    """Bias of the search mean and of the fresh mean, for the best cell of the search."""
    table = _table(
        f"Selection bias: figure - truth of the search's best cell, {budget} trainings",
        ["its search mean", "its fresh mean"],
    )
    for name, curve in curves_by_name.items():
        search_bias = with_error([one.search_bias for one in curve[budget]])
        fresh = [one.fresh_bias for one in curve[budget]]
        table.add_row(name, search_bias, "-" if math.isnan(fresh[0]) else with_error(fresh))
    return table


def _table(title: str, heads: Iterable[object]) -> Table:
    table = Table(title=title, title_justify="left", title_style="")
    table.add_column("search", no_wrap=True, min_width=35)
    for head in heads:
        table.add_column(str(head), justify="right", no_wrap=True)
    return table


def main() -> None:
    """Simulate all methods and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--noise", type=float, default=0.25, help="sd of one training, in points")
    parser.add_argument("--no-gp", action="store_true", help="leave out the slow row")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

    ways = (STOCK, *WAYS) if options.no_gp else (STOCK, *WAYS, GP)
    curves_by_name: dict[str, Curve] = {}
    for way in ways:
        curves_by_name |= curves(way, options.studies, options.noise)
    console = Console(width=110)
    console.print(f"{options.studies} studies, noise {options.noise:g} points, batches of {BATCH}")
    console.print(regret_table(curves_by_name))
    console.print(units_table(curves_by_name, curves_by_name[STOCK.name]))
    console.print(bias_table(curves_by_name, 60))


if __name__ == "__main__":
    main()
