"""Ranges of the keys that kdsweep reads itself: a sentence for every value out of range."""

import math
from typing import Any

from kdsweep.common.text import format_number
from kdsweep.common.validation import COLDEST, HOTTEST, TEMPERATURES
from kdsweep.config.limits import excesses, odd_names
from kdsweep.config.recipes import PRIMARY_STUDENT
from kdsweep.config.run_config import RunConfig, to_values

PRECISIONS = ("fp32", "bf16")
PLOTS = ("run", "sweep", "none")


def validation_errors(config: RunConfig) -> list[str]:
    """One sentence for every value of the schema that is out of range."""
    values = to_values(config)
    found = _recipe_problems("", values)
    interval = values["tracking"]["checkpoint_seconds"]
    found += _range("tracking.checkpoint_seconds", interval, interval >= 0, "a number >= 0")
    wait = values["tracking"]["wait"]
    found += _range("tracking.wait", wait, wait >= 0, "a number of seconds >= 0")
    if values["tracking"]["plots"] not in PLOTS:
        found.append(_sentence("tracking.plots", values["tracking"]["plots"], " | ".join(PLOTS)))
    found += _stage_problems(values) + excesses(values) + odd_names(values)
    return found + _teacher_problems("teacher.", values["teacher"])


def _stage_problems(values: dict[str, Any]) -> list[str]:
    found = []
    for name, stage in values["stages"].items():
        key, weight = f"stages.{name}", stage["hard_weight"]
        found += _range(f"{key}.epochs", stage["epochs"], stage["epochs"] >= 1, "at least 1")
        if weight is not None:
            allowed = "null or a finite number >= 0"
            found += _range(f"{key}.hard_weight", weight, weight >= 0, allowed)
    for kind in ("peers", "online"):
        if values["stages"] and values["teacher"][kind]:
            names = ", ".join(values["stages"])
            found.append(f"stages must be empty with teacher.{kind}, got {names}")
    return found


def _teacher_problems(prefix: str, teacher: dict[str, Any] | None) -> list[str]:
    if teacher is None:
        return []
    found = [] if teacher["model"] is None else _recipe_problems(prefix, teacher)
    kinds = [kind for kind in ("model", "members", "peers") if teacher[kind]]
    if len(kinds) > 1:
        found.append(f"{prefix}{kinds[1]} must be empty with {prefix}{kinds[0]}, got both")
    for name, member in teacher["members"].items():
        key = f"{prefix}members.{name}"
        if member["model"] is None:
            found.append(f"{key} must be a model, got none")
        found += _teacher_problems(f"{key}.", member)
    if teacher["online"]:
        found += _online_problems(prefix, teacher)
    if teacher["peers"] and prefix != "teacher.":
        found.append(f"{prefix}peers must be empty below the root: peers teach no one else")
    if PRIMARY_STUDENT in teacher["peers"]:
        found.append(f"{prefix}peers must not be called {PRIMARY_STUDENT}, which is the run's own")
    return found + _teacher_problems(f"{prefix}teacher.", teacher["teacher"])


def _online_problems(prefix: str, teacher: dict[str, Any]) -> list[str]:
    """An online teacher starts untrained and learns the labels alone."""
    if prefix != "teacher.":
        return [f"{prefix}online must be false below the root, got true"]
    return [
        f"{prefix}{key} must be empty with {prefix}online=true, got {given}: such a teacher begins"
        " untrained and learns on hard labels alone"
        for key in ("checkpoint", "teacher", "members", "peers", "loss")
        if (given := _name_of(teacher[key]))
    ]


def _name_of(value: Any) -> str:
    """A short name of a value: that of a recipe, those of loss terms."""
    if not isinstance(value, dict):
        return str(value or "")
    return str(value.get("name") or "+".join(value))


def _recipe_problems(prefix: str, recipe: dict[str, Any]) -> list[str]:
    T, alpha, seed, trainer = (recipe[key] for key in ("T", "alpha", "seed", "trainer"))
    found = [
        *_range(f"{prefix}T", T, COLDEST <= T <= HOTTEST, TEMPERATURES),
        *_range(f"{prefix}alpha", alpha, 0 <= alpha <= 1, "a number in [0, 1]"),
        *_range(f"{prefix}seed", seed, seed >= 0, "an integer >= 0"),
    ]
    if (weight := recipe["hard_weight"]) is not None:
        found += _range(f"{prefix}hard_weight", weight, weight >= 0, "null or a finite number >= 0")
    for key in ("epochs", "batch_size", "threads"):
        found += _range(f"{prefix}trainer.{key}", trainer[key], trainer[key] >= 1, "at least 1")
    if trainer["precision"] not in PRECISIONS:
        allowed = " | ".join(PRECISIONS)
        found.append(_sentence(f"{prefix}trainer.precision", trainer["precision"], allowed))
    if (clip := trainer["grad_clip"]) is not None:
        found += _range(f"{prefix}trainer.grad_clip", clip, clip > 0, "null or a number > 0")
    smoothing = recipe["hard"]["label_smoothing"]
    key = f"{prefix}hard.label_smoothing"
    found += _range(key, smoothing, 0 <= smoothing < 1, "a number in [0, 1)")
    ranges = {"lr": "> 0", "weight_decay": ">= 0", "momentum": ">= 0"}
    for name, allowed in ((name, f"a finite number {range}") for name, range in ranges.items()):
        if name in recipe["optimizer"]:
            found += _number(f"{prefix}optimizer.{name}", recipe["optimizer"][name], allowed)
    return found


def _number(key: str, value: Any, allowed: str) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [_sentence(key, value, allowed)]
    return _range(key, value, value >= 0 if ">=" in allowed else value > 0, allowed)


def _range(key: str, value: float, inside: bool, allowed: str) -> list[str]:
    return [] if inside and math.isfinite(value) else [_sentence(key, value, allowed)]


def _sentence(key: str, value: Any, allowed: str) -> str:
    return f"{key} must be {allowed}, got {format_number(value)}"
