"""Limits of all configs: the largest numbers, the characters of names, the size of a sweep.

A number far above all useful ones ends in a hang, a crash or a machine without memory; names become
paths and MLflow keys.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException

from kdsweep.common.validation import is_number, shown
from kdsweep.errors import UserError

MOST = {  # of every key of that name, at the root and in every recipe and stage
    "epochs": 1_000_000,
    "batch_size": 1_000_000,
    "threads": 1024,
    "workers": 256,
    "devices": 1024,
    "accumulate": 1_000_000,
    "seed": 2**63 - 1,  # MLflow's steps, where a search has its seeds
    "split_seed": 2**63 - 1,
    "crop_padding": 1024,
    "strong_view": 100,
    "num_ops": 100,
    "image_size": 8192,
    "num_train": 10_000_000,
    "num_test": 10_000_000,
    "num_classes": 1_000_000,
    "width": 16_384,
    "depth": 10_000,
    "dim": 65_536,
    "stem_channels": 65_536,
    "negatives": 10_000_000,
}
MOST_RUNS = 100_000  # of a grid
NAME = re.compile(r"\w(?:[\w .-]{0,98}[\w-])?")
NAMED = ("stages", "members", "peers", "loss")  # their keys are names that a user may choose


def excesses(values: Mapping[str, Any]) -> list[str]:
    """A message for every number of a resolved config that is too large to be meant."""
    return [
        f"{key} must be at most {most}, got {shown(value)}"
        for key, value in scalars(values)
        if (most := MOST.get(key.rpartition(".")[2])) is not None
        and is_number(value)
        and value > most
        and "published" not in key.split(".")
    ]


def odd_names(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A message for every name of a stage, teacher, peer or loss term that is no plain word."""
    faults = []
    for key, node in values.items():
        if not isinstance(node, Mapping) or key == "published":
            continue
        if key in NAMED:
            faults += [
                f"{prefix}{key} must have names of letters, digits, _, - and ., got {name}"
                for name in node
                if not NAME.fullmatch(str(name))
            ]
        faults += odd_names(node, f"{prefix}{key}.")
    return faults


def unknown_keys(skeleton: type, node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys of a config that its dataclass lacks, which `+key=value` adds."""
    kinds = get_type_hints(skeleton)
    known = {field.name for field in fields(skeleton)}
    for key, child in node.items():
        if key not in known:
            yield f"{prefix}{key}"
        elif is_dataclass(kinds[key]) and isinstance(child, Mapping):
            yield from unknown_keys(kinds[key], child, f"{prefix}{key}.")


def refuse_sweep(words: list[str]) -> None:
    """Refuse a grid that names a value twice, or has more runs than anyone can train.

    Raises UserError, naming the key and the value, or the number of runs.
    """
    runs = 1
    for override in OverridesParser.create().parse_overrides(words):
        if not override.is_sweep_override():
            continue
        runs *= _length(override)
        if runs > MOST_RUNS:
            raise UserError(
                f"a sweep must have at most {MOST_RUNS} runs, got {runs} with"
                f" {override.input_line or override.key_or_group}"
            )
        _refuse_twice(override)


def refuse_keys_of_some_options(
    words: list[str], composes: Callable[[Sequence[str]], bool]
) -> None:
    """Refuse a key that only some of the swept options of its group have.

    Hydra composes `stages=none,hints stages.hints.epochs=5` run by run; its message is that there
    is no such key, and no more.

    Args:
        composes: whether Hydra composes a run of these words.

    Raises UserError, naming the key, and the option without it.
    """
    try:
        overrides = OverridesParser.create().parse_overrides(words)
    except HydraException:
        return  # Hydra reports it
    keys = [override.key_or_group for override in overrides]
    for group in overrides:
        key = group.key_or_group
        below = [other for other in keys if other.startswith(f"{key}.")]
        if not below or not isinstance(group.value(), ChoiceSweep):
            continue
        one_each = {other.key_or_group: _first_word(other) for other in overrides}
        for option in group.sweep_string_iterator():
            rest = [word for other, word in one_each.items() if word and other not in (key, *below)]
            chosen = [*rest, f"{key}={option}"]
            if composes(chosen) and not composes([*chosen, *(one_each[other] for other in below)]):
                raise UserError(
                    f"{' and '.join(below)} must be a key of every option of {key} that is swept,"
                    f" got {key}={option}; write it into an option of your own"
                    f" (conf/{key}/mine.yaml), or sweep those that have it by themselves"
                )


def _first_word(override: Override) -> str:
    """An override with one of its values, for whether a key is there is the same for all."""
    written = override.input_line or ""
    if not override.is_sweep_override():
        return written
    if not isinstance(override.value(), ChoiceSweep | RangeSweep):
        return ""  # a glob, or an interval: its values are not in the command
    value = next(iter(override.sweep_string_iterator()))
    return f"{written.partition('=')[0]}={value}"


def _length(override: Override) -> int:
    value = override.value()
    if isinstance(value, RangeSweep):
        start, stop, step = (float(x or 0) for x in (value.start, value.stop, value.step))
        return max(int((stop - start) / step), 0) + 1 if step else 1
    return max(len(value.list), 1) if isinstance(value, ChoiceSweep) else 1


def _refuse_twice(override: Override) -> None:
    if not isinstance(override.value(), ChoiceSweep):
        return
    seen: set[str] = set()
    for value in override.sweep_string_iterator():
        try:
            text = repr(float(value))  # 4, 4.0 and 4e0 in one form
        except (TypeError, ValueError):
            text = str(value)
        if text in seen:
            raise UserError(
                f"{override.key_or_group} must have each value once to be swept, got {value} twice"
            )
        seen.add(text)


def scalars(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a config that is no mapping or list, with the path of its key."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from scalars(child, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for child in node:
            yield from scalars(child, path)
    else:
        yield path, node
