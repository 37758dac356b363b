"""A search's name and settings, and which keys have an effect with a loss, from real configs."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from studies import Load

from kdsweep.config.schema import SearchConfig
from kdsweep.errors import UserError
from kdsweep.search.plan import make_search_plan
from kdsweep.search.space import Applies, Space, parse
from kdsweep.search.study_name import applies_with, base_config, search_name, settings

SearchOf = Callable[..., tuple[DictConfig, DictConfig, Space]]


@pytest.fixture(scope="session")
def search_of(load: Load) -> SearchOf:
    """`search_of("T=1,2")`: the config of a search, the base of its trials and its space."""

    @cache
    def parts(*words: str) -> tuple[DictConfig, DictConfig, Space]:
        context, config = load("search=bayes", *words)
        params = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
        space = parse([*params, *config.hydra.overrides.task], lambda key, loss: True)
        return config, base_config(context, config, space.fixed), space

    return parts


def name_of(search_of: SearchOf, *words: str) -> str:
    return search_name(*search_of(*words))


@pytest.mark.ci
def test_names_are_pinned(search_of: SearchOf) -> None:
    """A search is identified by its name: if it changes, the search can no longer be resumed."""
    assert name_of(search_of) == "bayes-e8a809ba"
    assert name_of(search_of, "loss=dkd", "student=cnn", "trainer.epochs=3") == "bayes-437dfca0"
    assert name_of(search_of, "dataset=image_folder", "dataset.root=here") == "bayes-22e2ddd1"
    assert name_of(search_of, "teacher=born_again") == "bayes-683e244a"
    assert name_of(search_of, "teacher=ensemble") == "bayes-eed4ff14"


@pytest.mark.ci
def test_the_interpolation_of_the_source_alone_is_in_the_name(search_of: SearchOf) -> None:
    """One that the data set has too is not: the source follows it."""
    words = ["dataset=imagenette", "dataset.interpolation=bicubic"]
    both, own = name_of(search_of, *words), "dataset.source.interpolation=bilinear"
    assert name_of(search_of, *words, own) != both
    assert name_of(search_of, "dataset=imagenette", own) == name_of(search_of, "dataset=imagenette")


def test_the_base_has_the_fixed_words_and_none_that_is_searched(search_of: SearchOf) -> None:
    _, base, space = search_of("student.model.width=12", "seed=3", "T=2,8")
    assert sorted(space.keys) == ["T", "alpha"]
    assert (base.student.model.width, base.seed) == (12, 3)
    assert (base.T, base.alpha) == (4.0, 0.5)  # as in conf/train.yaml
    assert "hydra" not in base


def test_a_name_is_the_option_and_a_hash(search_of: SearchOf) -> None:
    assert re.fullmatch(r"bayes-[0-9a-f]{8}", name_of(search_of))


def test_another_option_of_the_search_group_is_named(load: Load) -> None:
    context, config = load()
    base = base_config(context, config, [])
    space = parse(["T=1,2"], lambda key, loss: True)
    assert re.fullmatch(r"search-[0-9a-f]{8}", search_name(config, base, space))


def test_what_is_searched_or_changes_no_result_is_not_in_the_name(search_of: SearchOf) -> None:
    words = ["seed=7", "T=interval(1.0,4.0)", "alpha=0.1,0.5", "debug=true"]
    words += ["tracking=none", "tracking.experiment=other", "search/pruner=median"]
    words += ["search.finalists=0", "search.seeds=[0,1]"]
    words += ["hydra.sweeper.n_trials=99", "hydra/sweeper/sampler=random"]
    assert name_of(search_of, *words) == name_of(search_of)


@pytest.mark.parametrize(
    "word",
    [
        *["trainer.epochs=5", "loss=mse", "dataset=fake", "T=2", "optimizer.lr=1e-3,1e-2"],
        *["loss=kl,ce", "trainer.devices=2", "teacher.trainer.devices=2"],
    ],
)
def test_what_is_not_searched_is_in_the_name(search_of: SearchOf, word: str) -> None:
    assert name_of(search_of, word) != name_of(search_of)


def test_the_order_of_the_words_is_not_in_the_name(search_of: SearchOf) -> None:
    words = ["trainer.epochs=5", "student.model.width=12"]
    assert name_of(search_of, *words) == name_of(search_of, *reversed(words))


def test_a_number_may_be_written_in_two_ways(search_of: SearchOf) -> None:
    assert name_of(search_of, "T=2") == name_of(search_of, "T=2.0")


def test_the_values_of_a_searched_key_are_not_in_the_name(search_of: SearchOf) -> None:
    width = "student.model.width"
    first, second = (name_of(search_of, f"{width}={values}") for values in ("8,16", "16,32"))
    assert first == second != name_of(search_of)


def test_a_fixed_word_below_a_searched_group_is_in_the_name(search_of: SearchOf) -> None:
    names = [name_of(search_of, "student=mlp,cnn", f"student.model.width={w}") for w in (8, 16)]
    assert names[0] != names[1] != name_of(search_of, "student=mlp,cnn")


def settings_of(search_of: SearchOf, *words: str) -> dict[str, Any]:
    config, base, space = search_of(*words)
    options: SearchConfig = OmegaConf.to_object(config.search)  # type: ignore[assignment]
    return settings(config, options, base, space)


def test_settings_name_what_must_not_change(search_of: SearchOf) -> None:
    words = ["trainer.epochs=5", "teacher.trainer.epochs=5", "dataset.split_seed=1"]
    words += ["optimizer.lr=0.5", "loss.kl.weight=2", "hydra.sweeper.n_jobs=2"]
    words += ["hydra.sweeper.sampler.seed=3", "search/pruner=median"]
    before, after = settings_of(search_of), settings_of(search_of, *words)
    changed = {
        key: (before.get(key), after[key])
        for key in after
        if before.get(key) != after[key] and not key.startswith("search.pruner.")
    }
    assert changed == {
        "trainer.epochs": (60, 5),
        "teacher.trainer.epochs": (30, 5),
        "dataset.split_seed": (0, 1),
        "optimizer.lr": (0.02, 0.5),
        "loss.kl.weight": ("${alpha}", 2),
        "hydra.sweeper.n_jobs": (8, 2),
        "hydra.sweeper.sampler.seed": (0, 3),
    }
    pruner = "search.pruner.n_startup_trials"
    assert (before.get(pruner), after.get(pruner)) == (None, 5)


def test_settings_leave_out_what_may_change(search_of: SearchOf) -> None:
    words = ["dataset.root=/elsewhere", "teacher.store=/elsewhere", "tracking=none", "debug=true"]
    words += ["hydra.sweeper.n_trials=99", "search.workers=2", "search.timeout=1h", "seed=3"]
    words += ["search.max_failures=1", "search.finalists=0", "search.finalist_seeds=1"]
    assert settings_of(search_of, *words) == settings_of(search_of)


def test_settings_leave_out_what_is_searched(search_of: SearchOf) -> None:
    assert not {"T", "alpha", "seed"} & settings_of(search_of).keys()
    assert settings_of(search_of, "T=2")["T"] == 2.0


def searched(load: Load, *words: str) -> list[str]:
    """The searched keys without those that have no effect."""
    return sorted(make_search_plan(*load("search=bayes", *words)).space.keys)


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
def test_what_has_no_effect_with_any_loss_is_not_searched(
    load: Load, words: list[str], keys: list[str]
) -> None:
    assert searched(load, *words) == keys


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loss=ce"], "T and alpha must change some run to be searched, got no effect with loss=c"),
        (["loss=mse", "T=1,2"], "T must change some run to be searched, got no effect with loss=m"),
        (["loss=kl", "loss.fitnet.weight=1,2"], "loss.fitnet.weight must change some run"),
        (["loss=ce,mse", "T=1,2"], "T must change some run to be searched, got no effect with"),
    ],
)
def test_a_search_of_what_has_no_effect_is_refused(
    load: Load, words: list[str], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        searched(load, *words)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


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
