"""Everything private to other packages that a search depends on, in one place.

Of `hydra_plugins.hydra_optuna_sweeper._impl` the conversion of Hydra's override grammar into Optuna
distributions; of Optuna what a study needs to take a waiting trial, to resume a running one, and to
show failed trials to its sampler. tests/search/test_optuna_internals.py is the contract with both.
"""

import copy
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from hydra.core.override_parser.types import Override
from hydra_plugins.hydra_optuna_sweeper._impl import (
    OptunaSweeperImpl,
    create_optuna_distribution_from_override,
)
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner, NopPruner
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from kdsweep.search.storage import StudyStorage


def distribution_of(override: Override) -> BaseDistribution:
    """The distribution of an override that searches its key.

    Raises ValueError, AssertionError or NotImplementedError if it has no values.
    """
    distribution: BaseDistribution = create_optuna_distribution_from_override(override)
    return distribution


def grid_choices(distribution: BaseDistribution) -> Sequence[Any]:
    """All values of a distribution. Raises ValueError if it is continuous."""
    choices: Sequence[Any] = OptunaSweeperImpl._to_grid_sampler_choices(distribution)
    return choices


class SearchStudy(optuna.Study):
    """A study whose trials wait to be claimed, and whose sampler learns from failures."""

    learning = False  # whether the trials are read by a sampler

    def __init__(
        self,
        name: str,
        opened: BaseStorage,
        storage: StudyStorage,
        *,
        pruner: BasePruner | None = None,
    ) -> None:
        """A study that is in a storage, which was opened as Optuna's."""
        super().__init__(name, opened, pruner=pruner)
        self.storage = storage

    def close(self) -> None:
        """Close the connections to the storage."""
        self.storage.close()

    @contextmanager
    def learning_from_failures(self) -> Iterator[None]:
        """Inside, failed trials have the worst value; outside they are unchanged.

        Hyperband passes a sampler another study, that of a bracket, to which this does not apply:
        so inside there is no pruner.
        """
        pruner, self.pruner, self.learning = self.pruner, NopPruner(), True
        try:
            yield
        finally:
            self.pruner, self.learning = pruner, False

    def raw_trials(self) -> list[FrozenTrial]:
        """The trials unchanged, also inside `learning_from_failures`."""
        return super()._get_trials(False, None, False)

    def stop(self) -> None:
        """Called by a grid sampler at its end; a search ends when no trial waits any more."""

    def take(self, number: int) -> bool:
        """Make a waiting trial a running one; False if another process was faster."""
        trial_id = self.id_of(number)
        try:
            return bool(self._storage.set_trial_state_values(trial_id, TrialState.RUNNING))
        except UpdateFinishedTrialError:
            return False

    def resume_trial(self, number: int) -> Trial:
        """A live trial, for suggest, report and tell, of one that was taken."""
        self._thread_local.cached_all_trials = None
        return Trial(self, self.id_of(number))

    def set_attr(self, number: int, key: str, value: Any) -> None:
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
        """The trials; for a sampler, a failed one has the worst value of the complete ones.

        Samplers ignore failed trials by default, and so propose a failing region again and again.
        """
        trials = super()._get_trials(deepcopy, None, use_cache)
        if self.learning and len(self.directions) == 1:
            values = [t.value for t in trials if t.state is TrialState.COMPLETE]
            done = [value for value in values if value is not None]
            if done:
                maximizes = self.direction is StudyDirection.MAXIMIZE
                worst = min(done) if maximizes else max(done)
                trials = [_penalized(trial, worst) for trial in trials]
        return [trial for trial in trials if states is None or trial.state in states]


def _penalized(trial: FrozenTrial, worst: float) -> FrozenTrial:
    if trial.state is not TrialState.FAIL or not trial.params:
        return trial
    penalized = copy.copy(trial)
    penalized.state, penalized.value = TrialState.COMPLETE, worst
    return penalized
