"""What is wrong with a word that sets, adds or deletes a key, `trainer.epochs=ten`."""

from collections.abc import Sequence

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Sweep,
    ValueType,
)
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from kdsweep.config.composition import Composition
from kdsweep.config.expected import expected, skeleton_of
from kdsweep.config.group_faults import reason_of
from kdsweep.config.keys import did_you_mean_key, keys_of, listed, names_below


def key_fault(
    override: Override,
    typed: str,
    error: BaseException,
    config: DictConfig,
    composition: Composition,
) -> str:
    """Why an override without a sweep cannot be applied to a config, in one sentence.

    Args:
        typed: the word with all its values, if it is swept.
        error: what Hydra raises for it.
    """
    key, word, cause = override.key_or_group, str(override.input_line), error.__cause__
    where = _whole_key(key, cause)
    if override.is_delete():
        return _deletion_fault(key, word, config)
    if override.is_add() and "An item is already at" in str(error):
        return f"{key} must be set without a +, {word.lstrip('+')}, got {word}"
    if override.package is not None:
        return f"{key} must be a group of options to have an @, got {word}"
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return unknown_key(where, typed, config, composition)
    if (kind := expected(config, where)) is not None:
        return f"{where} must be {kind}, got {_value(word)}"
    if (scalar := _scalar_above(key, config)) is not None:
        return f"{scalar} must be {expected(config, scalar) or 'a value'}, got {word}"
    return f"{key} must be a value that fits, got {_value(word)}: {reason_of(error)}"


def _whole_key(key: str, cause: BaseException | None) -> str:
    """The key that is wrong: the one typed, or one inside of its value, `{crop:3}`."""
    full = getattr(cause, "full_key", None) if isinstance(cause, OmegaConfBaseException) else None
    full = str(full or "").partition("[")[0]
    return full if full.startswith(f"{key}.") else key


def _value(word: str) -> str:
    value = word.partition("=")[2]
    return value if value.strip() else "nothing"


def _scalar_above(key: str, config: DictConfig) -> str | None:
    """The part of a key that is no node, so that nothing can be below it: T of `T.x`."""
    parts = key.split(".")
    for count in range(1, len(parts)):
        above = ".".join(parts[:count])
        try:
            node = OmegaConf.select(config, above)
        except OmegaConfBaseException:
            return None
        if node is not None and not OmegaConf.is_config(node):
            return above
    return None


def unknown_key(
    key: str, got: str, config: DictConfig, composition: Composition | None = None
) -> str:
    """A sentence about a key that the config lacks, with those that there are next to it."""
    keys = _own(key, config)
    option = None if composition is None else _option_with(key, keys, composition)
    if option is not None:
        hint = f"; {option} may have it"
    else:
        groups = [] if composition is None else composition.groups()
        hint = did_you_mean_key(key, [*keys, *groups])
    parent = key.rpartition(".")[0]
    while parent and parent not in keys:
        parent = parent.rpartition(".")[0]
    if not parent:
        return f"{key} must be a key of the config, got {got}{hint}"
    names = names_below(parent, keys)
    have = listed(names, key[len(parent) + 1 :]) if names else "there are none"
    return f"{key} must be a key of {parent} ({have}), got {got}{hint}"


def _option_with(key: str, keys: Sequence[str], composition: Composition) -> str | None:
    """`loss=fitnet` of `loss.fitnet.weight`, if there is such an option and it is not chosen."""
    group, *rest = key.split(".")
    if rest and f"{group}.{rest[0]}" in keys:
        return None
    has = bool(rest) and composition.is_group(group) and composition.has_option(group, rest[0])
    return f"{group}={rest[0]}" if has else None


def _own(key: str, config: DictConfig) -> list[str]:
    """The keys of the config; Hydra's own only if one of them is meant."""
    is_hydra = key.split(".")[0] == "hydra"
    return [k for k in keys_of(config) if k.split(".")[0] != "hydra" or is_hydra]


def _deletion_fault(key: str, word: str, config: DictConfig) -> str:
    value = OmegaConf.select(config, key, throw_on_resolution_failure=False)
    if value is None:
        return unknown_key(key, word, config)
    return f"{key} must be deleted with no value or its own, {value}, got {word}"


def is_known_by_type(key: str, config: DictConfig) -> bool:
    """Whether it does not depend on chosen options which keys there are next to a key."""
    return not key.startswith("hydra.") and skeleton_of(config, key.rpartition(".")[0]) is not None


def sweep_fault(override: Override, searching: bool) -> str | None:
    """A sentence about values to be swept that are none, or only a search can draw; or None."""
    key, value = override.key_or_group, override.value()
    got = str(override.input_line).partition("=")[2]
    if override.is_hydra_override():
        return f"{key} must have one value, got {got}: Hydra's own keys cannot be swept"
    if isinstance(value, IntervalSweep) and not searching:
        return f"{key} must be values or a range of steps without a search, got {got}"
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return f"{key} must be values or a range of steps, got {got}: glob() is of groups"
    if isinstance(value, ChoiceSweep) and any(isinstance(one, Sweep) for one in value.list):
        return f"{key} must be values or one range of steps, got {got}"
    if isinstance(value, RangeSweep) and not first_values(override):
        return f"{key} must be a range with at least one value, got {got}"
    return None


def first_values(override: Override, most: int = 8) -> list[str]:
    """Values of a sweep as words: all of a choice, the first of a range, an interval's start."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start)]
    texts: list[str] = []
    try:
        for text in override.sweep_string_iterator():
            texts.append(text)
            if isinstance(value, RangeSweep) and len(texts) == most:
                break
    except (ValueError, ArithmeticError, HydraException):  # a step of 0
        return []
    return texts
