"""The search: claim a block of trials, have it trained, until all are; then say the answer."""

import warnings
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from kdsweep.config.schema import SearchConfig
from kdsweep.errors import RunFailed, UserError
from kdsweep.identity import NUMERICS
from kdsweep.plan import Plan
from kdsweep.run import Session
from kdsweep.search.controllers import end_lock, ending, trained_by_others
from kdsweep.search.estimate import forecast
from kdsweep.search.mlflow_logging import SearchRuns
from kdsweep.search.optuna_internals import OptunaSweeperImpl, SearchStudy
from kdsweep.search.plots import draw
from kdsweep.search.pruning import make_pruner
from kdsweep.search.results import Answer, Finalist
from kdsweep.search.run_cache import Runs
from kdsweep.search.space import grid_size, parse, searched_keys
from kdsweep.search.study import SETTINGS, claim, enqueue, open_study, park
from kdsweep.search.study_name import applies_with, base_config, search_name, settings, without_idle
from kdsweep.search.timeout import Clock, TimeIsUp
from kdsweep.search.trial_runner import Trials
from kdsweep.search.validation import refuse_choosing
from kdsweep.search.workers import is_worker, working
from kdsweep.sweep.directory import open_sweep
from kdsweep.sweep.finalize import INTERRUPTED_SECONDS, close, make_report
from kdsweep.sweep.launcher import LockstepLauncher
from kdsweep.sweep.session import open_session
from kdsweep.tracking.console import Progress
from kdsweep.tracking.disk import report_disk_full
from kdsweep.tracking.mlflow.store import Status

WORKER_SECONDS = 5.0  # that the end of a worker waits for MLflow: its controller waits again


def _status(stopped: BaseException | None) -> Status:
    """The state of a search that was stopped by an error, or is over."""
    if stopped is None:
        return "FINISHED"
    return "FAILED" if isinstance(stopped, Exception) else "KILLED"


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
        said = list(config.hydra.overrides.task)
        space = parse([*self._parse_sweeper_params_config(), *said], lambda key, loss: True)
        space = replace(space, applies=applies_with(hydra_context, config, space.fixed))
        self.base = base_config(hydra_context, config, space.fixed)
        self.space = without_idle(space, self.base, searched_keys(said))
        self.name = self.options.name or search_name(config, self.base, self.space)
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
        if self.config.dry_run:
            self._forecast()
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with report_disk_full(self.folder):
            self._run()

    def _run(self) -> None:
        """Train, then say the answer, whatever has ended the training."""
        with ExitStack() as stack:
            with Progress(total_runs=self.n_trials) as progress:
                tracking = vars(OmegaConf.to_object(self.config.tracking))
                session = open_session(tracking, progress, self.folder)
                stack.enter_context(closing(session))
                self._open(session, stack)
                finalists, stopped = self._search()
                if is_worker() and session.retrier is not None:
                    session.retrier.limit(WORKER_SECONDS)
            if finalists is not None or (stopped is not None and not is_worker()):
                try:
                    self._say_answer(finalists or [], stopped)
                except OSError:
                    if stopped is None:
                        raise
        if isinstance(stopped, KeyboardInterrupt):
            raise SystemExit(130) from stopped  # the answer said how to go on
        if stopped is not None:
            raise stopped

    def _forecast(self) -> None:
        """What `dry_run=true` prints; nothing is opened that would be made by it."""
        nowhere = {**OmegaConf.to_container(self.config.tracking), "uri": None}  # type: ignore[dict-item]
        finalists = min(self.options.finalists, self.n_trials) if self._is_race else 0
        with Progress() as progress, closing(Session(nowhere, progress)) as session:
            runs = Runs(self.launcher, session, self.space, self.folder)
            forecast(runs, session, self.options, self.n_trials, self.n_jobs, finalists)

    def _refuse(self) -> None:
        """Requests that make no sense, before anything is made."""
        self.pruner = make_pruner(self.options.pruner)
        refuse_choosing(self.config, self.options, self.space, self.pruner)
        self.clock = Clock(self.options.timeout)

    def _open(self, session: Session, stack: ExitStack) -> None:
        """Everything a search has, opened and checked, before its first trial."""
        self.session = session
        session.stop_in_time = self.clock.stop_in_time
        runs = Runs(self.launcher, session, self.space, self.folder)
        _, plan = runs.plan(0, {}, self.options.seeds[0])  # stands for all of them
        runs.check([plan, *runs.ends(self.options.seeds[0])])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # wilcoxon, names of objectives
            self.study = stack.enter_context(closing(self._open_study(plan)))
        sweep = open_sweep(
            self.folder,
            session,
            name=self.name,
            role="search",
            nested=True,
            plans=[],
            alone=False,
        )
        self.mlflow = SearchRuns(session.store, sweep.parent_id, self.folder, session.uploads)
        self.trials = Trials(
            self.study,
            self.space,
            runs,
            self.mlflow,
            self.config,
            is_race=self._is_race,
        )

    def _search(self) -> tuple[list[Finalist] | None, BaseException | None]:
        """The finalists if the search is over, and what has stopped it if it is not."""
        try:
            self.mlflow.describe(self.space, self.config, self.options)
            finalists = self._train()
        except BaseException as error:
            if isinstance(error, TimeIsUp):
                self.session.progress.note(f"search.timeout={self.options.timeout} is over")
            self.mlflow.stopped(_status(error))
            return None, error
        return finalists, None

    def _say_answer(self, finalists: list[Finalist], stopped: BaseException | None) -> None:
        """Print, draw and log what is known, be the search over or not.

        Raises:
            RunFailed: if the search is over and no trial is complete.
        """
        if isinstance(stopped, KeyboardInterrupt | SystemExit) and self.session.retrier:
            self.session.retrier.limit(INTERRUPTED_SECONDS)
        self.session.flush()  # so that the folders know the ids of their runs
        answer = Answer(self.study, self.space, self.name, self.options.objectives, self.n_trials)
        wants_report = self.session.report and stopped is None
        make = partial(make_report, self.folder, self.session.dataset) if wants_report else None
        try:
            if self.session.plots != "none":
                draw(self.study, self.space, self.options.objectives, self.folder)
            answer.publish(self.folder, finalists, goes_on=stopped is not None)
        finally:
            with (
                Progress() as self.session.progress,
                ending(self.folder, self.study, stopped) as others,
            ):
                only = self._own_folders if others else None
                close(self.folder, self.session, make, _status(stopped), stopped, only)
        if stopped is None and not answer.count(TrialState.COMPLETE):
            raise RunFailed(
                f"no trial of the search is complete; the last one: {self._last_reason}"
            )

    def _own_folders(self) -> set[Path]:
        """The runs and trials of this controller, without those that another one has resumed."""
        taken = {self.folder / str(number) for number in trained_by_others(self.study)}
        runs = {run for run in self.session.folders if taken.isdisjoint(run.parents)}
        self.session.folders = runs  # for the end of the session, too
        return {*runs, *self.mlflow.own_trials} - taken

    def _train(self) -> list[Finalist] | None:
        """All trials, then the finalists; None if other controllers are still at work."""
        if is_worker():
            self._train_trials()
            return None
        with working(self.options.workers - 1, self.folder) as workers:
            self._train_trials()
            for number, worker in enumerate(workers, start=1):
                if worker.wait() != 0:
                    log = self.folder / f"worker-{number}.log"
                    self.session.progress.note(f"worker {number} has stopped, {log} says why")
        self._train_trials()  # what a worker that died has left
        if any(trial.state is TrialState.RUNNING for trial in self.study.trials):
            self.session.progress.note("other controllers are at work; the last says the answer")
            return None
        with end_lock(self.folder):
            return self._train_finalists()

    def _open_study(self, plan: Plan) -> SearchStudy:
        """The study of the search.

        Args:
            plan: of its base, which knows the contents of what the config only names.
        """
        options = self.options
        dataset, *checkpoints = plan.digests.values()
        identity = {
            "numerics": NUMERICS,
            "content of dataset": dataset,
            "content of checkpoints": sorted(checkpoints),
            "space": self.space.describe(),
            "search.seeds": options.seeds,
            "search.objectives": options.objectives,
            SETTINGS: settings(self.config, options, self.base, self.space),
        }
        directions = [direction.lower() for direction in self._get_directions()]
        study = open_study(
            str(self.storage), self.name, directions, identity, self.pruner, self.folder
        )
        study.set_metric_names(options.objectives)  # what optuna-dashboard writes at its axes
        return study

    @property
    def _is_race(self) -> bool:
        """Whether trials compete by one value that is better the higher it is: val/acc."""
        return self.options.objectives == ["val/acc"] and self._get_directions() == ["maximize"]

    def _train_trials(self) -> None:
        """Work until no trial waits. Who is interrupted leaves the block to the next start."""
        self._refuse_more_failures()
        while block := self._next_block():
            try:
                self.trials.train_block(block)
            except BaseException as error:
                self.mlflow.stopped(_status(error))  # before another controller resumes them
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
        failed = self._failed
        if len(failed) > self.options.max_failures:
            raise RunFailed(
                f"search.max_failures: {len(failed)} trials failed, more than"
                f" {self.options.max_failures}; the last one: {self._last_reason}"
            )

    @property
    def _failed(self) -> list[FrozenTrial]:
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state is TrialState.FAIL]

    @property
    def _last_reason(self) -> str | None:
        return self._failed[-1].user_attrs.get("reason") if self._failed else None

    def _train_finalists(self) -> list[Finalist]:
        """The best trials once more, with seeds that had no part in choosing them."""
        done = [t for t in self.study.trials if t.state is TrialState.COMPLETE]
        if not self._is_race or self.options.finalists < 1 or not done:
            return []
        best_first = sorted(done, key=lambda t: -(t.value or 0.0))
        by_cell: dict[tuple[str, ...], FrozenTrial] = {}
        for trial in best_first:  # a point that was drawn twice is one cell
            by_cell.setdefault(self.space.overrides(self.space.values(trial.params)), trial)
        ranked = list(by_cell.values())[: self.options.finalists]
        first = self.options.seeds[-1] + 1
        by_seed = [
            self.trials.train_again(ranked, seed)
            for seed in range(first, first + self.options.finalist_seeds)
        ]
        return [
            Finalist(trial, [results[place] for results in by_seed])
            for place, trial in enumerate(ranked)
        ]
