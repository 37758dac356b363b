"""A search in MLflow: search > trial > run. Nothing here waits for MLflow, or stops the search.

Everything is written to the folders of the search and its trials first.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from kdsweep.common.text import format_number
from kdsweep.config.schema import SearchConfig
from kdsweep.search.space import Space
from kdsweep.tracking.metadata import TRIAL, read_trial_metadata
from kdsweep.tracking.mlflow import trial_sync
from kdsweep.tracking.mlflow.run_end import PRUNED_TAG
from kdsweep.tracking.mlflow.run_of_file import close_run, ensure_run, no_other_uploads
from kdsweep.tracking.mlflow.store import MLflowStore, Status, now_ms
from kdsweep.tracking.mlflow.upload_queue import UploadQueue
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import make_row

# A pruned trial has the status of its pruned runs.
ENDS: dict[TrialState, Status] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.FAIL: "FAILED",
    TrialState.PRUNED: "KILLED",
}


def ended(trial: FrozenTrial) -> tuple[datetime, int]:
    """Sort key: when a trial was complete, then its number."""
    return trial.datetime_complete or datetime.max, trial.number


class SearchLogger:
    """The search's parent run and a run for each trial, identified by their folders.

    Without an upload queue the calling thread writes to MLflow.
    """

    def __init__(
        self,
        store: MLflowStore | None,
        parent_id: str | None,
        folder: Path,
        uploads: UploadQueue | None = None,
    ) -> None:
        self.store, self.parent_id, self.folder = store, parent_id, folder
        self._uploads = uploads or UploadQueue(threaded=False)
        self._begun: set[int] = set()  # trials of this process

    @property
    def own_trials(self) -> set[Path]:
        """The folders of the trials that this process has started or resumed."""
        return {self._folder_of(trial) for trial in self._begun}

    def describe(self, space: Space, config: DictConfig, options: SearchConfig) -> None:
        """Log what is searched, and how, as params of the search."""
        sweeper = config.hydra.sweeper
        params: dict[str, object] = {
            "sampler": str(sweeper.sampler._target_).rpartition(".")[2],
            "pruner": str((options.pruner or {}).get("_target_")).rpartition(".")[2],
            "seeds": ",".join(map(str, options.seeds)),
            **{f"space.{d.key}": d.description for d in space.dimensions},
        }
        trial_sync.save_search_metadata(self.folder, params=params)
        self._upload(self._sync_search)

    def trial(self, trial: int, name: str, values: Mapping[str, Any]) -> None:
        """Log the start of a trial, or that it is resumed."""
        folder = self._folder_of(trial)
        if trial not in self._begun:
            self._begun.add(trial)
            trial_sync.begin_trial(
                folder,
                f"trial {trial}: {name}",
                {"kdsweep.cell": name},
                {key: format_number(value) for key, value in values.items()},
            )
        if (read_trial_metadata(folder) or {}).get("mlflow_run_id") is None:
            self._upload(lambda store: ensure_run(store, folder / TRIAL))

    def trial_ended(self, trial: int, results: Sequence[RunResult], state: TrialState) -> None:
        """Log a trial's seeds and their mean, and close it; a second call changes nothing."""
        if trial not in self._begun:
            return
        accs = {r.seed: r.val_acc for r in results}
        values = {s: acc for s, acc in accs.items() if s is not None and acc is not None}
        metrics = {"seeds": float(len(values))}
        if values:
            metrics["val/acc"] = fmean(values.values())
        if len(values) > 1:
            metrics["val/acc_sd"] = stdev(values.values())
        rows = [make_row(0, now_ms(), metrics)]
        rows += [make_row(seed, now_ms(), {"val/acc_of_seed": v}) for seed, v in values.items()]
        tags = {PRUNED_TAG: "true"} if state is TrialState.PRUNED else {}
        self._end(trial, ENDS[state], tags, rows)

    def _end(
        self, trial: int, status: Status, tags: Mapping[str, str], rows: Sequence[Any]
    ) -> None:
        folder = self._folder_of(trial)
        trial_sync.end_trial(folder, status, tags, rows)
        self._upload(partial(trial_sync.sync_trial, folder))

    def best_so_far(self, study: optuna.Study) -> None:
        """Log the best value after each complete trial, in the order in which they ended."""
        if len(study.directions) > 1:
            return
        pick = max if study.direction is optuna.study.StudyDirection.MAXIMIZE else min
        done = [t for t in study.get_trials(deepcopy=False) if t.state is TrialState.COMPLETE]
        values = [trial.value for trial in sorted(done, key=ended) if trial.value is not None]
        rows = [
            make_row(step, now_ms(), {"best": best})
            for step, best in enumerate(accumulate(values, pick), start=1)
        ]
        trial_sync.save_search_metadata(self.folder, rows=rows)
        self._upload(self._sync_search)

    def stopped(self, status: Status) -> None:
        """Close the open trials of this process, because the search was stopped."""
        for trial in sorted(self._begun):
            note = read_trial_metadata(self._folder_of(trial)) or {}
            if not note or "status" in note:  # it has not begun, or has ended
                continue
            try:
                self._end(trial, status, {}, [])
            except OSError:  # a full disk: at least MLflow's run is closed
                self._upload(partial(close_run, path=self._folder_of(trial) / TRIAL, status=status))

    def _folder_of(self, trial: int) -> Path:
        return self.folder / str(trial)

    def _sync_search(self, store: MLflowStore) -> None:
        if self.parent_id is not None:
            with no_other_uploads(self.folder):  # or two controllers log a step twice
                trial_sync.sync_search(self.folder, store, self.parent_id)

    def _upload(self, work: Callable[[MLflowStore], object]) -> None:
        if (store := self.store) is not None and self.parent_id is not None:
            self._uploads.submit("the search", lambda: work(store), folder=self.folder)
