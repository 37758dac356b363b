"""A block of trials: suggest, train seed by seed, prune, report to the study.

Several are in training at the same time. So what trains here is a generator, which yields while its
runs are in training, and is continued once some have ended.
"""

import math
from collections.abc import Generator, Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Any

from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial, Trial, TrialState

from kdsweep.execution.run_writer import EpochCallback
from kdsweep.runs.spec import RunSpec
from kdsweep.search.lease import heartbeat
from kdsweep.search.mlflow_logging import SearchLogger
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.plan import SearchPlan
from kdsweep.search.racing import incumbent, may_be_best, seed_noise
from kdsweep.search.run_group import RunGroup
from kdsweep.search.sampling import make_sampler
from kdsweep.search.search_runs import SearchRuns
from kdsweep.search.trial_runs import TrialRun
from kdsweep.tracking.result import RunResult


class TrialRunner:
    """Trains the trials of one study that its controller has claimed."""

    def __init__(
        self, plan: SearchPlan, study: SearchStudy, runs: SearchRuns, logger: SearchLogger
    ) -> None:
        self.plan, self.space, self.seeds = plan, plan.space, list(plan.options.seeds)
        self.study, self.runs, self.logger = study, runs, logger

    def train_block(self, numbers: Sequence[int]) -> Generator[None, None, None]:
        """Suggest, train seed by seed, and report to the study all trials of the block at once.

        So what a block's trials are compared with does not depend on when it was interrupted.
        """
        with heartbeat(self.study, numbers):
            trials = {number: self._suggest(number) for number in numbers}
            results = yield from self._train_seeds(trials)
        for number, trial in trials.items():
            self._report_end(trial, results[number])

    def train_again(
        self, trials: Sequence[FrozenTrial], seed: int
    ) -> Generator[None, None, list[RunResult]]:
        """Train trials that have ended with another seed; the study is not changed."""
        return self._train([self._run(trial.number, trial.params, seed) for trial in trials])

    def _train_seeds(
        self, trials: dict[int, Trial]
    ) -> Generator[None, None, dict[int, list[RunResult]]]:
        """The results of every trial, a seed each until it was raced out or did not finish."""
        numbers = list(trials)
        results: dict[int, list[RunResult]] = {number: [] for number in numbers}
        racing = list(numbers)
        for position, seed in enumerate(self.seeds):
            racing = [n for n in racing if all(r.status == "FINISHED" for r in results[n])]
            racing = self._still_racing(racing, results, position)
            if not racing:
                break
            ended = yield from self._train_seed({n: trials[n] for n in racing}, seed)
            for number, result in zip(racing, ended, strict=True):
                results[number].append(result)
        return results

    def _suggest(self, number: int) -> Trial:
        self.study.sampler = make_sampler(
            self.plan.config.hydra.sweeper.sampler, self.space, number
        )
        trial = self.study.resume_trial(number)
        with self.study.learning_from_failures():
            self.space.suggest(trial)
        return trial

    def _still_racing(
        self, racing: list[int], results: dict[int, list[RunResult]], position: int
    ) -> list[int]:
        """The trials that get the seed at a position, by the rule of `kdsweep.search.racing`."""
        if not self.plan.is_race:
            return racing
        # Trials of this block that ended before an interruption count as they did then.
        size = self.plan.block_size
        number = next(iter(results)) // size
        done = [t for t in self.study.trials if t.state is TrialState.COMPLETE]
        mates = [_by_seed(t)[:position] for t in done if t.number // size == number]
        earlier = [_by_seed(t) for t in done if t.number // size != number]
        block = {
            number: [r.val_acc for r in ended if r.val_acc is not None]
            for number, ended in results.items()
            if all(r.status == "FINISHED" for r in ended)
        }
        noise = seed_noise([*earlier, *mates, *block.values()])
        best = incumbent(earlier, len(self.seeds))
        return [number for number in racing if may_be_best(block[number], best, noise)]

    def _train_seed(
        self, trials: dict[int, Trial], seed: int
    ) -> Generator[None, None, list[RunResult]]:
        runs = [self._run(number, trial.params, seed) for number, trial in trials.items()]
        self.runs.preflight([run.target.spec for run in runs])
        has_pruner = self.plan.is_race and not isinstance(self.study.pruner, NopPruner)
        may_prune = has_pruner and seed == self.seeds[0]
        return self._train(runs, partial(self._prune, trials) if may_prune else None)

    def _train(
        self, runs: Sequence[TrialRun], on_epoch: EpochCallback | None = None
    ) -> Generator[None, None, list[RunResult]]:
        group = RunGroup(self.runs, runs, on_epoch)
        try:
            while not group.advance():
                yield
            return group.results()
        finally:
            group.release()

    def _run(self, number: int, params: dict[str, Any], seed: int) -> TrialRun:
        values = self.space.values(params)
        run = self.runs.run(number, values, seed)
        self.logger.trial(number, run.target.spec.cell.name, values)
        return run

    def _prune(
        self, trials: dict[int, Trial], spec: RunSpec, epochs: int, metrics: dict[str, float]
    ) -> str | None:
        """Report an epoch of a trial's first seed; return a reason if the trial is pruned here."""
        trial = trials[spec.number]
        value, last = metrics.get("val/acc"), spec.config.trainer.epochs
        if value is None or math.isnan(value):
            return None
        reported = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        if epochs not in reported:  # a resumed run repeats some epochs
            trial.report(value, epochs)
        if epochs < last and trial.should_prune():
            return f"pruned after epoch {epochs} of {last}"
        return None

    def _report_end(self, trial: Trial, results: Sequence[RunResult]) -> None:
        """Log the trial, then end it in the study: once ended there, its log is complete."""
        failed = next((r for r in results if r.status == "FAILED"), None)
        accs = [r.val_acc for r in results if r.val_acc is not None]
        trial.set_user_attr("seeds", {str(r.seed): r.val_acc for r in results})
        trial.set_user_attr("n", len(accs))
        trial.set_user_attr("sd", stdev(accs) if len(accs) > 1 else None)
        trial.set_user_attr("test/acc", {str(r.seed): r.test_acc for r in results})
        if failed is not None:
            trial.set_user_attr("reason", failed.reason)
        state = _state(results)
        self.logger.trial_ended(trial.number, results, state)
        if state is TrialState.COMPLETE:
            objectives = self.plan.options.objectives
            values = [result.to_json() for result in results]
            self.study.tell(trial, [fmean(float(v[key]) for v in values) for key in objectives])
        else:
            self.study.tell(trial, state=state)


def _state(results: Sequence[RunResult]) -> TrialState:
    """The state of the worst run."""
    statuses = {result.status for result in results}
    if "FAILED" in statuses:
        return TrialState.FAIL
    return TrialState.PRUNED if "PRUNED" in statuses else TrialState.COMPLETE


def _by_seed(trial: FrozenTrial) -> list[float]:
    return [float(value) for value in trial.user_attrs.get("seeds", {}).values()]
