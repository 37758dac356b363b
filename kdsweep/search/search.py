"""The search itself: claim a block of trials, train it in lockstep, tell the study, until done."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, Trial, TrialState

from kdsweep.config import SearchConfig
from kdsweep.errors import RunFailed, UserError
from kdsweep.plan import Plan
from kdsweep.run import Result, Session
from kdsweep.search.answer import Finalist, publish
from kdsweep.search.duration import seconds_of
from kdsweep.search.hydra_optuna import OptunaSweeperImpl, SearchStudy
from kdsweep.search.identity import applies_with, base_config, search_name
from kdsweep.search.mlflow_runs import SearchRuns
from kdsweep.search.racing import incumbent, may_be_best, seed_noise
from kdsweep.search.runs import Runs, TrialRun
from kdsweep.search.sampling import make_sampler
from kdsweep.search.space import grid_size, parse
from kdsweep.search.study import BEAT_SECONDS, OWNER, claim, enqueue, open_study, owner, park
from kdsweep.search.workers import is_worker, working
from kdsweep.sweep.folder import open_sweep
from kdsweep.sweep.launcher import LockstepLauncher
from kdsweep.tracking.progress import Progress

PRUNERS = ("optuna.pruners.*",)


class Parked(SystemExit):
    """The time of the search is up; what is open goes on at the next start."""


class Search(OptunaSweeperImpl):
    """One controller of a search. Several may work on one study at the same time."""

    launcher: LockstepLauncher
    config: DictConfig
    hydra_context: HydraContext

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Find out which search this is, and where; everything else waits for `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        self.options: SearchConfig = OmegaConf.to_object(config.search)  # type: ignore[assignment]
        words = [*self._parse_sweeper_params_config(), *config.hydra.overrides.task]
        space = parse(words, lambda key, loss: True)
        self.space = replace(space, applies=applies_with(hydra_context, config, space.fixed))
        base = base_config(hydra_context, config, self.space.fixed)
        self.name = self.options.name or search_name(config, base, self.space.keys)
        self.folder = Path("multirun") / self.name
        launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )
        if not isinstance(launcher, LockstepLauncher):
            raise UserError(
                "hydra/launcher must be lockstep in a search, got another one;"
                " hydra/sweeper=optuna searches with any launcher"
            )
        self.launcher = launcher
        self.launcher.move_to(self.folder)

    def sweep(self, arguments: list[str]) -> None:
        """Train until the study has all its trials, then the finalists, then say the answer."""
        setup_globals()
        configure_log(
            self.config.hydra.hydra_logging,
            self.config.hydra.verbose,
            execution_whitelist=self.hydra_context.execution_whitelist,
        )
        self._refuse()
        is_grid = str(self.config.hydra.sweeper.sampler._target_).endswith("GridSampler")
        if is_grid:
            self.n_trials = int(min(self.n_trials, grid_size(self.space)))
        self.folder.mkdir(parents=True, exist_ok=True)
        with Progress(total_runs=self.n_trials) as progress:
            session = Session(OmegaConf.to_object(self.config.tracking), progress)  # type: ignore[arg-type]
            try:
                finalists = self._search(session)
            finally:
                session.close()
        if finalists is not None:
            publish(self.study, self.space, self.name, self.folder, finalists)

    def _refuse(self) -> None:
        """Requests that make no sense, before anything is made."""
        seeds = self.options.seeds
        if not seeds or seeds != sorted(set(seeds)) or seeds[0] < 0:
            raise UserError(f"search.seeds must be rising integers >= 0, got {seeds}")
        if "seed" in self.space.keys:
            raise UserError("seed must not be searched, got several; search.seeds are averaged")
        for key in ("resume", "dry_run"):
            if self.config[key]:
                raise UserError(f"{key} must be false in a search, got true: it always goes on")
        if self.options.workers < 1:
            raise UserError(f"search.workers must be at least 1, got {self.options.workers}")
        directions = self._get_directions()
        if len(directions) != len(self.options.objectives):
            raise UserError(
                "search.objectives must be one for each hydra.sweeper.direction, got"
                f" {self.options.objectives} for {directions}"
            )
        self.deadline = time.monotonic() + seconds_of(self.options.timeout)

    def _search(self, session: Session) -> list[Finalist] | None:
        self.session = session
        self.runs = Runs(self.launcher, session, self.space, self.folder)
        _, plan = self.runs.plan(0, {}, self.options.seeds[0])  # stands for all of them
        self.runs.check([plan])
        self.study = self._open_study()
        sweep = open_sweep(
            self.folder, session, name=self.name, role="search", nested=True, plans=[]
        )
        self.mlflow = SearchRuns(session.store, sweep.parent_id, self.folder)
        self.mlflow.describe(self.space, self.config, self.options)
        try:
            finalists = self._train()
        except BaseException as error:
            session.flush()
            self.mlflow.finish("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        session.flush()
        if finalists is not None:
            self.mlflow.finish("FINISHED")
        return finalists

    def _train(self) -> list[Finalist] | None:
        """All trials, then the finalists; None if other controllers are still at work."""
        if is_worker():
            self._train_trials()
            return None
        with working(self.options.workers - 1, self.folder) as workers:
            self._train_trials()
            for worker in workers:
                worker.wait()
        self._train_trials()  # what a worker that died has left
        if any(trial.state is TrialState.RUNNING for trial in self.study.trials):
            self.session.progress.note("other controllers are at work; the last says the answer")
            return None
        with FileLock(self.folder / ".finalists.lock"):
            return self._train_finalists()

    def _open_study(self) -> SearchStudy:
        options = self.options
        pruner = instantiate(options.pruner, _convert_="all", _execution_whitelist_=PRUNERS)
        identity = {
            "space": self.space.describe(),
            "search.seeds": options.seeds,
            "search.objectives": options.objectives,
        }
        directions = [direction.lower() for direction in self._get_directions()]
        return open_study(str(self.storage), self.name, directions, identity, pruner, self.folder)

    @property
    def _is_race(self) -> bool:
        """Whether trials compete by one value that is better the higher it is: val/acc."""
        return self.options.objectives == ["val/acc"] and self._get_directions() == ["maximize"]

    def _train_trials(self) -> None:
        """Work until no trial waits. Who is interrupted leaves the block to the next start."""
        while block := self._next_block():
            self.beat = time.monotonic()
            try:
                self._train_block(block)
            except BaseException:
                park(self.study, block)
                raise
            self.mlflow.best_so_far(self.study)
            self._refuse_more_failures()

    def _next_block(self) -> list[int]:
        """Trials that are ours now: free ones if there are any, else the next ones."""
        if free := claim(self.study, self.n_trials, self.n_jobs, self.folder):
            return free
        # No more at a time: a storage reads every trial that has not ended again and again.
        made = len(self.study.get_trials(deepcopy=False))
        total = min(self.n_trials, (made // self.n_jobs + 1) * self.n_jobs)
        enqueue(self.study, total, self.folder)
        return claim(self.study, self.n_trials, self.n_jobs, self.folder)

    def _refuse_more_failures(self) -> None:
        failed = [t for t in self.study.trials if t.state is TrialState.FAIL]
        if len(failed) > self.options.max_failures:
            raise RunFailed(
                f"search.max_failures: {len(failed)} trials failed, more than"
                f" {self.options.max_failures}; the last one: {failed[-1].user_attrs.get('reason')}"
            )

    def _train_block(self, numbers: Sequence[int]) -> None:
        """Suggest, train seed by seed, and tell; the study hears of a block all at once.

        So what a block's trials are compared with does not depend on when it was interrupted.
        """
        trials = {number: self._suggest(number) for number in numbers}
        results: dict[int, list[Result]] = {number: [] for number in numbers}
        racing = list(numbers)
        for position, seed in enumerate(self.options.seeds):
            racing = [n for n in racing if all(r["status"] == "FINISHED" for r in results[n])]
            racing = self._still_racing(racing, results, position)
            if not racing:
                break
            ended = self._train_seed({number: trials[number] for number in racing}, seed)
            for number, result in zip(racing, ended, strict=True):
                results[number].append(result)
        self.session.flush()
        for number, trial in trials.items():
            self._tell(trial, results[number])

    def _suggest(self, number: int) -> Trial:
        self.study.sampler = make_sampler(self.config.hydra.sweeper.sampler, self.space, number)
        trial = self.study.go_on(number)
        with self.study.learning_from_failures():
            self.space.suggest(trial)
        return trial

    def _still_racing(
        self, racing: list[int], results: dict[int, list[Result]], position: int
    ) -> list[int]:
        """The trials that get the seed at a position; `kdsweep.search.racing` has the rule."""
        if not self._is_race:
            return racing
        # Block mates that were told before an interruption count as they did then.
        number = next(iter(results)) // self.n_jobs
        done = [t for t in self.study.trials if t.state is TrialState.COMPLETE]
        mates = [_by_seed(t)[:position] for t in done if t.number // self.n_jobs == number]
        earlier = [_by_seed(t) for t in done if t.number // self.n_jobs != number]
        block = {
            number: [r["val/acc"] for r in ended]
            for number, ended in results.items()
            if all(r["status"] == "FINISHED" for r in ended)
        }
        noise = seed_noise([*earlier, *mates, *block.values()])
        best = incumbent(earlier, len(self.options.seeds))
        return [number for number in racing if may_be_best(block[number], best, noise)]

    def _train_seed(self, trials: dict[int, Trial], seed: int) -> list[Result]:
        runs = [self._run(number, trial.params, seed) for number, trial in trials.items()]
        self.runs.check([run.place.plan for run in runs])

        def watch(plan: Plan, epochs: int, metrics: dict[str, float]) -> str | None:
            self._stop_in_time(trials[plan.number])
            is_first = seed == self.options.seeds[0]
            return self._prune(trials[plan.number], plan, epochs, metrics) if is_first else None

        return self.runs.train(runs, watch)

    def _run(self, number: int, params: dict[str, Any], seed: int) -> TrialRun:
        values = self.space.values(params)
        config, plan = self.runs.plan(number, values, seed)
        return self.runs.at(config, plan, seed, self.mlflow.trial(number, plan.cell, values))

    def _stop_in_time(self, trial: Trial | None = None) -> None:
        now = time.monotonic()
        if now > self.deadline:
            self.session.progress.note(
                f"search.timeout={self.options.timeout} is over; the same command goes on"
            )
            raise Parked(0)
        if trial is not None and now - self.beat > BEAT_SECONDS:
            self.beat = now
            self.study.note(trial.number, OWNER, owner())

    def _prune(
        self, trial: Trial, plan: Plan, epochs: int, metrics: dict[str, float]
    ) -> str | None:
        """Report an epoch of a trial's first seed; a reason if the trial ends here."""
        value, last = metrics.get("val/acc"), plan.values["trainer"]["epochs"]
        if not self._is_race or value is None or value != value:
            return None
        if epochs not in self.study.trials[trial.number].intermediate_values:
            trial.report(value, epochs)
        if epochs < last and trial.should_prune():
            return f"pruned after epoch {epochs} of {last}"
        return None

    def _tell(self, trial: Trial, results: Sequence[Result]) -> None:
        """MLflow first: a trial that the study knows to be done is done everywhere."""
        failed = next((r for r in results if r["status"] == "FAILED"), None)
        trial.set_user_attr("seeds", {str(r["seed"]): r["val/acc"] for r in results})
        trial.set_user_attr("test/acc", {str(r["seed"]): r["test/acc"] for r in results})
        if failed is not None:
            trial.set_user_attr("reason", failed["reason"])
        self.mlflow.trial_ended(trial.number, results, "FAILED" if failed else "FINISHED")
        if failed is not None:
            self.study.tell(trial, state=TrialState.FAIL)
        elif any(r["status"] == "PRUNED" for r in results):
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, [_mean(results, key) for key in self.options.objectives])

    def _train_finalists(self) -> list[Finalist]:
        """The best trials once more, with seeds that had no part in choosing them."""
        done = [t for t in self.study.trials if t.state is TrialState.COMPLETE]
        if not self._is_race or self.options.finalists < 1:
            return []
        ranked = sorted(done, key=lambda t: -(t.value or 0.0))[: self.options.finalists]
        first = self.options.seeds[-1] + 1
        found: dict[int, list[Result]] = {trial.number: [] for trial in ranked}
        for seed in range(first, first + self.options.finalist_seeds if ranked else first):
            runs = [self._run(trial.number, trial.params, seed) for trial in ranked]
            results = self.runs.train(runs, lambda *_: self._stop_in_time())
            for trial, result in zip(ranked, results, strict=True):
                found[trial.number].append(result)
        return [Finalist(trial, found[trial.number]) for trial in ranked]


def _mean(results: Sequence[Result], key: str) -> Any:
    return sum(float(r[key]) for r in results) / len(results)


def _by_seed(trial: FrozenTrial) -> list[float]:
    return [float(value) for value in trial.user_attrs.get("seeds", {}).values()]
