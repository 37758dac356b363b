"""Trains the runs of a search; equal ones are trained once, by the process that is first."""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.utils import JobReturn

from kdsweep.common.files import write_json_atomic
from kdsweep.errors import UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.target import RunTarget, recorded_result
from kdsweep.runs.preflight import preflight, refuse_without_validation
from kdsweep.runs.spec import RunSpec
from kdsweep.search.space import Space
from kdsweep.search.trial_runs import TrialRun, TrialRuns
from kdsweep.sweeps.hydra_jobs import HydraJobs
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import find_result, read_fingerprint, read_result
from kdsweep.tracking.result import RunResult
from kdsweep.work.executor import ExecutorFactory
from kdsweep.work.open_training import OpenTraining

LOCK_SECONDS = 0.2  # between two looks at runs that another controller trains


class RunCache(TrialRuns):
    """Trains the runs of one search, batches of them at the same time.

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
        self._ended: dict[str, RunResult] = {}  # that no batch has seen yet
        self._blocked: dict[str, str] = {}  # of them, those without a teacher, and why

    def preflight(self, specs: Sequence[RunSpec]) -> None:
        """Build every part once. Raises UserError if one fails, or without a validation set."""
        preflight(specs, self.context.dataset)
        refuse_without_validation(specs, self.context.dataset)

    def begin(self, runs: Sequence[TrialRun], on_epoch: EpochCallback | None = None) -> "Batch":
        """Have runs trained, as far as they have not been; `step` does so.

        ``on_epoch`` may stop single ones early. Raises UserError if a trial's folder holds another
        run, which another search of this name has left.
        """
        for _, target in runs:
            if read_fingerprint(target.run_dir) not in (None, target.spec.fingerprint):
                raise UserError(
                    f"search.name must be another one, or {target.run_dir} be moved away: that"
                    f" folder holds another run than {target.spec.name} (other data, or another"
                    " search of this name)"
                )
        return Batch(self, runs, on_epoch)

    def has_room(self, batches: int) -> bool:
        """Whether a worker may be idle while so many batches are in training."""
        if not batches:
            return True
        training = self._open_training()
        return batches < self._workers and training.units < self._workers

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


class Batch:
    """Runs that are trained in as few cohorts as possible.

    A run that another process is training, or another batch, is waited for, not trained again.
    """

    def __init__(
        self, cache: RunCache, runs: Sequence[TrialRun], on_epoch: EpochCallback | None
    ) -> None:
        self._cache, self._runs, self._on_epoch = cache, list(runs), on_epoch
        self._waiting: dict[str, TrialRun] = {}  # by fingerprint
        for run in runs:
            fingerprint = run.target.spec.fingerprint
            if fingerprint not in self._waiting and not cache.is_done(run.target):
                self._waiting[fingerprint] = run
        self._in_training: dict[str, tuple[TrialRun, JobReturn]] = {}
        self._locks: dict[str, FileLock] = {}
        self._has_trained = False
        self._reasons: set[str] = set()  # why there was nothing to train

    def advance(self) -> bool:
        """Begin with the runs that are free by now; whether all have ended.

        Raises UserError if a teacher that all of them need could not be trained.
        """
        if free := self._lock_free():
            self._cache.read_new_results()
            self._begin([run for key, run in free.items() if not self._cache.is_trained(key)])
            self._unlock(free.keys() - self._in_training.keys())
        for fingerprint in list(self._in_training):
            if (ended := self._cache.take_result(fingerprint)) is not None:
                self._end(fingerprint, *ended)
        if self._waiting or self._in_training:
            return False
        if self._reasons and not self._has_trained:
            raise UserError("\n".join(sorted(self._reasons)))
        return True

    def results(self) -> list[RunResult]:
        """In the order of the runs."""
        return [self._cache.result(run.target) for run in self._runs]

    def release(self) -> None:
        """Have another process train what has not ended."""
        self._unlock(list(self._locks))

    def _lock_free(self) -> dict[str, TrialRun]:
        """The runs that no process trains; they are locked."""
        folder = self._cache.folder / ".locks"
        folder.mkdir(exist_ok=True)
        free: dict[str, TrialRun] = {}
        for fingerprint, run in self._waiting.items():
            lock = FileLock(folder / fingerprint)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            self._locks[fingerprint], free[fingerprint] = lock, run
        self._waiting = {key: run for key, run in self._waiting.items() if key not in free}
        return free

    def _begin(self, runs: Sequence[TrialRun]) -> None:
        if not runs:
            return
        cache = self._cache
        for run in runs:
            subdir = str(run.target.run_dir.relative_to(cache.folder))
            job = cache.jobs.open(run.config, cache.folder, subdir)
            self._in_training[run.target.spec.fingerprint] = run, job
        cache.train(runs, self._on_epoch)

    def _end(self, fingerprint: str, result: RunResult, blocked: str | None) -> None:
        run, job = self._in_training.pop(fingerprint)
        if blocked is None:
            self._has_trained = True
        else:
            self._reasons.add(blocked)
        self._cache.note_trained(run.target)
        self._unlock([fingerprint])
        self._cache.jobs.close(run.config, job, result)

    def _unlock(self, fingerprints: Collection[str]) -> None:
        for fingerprint in fingerprints:
            self._locks.pop(fingerprint).release()
