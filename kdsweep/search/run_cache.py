"""The runs of a search: one a trial and seed, each in its own folder, equal ones trained once."""

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
from kdsweep.tracking.metadata import find_result, read_fingerprint, read_result


@dataclass(frozen=True)
class TrialRun:
    """One run of a trial, before it is trained."""

    config: DictConfig
    place: Place


class Runs:
    """Plans, trains and remembers the runs of one search.

    Args:
        launcher: composes the configs and calls Hydra's job callbacks.
        folder: the search's; a run's is `<trial>/seed-<seed>` in it.
    """

    def __init__(
        self, launcher: LockstepLauncher, session: Session, space: Space, folder: Path
    ) -> None:
        self.launcher, self.session, self.space, self.folder = launcher, session, space, folder
        self._known: dict[str, Path] = {}  # fingerprint -> folder of a run that got to its end
        self._read: set[Path] = set()

    def plan(self, trial: int, values: dict[str, Any], seed: int) -> tuple[DictConfig, Plan]:
        """The config and plan of a trial's run."""
        words = (*self.space.overrides(values), f"seed={seed}")
        config = self.launcher.compose(trial, words)
        (plan,) = make_plans([task_of(config)], [words], trial, [*self.space.keys, "seed"])
        return config, plan

    def ends(self, seed: int) -> list[Plan]:
        """Plans at the ends of what is searched: who draws nothing else draws nothing wrong.

        Raises:
            UserError: naming every value that is not allowed.
        """
        found: list[Plan] = []
        wrong: dict[str, None] = {}
        for point in self.space.ends():
            try:
                found.append(self.plan(0, point, seed)[1])
            except UserError as error:
                wrong |= dict.fromkeys(str(error).splitlines())
        if wrong:
            raise UserError("\n".join(f"{sentence}, which is searched" for sentence in wrong))
        return found

    def at(self, config: DictConfig, plan: Plan, seed: int) -> TrialRun:
        """A planned run with its folder; its run in MLflow is nested in that of its trial."""
        folder = self.folder / str(plan.number) / f"seed-{seed}"
        return TrialRun(config, Place(plan, folder, None))

    def check(self, plans: Sequence[Plan]) -> None:
        """Build everything once.

        Raises:
            UserError: if a part cannot be built, or nothing is held out to choose by.
        """
        check(plans, self.session.dataset)
        refuse_without_validation(plans, self.session)

    def train(self, runs: Sequence[TrialRun], watch: Watch | None = None) -> list[Result]:
        """Train what is not done yet, in as few cohorts as possible; results in order.

        What another process is training at the moment is waited for, not trained again.

        Raises:
            UserError: if the folder of a trial holds another run.
        """
        for run in runs:
            _refuse_another(run.place)
        for run in self._train_free(runs, watch, wait=False):
            self._train_free([run], watch, wait=True)
        return [self._result(run.place) for run in runs]

    def _train_free(
        self, runs: Sequence[TrialRun], watch: Watch | None, *, wait: bool
    ) -> list[TrialRun]:
        """Train the runs that are missing and return those that other processes are at."""
        elsewhere: list[TrialRun] = []
        mine: dict[str, TrialRun] = {}
        with ExitStack() as locks:
            for run in runs:
                mark = run.place.plan.fingerprint
                if mark in mine or self._is_done(run.place):
                    continue
                try:
                    locks.enter_context(self._lock(mark).acquire(blocking=wait))
                except Timeout:
                    elsewhere.append(run)
                else:
                    mine[mark] = run
            self._learn_of_others()
            self._train([run for mark, run in mine.items() if mark not in self._known], watch)
        return elsewhere

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
            result = find_result(run.place.folder, run.place.plan.fingerprint)
            assert result is not None, "a run that was trained has a result"
            self._known[run.place.plan.fingerprint] = run.place.folder
            self.launcher.close_job(run.config, job, result)

    def _lock(self, fingerprint: str) -> FileLock:
        locks = self.folder / ".locks"
        locks.mkdir(exist_ok=True)
        return FileLock(locks / fingerprint)

    def _learn_of_others(self) -> None:
        """Read the results that this process has not seen; other controllers may have made them."""
        found = set(self.folder.glob("*/seed-*/result.json")) - self._read
        for path in sorted(found, key=lambda path: run_dir.by_number(str(path))):
            result = read_result(path.parent)
            if result is not None and result["same_as"] is None and not result["with_cohort"]:
                self._known.setdefault(result["fingerprint"], path.parent)
                self._read.add(path)

    def _is_done(self, place: Place) -> bool:
        done = find_result(place.folder, place.plan.fingerprint)
        if done is None or done["with_cohort"]:
            return False
        if done["same_as"] is None:
            self.session.catch_up(place.folder)
        return True

    def _open_job(self, run: TrialRun) -> Any:
        subdir = str(run.place.folder.relative_to(self.folder))
        return self.launcher.open_job(run.config, self.folder, subdir)

    def _result(self, place: Place) -> Result:
        """A run's own result, or that of the equal run that was trained."""
        own = find_result(place.folder, place.plan.fingerprint)
        if own is not None and not own["with_cohort"]:
            return own
        trained = self._known.get(place.plan.fingerprint)
        equal = None if trained is None else find_result(trained, place.plan.fingerprint)
        assert trained is not None, "an equal run was trained before"
        assert equal is not None, "and its result is there"
        place.folder.mkdir(parents=True, exist_ok=True)
        same_as = str(trained.relative_to(self.folder))
        shared = {**equal, "same_as": same_as}
        write_json_atomic(place.folder / "result.json", shared)
        return shared


def _refuse_another(place: Place) -> None:
    """Refuse a trial's folder that is left of another search of this name."""
    if read_fingerprint(place.folder) not in (None, place.plan.fingerprint):
        raise UserError(
            f"search.name must be another one, or {place.folder} be moved away: that folder holds"
            f" another run than {place.plan.name} (other data, or another search of this name)"
        )
