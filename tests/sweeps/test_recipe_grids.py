"""Sweeps over recipes, `experiment=a,b`: the union of their grids, as one sweep."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import pytest
from commands import TINY, Command, Compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdsweep.cli import CONF
from kdsweep.config.overrides import command_sweeps, keys_without_effect, sweep_name, swept_keys
from kdsweep.errors import UserError
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.recipe_names import name_recipes
from kdsweep.sweeps.grid_sweeper import GridSweeper
from kdsweep.sweeps.recipe_grids import (
    Recipe,
    RecipeLoader,
    refuse_swept_recipes,
    swept_recipes,
    union_of_params,
)

KD = "experiment=kd_pytorch_temperature,kd_pytorch_alpha"
WORDS = ("seed=3,4", "optimizer.lr=0.1,0.2")
OWN = {  # recipes of the tests
    "hot": "T: 8.0\nhydra: {sweeper: {params: {alpha: '0.1,0.9', seed: '0,1'}}}",
    "wide": "optimizer: {lr: 0.05}\nhydra: {sweeper: {params: {T: '1,4'}}}",
    "plain": "defaults: [_self_, override /loss: ce]\nhydra: {sweeper: {params: {seed: '0,1'}}}",
    "smooth": "hard: {label_smoothing: 0.1}",
    "sharp": "hard: {label_smoothing: 0.0}",
    "bayes": "defaults: [override /hydra/sweeper: kdsweep]",
    "small": "hydra: {launcher: {cohort_size: 2}}",
}


@pytest.fixture
def own(tmp_path: Path) -> str:
    """The word that adds the recipes of the tests."""
    folder = tmp_path / "recipes" / "experiment"
    folder.mkdir(parents=True)
    for name, text in OWN.items():
        (folder / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    return f"hydra.searchpath=[file://{folder.parent}]"


SweepConfig = Callable[..., tuple[Any, DictConfig]]


@pytest.fixture(scope="module")
def sweep_config() -> SweepConfig:
    """The loader and the config of a sweep, as Hydra gives them to a sweeper."""
    with hydra.initialize_config_dir(str(CONF)):
        loader = GlobalHydra.instance().config_loader()
    return lambda *words: (loader, loader.load_configuration("train", [*words], RunMode.MULTIRUN))


class Swept(NamedTuple):
    loader: Any
    config: DictConfig
    recipes: list[Recipe]


@pytest.fixture(scope="module")
def kd(sweep_config: SweepConfig) -> Swept:
    """A sweep over two recipes."""
    loader, config = sweep_config(KD, *WORDS)
    return Swept(loader, config, swept_recipes(loader, config))


def jobs_of_one(loader: Any, config: DictConfig) -> list[list[str]]:
    words = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
    parsed = OverridesParser.create().parse_overrides([*words, *config.hydra.overrides.task])
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    return jobs


def test_the_jobs_are_those_of_each_recipe_alone(sweep_config: SweepConfig, kd: Swept) -> None:
    names = KD.partition("=")[2].split(",")
    alone = [jobs_of_one(*sweep_config(f"experiment={name}", *WORDS)) for name in names]
    sweeper = GridSweeper(max_batch_size=None)
    sweeper._recipes = kd.recipes
    jobs = [*alone[0], *alone[1]]
    assert sweeper.split_arguments([], None) == [jobs]
    assert [len(batch) for batch in sweeper.split_arguments([], 16)] == [16, 16, 8]
    assert jobs[0] == ["T=1", "seed=3", "experiment=kd_pytorch_temperature", "optimizer.lr=0.1"]
    assert jobs[-1] == ["alpha=0.9", "seed=4", "experiment=kd_pytorch_alpha", "optimizer.lr=0.2"]


def test_a_glob_takes_all_recipes_that_match(sweep_config: SweepConfig) -> None:
    recipes = swept_recipes(*sweep_config("experiment=glob(tutorial_c*)"))
    assert [recipe.name for recipe in recipes] == ["tutorial_ce", "tutorial_cosine"]


def test_each_job_has_the_config_of_its_recipe(kd: Swept) -> None:
    job = ["alpha=0.1", "seed=3", "experiment=kd_pytorch_alpha"]
    with pytest.raises(HydraException, match="must be configured before the sweep starts"):
        kd.loader.load_sweep_config(kd.config, job)
    got = RecipeLoader(kd.loader, kd.recipes).load_sweep_config(kd.config, job)
    assert (got.T, got.alpha, got.student.name) == (16, 0.1, "convnet4")
    assert list(got.hydra.overrides.task) == job
    assert got.hydra.sweep.dir == kd.config.hydra.sweep.dir  # the same second


def test_the_sweep_is_named_by_the_grids_of_all_recipes(kd: Swept) -> None:
    config = kd.config.copy()
    config.hydra.sweeper.params = union_of_params(kd.recipes)
    grids = "T=1,2,4,8,16 alpha=0.1,0.3,0.5,0.7,0.9"
    assert sweep_name(config) == " ".join([KD, *WORDS, grids])
    assert set(command_sweeps(config)) == {"experiment", "optimizer.lr", "seed", "T", "alpha"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "bayes",
            "experiment must list recipes of grids to be swept, got bayes, which is a search:"
            " experiment=bayes runs it by itself",
        ),
        (
            "small",
            "hydra.launcher.cohort_size must be the same in all recipes to sweep over them,"
            " got null and, with experiment=small, 2",
        ),
    ],
)
def test_recipes_of_another_sweeper_or_launcher_are_refused(
    sweep_config: SweepConfig, own: str, name: str, sentence: str
) -> None:
    with pytest.raises(UserError) as refused:
        swept_recipes(*sweep_config(f"experiment=hot,{name}", own))
    assert str(refused.value) == sentence


@pytest.mark.parametrize("word", ["search=bayes", "hydra/sweeper=optuna", "hydra/sweeper=basic"])
def test_other_sweepers_take_one_recipe(sweep_config: SweepConfig, word: str) -> None:
    _, config = sweep_config(KD, word)
    how = "unless hydra/sweeper is grid" if word.endswith("basic") else "in a search"
    with pytest.raises(UserError, match=f"experiment must be a single recipe {how}, got kd_"):
        refuse_swept_recipes(config)
    refuse_swept_recipes(sweep_config("experiment=kd_pytorch_alpha", word)[1])


def cells(compose: Compose, own: str, *recipes: str, always: bool = False) -> list[str]:
    composed = [compose(own, *TINY[:-1], f"experiment={recipe}") for recipe in recipes]
    jobs = [[f"experiment={recipe}", f"seed={seed}"] for recipe in recipes for seed in (0, 1)]
    configs = [OmegaConf.merge(config, {"seed": seed}) for config in composed for seed in (0, 1)]
    specs = name_recipes(build_specs(configs, jobs, 0, swept_keys(jobs)), always=always)
    return list(dict.fromkeys(spec.cell.name for spec in specs))


@pytest.mark.ci
def test_a_recipe_is_in_the_name_of_a_cell_where_it_is_needed(compose: Compose, own: str) -> None:
    compose = cache(compose)
    assert cells(compose, own, "plain", "hot") == ["ce", "kl T=8 alpha=0.5"]
    assert cells(compose, own, "plain", "wide") == [
        "ce experiment=plain",
        "kl T=4 alpha=0.5 experiment=wide",
    ]
    assert cells(compose, own, "smooth", "sharp") == [  # of one setting, but not the same runs
        f"kl T=4 alpha=0.5 experiment={name}" for name in ("smooth", "sharp")
    ]
    assert cells(compose, own, "plain", "hot", always=True)[0] == "ce experiment=plain"


def test_a_key_of_one_recipe_alone_is_not_without_effect() -> None:
    jobs = [["experiment=a", "T=1"], ["experiment=a", "T=2"], ["experiment=b", "alpha=0.5"]]
    assert keys_without_effect(jobs, ["1", "2", "3"]) == []
    assert keys_without_effect(jobs, ["1", "1", "3"]) == ["T"]


@pytest.mark.slow
def test_recipes_are_trained_as_one_sweep_and_resumed(command: Command, own: str) -> None:
    words = ["experiment=plain,wide", own, "seed=0", "trainer.epochs=1"]
    outcome = command(*words)
    assert outcome.code == 0, outcome.err
    assert [row["cell"] for row in outcome.rows] == [
        "ce experiment=plain",
        *(f"kl T={T} alpha=0.5 experiment=wide" for T in (1, 4)),
    ]
    again = command(*words, "resume=true")
    assert f"resume: continues in {outcome.sweep.relative_to(outcome.folder)}" in again.err
    assert again.rows == outcome.rows
