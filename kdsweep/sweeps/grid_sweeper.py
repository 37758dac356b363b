"""`hydra/sweeper=grid`, the default: Hydra's own grids, and those of several recipes as one sweep.

Only light modules are imported here: the launcher, which Hydra imports whenever it looks for
plugins, imports this one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write

from kdsweep.errors import UserError
from kdsweep.sweeps.recipe_grids import Recipe, RecipeLoader, swept_recipes, union_of_params

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader


@dataclass
class GridSweeperConf(BasicSweeperConf):
    """The keys of Hydra's basic sweeper."""

    _target_: str = "kdsweep.sweeps.grid_sweeper.GridSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="kdsweep"
)


class GridSweeper(BasicSweeper):
    """Hydra's basic sweeper, which also sweeps over recipes (`experiment=a,b`).

    Recipes set a grid of their own, `hydra.sweeper.params`, which Hydra allows no swept group to
    change. The jobs are those of `experiment=a` with the rest of the command line, then those of
    `experiment=b`, and so on.
    """

    _recipes: Sequence[Recipe] = ()

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        if self.max_batch_size is not None and self.max_batch_size < 1:
            raise UserError(
                "hydra.sweeper.max_batch_size must be null or at least 1, got"
                f" {self.max_batch_size}"
            )
        loader = hydra_context.config_loader
        self._recipes = swept_recipes(loader, config)
        if self._recipes:
            hydra_context.config_loader = cast("ConfigLoader", RecipeLoader(loader, self._recipes))
            with read_write(config.hydra):  # for multirun.yaml and the name of the sweep
                config.hydra.sweeper.params = union_of_params(self._recipes)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def split_arguments(  # type: ignore[override]
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The jobs in batches."""
        grids = [[*recipe.params, *recipe.words] for recipe in self._recipes] or [overrides]
        jobs = [job for grid in grids for job in jobs_of(grid)]
        return list(self.split_overrides_to_chunks(jobs, max_batch_size))


def jobs_of(grid: list[Override]) -> list[list[str]]:
    """The words of each job of a grid."""
    (jobs,) = BasicSweeper.split_arguments(grid, None)
    # Hydra makes `~key=null` of `~key`, which deletes only a key that is null.
    deletions = {
        f"{word.get_key_element()}=null": word.get_key_element()
        for word in grid
        if word.is_delete() and word.value_type is None
    }
    return [[deletions.get(word, word) for word in job] for job in jobs]
