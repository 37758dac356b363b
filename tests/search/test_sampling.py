"""What a search proposes: the same whether it was interrupted or not, and not what fails."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra_plugins.hydra_optuna_sweeper import config as nodes
from omegaconf import DictConfig, OmegaConf
from optuna.trial import Trial, TrialState
from studies import Start

from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.sampling import make_sampler
from kdsweep.search.space import Space, parse
from kdsweep.search.study import claim, enqueue

SPACE = parse(["T=tag(log,interval(1.0,16.0))", "alpha=interval(0.0,1.0)"], lambda key, loss: True)
N, BLOCK = 12, 4

SAMPLERS = {
    "tpe": nodes.TPESamplerConfig(
        seed=0, n_startup_trials=4, multivariate=True, constant_liar=True
    ),
    "tpe alone": nodes.TPESamplerConfig(seed=0, n_startup_trials=4),
    "gp": nodes.GPSamplerConfig(seed=0, n_startup_trials=4),
    "cmaes": nodes.CmaEsSamplerConfig(seed=0, popsize=4),  # a generation a block
    "random": nodes.RandomSamplerConfig(seed=0),
    "nsgaii": nodes.NSGAIISamplerConfig(seed=0, population_size=4),
    "qmc": nodes.QMCSamplerConfig(seed=0),
}
Values = dict[str, Any]


def node(name: str, **changes: Any) -> DictConfig:
    return OmegaConf.merge(OmegaConf.structured(SAMPLERS[name]), changes)


def suggest(
    study: SearchStudy, sampler: DictConfig, number: int, space: Space = SPACE
) -> tuple[Trial, Values]:
    """As a search does."""
    study.sampler = make_sampler(sampler, space, number)
    trial = study.go_on(number)
    with study.learning_from_failures():
        return trial, space.suggest(trial)


def blocks(study: SearchStudy, total: int, size: int, folder: Path) -> Iterator[list[int]]:
    enqueue(study, total, folder)
    while block := claim(study, total, size, folder):
        yield block


def accuracy(values: Values) -> float:
    return 0.9 - 0.05 * math.log(values["T"] / 4) ** 2 - 0.1 * (values["alpha"] - 0.7) ** 2


def again(start: Start, home: Path, total: int = N) -> SearchStudy:
    """The study after a restart, which looks at all trials before it goes on with one."""
    study = start(str(home))
    enqueue(study, total, home)
    return study


def search(
    start: Start, sampler: DictConfig, home: Path, *, interrupted: bool = False
) -> list[Values]:
    """What all trials are given of a search that may die three times in every block."""
    home.mkdir()
    study = start(home.name)
    for block in blocks(study, N, BLOCK, home):
        if interrupted:
            for number in block[:2]:
                suggest(study, sampler, number)
            study = again(start, home)
        found = {number: suggest(study, sampler, number) for number in block}
        if interrupted:
            study = again(start, home)
        for number, (_, values) in found.items():
            study.tell(number, accuracy(values))
            if interrupted and number == block[1]:
                study = again(start, home)
    return [SPACE.values(trial.params) for trial in study.trials]


QUICK = ("tpe", "cmaes", "random", "nsgaii", "qmc")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in SAMPLERS]
)
def test_suggestions_do_not_depend_on_restarts(start: Start, tmp_path: Path, name: str) -> None:
    whole = search(start, node(name), tmp_path / "whole")
    assert len({str(values) for values in whole}) > N / 2
    assert search(start, node(name), tmp_path / "interrupted", interrupted=True) == whole


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_seed_has_its_own_search(start: Start, tmp_path: Path, name: str) -> None:
    study = start()
    enqueue(study, 2, tmp_path)
    assert claim(study, 2, 2, tmp_path) == [0, 1]
    one, other = (make_sampler(node(name, seed=seed), SPACE, 0) for seed in (0, 1))
    for number, study.sampler in enumerate([one, other]):
        SPACE.suggest(study.go_on(number))
    assert study.trials[0].params != study.trials[1].params


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "qmc"])
def test_each_trial_draws_its_own_numbers(start: Start, tmp_path: Path, name: str) -> None:
    study = start()
    enqueue(study, 2, tmp_path)
    assert claim(study, 2, 2, tmp_path) == [0, 1]
    assert suggest(study, node(name), 0)[1] != suggest(study, node(name), 1)[1]


HALF = parse(["T=tag(log,interval(1.0,16.0))"], lambda key, loss: True)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_trial_that_was_half_suggested_goes_on_alike(
    start: Start, tmp_path: Path, name: str
) -> None:
    for home in ("whole", "killed"):
        study = start(home)
        enqueue(study, 1, tmp_path / home)
        claim(study, 1, 1, tmp_path / home)
        if home == "killed":
            suggest(study, node(name), 0, HALF)
            study = start(home)
        suggest(study, node(name), 0)
    assert start("whole").trials[0].params == start("killed").trials[0].params


@pytest.mark.parametrize("words", [["T=1,2,4", "alpha=0.1,0.2"], ["T=1,2,4", "loss=kl,ce"]])
def test_a_grid_has_each_point_once(start: Start, tmp_path: Path, words: list[str]) -> None:
    space = parse(words, lambda key, loss: True)
    sampler = OmegaConf.structured(nodes.GridSamplerConfig(seed=0))
    points = []
    for block in blocks(start(), 6, BLOCK, tmp_path):
        study = again(start, tmp_path, total=6)
        found = {number: suggest(study, sampler, number, space) for number in block}
        points += [str(values) for _, values in found.values()]
        for number in found:
            study.tell(number, 0.5)
    assert len(points) == len(set(points)) == 6


def test_the_options_of_the_config_reach_the_sampler() -> None:
    sampler = make_sampler(node("tpe", n_startup_trials=7), SPACE, 0)
    assert sampler.joint._n_startup_trials == 7


@pytest.fixture(scope="module")
def default() -> DictConfig:
    """The sampler of conf/search/bayes.yaml."""
    import hydra

    from kdsweep.cli import CONF

    with hydra.initialize_config_dir(str(CONF)):
        config = hydra.compose("train", ["search=bayes"], return_hydra_config=True)
    return config.hydra.sweeper.sampler


def share_of_failing(
    start: Start,
    sampler: DictConfig,
    home: Path,
    value: Callable[[dict[str, float]], float],
    total: int = 40,
    n_jobs: int = 8,
) -> float:
    """Of a search's proposals, those with T in [3, 5], where every trial fails."""
    study, failed = start(home.name), 0
    for block in blocks(study, total, n_jobs, home):
        for trial, values in [suggest(study, sampler, number) for number in block]:
            if 3 <= values["T"] <= 5:
                failed += 1
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, value(values))
    return failed / total


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_region_that_fails_is_avoided(
    start: Start, tmp_path: Path, default: DictConfig, seed: int
) -> None:
    # 18 % of this space, measured as the sampler draws T
    sampler = OmegaConf.merge(default, {"seed": seed})
    share = share_of_failing(start, sampler, tmp_path, lambda v: 0.9 + 0.01 * v["alpha"])
    assert share < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_region_that_fails_is_avoided_even_round_the_best(
    start: Start, tmp_path: Path, default: DictConfig, seed: int
) -> None:
    sampler = OmegaConf.merge(default, {"seed": seed})
    peak = 4.0  # in the middle of what fails

    def value(values: dict[str, float]) -> float:
        return 0.98 - 0.05 * math.log2(values["T"] / peak) ** 2 + 0.01 * values["alpha"]

    assert share_of_failing(start, sampler, tmp_path, value) < 0.15


@pytest.mark.parametrize("group", ["gp", "grid", "random"])
def test_a_bayesian_search_may_have_another_sampler(group: str) -> None:
    import hydra

    from kdsweep.cli import CONF

    words = ["search=bayes", f"hydra/sweeper/sampler={group}"]
    with hydra.initialize_config_dir(str(CONF)):
        config = hydra.compose("train", words, return_hydra_config=True)
    assert config.hydra.runtime.choices["hydra/sweeper/sampler"] == group
