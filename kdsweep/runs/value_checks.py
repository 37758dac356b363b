"""What is wrong with the values of a run whatever its data is: no image is read.

So a mistyped option is reported before gigabytes are read, and together with all others.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kdsweep.builders.data import refuse_options
from kdsweep.builders.device import refuse_devices, resolve_device
from kdsweep.builders.losses import build_objective
from kdsweep.builders.models import refuse_model_options
from kdsweep.builders.optimizers import refuse_optimizer
from kdsweep.builders.options import first_argument, option_errors
from kdsweep.builders.schedules import schedule_options
from kdsweep.config.limits import MOST
from kdsweep.config.overrides import override_values
from kdsweep.config.recipes import peer_recipes, single_teachers, teacher_recipe
from kdsweep.config.run_config import RunConfig, to_values
from kdsweep.config.schema import TrackingConfig
from kdsweep.errors import CollectedErrors, prefix_errors
from kdsweep.tracking.mlflow import backend
from kdsweep.tracking.mlflow.experiment import check_name

# Keys that decide the weights and temperatures of loss terms, and for how many epochs.
WEIGHING = {"T", "alpha", "hard_weight", "hard.label_smoothing", "trainer.epochs"}


class ValueChecks:
    """Checks the values of the runs of a sweep, those that runs share only once."""

    def __init__(self) -> None:
        self._errors: dict[str, list[str]] = {}

    def errors(
        self, config: RunConfig, *, needs_teacher: bool, known: Collection[str] = ()
    ) -> list[str]:
        """A message for every value of a run, but for its loss terms, that no data can make right.

        Args:
            needs_teacher: whether a loss term does; the recipe of a teacher is not read otherwise.
            known: keys that are known to be wrong; models with such an option are not built, which
                may have a billion layers.
        """
        too_large = sorted(key for key in known if ".model." in key)
        data, tracking, trainer = config.dataset, config.tracking, config.trainer
        errors = self._once(partial(refuse_options, data), to_values(data))
        errors += self._once(partial(_refuse_tracking, tracking), to_values(tracking))
        for key, model in _models(config).items():
            errors += self._once(partial(_refuse_model, model, key, too_large), [model, key])
        errors += _stage_errors(config)
        errors += self._once(
            partial(_refuse_trainer, config),
            [config.optimizer, config.schedule, to_values(trainer)],
        )
        if needs_teacher:
            read = [to_values(config.teacher), to_values(data.augment)]
            errors += self._once(partial(_refuse_teachers, config, too_large), read)
        return errors

    def _once(self, check: "partial[None]", values: Any) -> list[str]:
        """The messages of a check, which reads these values and nothing else."""
        key = json.dumps([check.func.__name__, values], default=str)
        if key not in self._errors:
            errors = CollectedErrors()
            with errors.of():
                check()
            self._errors[key] = errors.messages
        return list(self._errors[key])


def about_other_keys(messages: Sequence[str], known: Sequence[str]) -> list[str]:
    """The messages about other keys than those that are known to be wrong.

    What is below such a key is left out, and so are the loss terms of a recipe with a wrong T or
    alpha, which they may interpolate.
    """
    keys = {key_of(message) for message in known}
    parents = (key.rpartition(".") for key in keys)
    keys |= {f"{recipe}.loss" for recipe, _, name in parents if recipe and name in WEIGHING}
    return [
        message
        for message in messages
        if not any(f"{key_of(message)}.".startswith(f"{key}.") for key in keys)
    ]


def key_of(message: str) -> str:
    """The config key that a message begins with."""
    return message.split(" ", 1)[0].rstrip(":")


def unknown_term_options(config: RunConfig) -> list[str]:
    """Options that loss terms do not have; of terms that are not built, as alpha or T is wrong."""
    return [
        error
        for name, node in config.loss.items()
        if isinstance(node, dict)
        for error in option_errors({k: node[k] for k in node if k != "schedule"}, f"loss.{name}")
    ]


def loss_option_errors(job: Sequence[str], terms: Collection[str]) -> list[str]:
    """Messages about `loss=[]`, `loss=null`, `loss=[kl,kl]`, `~loss` and options without a term.

    Hydra composes all of them without an error.
    """
    at_least_one = "loss must name at least one option (ce for none but the hard term), got"
    if any(word.partition("=")[0] == "~loss" for word in job):
        return [f"{at_least_one} ~loss"]
    written = override_values(job).get("loss")
    if written is None:
        return []
    names = [name.strip() for name in written.strip("[]").split(",") if name.strip()]
    if not names or names == ["null"]:
        return [f"{at_least_one} {written}"]
    if len(set(names)) < len(names):
        return [f"loss must name each option once, got {written}"]
    if len(options := [name for name in names if name != "ce"]) > len(terms):
        return [
            f"loss must name options with a loss term each, got {', '.join(options)}, which have"
            f" {', '.join(terms) or 'none'} (ce is the option without)"
        ]
    return []


def _models(config: RunConfig) -> dict[str, Any]:
    """The networks that a run trains, by their config keys."""
    models = {"student.model": config.student.model}
    for name, peer in peer_recipes(config).items():
        models[f"teacher.peers.{name}.model"] = peer.student.model
    return models


def _refuse_model(model: Any, key: str, too_large: Sequence[str]) -> None:
    if not any(f"{key}." in known for known in too_large):
        refuse_model_options(model, key)


def _stage_errors(config: RunConfig) -> Iterator[str]:
    """Options of the optimizers and schedules of stages."""
    for name, stage in config.stages.items():
        errors = []
        if stage.optimizer:
            given = first_argument(stage.optimizer, "params")
            errors += option_errors(stage.optimizer, "optimizer", given)
        if stage.schedule:
            options, given = schedule_options(stage.schedule)
            errors += option_errors(options, "schedule", given)
        yield from (f"stages.{name}.{error}" for error in errors)


def _refuse_trainer(config: RunConfig) -> None:
    errors = CollectedErrors()
    with errors.of():
        resolve_device(config.trainer.device)
        refuse_devices(config.trainer)
    with errors.of():
        refuse_optimizer(config)
    errors.raise_if_any()


def _refuse_teachers(config: RunConfig, too_large: Sequence[str]) -> None:
    """Raise UserError for values in the recipes of a run's teachers, and of theirs."""
    errors = CollectedErrors()
    for key, single in single_teachers(config).items():
        with errors.of():
            _refuse_model(single.teacher.model, f"{key}.model", too_large)
        if single.teacher.given_by is None:
            recipe = _with_possible_epochs(teacher_recipe(single))
            with errors.of(), prefix_errors(key):
                _refuse_trainer(recipe)
            with errors.of(), prefix_errors(key):
                build_objective(recipe)
            with errors.of(), prefix_errors(key):
                _refuse_teachers(recipe, too_large)
    errors.raise_if_any()


def _with_possible_epochs(config: RunConfig) -> RunConfig:
    """A config with fewer epochs if it has too many, which is reported already."""
    if config.trainer.epochs <= MOST["epochs"]:
        return config
    return replace(config, trainer=replace(config.trainer, epochs=1000))


def _refuse_tracking(tracking: TrackingConfig) -> None:
    """Raise UserError for an address or a name that no store can have."""
    if tracking.uri is None:
        return
    errors = CollectedErrors()
    with errors.of(ValueError):
        backend.resolve(tracking.uri, Path.cwd())
    with errors.of(ValueError):
        check_name(tracking.experiment)
    errors.raise_if_any()
