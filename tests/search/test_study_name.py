"""Which search this is, and which keys a loss listens to, from real configs."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from kdsweep.config.schema import SearchConfig
from kdsweep.errors import UserError
from kdsweep.search.space import Applies, Space, parse, searched_keys
from kdsweep.search.study_name import applies_with, base_config, search_name, settings, without_idle

Load = Callable[..., tuple[HydraContext, DictConfig]]


@pytest.fixture(scope="session")
def load() -> Load:
    """`load("search=bayes")`: what Hydra hands to a sweeper."""
    import hydra
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra

    from kdsweep.cli import CONF

    @cache  # nobody writes into a config
    def loaded(*words: str) -> tuple[HydraContext, DictConfig]:
        with hydra.initialize_config_dir(str(CONF)):
            loader: ConfigLoader = GlobalHydra.instance().config_loader()
            config = hydra.compose("train", list(words), return_hydra_config=True)
        return HydraContext(config_loader=loader, callbacks=Callbacks()), config

    return loaded


def search_of(load: Load, *words: str) -> tuple[DictConfig, DictConfig, Space]:
    """What a search of these words makes of them: its config, its base and its space."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    plain = [str(word.input_line) for word in parsed if not word.is_sweep_override()]
    context, config = load("search=bayes", *plain)
    params = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
    task = ["search=bayes", *(word for word in words if not word.startswith("hydra."))]
    space = parse([*params, *task], lambda key, loss: True)
    return config, base_config(context, config, space.fixed), space


def name_of(load: Load, *words: str) -> str:
    config, base, space = search_of(load, *words)
    return search_name(config, base, space)


def test_names_are_pinned(load: Load) -> None:
    """A search is found by its name: one that changes can no longer be resumed."""
    assert name_of(load) == "bayes-d42a3f6e"
    assert name_of(load, "loss=dkd", "student=cnn", "trainer.epochs=3") == "bayes-d6f77b69"


def test_the_base_has_the_fixed_words_and_none_that_is_searched(load: Load) -> None:
    _, base, space = search_of(load, "student.model.width=12", "seed=3", "T=2,8")
    assert sorted(space.keys) == ["T", "alpha"]
    assert (base.student.model.width, base.seed) == (12, 3)
    assert (base.T, base.alpha) == (4.0, 0.5)  # as in conf/train.yaml
    assert "hydra" not in base


def test_a_name_is_the_option_and_a_hash(load: Load) -> None:
    assert re.fullmatch(r"bayes-[0-9a-f]{8}", name_of(load))


def test_another_option_of_the_search_group_is_named(load: Load) -> None:
    context, config = load()
    base = base_config(context, config, [])
    space = parse(["T=1,2"], lambda key, loss: True)
    assert re.fullmatch(r"search-[0-9a-f]{8}", search_name(config, base, space))


@pytest.fixture(scope="module")
def plain(load: Load) -> str:
    """The name of a search to which nothing was added."""
    return name_of(load)


@pytest.mark.parametrize(
    "words",
    [
        ["seed=7", "T=interval(1.0,4.0)", "alpha=0.1,0.5"],
        ["tracking=none", "tracking.experiment=other", "debug=true"],
        ["search.finalists=0", "search.seeds=[0,1]", "search/pruner=median"],
        ["hydra.sweeper.n_trials=99", "hydra/sweeper/sampler=random"],
    ],
)
def test_what_is_searched_or_changes_no_result_is_not_in_the_name(
    load: Load, plain: str, words: list[str]
) -> None:
    assert name_of(load, *words) == plain


@pytest.mark.parametrize(
    "word",
    ["trainer.epochs=5", "loss=mse", "dataset=fake", "T=2", "optimizer.lr=1e-3,1e-2", "loss=kl,ce"],
)
def test_what_is_not_searched_is_in_the_name(load: Load, plain: str, word: str) -> None:
    assert name_of(load, word) != plain


def test_the_order_of_the_words_is_not_in_the_name(load: Load) -> None:
    words = ["trainer.epochs=5", "student.model.width=12"]
    assert name_of(load, *words) == name_of(load, *reversed(words))


def test_a_number_may_be_written_in_two_ways(load: Load) -> None:
    assert name_of(load, "T=2") == name_of(load, "T=2.0")


def test_the_values_of_a_searched_key_are_not_in_the_name(load: Load, plain: str) -> None:
    width = "student.model.width"
    one, other = (name_of(load, f"{width}={values}") for values in ("8,16", "16,32"))
    assert one == other != plain


def test_a_fixed_word_below_a_searched_group_is_in_the_name(load: Load) -> None:
    names = [name_of(load, "student=mlp,cnn", f"student.model.width={w}") for w in (8, 16)]
    assert names[0] != names[1] != name_of(load, "student=mlp,cnn")


def settings_of(load: Load, *words: str) -> dict[str, Any]:
    config, base, space = search_of(load, *words)
    options: SearchConfig = OmegaConf.to_object(config.search)  # type: ignore[assignment]
    return settings(config, options, base, space)


@pytest.mark.parametrize(
    ("word", "key", "values"),
    [
        ("trainer.epochs=5", "trainer.epochs", (60, 5)),
        ("teacher.trainer.epochs=5", "teacher.trainer.epochs", (30, 5)),
        ("dataset.split_seed=1", "dataset.split_seed", (0, 1)),
        ("optimizer.lr=0.5", "optimizer.lr", (0.02, 0.5)),
        ("loss.kl.weight=2", "loss.kl.weight", ("${alpha}", 2)),
        ("hydra.sweeper.n_jobs=2", "hydra.sweeper.n_jobs", (8, 2)),
        ("hydra.sweeper.sampler.seed=3", "hydra.sweeper.sampler.seed", (0, 3)),
        ("search/pruner=median", "search.pruner.n_startup_trials", (None, 5)),
    ],
)
def test_settings_name_what_must_not_change(
    load: Load, word: str, key: str, values: tuple[object, object]
) -> None:
    before, after = settings_of(load), settings_of(load, word)
    assert (before.get(key), after.get(key)) == values


@pytest.mark.parametrize(
    "word",
    [
        *["dataset.root=/elsewhere", "teacher.store=/elsewhere", "tracking=none", "debug=true"],
        *["hydra.sweeper.n_trials=99", "search.workers=2", "search.timeout=1h", "seed=3"],
        *["search.max_failures=1", "search.finalists=0", "search.finalist_seeds=1"],
    ],
)
def test_settings_leave_out_what_may_change(load: Load, word: str) -> None:
    assert settings_of(load, word) == settings_of(load)


def test_settings_leave_out_what_is_searched(load: Load) -> None:
    assert not {"T", "alpha", "seed"} & settings_of(load).keys()
    assert settings_of(load, "T=2")["T"] == 2.0


def space_left(load: Load, *words: str) -> list[str]:
    """The searched keys after those without effect are gone."""
    config, base, space = search_of(load, *words)
    context, _ = load("search=bayes")
    space = replace(space, applies=applies_with(context, config, space.fixed))
    return sorted(without_idle(space, base, searched_keys(words)).keys)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["loss=kl"], ["T", "alpha"]),
        (["loss=mse"], ["alpha"]),
        (["loss=ce", "optimizer.lr=1e-3,1e-2"], ["optimizer.lr"]),
        (["loss=[mse,fitnet]", "loss.fitnet.weight=1,10"], ["alpha", "loss.fitnet.weight"]),
        (["loss=ce,mse"], ["alpha", "loss"]),
        (["loss=ce,kl"], ["T", "alpha", "loss"]),
    ],
)
def test_what_no_loss_listens_to_is_not_searched(
    load: Load, words: list[str], keys: list[str]
) -> None:
    assert space_left(load, *words) == keys


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["loss=ce"], "T and alpha must change some run to be searched"),
        (["loss=mse", "T=1,2"], "T must change some run to be searched, got no effect with loss=m"),
        (["loss=kl", "loss.fitnet.weight=1,2"], "loss.fitnet.weight must change some run"),
        (["loss=ce,mse", "T=1,2"], "T must change some run to be searched, got no effect with"),
    ],
)
def test_a_search_of_what_has_no_effect_is_refused(
    load: Load, words: list[str], sentence: str
) -> None:
    with pytest.raises(UserError) as refused:
        space_left(load, *words)
    assert str(refused.value).startswith(sentence)


@pytest.fixture(scope="module")
def applies(load: Load) -> Applies:
    return applies_with(*load("search=bayes"), ["search=bayes"])


LOSSES = ("ce", "fitnet", "kl", "mse", "soft_ce")


@pytest.mark.parametrize(
    ("key", "losses"),
    [
        ("T", ["kl", "soft_ce"]),
        ("alpha", ["kl", "mse", "soft_ce"]),
        ("loss.kl.weight", ["kl"]),
        ("loss.fitnet.weight", ["fitnet"]),
        ("optimizer.lr", [*LOSSES]),
        ("student", [*LOSSES]),
    ],
)
def test_which_losses_a_key_matters_for(applies: Applies, key: str, losses: list[str]) -> None:
    assert [option for option in LOSSES if applies(key, option)] == losses


def test_a_fixed_word_may_tie_a_loss_to_a_key(load: Load, applies: Applies) -> None:
    tied = applies_with(*load("search=bayes"), ["search=bayes", "+loss.mse.scale=${T}"])
    assert tied("T", "mse")
    assert not applies("T", "mse")
