"""The runs of a search: one per trial and seed, each in its own folder, equal ones trained once."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from kdsweep.builders.sources import DataSources
from kdsweep.common.files import write_json_atomic
from kdsweep.config.copying import without_hydra
from kdsweep.errors import CollectedErrors, UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.scheduler import refuse_without_validation
from kdsweep.execution.target import RunTarget, recorded_result
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.preflight import preflight
from kdsweep.runs.spec import RunSpec
from kdsweep.search.space import Space
from kdsweep.sweeps.hydra_jobs import HydraJobs
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import find_result, read_fingerprint, read_result
from kdsweep.tracking.result import RunResult
from kdsweep.work.training import train


class TrialRun(NamedTuple):
    """One run of a trial, before it is trained; in MLflow it is nested in the run of its trial."""

    config: DictConfig
    target: RunTarget


class TrialRuns:
    """Plans the runs of one search, which needs no folder, no data and no store.

    A run is in `<trial>/seed-<seed>` of the search's folder. ``jobs`` compose the configs and call
    Hydra's job callbacks.
    """

    def __init__(
        self, jobs: HydraJobs, space: Space, folder: Path, sources: DataSources | None = None
    ) -> None:
        self.jobs, self.space, self.folder = jobs, space, folder
        self.sources = sources or DataSources()  # identified once, not in each trial

    def run(self, trial: int, values: dict[str, Any], seed: int) -> TrialRun:
        """A trial's run, composed, in its folder."""
        overrides = (*self.space.overrides(values), f"seed={seed}")
        config = self.jobs.compose(trial, overrides)
        (spec,) = build_specs(
            [without_hydra(config)],
            [overrides],
            trial,
            [*self.space.keys, "seed"],
            self.sources,
        )
        return TrialRun(config, RunTarget(spec, self.folder / str(trial) / f"seed-{seed}"))

    def boundary_specs(self, seed: int) -> list[RunSpec]:
        """Specs at the bounds of the space: if these are valid, so is every point between them.

        Raises UserError, naming every value that is not allowed.
        """
        specs: list[RunSpec] = []
        errors = CollectedErrors()
        for point in self.space.boundary_points():
            with errors.of():
                specs.append(self.run(0, point, seed).target.spec)
        errors.messages = [f"{message}, which is searched" for message in errors.messages]
        errors.raise_if_any()
        return specs


class RunCache(TrialRuns):
    """Plans and trains the runs of one search; equal ones are trained once."""

    def __init__(
        self, jobs: HydraJobs, context: TrainingContext, space: Space, folder: Path
    ) -> None:
        super().__init__(jobs, space, folder, context.data_sources)
        self.context = context
        self._trained: dict[str, Path] = {}  # fingerprint -> folder of a run that has ended
        self._read: set[Path] = set()

    def preflight(self, specs: Sequence[RunSpec]) -> None:
        """Build every part once. Raises UserError if one fails, or without a validation set."""
        preflight(specs, self.context.dataset)
        refuse_without_validation(specs, self.context)

    def train(
        self, runs: Sequence[TrialRun], on_epoch: EpochCallback | None = None
    ) -> list[RunResult]:
        """Train what is missing, in as few cohorts as possible; results in the order of the runs.

        A run that another process is training is waited for, not trained again. Raises UserError if
        a trial's folder holds another run, which another search of this name has left.
        """
        for _, target in runs:
            if read_fingerprint(target.run_dir) not in (None, target.spec.fingerprint):
                raise UserError(
                    f"search.name must be another one, or {target.run_dir} be moved away: that"
                    f" folder holds another run than {target.spec.name} (other data, or another"
                    " search of this name)"
                )
        for run in self._train_free(runs, on_epoch, wait=False):
            self._train_free([run], on_epoch, wait=True)
        return [self._result(run.target) for run in runs]

    def _train_free(
        self, runs: Sequence[TrialRun], on_epoch: EpochCallback | None, *, wait: bool
    ) -> list[TrialRun]:
        """Train the missing runs and return those that other processes are training."""
        lock_folder = self.folder / ".locks"
        lock_folder.mkdir(exist_ok=True)
        locked_elsewhere: list[TrialRun] = []
        locked: dict[str, TrialRun] = {}
        with ExitStack() as locks:
            for run in runs:
                fingerprint = run.target.spec.fingerprint
                if fingerprint in locked or self._is_done(run.target):
                    continue
                try:
                    lock = FileLock(lock_folder / fingerprint)
                    locks.enter_context(lock.acquire(blocking=wait))
                except Timeout:
                    locked_elsewhere.append(run)
                else:
                    locked[fingerprint] = run
            self._read_new_results()
            self._train([run for key, run in locked.items() if key not in self._trained], on_epoch)
        return locked_elsewhere

    def _train(self, runs: Sequence[TrialRun], on_epoch: EpochCallback | None) -> None:
        subdirs = [str(run.target.run_dir.relative_to(self.folder)) for run in runs]
        jobs = [
            self.jobs.open(run.config, self.folder, subdir)
            for run, subdir in zip(runs, subdirs, strict=True)
        ]
        train(
            [run.target for run in runs],
            self.context,
            capacity=self.jobs.cohort_size,
            resume=True,
            on_epoch=on_epoch,
        )
        for run, job in zip(runs, jobs, strict=True):
            result = recorded_result(run.target)
            assert result is not None, "a run that was trained has a result"
            self._trained[run.target.spec.fingerprint] = run.target.run_dir
            self.jobs.close(run.config, job, result)

    def _read_new_results(self) -> None:
        """Read the results that this process has not read yet, of other controllers as well."""
        unread = set(self.folder.glob("*/seed-*/result.json")) - self._read
        for path in sorted(unread, key=lambda path: run_dir.by_number(str(path))):
            result = read_result(path.parent)
            if result is not None and result.same_as is None and not result.with_cohort:
                self._trained.setdefault(str(result.fingerprint), path.parent)
                self._read.add(path)

    def _is_done(self, target: RunTarget) -> bool:
        result = recorded_result(target)
        if result is None or result.with_cohort:
            return False
        if result.same_as is None:
            self.context.upload_missing(target.run_dir)
        return True

    def _result(self, target: RunTarget) -> RunResult:
        """A run's own result, or that of the equal run that was trained."""
        result = recorded_result(target)
        if result is not None and not result.with_cohort:
            return result
        trained = self._trained.get(target.spec.fingerprint)
        assert trained is not None, "an equal run was trained before"
        equal = find_result(trained, target.spec.fingerprint)
        assert equal is not None, "and has a result"
        target.run_dir.mkdir(parents=True, exist_ok=True)
        shared = replace(equal, same_as=str(trained.relative_to(self.folder)))
        write_json_atomic(target.run_dir / run_dir.RESULT, shared.to_json())
        return shared
