"""The results of a search: its best trials, the finalists' fresh means, and where the files are."""

from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import optuna
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kdsweep.common.text import format_number
from kdsweep.search.plan import SearchPlan
from kdsweep.search.plots import PAGE
from kdsweep.sweeps.callbacks import show_mlflow_page
from kdsweep.sweeps.record import PLOTS
from kdsweep.tracking.metadata import read_sweep_metadata
from kdsweep.tracking.printing import print_line, print_table
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.results_table import CSV, REPORT, collect, write_csv


class Finalist(NamedTuple):
    """A trial that was trained again with seeds that had no part in choosing it."""

    trial: FrozenTrial
    results: list[RunResult]

    def values(self, key: str) -> list[float]:
        """The values of the fresh runs that are finished."""
        return [float(r.to_json()[key]) for r in self.results if r.status == "FINISHED"]

    @property
    def searched(self) -> float:
        """The mean in the search: biased upwards, because the trial was chosen by it."""
        return float(self.trial.value or 0.0)

    @property
    def fresh(self) -> float | None:
        """Mean val/acc over the fresh seeds; None if no fresh run is finished."""
        values = self.values("val/acc")
        return fmean(values) if values else None


class SearchSummary:
    """The trials of a search so far, printed and written to its folder."""

    def __init__(self, plan: SearchPlan, study: optuna.Study) -> None:
        self.plan, self.study = plan, study
        self.objectives = plan.options.objectives
        self.trials = study.get_trials(deepcopy=False)

    def count(self, state: TrialState) -> int:
        """How many trials have a state."""
        return sum(trial.state is state for trial in self.trials)

    def publish(self, finalists: list[Finalist], *, is_stopped: bool) -> None:
        """Write results.csv and optimization_results.yaml, and print a summary."""
        console, folder = Console(), self.plan.folder
        write_csv(collect(folder), folder / CSV)
        best = {"name": "optuna", **self._show_best(console, finalists)}
        OmegaConf.save(OmegaConf.create(best), folder / "optimization_results.yaml")
        print_line(
            console,
            f"search {self.plan.name}: {self.count(TrialState.COMPLETE)} trials complete,"
            f" {self.count(TrialState.PRUNED)} pruned, {self.count(TrialState.FAIL)} failed",
        )
        if is_stopped:
            console.print(
                f"stopped, of {self.plan.n_trials} trials in all; the same command resumes it"
            )
        _show_places(console, folder)

    def _show_best(self, console: Console, finalists: list[Finalist]) -> dict[str, Any]:
        """Print the best trials, and return them as optimization_results.yaml has them."""
        if len(self.objectives) > 1:
            front, values = self.study.best_trials, self.plan.space.values
            table = Table("trial", "cell", *self.objectives)  # the trials that no other dominates
            for trial in front:
                numbers = (f"{value:.5g}" for value in trial.values)
                table.add_row(str(trial.number), escape(self._cell(trial)), *numbers)
            print_table(console, table)
            return {"solutions": [{"params": values(t.params), "values": t.values} for t in front]}
        if finalists:
            print_table(console, self.finalist_table(finalists))
            console.print(
                "Sorted by the mean over fresh seeds. The mean in the search is over the seeds"
                " that the finalists were chosen by, and too high.",
                style="dim",
            )
            best = min(finalists, key=_order)
            if best.fresh is not None:
                return self._best(best.trial, best.fresh)
        if not self.count(TrialState.COMPLETE):
            return {}
        top = self.study.best_trial
        print_line(
            console,
            f"best trial {top.number}: {self._cell(top)}, {self.objectives[0]} {top.value:.5g},"
            f" in the search (n = {top.user_attrs.get('n', 1)})",
        )
        return self._best(top, top.value)

    def _best(self, trial: FrozenTrial, value: float | None) -> dict[str, Any]:
        return {"best_params": self.plan.space.values(trial.params), "best_value": value}

    def finalist_table(self, finalists: list[Finalist]) -> Table:
        """The finalists, best fresh mean first, in percent."""
        table = Table("trial", "cell", "val/acc in search", "fresh val/acc", "sd", "n", "test/acc")
        for finalist in sorted(finalists, key=_order):
            fresh, tested = finalist.values("val/acc"), finalist.values("test/acc")
            table.add_row(
                str(finalist.trial.number),
                escape(self._cell(finalist.trial)),
                f"{100 * finalist.searched:.2f}",
                f"{100 * fmean(fresh):.2f}" if fresh else "all failed",
                f"{100 * stdev(fresh):.2f}" if len(fresh) > 1 else "",
                str(len(fresh)),
                f"{100 * fmean(tested):.2f}" if tested else "",
            )
        return table

    def _cell(self, trial: FrozenTrial) -> str:
        return " ".join(
            f"{k}={format_number(v)}" for k, v in self.plan.space.values(trial.params).items()
        )


def _order(finalist: Finalist) -> tuple[bool, float]:
    """The best fresh mean first, those without one last."""
    return finalist.fresh is None, -(finalist.fresh or 0.0)


def _show_places(console: Console, folder: Path) -> None:
    """Print where the files and pages are."""
    files = f"{folder / 'optimization_results.yaml'}, {folder / CSV}"
    print_line(console, f"results  {files}")
    if (page := folder / PLOTS / PAGE).is_file():
        print_line(console, f"plots    {page}")
    if (report := folder / REPORT).is_file():
        print_line(console, f"report   {report}")
    note = read_sweep_metadata(folder)
    if note is not None:
        show_mlflow_page(note, console)
