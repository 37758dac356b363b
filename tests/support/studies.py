"""What tests/search/conftest.py passes to a test."""

from collections.abc import Callable

from hydra.types import HydraContext
from omegaconf import DictConfig

from kdsweep.search.optuna_internals import SearchStudy

Start = Callable[..., SearchStudy]
Load = Callable[..., tuple[HydraContext, DictConfig]]

# The words of the fixture `finished`, in addition to those of tests/conftest.py.
FINISHED = [
    *["search=bayes", "search.name=mine", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2"],
    *["search.seeds=[3,5]", "search.finalists=0"],
]
