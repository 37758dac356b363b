"""The space of a study in Hydra's words: `choice(1, 4, 16)` instead of Optuna's JSON."""

import ast
import re
from collections.abc import Iterator, Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)

from kdsweep.common.validation import as_typed
from kdsweep.search.space import Dimension

NOT_SEARCHED = "not searched"
# A dimension of numbers in rising order, which are searched by their position.
POSITIONS = re.compile(r"(?P<key>.+) \(position in (?P<values>.*)\)")


def space_changes(
    stored: Mapping[str, str], current: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """(key, old, new) of every searched key that is not searched as before.

    Both are descriptions of a space: distributions as JSON by the names of dimensions.
    """
    if stored == current:
        return
    old, new = _by_key(stored), _by_key(current)
    for key in {**old, **new}:
        if old.get(key) != new.get(key):
            yield key, old.get(key, NOT_SEARCHED), new.get(key, NOT_SEARCHED)


def _by_key(space: Mapping[str, str]) -> dict[str, str]:
    by_key = {}
    for name, text in space.items():
        positions = POSITIONS.fullmatch(name)
        if positions is not None:
            values = ast.literal_eval(f"[{positions['values']}]")
            by_key[positions["key"]] = f"choice({_listed(values)})"
        else:
            by_key[name] = distribution_text(text)
    return by_key


def dimension_text(dimension: Dimension) -> str:
    """What is searched of a key, as it is written on a command line."""
    if dimension.ordered is not None:
        return f"choice({_listed(dimension.ordered)})"
    return _words(dimension.distribution)


def distribution_text(text: str) -> str:
    """A distribution, given as Optuna's JSON, as it is written on a command line."""
    try:
        return _words(json_to_distribution(text))
    except (ValueError, KeyError, TypeError):  # of another version of Optuna
        return text


def _words(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"choice({_listed(distribution.choices)})"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    words = f"interval({low}, {high})"
    if step is not None and (isinstance(distribution, FloatDistribution) or step != 1):
        words = f"range({low}, {high}, step={step})"  # Optuna's end is one of its values
    elif isinstance(distribution, IntDistribution):
        words = f"int({words})"
    return f"tag(log, {words})" if distribution.log else words


def _listed(values: object) -> str:
    assert isinstance(values, list | tuple)
    return ", ".join(map(as_typed, values))
