"""What a search is, from its config alone."""

from pathlib import Path

import pytest
from studies import Load

from kdsweep.search.plan import SearchPlan, make_search_plan


def plan_of(load: Load, *words: str) -> SearchPlan:
    return make_search_plan(*load("search=bayes", *words))


def test_a_plan_has_the_values_of_the_config(load: Load) -> None:
    plan = plan_of(load, "hydra.sweeper.n_trials=7", "hydra.sweeper.n_jobs=3", "search.timeout=2m")
    assert (plan.n_trials, plan.block_size, plan.timeout) == (7, 3, 120.0)
    assert plan.folder == Path("multirun") / plan.name
    assert plan_of(load, "search.name=mine").folder == Path("multirun/mine")


def test_the_command_line_wins_over_the_searched_keys_of_the_config(load: Load) -> None:
    plan = plan_of(load, "T=2", "student.model.width=4,8")
    assert plan.space.keys == ["alpha", "student.model.width"]
    assert "T=2" in plan.space.fixed


def test_a_grid_has_no_more_trials_than_points(load: Load) -> None:
    words = ["hydra/sweeper/sampler=grid", "T=1,2,4", "alpha=0.1,0.9"]
    assert plan_of(load, *words, "hydra.sweeper.n_trials=99").n_trials == 6
    assert plan_of(load, *words, "hydra.sweeper.n_trials=4").n_trials == 4


def test_only_val_acc_alone_has_finalists(load: Load) -> None:
    plan = plan_of(load, "search.seeds=[3,5]", "search.finalist_seeds=2")
    assert (plan.is_race, plan.finalists, list(plan.finalist_seeds)) == (True, 3, [6, 7])
    loss = ["search.objectives=[val/loss]", "hydra.sweeper.direction=minimize"]
    assert (plan_of(load, *loss).is_race, plan_of(load, *loss).finalists) == (False, 0)


@pytest.mark.parametrize("group", ["gp", "grid", "random"])
def test_a_bayesian_search_may_have_another_sampler(load: Load, group: str) -> None:
    words = ["search=bayes", f"hydra/sweeper/sampler={group}"]
    config = load(*words)[1]
    assert config.hydra.runtime.choices["hydra/sweeper/sampler"] == group
