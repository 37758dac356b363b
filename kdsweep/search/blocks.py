"""The blocks of trials that a controller has in training: the next one once a worker is free."""

from collections.abc import Generator, Sequence

from optuna.trial import FrozenTrial, TrialState

from kdsweep.errors import RunFailed
from kdsweep.search import lease
from kdsweep.search.mlflow_logging import SearchLogger
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.plan import SearchPlan
from kdsweep.search.search_runs import SearchRuns
from kdsweep.search.trial_runner import TrialRunner
from kdsweep.tracking.result import RunResult

Block = tuple[int, ...]  # the numbers of its trials


class Blocks:
    """Claims and trains the blocks of one study. Several controllers may do so at the same time."""

    def __init__(
        self, plan: SearchPlan, study: SearchStudy, runs: SearchRuns, logger: SearchLogger
    ) -> None:
        self._plan, self._study, self._runs, self._logger = plan, study, runs, logger
        self._trials = TrialRunner(plan, study, runs, logger)
        self._open: dict[Block, Generator[None, None, None]] = {}

    def train(self) -> None:
        """Work until no trial waits. Raises RunFailed after too many failures."""
        self._refuse_more_failures()
        while True:
            while self._runs.has_room(len(self._open)) and (block := self._next_block()):
                self._open[block] = self._trials.train_block(block)
                self._continue(block)
            if not self._open:
                return
            self._runs.step()
            for block in list(self._open):
                self._continue(block)

    def train_again(
        self, trials: Sequence[FrozenTrial], seeds: Sequence[int]
    ) -> list[list[RunResult]]:
        """The results of trials with each of these seeds; the study is not changed."""
        in_training = {seed: self._trials.train_again(trials, seed) for seed in seeds}
        ended: dict[int, list[RunResult]] = {}
        try:
            while True:
                for seed, steps in list(in_training.items()):
                    try:
                        next(steps)
                    except StopIteration as end:
                        ended[seed] = end.value
                        del in_training[seed]
                if not in_training:
                    return [ended[seed] for seed in seeds]
                self._runs.step()
        finally:
            for steps in in_training.values():  # the locks of their runs are released
                steps.close()

    def release(self) -> None:
        """Leave the trials that are open to the next start, or to another controller."""
        for steps in self._open.values():
            steps.close()
        lease.release_trials(self._study, [number for block in self._open for number in block])
        self._open.clear()

    def _continue(self, block: Block) -> None:
        """Continue a block as far as its runs have ended."""
        try:
            next(self._open[block])
        except StopIteration:
            del self._open[block]
            self._logger.best_so_far(self._study)
            self._refuse_more_failures()

    def _next_block(self) -> Block:
        """Claim free trials if there are any, otherwise queue and claim the next ones."""
        n_trials, size, folder = self._plan.n_trials, self._plan.block_size, self._plan.folder
        if free := lease.claim(self._study, n_trials, size, folder):
            return tuple(free)
        # No more at a time: a storage reads every trial that has not ended again and again.
        queued = len(self._study.get_trials(deepcopy=False))
        lease.enqueue(self._study, min(n_trials, (queued // size + 1) * size), folder)
        return tuple(lease.claim(self._study, n_trials, size, folder))

    def _refuse_more_failures(self) -> None:
        failed, most = failed_trials(self._study), self._plan.options.max_failures
        if len(failed) > most:
            raise RunFailed(
                f"search.max_failures: {len(failed)} trials failed, more than {most};"
                f" the last one: {reason_of_last(failed)}"
            )


def failed_trials(study: SearchStudy) -> list[FrozenTrial]:
    """The trials of a study that failed, in their order."""
    return study.get_trials(deepcopy=False, states=[TrialState.FAIL])


def reason_of_last(failed: Sequence[FrozenTrial]) -> str | None:
    """Why the last of these trials failed."""
    return failed[-1].user_attrs.get("reason") if failed else None
