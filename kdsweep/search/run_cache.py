"""The runs of a search: one per trial and seed, each in its own folder, equal ones trained once."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from kdsweep.common.files import write_json_atomic
from kdsweep.errors import UserError
from kdsweep.plan import Plan, check, make_plans
from kdsweep.run import Place, Result, Session, Watch
from kdsweep.search.space import Space
from kdsweep.sweep.cohorts import refuse_without_validation, train
from kdsweep.sweep.launcher import LockstepLauncher, task_of
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import fingerprint_in, result_note, result_of


@dataclass(frozen=True)
class TrialRun:
    """One run of a trial, before it is trained."""

    config: DictConfig
    place: Place


class RunCache:
    """Plans and trains the runs of one search, and knows which equal ones are already trained.

    Args:
        launcher: composes the configs and calls Hydra's job callbacks.
        folder: of the search; that of a run is `<trial>/seed-<seed>` in it.
    """

    def __init__(
        self, launcher: LockstepLauncher, session: Session, space: Space, folder: Path
    ) -> None:
        self.launcher, self.session, self.space, self.folder = launcher, session, space, folder
        self._trained: dict[str, Path] = {}  # fingerprint -> folder of a run that has ended
        self._read: set[Path] = set()

    def plan(self, trial: int, values: dict[str, Any], seed: int) -> tuple[DictConfig, Plan]:
        """The config and plan of a trial's run."""
        overrides = (*self.space.overrides(values), f"seed={seed}")
        config = self.launcher.compose(trial, overrides)
        (plan,) = make_plans([task_of(config)], [overrides], trial, [*self.space.keys, "seed"])
        return config, plan

    def boundary_plans(self, seed: int) -> list[Plan]:
        """Plans at the bounds of the space: if these are valid, so is every point between them.

        Raises:
            UserError: naming every value that is not allowed.
        """
        plans: list[Plan] = []
        messages: dict[str, None] = {}
        for point in self.space.boundary_points():
            try:
                plans.append(self.plan(0, point, seed)[1])
            except UserError as error:
                messages |= dict.fromkeys(str(error).splitlines())
        if messages:
            raise UserError("\n".join(f"{message}, which is searched" for message in messages))
        return plans

    def at(self, config: DictConfig, plan: Plan, seed: int) -> TrialRun:
        """A planned run in its folder; in MLflow it is nested in the run of its trial."""
        folder = self.folder / str(plan.number) / f"seed-{seed}"
        return TrialRun(config, Place(plan, folder, None))

    def check(self, plans: Sequence[Plan]) -> None:
        """Build every part once.

        Raises:
            UserError: if a part cannot be built, or there is no validation set.
        """
        check(plans, self.session.dataset)
        refuse_without_validation(plans, self.session)

    def train(self, runs: Sequence[TrialRun], watch: Watch | None = None) -> list[Result]:
        """Train what is missing, in as few cohorts as possible; results in the order of the runs.

        A run that another process is training is waited for, not trained again.

        Raises:
            UserError: if the folder of a trial holds another run.
        """
        for run in runs:
            _refuse_other_run(run.place)
        for run in self._train_free(runs, watch, wait=False):
            self._train_free([run], watch, wait=True)
        return [self._result(run.place) for run in runs]

    def _train_free(
        self, runs: Sequence[TrialRun], watch: Watch | None, *, wait: bool
    ) -> list[TrialRun]:
        """Train the missing runs and return those that other processes are training."""
        locked_elsewhere: list[TrialRun] = []
        locked: dict[str, TrialRun] = {}
        with ExitStack() as locks:
            for run in runs:
                fingerprint = run.place.plan.fingerprint
                if fingerprint in locked or self._is_done(run.place):
                    continue
                try:
                    locks.enter_context(self._lock(fingerprint).acquire(blocking=wait))
                except Timeout:
                    locked_elsewhere.append(run)
                else:
                    locked[fingerprint] = run
            self._read_new_results()
            self._train([run for key, run in locked.items() if key not in self._trained], watch)
        return locked_elsewhere

    def _train(self, runs: Sequence[TrialRun], watch: Watch | None) -> None:
        jobs = [self._open_job(run) for run in runs]
        train(
            [run.place for run in runs],
            self.session,
            capacity=self.launcher.cohort_size,
            resume=True,
            watch=watch,
        )
        for run, job in zip(runs, jobs, strict=True):
            result = result_of(run.place.folder, run.place.plan.fingerprint)
            assert result is not None, "a run that was trained has a result"
            self._trained[run.place.plan.fingerprint] = run.place.folder
            self.launcher.close_job(run.config, job, result)

    def _lock(self, fingerprint: str) -> FileLock:
        locks = self.folder / ".locks"
        locks.mkdir(exist_ok=True)
        return FileLock(locks / fingerprint)

    def _read_new_results(self) -> None:
        """Read the results that this process has not read yet, of other controllers as well."""
        unread = set(self.folder.glob("*/seed-*/result.json")) - self._read
        for path in sorted(unread, key=lambda path: run_dir.by_number(str(path))):
            result = result_note(path.parent)
            if result is not None and result["same_as"] is None and not result["with_cohort"]:
                self._trained.setdefault(result["fingerprint"], path.parent)
                self._read.add(path)

    def _is_done(self, place: Place) -> bool:
        result = result_of(place.folder, place.plan.fingerprint)
        if result is None or result["with_cohort"]:
            return False
        if result["same_as"] is None:
            self.session.catch_up(place.folder)
        return True

    def _open_job(self, run: TrialRun) -> Any:
        subdir = str(run.place.folder.relative_to(self.folder))
        return self.launcher.open_job(run.config, self.folder, subdir)

    def _result(self, place: Place) -> Result:
        """A run's own result, or that of the equal run that was trained."""
        result = result_of(place.folder, place.plan.fingerprint)
        if result is not None and not result["with_cohort"]:
            return result
        trained = self._trained.get(place.plan.fingerprint)
        assert trained is not None, "an equal run was trained before"
        equal = result_of(trained, place.plan.fingerprint)
        assert equal is not None, "and has a result"
        place.folder.mkdir(parents=True, exist_ok=True)
        shared = {**equal, "same_as": str(trained.relative_to(self.folder))}
        write_json_atomic(place.folder / "result.json", shared)
        return shared


def _refuse_other_run(place: Place) -> None:
    """Refuse a trial's folder that another search of this name has left."""
    if fingerprint_in(place.folder) not in (None, place.plan.fingerprint):
        raise UserError(
            f"search.name must be another one, or {place.folder} be moved away: that folder holds"
            f" another run than {place.plan.name} (other data, or another search of this name)"
        )
