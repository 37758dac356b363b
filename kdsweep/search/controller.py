"""Runs a search: trains its trials and finalists, then publishes the results."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from kdsweep.builders.sources import DataSources
from kdsweep.config.schema import CacheConfig
from kdsweep.errors import RunFailed
from kdsweep.execution.context import TrainingContext
from kdsweep.runs.spec import RunSpec
from kdsweep.search import lease
from kdsweep.search.blocks import Blocks, failed_trials, reason_of_last
from kdsweep.search.estimate import estimate_search
from kdsweep.search.folder import own_folder
from kdsweep.search.mlflow_logging import SearchLogger
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.plan import SearchPlan
from kdsweep.search.plots import draw
from kdsweep.search.results import Finalist, SearchSummary
from kdsweep.search.search_runs import SearchRuns
from kdsweep.search.study import open_study
from kdsweep.search.timeout import Deadline, SearchTimeout
from kdsweep.search.trial_runs import TrialRuns
from kdsweep.sweeps.attach import record_command
from kdsweep.sweeps.finalize import INTERRUPTED_SECONDS, close
from kdsweep.sweeps.hydra_jobs import HydraJobs
from kdsweep.sweeps.open_context import open_context, show_destination
from kdsweep.sweeps.record import mark, open_sweep
from kdsweep.tracking.console import Progress
from kdsweep.tracking.disk import report_disk_full
from kdsweep.tracking.mlflow.store import Status


def run_search(plan: SearchPlan, jobs: HydraJobs) -> None:
    """Run a search to its end, or print its cost with `dry_run=true`.

    Raises SystemExit if it was stopped by Ctrl-C or by `search.timeout` (the results so far are
    published), and RunFailed if too many trials failed, or none is complete.
    """
    deadline = Deadline(plan.timeout)
    planned = TrialRuns(jobs, plan.space, plan.folder)
    first_run = planned.run(0, {}, plan.options.seeds[0]).target.spec  # stands for all of them
    at_bounds = planned.boundary_specs(plan.options.seeds[0])
    if plan.config.dry_run:
        untracked, cache = {**plan.config.tracking, "uri": None}, CacheConfig(**plan.config.cache)
        with (
            Progress() as progress,
            closing(TrainingContext(untracked, progress, cache)) as context,
        ):
            context.data_sources = planned.sources
            estimate_search(plan, SearchRuns(jobs, context, plan.space, plan.folder))
        return
    with own_folder(plan.folder), report_disk_full(plan.folder):
        _run(plan, jobs, deadline, [first_run, *at_bounds], planned.sources)


def _run(
    plan: SearchPlan,
    jobs: HydraJobs,
    deadline: Deadline,
    examples: Sequence[RunSpec],
    sources: DataSources,
) -> None:
    """Train, then publish the results, whatever has ended the training."""
    with ExitStack() as stack:
        with Progress(total_runs=plan.n_trials) as progress:
            tracking, cache = dict(plan.config.tracking), CacheConfig(**plan.config.cache)
            context = open_context(tracking, progress, plan.folder, cache)
            stack.enter_context(closing(context))
            context.stop_in_time, context.data_sources = deadline.check, sources
            controller = _open_controller(plan, jobs, context, stack, examples)
            record_command(plan.config, plan.folder)
            show_destination(context)
            finalists, stopped = controller.train()
        if finalists is not None or stopped is not None:
            try:
                controller.publish(finalists or [], stopped)
            except OSError:
                if stopped is None:
                    raise
    if isinstance(stopped, KeyboardInterrupt):
        raise SystemExit(130) from stopped  # the summary has explained how to resume
    if stopped is not None:
        raise stopped


def _open_controller(
    plan: SearchPlan,
    jobs: HydraJobs,
    context: TrainingContext,
    stack: ExitStack,
    examples: Sequence[RunSpec],
) -> "SearchController":
    """Open and check everything that a search needs, before its first trial.

    ``examples``: runs of the search that stand for all, the first of them for its identity.
    """
    make_executor = jobs.find_executor(examples)
    workers = plan.options.workers
    runs = SearchRuns(jobs, context, plan.space, plan.folder, make_executor, workers)
    runs.preflight(examples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # wilcoxon, names of objectives
        study = open_study(
            str(plan.config.hydra.sweeper.storage),
            plan.name,
            plan.directions,
            plan.identity(examples[0]),
            plan.pruner,
            plan.folder,
        )
        stack.enter_context(closing(study))
        study.set_metric_names(plan.options.objectives)  # axis labels of optuna-dashboard
    context.open_store()
    context.sweep = open_sweep(
        plan.folder,
        context.store,
        name=plan.name,
        role="search",
        nested=True,
        specs=[],
        alone=False,
    )
    parent = context.sweep.parent_run_id
    logger = SearchLogger(context.store, parent, plan.folder, context.uploads)
    return SearchController(plan, context, study, logger, runs, Blocks(plan, study, runs, logger))


@dataclass
class SearchController:
    """One process that works on a search. Several may work on one study at the same time."""

    plan: SearchPlan
    context: TrainingContext
    study: SearchStudy
    logger: SearchLogger
    runs: SearchRuns
    blocks: Blocks

    def train(self) -> tuple[list[Finalist] | None, BaseException | None]:
        """The finalists, None while other controllers are at work, and what stopped the search."""
        try:
            self.logger.describe(self.plan.space, self.plan.config, self.plan.options)
            finalists = self._train_all()
        except BaseException as error:
            return None, error
        return finalists, None

    def _train_all(self) -> list[Finalist] | None:
        """Train all trials, then the finalists; None if other controllers are still at work."""
        try:
            finalists = self._train_trials()
            self.runs.close()
        except BaseException as error:
            self._stop(error)
            raise
        return finalists

    def _train_trials(self) -> list[Finalist] | None:
        self.blocks.train()
        if any(trial.state is TrialState.RUNNING for trial in self.study.trials):
            self.context.progress.note(
                "other controllers are at work; the last one prints the results"
            )
            return None
        with lease.end_lock(self.plan.folder):
            return self._train_finalists()

    def _stop(self, error: BaseException) -> None:
        """Leave all to the next start; after a signal, jobs that need no controller continue."""
        is_over = isinstance(error, SearchTimeout)
        if is_over:
            self.context.progress.note(f"search.timeout={self.plan.options.timeout} is over")
        is_signal = isinstance(error, SystemExit) and not is_over
        try:
            self.runs.close(leave=is_signal)
        finally:
            self.logger.stopped(_status(error))  # before another controller resumes them
            self.blocks.release()

    def _train_finalists(self) -> list[Finalist]:
        """Train the best trials again, with seeds that had no part in choosing them."""
        space = self.plan.space
        complete = [t for t in self.study.trials if t.state is TrialState.COMPLETE]
        if self.plan.finalists < 1 or not complete:
            return []
        by_cell: dict[tuple[str, ...], FrozenTrial] = {}
        for trial in sorted(complete, key=lambda t: -(t.value or 0.0)):
            # a point that was drawn twice is one cell
            by_cell.setdefault(space.overrides(space.values(trial.params)), trial)
        best = list(by_cell.values())[: self.plan.finalists]
        by_seed = self.blocks.train_again(best, self.plan.finalist_seeds)
        return [
            Finalist(trial, [results[rank] for results in by_seed])
            for rank, trial in enumerate(best)
        ]

    def publish(self, finalists: list[Finalist], stopped: BaseException | None) -> None:
        """Print, draw and log the results so far, whether the search is over or not.

        Raises RunFailed if it is over and no trial is complete.
        """
        folder, context = self.plan.folder, self.context
        if isinstance(stopped, KeyboardInterrupt | SystemExit):
            context.retrier.limit(INTERRUPTED_SECONDS)
        context.retrier.drain()  # so that the folders have the ids of their runs
        summary = SearchSummary(self.plan, self.study)
        with_report = context.options.report and stopped is None
        try:
            if context.options.plots != "none":
                draw(self.study, self.plan.space, self.plan.options.objectives, folder)
            summary.publish(finalists, is_stopped=stopped is not None)
        finally:
            with (
                Progress() as context.progress,
                lease.end_of_search(folder, self.study, stopped) as others,
            ):
                only = self._own_folders if others else None
                status = _status(stopped)
                close(folder, context, status, stopped, with_report=with_report, only=only)
        if stopped is not None:
            return
        mark(folder, {"ended": True})
        if not summary.count(TrialState.COMPLETE):
            raise RunFailed(
                "no trial of the search is complete;"
                f" the last one: {reason_of_last(failed_trials(self.study))}"
            )

    def _own_folders(self) -> set[Path]:
        """The runs and trials of this controller, without those that another one has resumed."""
        resumed = {self.plan.folder / str(number) for number in lease.held_by_others(self.study)}
        runs = {run for run in self.context.run_dirs if resumed.isdisjoint(run.parents)}
        self.context.run_dirs = runs  # for the end of the context, too
        return {*runs, *self.logger.own_trials} - resumed


def _status(stopped: BaseException | None) -> Status:
    """The status of a search that was stopped by an error, or is over."""
    if stopped is None:
        return "FINISHED"
    return "FAILED" if isinstance(stopped, Exception) else "KILLED"
