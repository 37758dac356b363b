"""One block of trials at a time: suggest, train seed by seed, prune, tell the study."""

import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Any

from omegaconf import DictConfig
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial, Trial, TrialState

from kdsweep.plan import Plan
from kdsweep.run import Result
from kdsweep.search.heartbeat import beating
from kdsweep.search.mlflow_logging import SearchRuns
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.racing import incumbent, may_be_best, seed_noise
from kdsweep.search.run_cache import Runs, TrialRun
from kdsweep.search.sampling import make_sampler
from kdsweep.search.space import Space


class Trials:
    """The trials of one study. Who claims them, and when a search ends, is not decided here.

    Args:
        config: of the search: its sampler, its seeds and objectives.
        is_race: whether trials compete by val/acc alone, the higher the better.
    """

    def __init__(
        self,
        study: SearchStudy,
        space: Space,
        runs: Runs,
        mlflow: SearchRuns,
        config: DictConfig,
        *,
        is_race: bool,
    ) -> None:
        self.study, self.space, self.runs, self.mlflow = study, space, runs, mlflow
        self.is_race = is_race
        self.may_prune = is_race and not isinstance(study.pruner, NopPruner)
        self.sampler = config.hydra.sweeper.sampler
        self.block_size = int(config.hydra.sweeper.n_jobs)
        self.seeds = list(config.search.seeds)
        self.objectives = list(config.search.objectives)

    def train_block(self, numbers: Sequence[int]) -> None:
        """Suggest, train seed by seed, and tell; the study hears of a block all at once.

        So what a block's trials are compared with does not depend on when it was interrupted.
        """
        with beating(self.study, numbers):
            trials = {number: self._suggest(number) for number in numbers}
            results = self._train_seeds(trials)
        for number, trial in trials.items():
            self._tell(trial, results[number])

    def _train_seeds(self, trials: dict[int, Trial]) -> dict[int, list[Result]]:
        """Every trial's results, as many as the race let it have."""
        numbers = list(trials)
        results: dict[int, list[Result]] = {number: [] for number in numbers}
        racing = list(numbers)
        for position, seed in enumerate(self.seeds):
            racing = [n for n in racing if all(r["status"] == "FINISHED" for r in results[n])]
            racing = self._still_racing(racing, results, position)
            if not racing:
                break
            ended = self._train_seed({number: trials[number] for number in racing}, seed)
            for number, result in zip(racing, ended, strict=True):
                results[number].append(result)
        return results

    def train_again(self, trials: Sequence[FrozenTrial], seed: int) -> list[Result]:
        """Train trials that have ended with a seed of their own; nothing is told."""
        runs = [self._run(trial.number, trial.params, seed) for trial in trials]
        return self.runs.train(runs)

    def _suggest(self, number: int) -> Trial:
        self.study.sampler = make_sampler(self.sampler, self.space, number)
        trial = self.study.go_on(number)
        with self.study.learning_from_failures():
            self.space.suggest(trial)
        return trial

    def _still_racing(
        self, racing: list[int], results: dict[int, list[Result]], position: int
    ) -> list[int]:
        """The trials that get the seed at a position; `kdsweep.search.racing` has the rule."""
        if not self.is_race:
            return racing
        # Block mates that were told before an interruption count as they did then.
        number = next(iter(results)) // self.block_size
        done = [t for t in self.study.trials if t.state is TrialState.COMPLETE]
        mates = [_by_seed(t)[:position] for t in done if t.number // self.block_size == number]
        earlier = [_by_seed(t) for t in done if t.number // self.block_size != number]
        block = {
            number: [r["val/acc"] for r in ended]
            for number, ended in results.items()
            if all(r["status"] == "FINISHED" for r in ended)
        }
        noise = seed_noise([*earlier, *mates, *block.values()])
        best = incumbent(earlier, len(self.seeds))
        return [number for number in racing if may_be_best(block[number], best, noise)]

    def _train_seed(self, trials: dict[int, Trial], seed: int) -> list[Result]:
        runs = [self._run(number, trial.params, seed) for number, trial in trials.items()]
        self.runs.check([run.place.plan for run in runs])
        is_pruned = self.may_prune and seed == self.seeds[0]
        return self.runs.train(runs, partial(self._prune, trials) if is_pruned else None)

    def _run(self, number: int, params: dict[str, Any], seed: int) -> TrialRun:
        values = self.space.values(params)
        config, plan = self.runs.plan(number, values, seed)
        self.mlflow.trial(number, plan.cell, values)
        return self.runs.at(config, plan, seed)

    def _prune(
        self, trials: dict[int, Trial], plan: Plan, epochs: int, metrics: dict[str, float]
    ) -> str | None:
        """Report an epoch of a trial's first seed; a reason if the trial ends here."""
        trial = trials[plan.number]
        value, last = metrics.get("val/acc"), plan.values["trainer"]["epochs"]
        if value is None or math.isnan(value):
            return None
        reported = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        if epochs not in reported:  # a run that goes on says some epochs again
            trial.report(value, epochs)
        if epochs < last and trial.should_prune():
            return f"pruned after epoch {epochs} of {last}"
        return None

    def _tell(self, trial: Trial, results: Sequence[Result]) -> None:
        """Its note first: a trial that the study knows to be done can be uploaded whole."""
        failed = next((r for r in results if r["status"] == "FAILED"), None)
        accs = [r["val/acc"] for r in results if r["val/acc"] is not None]
        trial.set_user_attr("seeds", {str(r["seed"]): r["val/acc"] for r in results})
        trial.set_user_attr("n", len(accs))
        trial.set_user_attr("sd", stdev(accs) if len(accs) > 1 else None)
        trial.set_user_attr("test/acc", {str(r["seed"]): r["test/acc"] for r in results})
        if failed is not None:
            trial.set_user_attr("reason", failed["reason"])
        state = _state(results)
        self.mlflow.trial_ended(trial.number, results, state)
        if state is TrialState.COMPLETE:
            self.study.tell(
                trial, [fmean(float(r[key]) for r in results) for key in self.objectives]
            )
        else:
            self.study.tell(trial, state=state)


def _state(results: Sequence[Result]) -> TrialState:
    """A trial is as its worst run."""
    ends = {result["status"] for result in results}
    if "FAILED" in ends:
        return TrialState.FAIL
    return TrialState.PRUNED if "PRUNED" in ends else TrialState.COMPLETE


def _by_seed(trial: FrozenTrial) -> list[float]:
    return [float(value) for value in trial.user_attrs.get("seeds", {}).values()]
