"""The grids of the recipes that a command line sweeps over: `experiment=a,b`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdsweep.common.validation import shown
from kdsweep.config.interpolation import raw
from kdsweep.config.overrides import command_words, hydra_words, is_search, override_values
from kdsweep.errors import UserError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

RECIPE = "experiment"
GRID_SWEEPER = "kdsweep.sweeps.grid_sweeper.GridSweeper"


class Recipe(NamedTuple):
    """One of the recipes that are swept over."""

    name: str
    words: list[Override]  # the command line, with this recipe only
    params: list[Override]  # the grid of the recipe: its `hydra.sweeper.params`
    config: DictConfig  # of a sweep of this recipe alone


class RecipeLoader:
    """Hydra's config loader, for the jobs of several recipes.

    Hydra compares `hydra.sweeper` of each job with that of its sweep: here with that of a sweep of
    the job's recipe.
    """

    def __init__(self, loader: "ConfigLoader", recipes: Sequence[Recipe]) -> None:
        self._loader = loader
        self._configs = {recipe.name: recipe.config for recipe in recipes}

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        of_recipe = self._configs[override_values(sweep_overrides)[RECIPE]]
        OmegaConf.copy_cache(from_config=master_config, to_config=of_recipe)  # such as ${now:}
        return self._loader.load_sweep_config(of_recipe, sweep_overrides)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # before __init__, in a copy, there is no _loader
            raise AttributeError(name)
        return getattr(self._loader, name)


def swept_recipes(loader: "ConfigLoader", config: DictConfig) -> list[Recipe]:
    """The recipes that the command line sweeps over, in its order; none if it names one at most.

    Raises UserError for one that is no grid, or has a launcher of its own.
    """
    parser = OverridesParser.create(config_loader=loader)
    words = parser.parse_overrides(command_words(config))
    swept = [word for word in words if word.key_or_group == RECIPE and word.is_sweep_override()]
    if not swept:
        return []
    recipes = []
    for option in swept[-1].sweep_string_iterator():
        chosen = f"{swept[-1].get_key_element()}={option}"
        written = [chosen if word in swept else str(word.input_line) for word in words]
        own = loader.load_configuration(
            config_name=config.hydra.job.config_name,
            overrides=[*hydra_words(config), *written],
            run_mode=RunMode.MULTIRUN,
        )
        name = override_values([chosen])[RECIPE]
        _refuse_another_controller(name, own, config)
        params = [f"{key}={value}" for key, value in (own.hydra.sweeper.params or {}).items()]
        recipes.append(
            Recipe(name, parser.parse_overrides(written), parser.parse_overrides(params), own)
        )
    return recipes


def refuse_swept_recipes(config: DictConfig) -> None:
    """Raise UserError for several recipes under a sweeper that takes a single one."""
    if str(config.hydra.sweeper._target_) == GRID_SWEEPER:
        return
    for word in OverridesParser.create().parse_overrides(command_words(config)):
        if word.key_or_group == RECIPE and word.is_sweep_override():
            value = str(word.input_line).partition("=")[2]
            how = "in a search" if is_search(config) else "unless hydra/sweeper is grid"
            raise UserError(f"{RECIPE} must be a single recipe {how}, got {value}")


def union_of_params(recipes: Sequence[Recipe]) -> dict[str, str]:
    """key -> all values that the recipes' grids have for it, as `hydra.sweeper.params` has them."""
    values: dict[str, dict[str, None]] = {}
    for override in (override for recipe in recipes for override in recipe.params):
        own = (
            [str(value) for value in override.sweep_string_iterator()]
            if override.is_discrete_sweep()
            else [str(override.get_value_element_as_str())]
        )
        values.setdefault(override.get_key_element(), {}).update(dict.fromkeys(own))
    return {key: ",".join(own) for key, own in values.items()}


def _refuse_another_controller(name: str, own: DictConfig, config: DictConfig) -> None:
    """Refuse a recipe that needs another sweeper or launcher than the others."""
    if is_search(own):
        raise UserError(
            f"{RECIPE} must list recipes of grids to be swept, got {name}, which is a search:"
            f" {RECIPE}={name} runs it by itself"
        )
    for node in ("launcher", "sweeper"):
        common, of_recipe = ({**raw(one.hydra[node]), "params": None} for one in (config, own))
        odd = [key for key in {**common, **of_recipe} if common.get(key) != of_recipe.get(key)]
        if odd:
            common_value, recipe_value = (
                shown(values.get(odd[0])) for values in (common, of_recipe)
            )
            raise UserError(
                f"hydra.{node}.{odd[0]} must be the same in all recipes to sweep over them, got"
                f" {common_value} and, with {RECIPE}={name}, {recipe_value}"
            )
