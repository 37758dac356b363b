"""What is wrong with a word that chooses options of a group, `loss=[kl,fitnett]`."""

import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kdsweep.common.suggestions import did_you_mean
from kdsweep.config.composition import Composition
from kdsweep.config.expected import expected
from kdsweep.config.keys import listed
from kdsweep.config.yaml_faults import yaml_fault


def option_fault(group: str, key: str, value: Any, composition: Composition) -> str | None:
    """A sentence about an option that a group lacks, or None.

    Args:
        key: the group with its package, `student@teacher.peers.second`.
        value: the option, or the list of options.
    """
    options = composition.options(group)
    if value is None:
        rest = "" if group not in NULL_BY_DEFAULT else "; leave it out for none"
        return f"{key} must name at least one option of {listed(options)}, got null{rest}"
    for name in value if isinstance(value, list) else [value]:
        if isinstance(name, str) and ("${" in name or composition.has_option(group, name)):
            continue
        typed = _as_typed(name)
        got = typed if not isinstance(value, list) else f"{typed} in {_as_typed(value)}"
        hint = did_you_mean(typed, options)
        return f"{key} must be one of {listed(options, typed)}, got {got}{hint}"
    return None


NULL_BY_DEFAULT = ("experiment", "scale", "search")


def _as_typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(Override._get_value_element_as_str(value)) or "nothing"


def choice_fault(override: Override, error: BaseException, composition: Composition) -> str:
    """Why options that exist cannot be composed."""
    word, key = str(override.input_line), override.get_key_element().lstrip("+~")
    if (fault := yaml_fault(error)) is not None:
        return f"{key} must be options that can be read, got {word}: {fault}"
    if isinstance(error, MissingConfigException):
        return _missing_fault(key, word, error, composition)
    if (match := OVERRIDDEN.search(str(error))) is not None:
        other, group = match[1].replace("/", "="), match[2]
        what = "the other options" if other == word else other
        return f"{key} must fit {what}, got {word}: there is no {group} to replace"
    for pattern, sentence in REASONS.items():
        if pattern in str(error):
            plain = word.lstrip("+")
            return sentence.format(key=key, word=word, plain=plain)
    return f"{key} must be options that fit the config, got {word}: {reason_of(error)}"


# A yaml has an override of a group that the other options do not bring in.
OVERRIDDEN = re.compile(r"In '([^']+)': Invalid Defaults List override '/?([^:']+):")
REASONS = {
    "No match in the defaults list": "{key} must be added with a +, +{plain}, got {word}",
    "Did you mean to override": "{key} must be added with a +, +{plain}, got {word}",
    "appears more than once": "{key} must be chosen without a +, {plain}, got {word}",
    "Multiple values for": "{key} must be chosen without a +, {plain}, got {word}",
    "force-add of config groups": "{key} must be chosen without a ++, {plain}, got {word}",
    "Could not delete": "{key} must be chosen to be deleted, got {word}",
}


def _missing_fault(
    key: str, word: str, error: MissingConfigException, composition: Composition
) -> str:
    """An option exists, but the defaults list of its yaml names one that does not."""
    missing = str(error.missing_cfg_file)
    match = re.match(r"In '([^']*)'", str(error))
    group, _, name = missing.rpartition("/")
    options = composition.options(group) if group else []
    have = f", not one of {listed(options, name)}" if options else ""
    where = "" if match is None else f" in the defaults of {match[1]}.yaml"
    hint = did_you_mean(name, options, f"{group}/") if options else ""
    return f"{key} must lead to configs that exist, got {word} with {missing}{where}{have}{hint}"


def reason_of(error: BaseException) -> str:
    """What Hydra and OmegaConf say in several lines, as the one that counts."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OmegaConfBaseException) or cause.__cause__ is None:
            break
        cause = cause.__cause__
    if not isinstance(cause, OmegaConfBaseException) and isinstance(
        error.__context__, OmegaConfBaseException
    ):
        cause = error.__context__
    if isinstance(cause, OmegaConfBaseException):
        text = str(cause).splitlines()[0]
        return f"{cause.full_key}: {text}" if cause.full_key else text
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def deletion_fault(
    override: Override, config: DictConfig | None, composition: Composition
) -> str | None:
    """A sentence about a key or a group that no run can do without, or None.

    ``config`` has the types of the keys; None for a group.
    """
    key, word = override.key_or_group, str(override.input_line)
    if key in REQUIRED:
        options = listed(composition.options(key))
        return f"{key} must name at least one option of {options}, got {word}"
    if config is None:
        return None
    if (kind := expected(config, key)) is not None and not composition.is_group(key):
        return f"{key} must be {kind}, got {word}, which deletes it"
    if key.rpartition(".")[2] == "_target_":
        return f"{key} must be the path of a class, got {word}, which deletes it"
    return None


REQUIRED: Sequence[str] = ("dataset", "teacher", "student", "loss", "optimizer", "schedule")
