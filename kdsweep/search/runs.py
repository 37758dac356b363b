"""The runs of a search: one a trial and seed, each in its own folder, equal ones trained once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdsweep.plan import Plan, check, make_plans
from kdsweep.run import Place, Result, Session, Watch
from kdsweep.search.space import Space
from kdsweep.sweep.cohorts import refuse_without_validation, train
from kdsweep.sweep.folder import result_of
from kdsweep.sweep.launcher import LockstepLauncher, task_of
from kdsweep.tracking.files import read_json, write_json_atomic


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
        self._known = _finished(folder)

    def plan(self, trial: int, values: dict[str, Any], seed: int) -> tuple[DictConfig, Plan]:
        """The config and plan of a trial's run."""
        words = (*self.space.overrides(values), f"seed={seed}")
        config = self.launcher.compose(trial, words)
        (plan,) = make_plans([task_of(config)], [words], trial, [*self.space.keys, "seed"])
        return config, plan

    def at(self, config: DictConfig, plan: Plan, seed: int, parent_id: str | None) -> TrialRun:
        """A planned run with its folder and its parent run in MLflow."""
        folder = self.folder / str(plan.number) / f"seed-{seed}"
        return TrialRun(config, Place(plan, folder, parent_id))

    def check(self, plans: Sequence[Plan]) -> None:
        """Build everything once.

        Raises:
            UserError: if a part cannot be built, or nothing is held out to choose by.
        """
        check(plans, self.session.dataset)
        refuse_without_validation(plans, self.session)

    def train(self, runs: Sequence[TrialRun], watch: Watch) -> list[Result]:
        """Train what is not done yet, in as few cohorts as possible; results in order."""
        todo: dict[str, TrialRun] = {}
        for run in runs:
            if self._is_done(run.place):
                continue
            if run.place.plan.fingerprint not in self._known:
                todo.setdefault(run.place.plan.fingerprint, run)
        jobs = [self._open_job(run) for run in todo.values()]
        train(
            [run.place for run in todo.values()],
            self.session,
            capacity=self.launcher.cohort_size,
            resume=True,
            watch=watch,
        )
        for run, job in zip(todo.values(), jobs, strict=True):
            result = result_of(run.place.folder)
            assert result is not None, "a run that was trained has a result"
            if result["status"] == "FINISHED":
                self._known[run.place.plan.fingerprint] = run.place.folder
            self.launcher.close_job(run.config, job, result)
        return [self._result(run.place) for run in runs]

    def _is_done(self, place: Place) -> bool:
        done = result_of(place.folder)
        if done is None or done["status"] == "KILLED":
            return False
        if done["same_as"] is None:
            self.session.catch_up(place.folder)
        return True

    def _open_job(self, run: TrialRun) -> Any:
        subdir = str(run.place.folder.relative_to(self.folder))
        return self.launcher.open_job(run.config, self.folder, subdir)

    def _result(self, place: Place) -> Result:
        """A run's own result, or that of the equal run that was trained."""
        own = result_of(place.folder)
        if own is not None and own["status"] != "KILLED":
            return own
        trained = self._known.get(place.plan.fingerprint)
        assert trained is not None, "an equal run was trained before"
        place.folder.mkdir(parents=True, exist_ok=True)
        same_as = str(trained.relative_to(self.folder))
        shared = {**read_json(trained / "result.json"), "same_as": same_as}
        write_json_atomic(place.folder / "result.json", shared)
        return shared


def _finished(folder: Path) -> dict[str, Path]:
    """Fingerprint -> folder of every run that has been trained to its end."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*/seed-*/result.json")):
        result = read_json(path)
        if result["status"] == "FINISHED" and result["same_as"] is None:
            found[result["fingerprint"]] = path.parent
    return found
