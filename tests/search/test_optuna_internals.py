"""The contract with what is private to the Optuna sweeper of Hydra, and to Optuna itself."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState
from studies import Start

from kdsweep.search.lease import enqueue
from kdsweep.search.optuna_internals import SearchStudy, distribution_of, grid_choices


@pytest.mark.parametrize(
    ("distribution", "choices"),
    [
        (CategoricalDistribution(["kl", "ce"]), ["kl", "ce"]),
        (IntDistribution(0, 2), [0, 1, 2]),
        (IntDistribution(1, 7, step=3), [1, 4, 7]),
        (FloatDistribution(0.0, 0.5, step=0.25), [0.0, 0.25, 0.5]),
    ],
)
def test_the_points_of_a_grid(distribution: BaseDistribution, choices: list[Any]) -> None:
    assert list(grid_choices(distribution)) == choices


@pytest.mark.parametrize(
    ("word", "distribution"),
    [
        ("T=interval(1,4)", FloatDistribution(1, 4)),
        ("T=tag(log,interval(1,4))", FloatDistribution(1, 4, log=True)),
        ("T=int(interval(1,4))", IntDistribution(1, 4)),
        ("T=range(1,4)", IntDistribution(1, 3)),
        ("T=1,4", CategoricalDistribution([1, 4])),
    ],
)
def test_an_override_as_a_distribution(word: str, distribution: BaseDistribution) -> None:
    (override,) = OverridesParser.create().parse_overrides([word])
    assert distribution_of(override) == distribution


# Optuna


@pytest.fixture
def study(start: Start, tmp_path: Path) -> SearchStudy:
    """A study with four trials that wait."""
    study = start()
    enqueue(study, 4, tmp_path)
    return study


def test_a_waiting_trial_is_taken_once(start: Start, study: SearchStudy) -> None:
    assert start().take(1)
    assert not study.take(1)
    assert [trial.state for trial in study.trials] == [
        TrialState.WAITING,
        TrialState.RUNNING,
        TrialState.WAITING,
        TrialState.WAITING,
    ]


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED])
def test_a_trial_that_has_ended_is_not_taken(study: SearchStudy, state: TrialState) -> None:
    study.take(1)
    study.tell(1, 0.5 if state is TrialState.COMPLETE else None, state=state)
    assert study.take(1) is False
    assert study.trials[1].state is state


def test_a_trial_is_found_by_its_number_among_other_studies(
    start: Start, study: SearchStudy, tmp_path: Path
) -> None:
    other = optuna.create_study(study_name="other", storage=f"sqlite:///{tmp_path}/optuna.db")
    other.ask()
    enqueue(study, 5, tmp_path)
    assert [study.id_of(n) for n in range(5)] == [trial._trial_id for trial in study.trials]


def test_a_taken_trial_is_resumed_after_a_restart(start: Start, study: SearchStudy) -> None:
    study.take(2)
    first = study.resume_trial(2)
    value = first.suggest_float("T", 1, 4)
    first.report(0.25, step=1)
    again = start().resume_trial(2)
    assert again.number == 2
    assert again.params == {"T": value}
    assert again.suggest_float("T", 1, 4) == value
    again.report(0.5, step=2)
    study.tell(again, 0.5)
    assert study.trials[2].intermediate_values == {1: 0.25, 2: 0.5}
    assert (study.trials[2].state, study.trials[2].value) == (TrialState.COMPLETE, 0.5)


def test_an_attribute_of_a_trial_may_change(study: SearchStudy) -> None:
    study.take(1)
    study.set_attr(1, "owner", {"pid": 1})
    study.set_attr(1, "owner", None)
    assert study.trials[1].user_attrs == {"owner": None}
    assert study.trials[0].user_attrs == {}


class Spy(optuna.samplers.RandomSampler):
    """Keeps the trials that it was passed."""

    seen: list[FrozenTrial]

    def sample_independent(self, study: optuna.Study, *arguments: Any, **named: Any) -> Any:
        self.seen = study._get_trials(deepcopy=False, use_cache=True)
        return super().sample_independent(study, *arguments, **named)


def shown(study: SearchStudy, number: int, *, learning: bool = True) -> list[FrozenTrial]:
    """The trials as a sampler sees them that suggests for this one."""
    study.sampler = spy = Spy()
    trial = study.resume_trial(number)
    if not learning:
        trial.suggest_float("T", 1, 4)
        return spy.seen
    with study.learning_from_failures():
        trial.suggest_float("T", 1, 4)
    return spy.seen


def end(study: SearchStudy, number: int, value: Any, state: TrialState | None = None) -> None:
    study.take(number)
    trial = study.resume_trial(number)
    trial.suggest_float("T", 1, 4)
    study.tell(trial, value, state=state)


def test_a_sampler_gets_the_values_reported_before(study: SearchStudy) -> None:
    study.take(0)
    study.take(1)
    assert shown(study, 0)[0].state is TrialState.RUNNING
    study.tell(0, 0.5)
    assert shown(study, 1)[0].value == 0.5


@pytest.mark.parametrize(("directions", "worst"), [(["maximize"], 0.25), (["minimize"], 0.75)])
def test_a_failed_trial_looks_as_bad_as_the_worst_to_a_sampler(
    start: Start, tmp_path: Path, directions: list[str], worst: float
) -> None:
    study = start(directions=directions)
    enqueue(study, 4, tmp_path)
    end(study, 0, 0.25)
    end(study, 1, 0.75)
    end(study, 2, None, TrialState.FAIL)
    study.take(3)
    failed = shown(study, 3)[2]
    assert (failed.state, failed.value) == (TrialState.COMPLETE, worst)
    assert failed.params == study.trials[2].params


def test_elsewhere_a_failed_trial_is_a_failed_trial(study: SearchStudy) -> None:
    end(study, 0, 0.25)
    end(study, 1, None, TrialState.FAIL)
    study.take(2)
    shown(study, 2)
    assert (study.trials[1].state, study.trials[1].value) == (TrialState.FAIL, None)
    assert len(study.get_trials(states=[TrialState.COMPLETE])) == 1
    assert study.best_trial.number == 0
    study.take(3)
    assert shown(study, 3, learning=False)[1].state is TrialState.FAIL


def test_only_trials_of_the_given_states_are_returned(study: SearchStudy) -> None:
    end(study, 0, 0.25)
    end(study, 1, None, TrialState.FAIL)
    end(study, 2, None, TrialState.PRUNED)
    states = (TrialState.COMPLETE,)
    with study.learning_from_failures():
        seen = study.get_trials(deepcopy=False, states=states)
        assert study.get_trials(states=[TrialState.FAIL]) == []
    assert [trial.number for trial in seen] == [0, 1]
    assert [trial.number for trial in study.get_trials(states=states)] == [0]


def test_there_is_nothing_to_learn_before_a_trial_is_complete(study: SearchStudy) -> None:
    end(study, 0, None, TrialState.FAIL)
    study.take(1)
    assert shown(study, 1)[0].state is TrialState.FAIL


def test_a_trial_that_failed_before_it_was_suggested_teaches_nothing(study: SearchStudy) -> None:
    end(study, 0, 0.25)
    study.take(1)
    study.tell(1, state=TrialState.FAIL)
    study.take(2)
    assert shown(study, 2)[1].state is TrialState.FAIL


def test_with_several_objectives_nothing_is_made_up(start: Start, tmp_path: Path) -> None:
    study = start(directions=["maximize", "minimize"])
    enqueue(study, 3, tmp_path)
    end(study, 0, [0.5, 10.0])
    end(study, 1, None, TrialState.FAIL)
    study.take(2)
    assert shown(study, 2)[1].state is TrialState.FAIL


def test_an_error_ends_the_learning(study: SearchStudy) -> None:
    end(study, 0, 0.25)
    end(study, 1, None, TrialState.FAIL)
    with pytest.raises(RuntimeError), study.learning_from_failures():
        raise RuntimeError
    assert study.trials[1].state is TrialState.FAIL


def test_a_sampler_learns_under_hyperband_too(start: Start, tmp_path: Path) -> None:
    # one bracket, so that every trial is in it
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=1)
    study = start(pruner=pruner)
    enqueue(study, 3, tmp_path)
    end(study, 0, 0.25)
    end(study, 1, None, TrialState.FAIL)
    study.take(2)
    assert shown(study, 2)[1].state is TrialState.COMPLETE
