"""The search space: from overrides with sweeps in Hydra's grammar to a trial's overrides."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial

from kdsweep.common.text import first_line
from kdsweep.errors import UserError
from kdsweep.search.optuna_internals import distribution_of, grid_choices

# (config key, option of the loss group) -> whether the key has an effect with that loss
Applies = Callable[[str, str], bool]


@dataclass(frozen=True)
class Dimension:
    """One searched key.

    Numbers in rising order (`T=1,2,4`) are searched by their position, so that for a sampler
    2 lies between 1 and 4.
    """

    key: str
    distribution: BaseDistribution
    ordered: tuple[Any, ...] | None = None  # the values, where positions are searched

    @property
    def name(self) -> str:
        """Its name in the study."""
        if self.ordered is None:
            return self.key
        return f"{self.key} (position in {', '.join(map(repr, self.ordered))})"

    @property
    def description(self) -> str:
        """What is searched, for messages and MLflow."""
        return str(self.distribution if self.ordered is None else list(self.ordered))

    @property
    def size(self) -> float:
        """How many different values there are; infinite if it is continuous."""
        try:
            return len(grid_choices(self.distribution))
        except ValueError:
            return math.inf

    @property
    def bounds(self) -> list[Any]:
        """The config values at both ends of its range, or all of its options."""
        distribution = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            return list(distribution.choices)
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        return [self.value(distribution.low), self.value(distribution.high)]

    def value(self, param: Any) -> Any:
        """The config value of a param of the study."""
        return param if self.ordered is None else self.ordered[param]


@dataclass(frozen=True)
class Space:
    """The searched keys, those that are fixed, and which of them have an effect with which loss."""

    dimensions: tuple[Dimension, ...]
    fixed: tuple[str, ...]  # overrides that hold for every trial
    applies: Applies

    @property
    def keys(self) -> list[str]:
        """The searched config keys."""
        return [dimension.key for dimension in self.dimensions]

    @property
    def losses(self) -> list[str]:
        """The options of the loss group that are searched; none while the loss is fixed."""
        distributions = [d.distribution for d in self.dimensions if d.key == "loss"]
        categorical = (d for d in distributions if isinstance(d, CategoricalDistribution))
        return [str(choice) for distribution in categorical for choice in distribution.choices]

    def without(self, keys: Sequence[str]) -> "Space":
        """The space in which these keys are not searched."""
        return replace(self, dimensions=tuple(d for d in self.dimensions if d.key not in keys))

    def describe(self) -> dict[str, str]:
        """The space as text that can be stored and compared."""
        return {d.name: distribution_to_json(d.distribution) for d in self.dimensions}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A trial's values by config key; keys that have no effect with its loss are left out."""
        values: dict[str, Any] = {}
        for dimension in sorted(self.dimensions, key=lambda d: d.key != "loss"):
            if "loss" in values and not self.applies(dimension.key, str(values["loss"])):
                continue
            # the only call for a distribution that is not built from arguments
            param = trial._suggest(dimension.name, dimension.distribution)
            values[dimension.key] = dimension.value(param)
        return values

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values by config key of a trial that has been suggested."""
        return {d.key: d.value(params[d.name]) for d in self.dimensions if d.name in params}

    def overrides(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The overrides of a trial with these values."""
        return (*self.fixed, *(f"{key}={value}" for key, value in values.items()))

    def boundary_points(self) -> list[dict[str, Any]]:
        """Points in which each key takes each of its bounds or options once.

        The other keys have their first value; with `loss`, the first loss that the key applies to.
        """
        points = [self._first_point({})]
        for dimension in self.dimensions:
            points += [self._first_point({dimension.key: value}) for value in dimension.bounds]
        return list({repr(point): point for point in points}.values())

    def _first_point(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """A point with the chosen values and the first ones of other keys that have an effect."""
        first = {d.key: d.bounds[0] for d in self.dimensions} | chosen
        if "loss" not in first:
            return first
        if "loss" not in chosen:
            losses = [o for o in self.losses if all(self.applies(key, o) for key in chosen)]
            first["loss"] = losses[0] if losses else first["loss"]
        loss = str(first["loss"])
        return {k: v for k, v in first.items() if k == "loss" or self.applies(k, loss)}


def parse(arguments: Sequence[str], applies: Applies) -> Space:
    """The space that overrides in Hydra's grammar describe; later ones win.

    Raises UserError if no key is left to search, or a range has no values.
    """
    dimensions: dict[str, Dimension] = {}
    fixed: dict[str, str] = {}
    for override in _overrides(arguments):
        key = _key(override)
        dimensions.pop(key, None)
        if override.is_delete() or not override.is_sweep_override():
            fixed[key] = str(override.input_line)
            continue
        fixed.pop(key, None)
        dimensions[key] = _dimension(override)
    if not dimensions:
        raise UserError(
            "hydra.sweeper.params must leave at least one key to search, got only fixed values"
        )
    return Space(tuple(dimensions.values()), tuple(fixed.values()), applies)


def fixed_keys(arguments: Sequence[str]) -> dict[str, str]:
    """key -> value of the overrides that fix a key."""
    return {
        _key(override): str(override.get_value_element_as_str())
        for override in _overrides(arguments)
        if not override.is_delete() and not override.is_sweep_override()
    }


def searched_keys(arguments: Sequence[str]) -> list[str]:
    """The keys of the overrides that search."""
    return [_key(override) for override in _overrides(arguments) if override.is_sweep_override()]


def _overrides(arguments: Sequence[str]) -> list[Override]:
    return list(OverridesParser.create().parse_overrides(list(arguments)))


def _key(override: Override) -> str:
    return str(override.get_key_element().lstrip("+~"))


def _dimension(override: Override) -> Dimension:
    key = _key(override)
    try:
        distribution = distribution_of(override)
    except (ValueError, AssertionError, NotImplementedError) as error:
        value = str(override.input_line).partition("=")[2]
        raise UserError(
            f"{key} must be a range with values, got {value}: {first_line(error)}"
        ) from error
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        numbers = [c for c in choices if isinstance(c, int | float) and not isinstance(c, bool)]
        if len(numbers) == len(choices) > 1 and list(choices) == sorted(set(numbers)):
            return Dimension(key, IntDistribution(0, len(choices) - 1), tuple(choices))
    return Dimension(key, distribution)


def grid_size(space: Space) -> float:
    """How many different points the space has; infinite if it is continuous."""
    return math.prod(dimension.size for dimension in space.dimensions)
