"""A search in MLflow: search > trial > run. Nothing here may stop the search."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
from filelock import FileLock
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from kdsweep.config import SearchConfig, number
from kdsweep.report.images import Load
from kdsweep.run import Result
from kdsweep.search.space import Space
from kdsweep.sweep.answer import make_report
from kdsweep.sweep.folder import log_own_files, mark
from kdsweep.tracking.database import first_line
from kdsweep.tracking.mlflow_store import MLflowStore, Status, now_ms
from kdsweep.tracking.recorder import FOLDER_TAG, PRUNED_TAG
from kdsweep.tracking.run_folder import make_row

log = logging.getLogger(__name__)


# A pruned trial is as its runs are: ended by somebody, not by itself.
ENDS: dict[TrialState, Status] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.FAIL: "FAILED",
    TrialState.PRUNED: "KILLED",
}


def ended(trial: FrozenTrial) -> tuple[datetime, int]:
    """When a trial was complete, and its number where that is the same."""
    return trial.datetime_complete or datetime.max, trial.number


class SearchRuns:
    """The search's parent run and one run a trial; each is found again by its folder."""

    def __init__(self, store: MLflowStore | None, parent_id: str | None, folder: Path) -> None:
        self.store, self.parent_id, self.folder = store, parent_id, folder
        self._trials: dict[int, str] = {}

    def describe(self, space: Space, config: DictConfig, options: SearchConfig) -> None:
        """Log what is searched, and how, as params of the search."""
        sweeper = config.hydra.sweeper
        params: dict[str, object] = {
            "sampler": str(sweeper.sampler._target_).rpartition(".")[2],
            "pruner": str((options.pruner or {}).get("_target_")).rpartition(".")[2],
            "seeds": ",".join(map(str, options.seeds)),
            **{f"space.{d.key}": d.words for d in space.dimensions},
        }
        self._quietly(lambda store, parent: store.log_params(parent, params))

    def trial(self, trial: int, name: str, values: Mapping[str, Any]) -> str | None:
        """The MLflow run of a trial, created if there is none."""
        if trial not in self._trials:
            self._quietly(lambda store, parent: self._ensure(store, parent, trial, name, values))
        return self._trials.get(trial)

    def _ensure(
        self,
        store: MLflowStore,
        parent: str,
        trial: int,
        name: str,
        values: Mapping[str, Any],
    ) -> None:
        own = {
            FOLDER_TAG: str((self.folder / str(trial)).absolute()),
            "kdsweep.role": "trial",
        }
        found = store.find_run(own)
        self._trials[trial] = found or store.create_run(
            name=f"trial {trial}: {name}",
            parent_id=parent,
            tags={**own, "kdsweep.cell": name},
            params={key: number(value) for key, value in values.items()},
        )

    def trial_ended(self, trial: int, results: Sequence[Result], state: TrialState) -> None:
        """Log a trial's seeds and their mean, and close it; saying it again changes nothing."""
        run_id = self._trials.get(trial)
        if run_id is None:
            return
        values = {r["seed"]: float(r["val/acc"]) for r in results if r["val/acc"] is not None}
        metrics = {"seeds": float(len(values))}
        if values:
            metrics["val/acc"] = fmean(values.values())
        if len(values) > 1:
            metrics["val/acc_sd"] = stdev(values.values())
        rows = [make_row(0, now_ms(), metrics)]
        rows += [make_row(seed, now_ms(), {"val/acc_of_seed": v}) for seed, v in values.items()]

        def ship(store: MLflowStore, parent: str) -> None:
            store.log_missing(run_id, rows)
            if state is TrialState.PRUNED:
                store.set_tags(run_id, {PRUNED_TAG: "true"})
            store.finish(run_id, ENDS[state])

        self._quietly(ship)

    def best_so_far(self, study: optuna.Study) -> None:
        """Log the best value after so many complete trials, in the order in which they ended."""
        if len(study.directions) > 1:
            return
        pick = max if study.direction is optuna.study.StudyDirection.MAXIMIZE else min
        done = [t for t in study.get_trials(deepcopy=False) if t.state is TrialState.COMPLETE]
        values = [trial.value for trial in sorted(done, key=ended) if trial.value is not None]
        rows = [
            make_row(step, now_ms(), {"best": best})
            for step, best in enumerate(accumulate(values, pick), start=1)
        ]
        with FileLock(self.folder / ".mlflow.lock"):  # else two controllers log a step twice
            self._quietly(lambda store, parent: store.log_missing(parent, rows))

    def report(self, load: Load) -> None:
        """Make the report of the search's runs, in its folder and on its run.

        Args:
            load: gives the data set of a run's config.
        """
        view = make_report(self.folder, self.store, self.parent_id, load)
        mark(self.folder, {"view": view})

    def log_answer(self) -> None:
        """Copy the results and the plots in the search's folder to its run."""
        self._quietly(lambda store, parent: log_own_files(store, parent, self.folder))

    def finish(self, status: Status) -> None:
        """Close the search's run; a search that was stopped closes its open trials, too."""

        def ship(store: MLflowStore, parent: str) -> None:
            if status != "FINISHED":
                for run_id in self._trials.values():
                    if store.is_running(run_id):
                        store.finish(run_id, status)
            store.finish(parent, status)

        self._quietly(ship)

    def _quietly(self, work: Callable[[MLflowStore, str], object]) -> None:
        if self.store is None or self.parent_id is None:
            return
        try:
            work(self.store, self.parent_id)
        except Exception as error:
            log.warning("MLflow did not take something of the search: %s", first_line(error))
