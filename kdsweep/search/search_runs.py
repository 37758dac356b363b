"""Trains the runs of a search; equal ones are trained once, by the process that is first."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kdsweep.common.files import write_json_atomic
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.target import RunTarget, recorded_result
from kdsweep.runs.preflight import preflight, refuse_without_validation
from kdsweep.runs.spec import RunSpec
from kdsweep.search.space import Space
from kdsweep.search.trial_runs import TrialRun, TrialRuns
from kdsweep.sweeps.hydra_jobs import HydraJobs
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import find_result, read_result
from kdsweep.tracking.result import RunResult
from kdsweep.work.executor import ExecutorFactory
from kdsweep.work.open_training import OpenTraining

LOCK_SECONDS = 0.2  # between two looks at runs that another controller trains


class SearchRuns(TrialRuns):
    """Trains the runs of one search, those of several groups at the same time.

    Args:
        make_executor: makes what places them on processes; None: this process trains them.
        at_a_time: most units in training; None: as many as the executor has workers.
    """

    def __init__(
        self,
        jobs: HydraJobs,
        context: TrainingContext,
        space: Space,
        folder: Path,
        make_executor: ExecutorFactory | None = None,
        at_a_time: int | None = None,
    ) -> None:
        super().__init__(jobs, space, folder, context.data_sources)
        self.context = context
        self._make_executor, self._at_a_time = make_executor, at_a_time
        self._training: OpenTraining | None = None  # once there is something to train
        self._workers = 1
        self._trained: dict[str, Path] = {}  # fingerprint -> folder of a run that has ended
        self._read: set[Path] = set()
        self._on_epoch: dict[str, EpochCallback] = {}  # of runs in training
        self._ended: dict[str, RunResult] = {}  # that no group has seen yet
        self._blocked: dict[str, str] = {}  # of them, those without a teacher, and why

    def preflight(self, specs: Sequence[RunSpec]) -> None:
        """Build every part once. Raises UserError if one fails, or without a validation set."""
        preflight(specs, self.context.dataset)
        refuse_without_validation(specs, self.context.dataset)

    def has_room(self, groups: int) -> bool:
        """Whether a worker may be idle while so many groups are in training."""
        if not groups:
            return True
        training = self._open_training()
        return groups < self._workers and training.units < self._workers

    def step(self) -> None:
        """Wait a moment for runs to end."""
        if self._training is None or not self._training.units:
            if self.context.stop_in_time is not None:
                self.context.stop_in_time()
            time.sleep(LOCK_SECONDS)  # another controller has what is waited for
            return
        ended = self._training.step()
        self._ended |= ended.results
        self._blocked |= ended.blocked

    def close(self, *, leave: bool = False) -> None:
        """End what is in training, to be resumed; with ``leave``, jobs of a queue continue."""
        if self._training is not None:
            self._training.close(leave=leave)

    def _open_training(self) -> OpenTraining:
        if self._training is None:
            assert self.context.sweep is not None, "the search is open"
            executor = None
            if self._make_executor is not None:
                executor = self._make_executor(self.context.sweep.folder)
                self._workers = self._at_a_time or max(executor.workers, 1)
                if self._workers == 1 and self._at_a_time is None:
                    self.context.progress.note(
                        "one block of trials is in training at a time; search.workers=N has N"
                    )
            self._training = OpenTraining(
                executor,
                self.context,
                capacity=self.jobs.cohort_size,
                at_a_time=self._workers,
                on_epoch=self._epoch,
            )
        return self._training

    def _epoch(self, spec: RunSpec, epochs: int, metrics: dict[str, float]) -> str | None:
        on_epoch = self._on_epoch.get(spec.fingerprint)
        return None if on_epoch is None else on_epoch(spec, epochs, metrics)

    def train(self, runs: Sequence[TrialRun], on_epoch: EpochCallback | None) -> None:
        """Have runs trained that are locked and were not trained before."""
        if on_epoch is not None:
            self._on_epoch |= {run.target.spec.fingerprint: on_epoch for run in runs}
        self._open_training().add([run.target for run in runs])

    def take_result(self, fingerprint: str) -> tuple[RunResult, str | None] | None:
        """The result of a run that has ended, and why it has no teacher; None: in training."""
        if (result := self._ended.pop(fingerprint, None)) is None:
            return None
        self._on_epoch.pop(fingerprint, None)
        return result, self._blocked.pop(fingerprint, None)

    def note_trained(self, target: RunTarget) -> None:
        """A run has ended in this process or one of its workers."""
        self._trained[target.spec.fingerprint] = target.run_dir

    def read_new_results(self) -> None:
        """Read the results that this process has not read yet, of other controllers as well."""
        unread = set(self.folder.glob("*/seed-*/result.json")) - self._read
        for path in sorted(unread, key=lambda path: run_dir.by_number(str(path))):
            result = read_result(path.parent)
            if result is not None and result.same_as is None and not result.with_cohort:
                self._trained.setdefault(str(result.fingerprint), path.parent)
                self._read.add(path)

    def is_trained(self, fingerprint: str) -> bool:
        """Whether an equal run has ended, as far as results have been read."""
        return fingerprint in self._trained

    def is_done(self, target: RunTarget) -> bool:
        """Whether this very run has ended in its folder; what MLflow lacks of it is uploaded."""
        result = recorded_result(target)
        if result is None or result.with_cohort:
            return False
        if result.same_as is None:
            self.context.upload_missing(target.run_dir)
        return True

    def result(self, target: RunTarget) -> RunResult:
        """A run's own result, or that of the equal run that was trained."""
        result = recorded_result(target)
        trained = self._trained.get(target.spec.fingerprint)
        if result is not None and (not result.with_cohort or trained == target.run_dir):
            return result
        assert trained is not None, "an equal run was trained before"
        equal = find_result(trained, target.spec.fingerprint)
        assert equal is not None, "and has a result"
        target.run_dir.mkdir(parents=True, exist_ok=True)
        shared = replace(equal, same_as=str(trained.relative_to(self.folder)))
        write_json_atomic(target.run_dir / run_dir.RESULT, shared.to_json())
        return shared
