"""Everything that is private to others and leaned on here, in one place.

`hydra_plugins.hydra_optuna_sweeper._impl` reads Hydra's sweep words as Optuna distributions and
holds the launcher; of Optuna, a study must take a trial that waits, go on with one that runs, and
show its sampler failed trials. tests/search/test_hydra_optuna.py is the contract with both.
"""

import copy
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from hydra_plugins.hydra_optuna_sweeper._impl import (
    OptunaSweeperImpl,
    create_optuna_distribution_from_override,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import NopPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Engine

__all__ = [
    "OptunaSweeperImpl",
    "SearchStudy",
    "create_optuna_distribution_from_override",
]


class SearchStudy(optuna.Study):
    """A study whose trials wait for a worker, and whose sampler learns from failures."""

    learning = False  # whether a sampler is looking

    @property
    def engine(self) -> Engine:
        """The way to the study's database."""
        storage: Any = self._storage
        engine: Engine = storage._backend.engine
        return engine

    def close(self) -> None:
        """Give back the connections to the database."""
        self.engine.dispose()

    @contextmanager
    def learning_from_failures(self) -> Iterator[None]:
        """Inside, failed trials look as bad as the worst; else they look as they are.

        Hyperband would show its sampler a study of its own, a bracket's, which knows nothing of
        this: so inside there is no pruner.
        """
        pruner, self.pruner, self.learning = self.pruner, NopPruner(), True
        try:
            yield
        finally:
            self.pruner, self.learning = pruner, False

    def as_they_are(self) -> list[FrozenTrial]:
        """The trials, whoever looks."""
        return super()._get_trials(False, None, False)

    def stop(self) -> None:
        """What a grid sampler calls at its end; a search ends when no trial waits any more."""

    def take(self, number: int) -> bool:
        """Make a waiting trial a running one; False if another process was faster."""
        trial_id = self.id_of(number)
        try:
            return bool(self._storage.set_trial_state_values(trial_id, TrialState.RUNNING))
        except UpdateFinishedTrialError:
            return False

    def go_on(self, number: int) -> Trial:
        """A live trial, to suggest, report and tell with, of one that was taken."""
        self._thread_local.cached_all_trials = None
        return Trial(self, self.id_of(number))

    def note(self, number: int, key: str, value: Any) -> None:
        """Set a user attribute of a trial that has not ended."""
        self._storage.set_trial_user_attr(self.id_of(number), key, value)

    def id_of(self, number: int) -> int:
        """The storage's id of a trial."""
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number))

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        """The trials; for a sampler, one that failed counts as bad as the worst.

        Samplers by themselves pass over failed trials, and so propose a failing region again and
        again.
        """
        trials = super()._get_trials(deepcopy, None, use_cache)
        if self.learning and len(self.directions) == 1:
            values = [t.value for t in trials if t.state is TrialState.COMPLETE]
            done = [value for value in values if value is not None]
            if done:
                maximises = self.direction is StudyDirection.MAXIMIZE
                worst = min(done) if maximises else max(done)
                trials = [_penalised(trial, worst) for trial in trials]
        return [trial for trial in trials if states is None or trial.state in states]


def _penalised(trial: FrozenTrial, worst: float) -> FrozenTrial:
    if trial.state is not TrialState.FAIL or not trial.params:
        return trial
    seen = copy.copy(trial)
    seen.state, seen.value = TrialState.COMPLETE, worst
    return seen
