"""From the words of the command line to a trial's overrides."""

import json
import math
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from kdsweep.errors import UserError
from kdsweep.search.space import Space, grid_size, parse


def everywhere(key: str, option: str) -> bool:
    return True


def as_in_conf(key: str, option: str) -> bool:
    """T matters for kl alone, as loss.kl.weight does; everything else for every loss."""
    return option == "kl" if key in ("T", "loss.kl.weight") else True


def suggested(space: Space, **params: Any) -> dict[str, Any]:
    """What a trial is given that was queued with these params."""
    study = optuna.create_study()
    study.enqueue_trial(params)
    return space.suggest(study.ask())


@pytest.mark.parametrize(
    ("word", "distribution"),
    [
        ("T=interval(1,16)", FloatDistribution(1, 16)),
        ("T=interval(0.5,2)", FloatDistribution(0.5, 2)),
        ("T=tag(log, interval(1.0, 16.0))", FloatDistribution(1, 16, log=True)),
        ("T=tag(log,interval(1,16))", FloatDistribution(1, 16, log=True)),
        ("T=int(interval(1,16))", IntDistribution(1, 16)),
        ("T=tag(log,int(interval(1,16)))", IntDistribution(1, 16, log=True)),
        ("T=range(1,9,2)", IntDistribution(1, 7, step=2)),
        ("T=choice(kl,ce)", CategoricalDistribution(["kl", "ce"])),
        ("T=kl,ce", CategoricalDistribution(["kl", "ce"])),
        ("T=true,false", CategoricalDistribution([True, False])),
        ("T=1,kl", CategoricalDistribution([1, "kl"])),
        ("T=4,1", CategoricalDistribution([4, 1])),
        ("T=1,1,2", CategoricalDistribution([1, 1, 2])),
    ],
)
def test_words_as_distributions(word: str, distribution: BaseDistribution) -> None:
    (dimension,) = parse([word], everywhere).dimensions
    assert dimension.distribution == distribution
    assert (dimension.key, dimension.name) == ("T", "T")
    assert parse([word], everywhere).fixed == ()


@pytest.mark.parametrize(
    ("word", "values"),
    [("T=1,2,4", [1, 2, 4]), ("T=0.5,4", [0.5, 4]), ("T=choice(1,16)", [1, 16])],
)
def test_numbers_in_rising_order_are_searched_by_position(word: str, values: list[float]) -> None:
    space = parse([word], everywhere)
    (dimension,) = space.dimensions
    assert dimension.distribution == IntDistribution(0, len(values) - 1)
    for position, value in enumerate(values):
        assert suggested(space, **{dimension.name: position}) == {"T": value}
        assert space.values({dimension.name: position}) == {"T": value}
        assert space.overrides({"T": value}) == (f"T={value}",)


def test_one_value_fixes_a_key() -> None:
    space = parse(["T=2", "alpha=interval(0,1)"], everywhere)
    assert space.keys == ["alpha"]
    assert space.overrides({"alpha": 0.25}) == ("T=2", "alpha=0.25")


@pytest.mark.parametrize(
    ("words", "keys", "fixed"),
    [
        (["T=interval(1,4)", "alpha=1,2", "T=2"], ["alpha"], ("T=2",)),
        (["T=2", "T=interval(1,4)"], ["T"], ()),
        (["T=2", "T=3", "alpha=1,2"], ["alpha"], ("T=3",)),
        (["T=1,2", "alpha=1,2", "T=interval(1,4)"], ["alpha", "T"], ()),
    ],
)
def test_later_words_win(words: list[str], keys: list[str], fixed: tuple[str, ...]) -> None:
    space = parse(words, everywhere)
    assert sorted(space.keys) == sorted(keys)
    assert space.fixed == fixed


def test_a_deletion_is_an_override_of_every_trial() -> None:
    space = parse(["~schedule", "T=interval(1,4)"], everywhere)
    assert space.keys == ["T"]
    assert space.overrides({"T": 2.5}) == ("~schedule", "T=2.5")


@pytest.mark.parametrize(("later", "fixed"), [("~T", ("~T",)), ("++T=2", ("++T=2",))])
def test_a_later_deletion_or_addition_wins_too(later: str, fixed: tuple[str, ...]) -> None:
    space = parse(["T=interval(1,4)", "alpha=1,2", later], everywhere)
    assert space.keys == ["alpha"]
    assert space.fixed == fixed


@pytest.mark.parametrize("words", [[], ["T=2"], ["~T"], ["T=interval(1,4)", "T=2"]])
def test_nothing_to_search_is_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match=r"hydra\.sweeper\.params must leave at least one key"):
        parse(words, everywhere)


WORDS = [
    "T=interval(1,16)",
    "loss.kl.weight=tag(log,interval(0.1,10))",
    "loss=kl,ce",
    "alpha=interval(0,1)",
]


def test_a_key_without_effect_is_left_out() -> None:
    space = parse(WORDS, as_in_conf)
    with_ce = suggested(space, loss="ce", alpha=0.5)
    assert with_ce == {"loss": "ce", "alpha": 0.5}
    assert space.overrides(with_ce) == ("loss=ce", "alpha=0.5")


def test_a_key_with_effect_is_there_whatever_the_order_of_the_words() -> None:
    space = parse(WORDS, as_in_conf)
    values = suggested(space, loss="kl", alpha=0.5, T=2.0, **{"loss.kl.weight": 3.0})
    assert values == {"loss": "kl", "T": 2.0, "loss.kl.weight": 3.0, "alpha": 0.5}


def test_params_that_a_trial_lacks_are_not_among_its_values() -> None:
    space = parse(WORDS, as_in_conf)
    assert space.values({"loss": "ce", "alpha": 0.5}) == {"loss": "ce", "alpha": 0.5}


def test_all_keys_are_there_while_the_loss_is_not_searched() -> None:
    space = parse(["T=interval(1,16)", "loss=ce"], as_in_conf)
    assert suggested(space, T=2.0) == {"T": 2.0}


def test_the_description_can_be_stored_and_is_always_the_same() -> None:
    first, again = (parse(WORDS, as_in_conf).describe() for _ in range(2))
    assert first == again == json.loads(json.dumps(first))
    assert list(first) == ["T", "loss.kl.weight", "loss", "alpha"]


@pytest.mark.parametrize(
    "word",
    [
        "T=interval(1,8)",
        "T=tag(log,interval(1,16))",
        "T=int(interval(1,16))",
        "T=1,16",
        "T=1,8",
        "T=16,1",
    ],
)
def test_another_space_has_another_description(word: str) -> None:
    others = {"T=interval(1,16)", "T=1,4", "T=1,16.5"}
    assert all(
        parse([word], everywhere).describe() != parse([other], everywhere).describe()
        for other in others
    )


def test_values_that_differ_in_the_seventh_digit_are_another_space() -> None:
    one, other = (parse([f"T=1,{x}"], everywhere).describe() for x in ("2.0000001", "2.0000002"))
    assert one != other


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["T=1,2,4"], 3),
        (["T=4,1"], 2),
        (["T=1,2,4", "loss=kl,ce"], 6),
        (["T=range(1,9,2)"], 4),
        (["T=int(interval(1,16))"], 16),
        (["T=range(0,1,0.25)"], 4),
        (["T=interval(1,2)"], math.inf),
        (["T=1,2,4", "alpha=interval(0,1)"], math.inf),
        pytest.param(
            ["T=range(0,0.4,0.1)"],
            4,
        ),
    ],
)
def test_how_many_points_there_are(words: list[str], size: float) -> None:
    assert grid_size(parse(words, everywhere)) == size
