"""Configs that no search can run, each refused with one message before anything is created.

What is in the study's storage is refused in `kdsweep.search.study`, a space without values in
`kdsweep.search.space`, one without effect in `kdsweep.search.study_name`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf
from optuna.pruners import BasePruner, NopPruner

from kdsweep.common.suggestions import did_you_mean
from kdsweep.common.text import first_line
from kdsweep.common.validation import shown
from kdsweep.config.limits import MOST
from kdsweep.config.schema import SearchConfig
from kdsweep.errors import CollectedErrors, UserError
from kdsweep.search.sampling import make_sampler
from kdsweep.search.space import Space, fixed_keys
from kdsweep.search.space_text import dimension_text
from kdsweep.search.storage import storage_at
from kdsweep.search.timeout import parse_timeout

# Keys of result.json, and their directions. Nothing of the test set: what is selected by it cannot
# be measured on it.
OBJECTIVES = {
    "val/acc": "maximize",
    "val/acc_best": "maximize",
    "val/loss": "minimize",
    "num_params": "minimize",
    "latency_ms": "minimize",
}


class Check(NamedTuple):
    """What a key must be, independently of all others."""

    key: str
    allowed: str
    holds: Callable[[Any], bool]


def _between(key: str, least: int, most: int) -> Check:
    return Check(key, f"from {least} to {most}", lambda value: least <= value <= most)


CHECKS = (
    _between("hydra.sweeper.n_trials", 1, 1_000_000),
    _between("hydra.sweeper.n_jobs", 1, 10_000),
    Check(
        "search.workers",
        f"null or from 1 to {MOST['workers']}",
        lambda workers: workers is None or 1 <= workers <= MOST["workers"],
    ),
    _between("search.max_failures", 0, 1_000_000),
    _between("search.finalists", 0, 1000),
    _between("search.finalist_seeds", 0, 1000),
    Check(
        "hydra.launcher.cohort_size", "null or at least 1", lambda size: size is None or size > 0
    ),
    Check(
        "hydra.sweeper.sampler.seed",
        "null or from 0 to 2**32 - 1",
        lambda seed: seed is None or 0 <= seed < 2**32,
    ),
    Check(
        "search.seeds",
        f"rising integers from 0 to {MOST['seed']}",
        lambda seeds: (
            len(seeds) > 0
            and list(seeds) == sorted(set(seeds))
            and 0 <= seeds[0] <= seeds[-1] <= MOST["seed"]
        ),
    ),
    Check(
        "search.name",
        "null or a plain folder name",
        lambda name: (
            name is None
            or (
                re.fullmatch(r"(?!\.)[^/\\\0]{1,200}", name) is not None
                and name.isprintable()
                and len(name.encode()) <= 200  # a file system counts bytes
            )
        ),
    ),
    Check(
        "hydra.sweeper.storage",
        "an address like sqlite:///optuna.db",
        lambda storage: storage is not None,
    ),
    Check("resume", "false in a search, which always resumes", lambda resume: not resume),
    Check(
        "hydra.launcher.detach",
        "false in a search, whose controller chooses the next trials",
        lambda detach: not detach,
    ),
)


# Keys of Hydra and its Optuna sweeper that a search does not support: key, default, replacement.
UNSUPPORTED_KEYS = (
    ("seed", 0, "its seeds are search.seeds"),
    ("hydra.sweep.dir", ..., "its folder is multirun/ and search.name"),
    ("hydra.sweeper.study_name", None, "its study is search.name"),
    ("hydra.sweeper.max_failure_rate", 0.0, "search.max_failures ends it"),
    ("hydra.sweeper.custom_search_space", None, "its space is hydra.sweeper.params"),
)


def refuse_values(config: DictConfig) -> None:
    """Refuse, with one UserError, all invalid values that can be seen from the config alone."""
    errors = CollectedErrors()
    for key, allowed, holds in CHECKS:
        value = OmegaConf.select(config, key)
        if not holds(value):
            errors.messages.append(f"{key} must be {allowed}, got {_as_yaml(value)}")
    with errors.of():
        parse_timeout(config.search.timeout)
    given = fixed_keys([*config.hydra.overrides.hydra, *config.hydra.overrides.task])
    for key, default, instead in UNSUPPORTED_KEYS:
        value = OmegaConf.select(config, key)
        if key in given or (default is not ... and value != default):
            errors.messages.append(
                f"{key} must be left out of a search, got {_as_yaml(value)}: {instead}"
            )
    with errors.of():
        _refuse_objectives(config)
    errors.raise_if_any()
    _refuse_workers(config)
    _refuse_finalists(config)
    storage_at(str(config.hydra.sweeper.storage)).close()


def _refuse_workers(config: DictConfig) -> None:
    """Refuse two numbers of local workers."""
    local, workers = config.hydra.launcher.get("workers", 1), config.search.workers
    if workers is not None and local not in (1, workers):
        raise UserError(
            f"search.workers must be null with hydra.launcher.workers={local}, got {workers}: both"
            " are the number of workers"
        )


def _refuse_finalists(config: DictConfig) -> None:
    """Refuse finalists without seeds, or with seeds above the largest there is."""
    finalists, count = config.search.finalists, config.search.finalist_seeds
    if finalists > 0 and count < 1:
        raise UserError(
            f"search.finalist_seeds must be at least 1 with search.finalists={finalists},"
            f" got {count}"
        )
    if finalists > 0 and config.search.seeds[-1] + count > MOST["seed"]:
        raise UserError(
            f"search.seeds must be at most {MOST['seed'] - count} with search.finalist_seeds="
            f"{count}, which come after them, got {_as_yaml(config.search.seeds)}"
        )


def refuse_unknown_keys(space: Space, base: DictConfig) -> None:
    """Refuse, with a UserError, to search keys that no config has.

    A key below a group that is searched itself (`loss.fitnet.weight` with `loss`) may belong to
    one of its options; Hydra composes these.
    """
    below_groups = tuple(f"{key}." for key in space.keys if "." not in key)
    below_groups += tuple(f"loss.{term}." for term in _other_terms(space, base))
    known = set(_keys(OmegaConf.to_container(base, resolve=False)))
    errors = CollectedErrors()
    for dimension in space.dimensions:
        key = dimension.key
        if key not in known and not key.startswith(below_groups) and not {"/", "@"} & set(key):
            errors.messages.append(
                f"{key} must be a key of the config to be searched,"
                f" got {dimension_text(dimension)}{did_you_mean(key, known)}"
            )
    errors.raise_if_any()


def _other_terms(space: Space, base: DictConfig) -> set[str]:
    """Terms whose options are searched, and that the loss does not have: they have no effect."""
    terms = {key.split(".")[1] for key in space.keys if key.startswith("loss.")}
    return terms - {str(name) for name in base.loss}


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of a config, those of its nodes included."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield f"{prefix}{name}"
            yield from _keys(child, f"{prefix}{name}.")


def _refuse_objectives(config: DictConfig) -> None:
    objectives = list(config.search.objectives)
    if unknown := sorted(set(objectives) - OBJECTIVES.keys()):
        raise UserError(
            f"search.objectives must be of {', '.join(OBJECTIVES)}, got {', '.join(unknown)}"
        )
    directions = directions_of(config)
    if len(directions) != len(objectives):
        raise UserError(
            "search.objectives must be one for each hydra.sweeper.direction, got"
            f" {objectives} for {directions}"
        )
    for objective, direction in zip(objectives, directions, strict=True):
        if direction != OBJECTIVES[objective]:
            raise UserError(
                f"hydra.sweeper.direction must be {OBJECTIVES[objective]} for {objective},"
                f" got {_as_yaml(direction)}"
            )


def directions_of(config: DictConfig) -> list[str]:
    """`maximize` or `minimize` for each objective."""
    value = config.hydra.sweeper.direction
    values = list(value) if isinstance(value, ListConfig) else [value]
    return [getattr(direction, "name", direction) for direction in values]  # an enum or its name


def refuse_deploy(base: DictConfig) -> None:
    """Raise UserError for a search that is to deploy: its best run is known at its end alone."""
    if base.deploy.export or base.deploy.quantize:
        made = ", ".join([*base.deploy.export, *base.deploy.quantize])
        raise UserError(
            f"deploy must be none in a search, got {made}; `kdsweep export SEARCH/best` and"
            " `kdsweep quantize SEARCH/best` do it once the search has ended"
        )


def refuse_combinations(
    config: DictConfig, options: SearchConfig, space: Space, pruner: BasePruner
) -> None:
    """Refuse, with a UserError, sampler, pruner, space and objectives that do not fit together."""
    if "seed" in space.keys:
        raise UserError("seed must not be searched, got several; search.seeds are averaged")
    sampler = str(config.hydra.sweeper.sampler._target_).rpartition(".")[2]
    for dimension in space.dimensions if sampler == "GridSampler" else ():
        if dimension.size == float("inf"):
            raise UserError(
                f"{dimension.key} must be a list or a range of steps with"
                f" hydra/sweeper/sampler=grid, got {dimension_text(dimension)}"
            )
    if sampler == "CmaEsSampler" and len(options.objectives) > 1:
        raise UserError(
            "hydra/sweeper/sampler must be one for several objectives, got cmaes; tpe is one"
        )
    if options.objectives != ["val/acc"] and not isinstance(pruner, NopPruner):
        raise UserError(
            f"search/pruner must be none unless search.objectives=[val/acc], got"
            f" {type(pruner).__name__} with {', '.join(options.objectives)}"
        )
    node = config.hydra.sweeper.sampler
    try:
        make_sampler(node, space, 0)
    except Exception as error:  # whatever its constructor raises
        given = {key: value for key, value in node.items() if value is not None}
        raise UserError(
            f"hydra.sweeper.sampler must be a sampler of Optuna's with options that it takes,"
            f" got {shown(given)}: {first_line(error)}"
        ) from error


def _as_yaml(value: Any) -> str:
    """A value as it is written in a config."""
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))
