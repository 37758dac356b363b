"""What a search ends with: the finalists' fresh means, and where everything is."""

from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import optuna
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from kdsweep.config import number
from kdsweep.run import Result
from kdsweep.search.plots import PAGE
from kdsweep.search.space import Space
from kdsweep.sweep.answer import link, ui_command
from kdsweep.sweep.folder import PLOTS
from kdsweep.tracking.files import read_json
from kdsweep.tracking.results import collect, write_csv


class Finalist(NamedTuple):
    """A trial that was run again with seeds that had no part in choosing it."""

    trial: FrozenTrial
    results: list[Result]

    def values(self, key: str) -> list[float]:
        """The fresh runs' values that there are."""
        return [float(r[key]) for r in self.results if r[key] is not None]

    @property
    def searched(self) -> float:
        """What the search saw: too high, for it was chosen for being high."""
        return float(self.trial.value or 0.0)

    @property
    def fresh(self) -> float:
        """Mean val/acc over the fresh seeds; what the search saw if there are none."""
        values = self.values("val/acc")
        return fmean(values) if values else self.searched


def publish(
    study: optuna.Study, space: Space, name: str, folder: Path, finalists: list[Finalist]
) -> None:
    """Write results.csv and optimization_results.yaml, and print the answer."""
    write_csv(collect(folder), folder / "results.csv")
    trials = study.trials
    counts = {state: sum(t.state is state for t in trials) for state in TrialState}
    console = Console()
    found: dict[str, Any] = {"name": "optuna"}
    if len(study.directions) > 1:
        found["solutions"] = [
            {"params": space.values(t.params), "values": t.values} for t in study.best_trials
        ]
        console.print(pareto_table(study, space))
    elif finalists:
        best = max(finalists, key=lambda f: f.fresh)
        found |= {"best_params": space.values(best.trial.params), "best_value": best.fresh}
        console.print(finalist_table(finalists, space))
        console.print(
            "Sorted by the mean over fresh seeds. What the search itself saw is the mean over the"
            " seeds it chose by, and too high.",
            style="dim",
        )
    elif counts[TrialState.COMPLETE]:
        top = study.best_trial
        found |= {"best_params": space.values(top.params), "best_value": top.value}
        console.print(f"best trial {top.number}: {_words(space, top)}, val/acc {top.value:.4f}")
    OmegaConf.save(OmegaConf.create(found), folder / "optimization_results.yaml")
    console.print(
        f"search {name}: {counts[TrialState.COMPLETE]} trials complete,"
        f" {counts[TrialState.PRUNED]} pruned, {counts[TrialState.FAIL]} failed"
    )
    note = read_json(folder / "sweep.json")
    console.print(f"results  {folder / 'optimization_results.yaml'}, {folder / 'results.csv'}")
    if (page := folder / PLOTS / PAGE).is_file():
        console.print(f"plots    {page}")
    if note["tracking_uri"] is not None:
        console.print(f"browse   {ui_command(note['tracking_uri'])}")
        console.print(f"         then {link(note)}", soft_wrap=True)


def finalist_table(finalists: list[Finalist], space: Space) -> Table:
    """The finalists, best fresh mean first, in percent."""
    table = Table("trial", "cell", "val/acc in search", "fresh val/acc", "sd", "n", "test/acc")
    for finalist in sorted(finalists, key=lambda f: -f.fresh):
        fresh, tested = finalist.values("val/acc"), finalist.values("test/acc")
        table.add_row(
            str(finalist.trial.number),
            _words(space, finalist.trial),
            f"{100 * finalist.searched:.2f}",
            f"{100 * finalist.fresh:.2f}",
            f"{100 * stdev(fresh):.2f}" if len(fresh) > 1 else "",
            str(len(fresh)),
            f"{100 * fmean(tested):.2f}" if tested else "",
        )
    return table


def pareto_table(study: optuna.Study, space: Space) -> Table:
    """The trials that no other beats in every objective."""
    table = Table("trial", "cell", "values")
    for trial in study.best_trials:
        values = ", ".join(f"{value:.5g}" for value in trial.values)
        table.add_row(str(trial.number), _words(space, trial), values)
    return table


def _words(space: Space, trial: FrozenTrial) -> str:
    return " ".join(f"{k}={number(v)}" for k, v in space.values(trial.params).items())
