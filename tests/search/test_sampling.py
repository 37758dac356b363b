"""What a search proposes: independent of interruptions, and rarely what fails."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra_plugins.hydra_optuna_sweeper import config as nodes
from omegaconf import DictConfig, OmegaConf
from optuna.trial import Trial, TrialState
from studies import Load, Start

from kdsweep.search.lease import claim, enqueue
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.sampling import make_sampler
from kdsweep.search.space import Space, parse

SPACE = parse(["T=tag(log,interval(1.0,16.0))", "alpha=interval(0.0,1.0)"], lambda key, loss: True)
N, BLOCK = 8, 4

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
DISTRIBUTIONS = {dimension.name: dimension.distribution for dimension in SPACE.dimensions}


def node(name: str, **changes: Any) -> DictConfig:
    return OmegaConf.merge(OmegaConf.structured(SAMPLERS[name]), changes)


def suggest(
    study: SearchStudy, sampler: DictConfig, number: int, space: Space = SPACE
) -> tuple[Trial, Values]:
    """Suggest the values of a trial as a search does."""
    study.sampler = make_sampler(sampler, space, number)
    trial = study.resume_trial(number)
    with study.learning_from_failures():
        return trial, space.suggest(trial)


def blocks(study: SearchStudy, total: int, size: int, folder: Path) -> Iterator[list[int]]:
    enqueue(study, total, folder)
    while block := claim(study, total, size, folder):
        yield block


def accuracy(values: Values) -> float:
    return 0.9 - 0.05 * math.log(values["T"] / 4) ** 2 - 0.1 * (values["alpha"] - 0.7) ** 2


def again(start: Start, folder: Path, total: int = N) -> SearchStudy:
    """The study after a restart, which reads all trials before it resumes one."""
    study = start(str(folder))
    enqueue(study, total, folder)
    return study


def search(
    start: Start, sampler: DictConfig, folder: Path, *, interrupted: bool = False
) -> list[Values]:
    """The values of all trials of a search, which may die three times in every block."""
    folder.mkdir()
    study = start(folder.name)
    for block in blocks(study, N, BLOCK, folder):
        if interrupted:
            for number in block[:2]:
                suggest(study, sampler, number)
            study = again(start, folder)
        suggested = {number: suggest(study, sampler, number) for number in block}
        if interrupted:
            study = again(start, folder)
        for number, (_, values) in suggested.items():
            study.tell(number, accuracy(values))
            if interrupted and number == block[1]:
                study = again(start, folder)
    return [SPACE.values(trial.params) for trial in study.trials]


# It learns from generations as nsgaii does; the first trials of tpe are drawn at random.
QUICK = ("cmaes",)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in SAMPLERS]
)
def test_suggestions_do_not_depend_on_restarts(start: Start, tmp_path: Path, name: str) -> None:
    whole = search(start, node(name), tmp_path / "whole")
    assert len({str(values) for values in whole}) > N / 2
    assert search(start, node(name), tmp_path / "interrupted", interrupted=True) == whole


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_seed_and_each_trial_has_its_own_values(
    start: Start, tmp_path: Path, name: str
) -> None:
    study = start()
    enqueue(study, 3, tmp_path)
    assert claim(study, 3, 3, tmp_path) == [0, 1, 2]
    seeds_and_numbers = [(0, 0), (1, 0), (0, 2)]
    samplers = [make_sampler(node(name, seed=s), SPACE, number) for s, number in seeds_and_numbers]
    for trial, study.sampler in enumerate(samplers):
        SPACE.suggest(study.resume_trial(trial))
    first, of_another_seed, of_another_trial = (trial.params for trial in study.trials)
    assert first != of_another_seed
    assert first != of_another_trial


HALF = parse(["T=tag(log,interval(1.0,16.0))"], lambda key, loss: True)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_half_suggested_trial_is_resumed_with_the_same_values(
    start: Start, tmp_path: Path, name: str
) -> None:
    for folder in ("whole", "killed"):
        study = start(folder)
        enqueue(study, 1, tmp_path / folder)
        claim(study, 1, 1, tmp_path / folder)
        if folder == "killed":
            suggest(study, node(name), 0, HALF)
            study = start(folder)
        suggest(study, node(name), 0)
    assert start("whole").trials[0].params == start("killed").trials[0].params


@pytest.mark.ci
@pytest.mark.parametrize("words", [["T=1,2", "alpha=0.1,0.2"], ["T=1,2", "loss=kl,ce"]])
def test_a_grid_has_each_point_once(start: Start, tmp_path: Path, words: list[str]) -> None:
    space = parse(words, lambda key, loss: True)
    sampler = OmegaConf.structured(nodes.GridSamplerConfig(seed=0))
    points = []
    for block in blocks(start(), 4, 2, tmp_path):
        study = again(start, tmp_path, total=4)
        suggested = {number: suggest(study, sampler, number, space) for number in block}
        points += [str(values) for _, values in suggested.values()]
        for number in suggested:
            study.tell(number, 0.5)
    assert len(points) == len(set(points)) == 4


def test_the_options_of_the_config_reach_the_sampler(start: Start, tmp_path: Path) -> None:
    """With more startup trials than there are TPE draws at random, else by what was better."""
    study = start()
    enqueue(study, 3, tmp_path)
    for number in claim(study, 3, 3, tmp_path)[:2]:
        _, values = suggest(study, node("random"), number)
        study.tell(number, accuracy(values))
    early, late = (node("tpe", n_startup_trials=n) for n in (1, 3))
    proposals = []
    for sampler in (early, late):
        study.sampler = make_sampler(sampler, SPACE, 2)
        study.sampler.before_trial(study, study.trials[2])
        proposals.append(study.sampler.sample_relative(study, study.trials[2], DISTRIBUTIONS))
    assert proposals[0]
    assert not proposals[1]


@pytest.fixture(scope="module")
def default(load: Load) -> DictConfig:
    """The sampler of conf/search/bayes.yaml."""
    return load("search=bayes")[1].hydra.sweeper.sampler


def share_of_failing(
    start: Start,
    sampler: DictConfig,
    folder: Path,
    value: Callable[[dict[str, float]], float],
    total: int = 40,
    n_jobs: int = 8,
) -> float:
    """The share of proposals with T in [3, 5], where every trial fails."""
    study, failed = start(folder.name), 0
    for block in blocks(study, total, n_jobs, folder):
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
