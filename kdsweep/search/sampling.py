"""A sampler a trial: what it proposes depends on (seed, trial, key), and it is wary of failures."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from kdsweep.common.rng import derive
from kdsweep.search.optuna_internals import OptunaSweeperImpl, SearchStudy
from kdsweep.search.space import Space

WHITELIST = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*")
# Their seed orders the points, and a trial's place in that order is in the storage.
ORDERED = ("QMCSampler", "GridSampler")
TRIES = 40  # proposals that are thrown away because the nearest trial failed
ENOUGH = 4  # ended trials before one may be called the nearest


class TrialSampler(BaseSampler):
    """The configured sampler, made anew for one trial.

    A sampler that lives through a whole search continues differently after a restart; one that is
    made for (seed, trial, key) does not, even if it is interrupted between two keys.

    A proposal is drawn again while, in some key, the nearest trial that has ended failed. To show
    samplers failed trials as bad ones (`SearchStudy.learning_from_failures`) is not enough where
    the failing region lies beside the best one.
    """

    def __init__(self, make: Callable[..., BaseSampler]) -> None:
        self._make = make
        self.joint = make()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.joint.infer_relative_search_space(study, trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        values = self.joint.sample_relative(study, trial, search_space)
        for _ in range(TRIES):
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
        for _ in range(TRIES):
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
    """The configured sampler for one trial; grids and quasi-random sequences as they are."""
    options: dict[str, Any] = {str(k): v for k, v in OmegaConf.to_container(node).items()}  # type: ignore[union-attr]
    kind, seed = str(options["_target_"]).rpartition(".")[2], options.get("seed") or 0

    def made(*key: str) -> BaseSampler:
        drawn = derive("sampler", seed, number, *key) % 2**32
        extra: dict[str, Any] = {}
        if kind == "TPESampler" and "loss" in space.keys:
            extra = {"multivariate": True, "group": True}  # keys that only some losses listen to
        if kind == "QMCSampler":
            own = {"_target_": "optuna.samplers.RandomSampler", "seed": drawn}
            extra = {"independent_sampler": own}  # of keys that only some losses listen to
        chosen = options | extra | {"seed": seed if kind in ORDERED else drawn}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # qmc, group: chosen knowingly
            built = instantiate(chosen, _convert_="all", _execution_whitelist_=WHITELIST)
        if kind == "GridSampler":
            choices = OptunaSweeperImpl._to_grid_sampler_choices
            built = built({d.name: choices(d.distribution) for d in space.dimensions})
        assert isinstance(built, BaseSampler)
        return built

    return made() if kind in ORDERED else TrialSampler(made)


def _is_near_failure(
    study: optuna.Study, values: Mapping[str, Any], space: Mapping[str, BaseDistribution]
) -> bool:
    """Whether in some number of the proposal the nearest trial that has ended failed."""
    assert isinstance(study, SearchStudy)
    ended = [trial for trial in study.as_they_are() if trial.state.is_finished()]
    if not any(trial.state is TrialState.FAIL for trial in ended):
        return False
    for name, distribution in space.items():
        if not isinstance(distribution, FloatDistribution | IntDistribution):
            continue
        have = [trial for trial in ended if name in trial.params]
        if len(have) < ENOUGH:
            continue
        place = _scale(distribution)
        here = place(values[name])
        nearest = min(have, key=lambda t: abs(place(t.params[name]) - here))
        if nearest.state is TrialState.FAIL:
            return True
    return False


def _scale(distribution: FloatDistribution | IntDistribution) -> Callable[[float], float]:
    return math.log if distribution.log else float
