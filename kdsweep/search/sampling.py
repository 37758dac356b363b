"""Optuna's samplers and pruners as the config names them.

Samplers are per trial, seeded by (seed, trial, key); proposals near failed trials are redrawn.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from kdsweep.common.rng import derive
from kdsweep.common.text import first_line
from kdsweep.common.validation import shown
from kdsweep.errors import UserError
from kdsweep.search.optuna_internals import SearchStudy, grid_choices
from kdsweep.search.space import Space

SAMPLERS = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*")
PRUNERS = ("optuna.pruners.*",)
# Their seed orders the points, and a trial's position in that order is in the storage.
ORDERED = ("QMCSampler", "GridSampler")
MAX_REDRAWS = 40  # proposals that are discarded because the nearest trial failed
MIN_ENDED = 4  # ended trials before one of them counts as the nearest


class TrialSampler(BaseSampler):
    """The configured sampler, constructed for one trial.

    A sampler that lives through a whole search continues differently after a restart; one that is
    constructed for (seed, trial, key) does not, even if it is interrupted between two keys.

    A proposal is redrawn while, in some key, the nearest trial that has ended failed. Showing
    failed trials to samplers as bad ones (`SearchStudy.learning_from_failures`) is not enough
    where the failing region is next to the best one.
    """

    def __init__(self, make: Callable[..., BaseSampler]) -> None:
        self._make = make
        self.joint = make()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.joint.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        values = self.joint.sample_relative(study, trial, search_space)
        for _ in range(MAX_REDRAWS):
            if not values or not _is_near_failure(study, values, search_space):
                break
            values = self.joint.sample_relative(study, trial, search_space)
        return values

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        sampler = self._make(param_name)
        value = sampler.sample_independent(study, trial, param_name, param_distribution)
        for _ in range(MAX_REDRAWS):
            if not _is_near_failure(study, {param_name: value}, {param_name: param_distribution}):
                break
            value = sampler.sample_independent(study, trial, param_name, param_distribution)
        return value

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.joint.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.joint.after_trial(study, trial, state, values)


def make_sampler(node: DictConfig, space: Space, number: int) -> BaseSampler:
    """The configured sampler for one trial; grids and quasi-random sequences are not wrapped."""
    options: dict[str, Any] = {str(k): v for k, v in OmegaConf.to_container(node).items()}  # type: ignore[union-attr]
    kind, seed = str(options["_target_"]).rpartition(".")[2], options.get("seed") or 0

    def make(*key: str) -> BaseSampler:
        derived = derive("sampler", seed, number, *key) % 2**32
        extra: dict[str, Any] = {}
        if kind == "TPESampler" and "loss" in space.keys:
            extra = {"multivariate": True, "group": True}  # keys of some losses only
        if kind == "QMCSampler":
            independent = {"_target_": "optuna.samplers.RandomSampler", "seed": derived}
            extra = {"independent_sampler": independent}  # for keys of some losses only
        arguments = options | extra | {"seed": seed if kind in ORDERED else derived}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # qmc, group: chosen knowingly
            sampler = instantiate(arguments, _convert_="all", _execution_whitelist_=SAMPLERS)
        if kind == "GridSampler":
            sampler = sampler({d.name: grid_choices(d.distribution) for d in space.dimensions})
        assert isinstance(sampler, BaseSampler)
        return sampler

    return make() if kind in ORDERED else TrialSampler(make)


def _is_near_failure(
    study: optuna.Study, values: Mapping[str, Any], space: Mapping[str, BaseDistribution]
) -> bool:
    """Whether in some number of the proposal the nearest trial that has ended failed."""
    assert isinstance(study, SearchStudy)
    ended = [trial for trial in study.raw_trials() if trial.state.is_finished()]
    if not any(trial.state is TrialState.FAIL for trial in ended):
        return False
    for name, distribution in space.items():
        if not isinstance(distribution, FloatDistribution | IntDistribution):
            continue
        with_key = [trial for trial in ended if name in trial.params]
        if len(with_key) < MIN_ENDED:
            continue
        scale: Callable[[float], float] = math.log if distribution.log else float
        proposed = scale(values[name])
        nearest = min(with_key, key=lambda t: abs(scale(t.params[name]) - proposed))
        if nearest.state is TrialState.FAIL:
            return True
    return False


def make_pruner(options: dict[str, Any] | None) -> BasePruner:
    """The configured pruner; without one every trial is trained to its end.

    Raises UserError if it is no pruner of Optuna, or has other options.
    """
    if not options:
        return NopPruner()  # to a study, no pruner at all means Optuna's MedianPruner
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # wilcoxon: chosen knowingly
            pruner = instantiate(options, _convert_="all", _execution_whitelist_=PRUNERS)
    except Exception as error:  # whatever its constructor raises
        raise UserError(
            f"search.pruner must be a pruner of Optuna's with options that it takes,"
            f" got {shown(options)}: {first_line(error)}"
        ) from error
    if not isinstance(pruner, BasePruner):
        raise UserError(f"search.pruner must be a pruner of Optuna's, got {shown(options)}")
    return pruner
