"""Everything that is wrong with the words of a command line, each in one sentence.

Hydra stops at the first error and words it for developers. Once a composition has failed, each word
is checked by itself: against the options there are, then against the config of the words that can
be composed. A command line that composes costs nothing; `sweep_refusals` then checks what
Hydra looks at only job by job.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from omegaconf import DictConfig, OmegaConf

from kdsweep.common.validation import shown
from kdsweep.config.composition import PRIMARY, Composition, matching, set_value
from kdsweep.config.copying import without_hydra
from kdsweep.config.group_faults import choice_fault, deletion_fault, option_fault
from kdsweep.config.interpolation import missing_keys, raw, unknown_key_errors
from kdsweep.config.key_faults import (
    first_values,
    is_known_by_type,
    key_fault,
    sweep_fault,
)
from kdsweep.config.limits import refuse_keys_of_some_options
from kdsweep.config.malformed import parse
from kdsweep.config.overrides import is_search
from kdsweep.config.resolve import resolve_config
from kdsweep.config.targets import target_errors
from kdsweep.config.validate import validation_errors
from kdsweep.errors import UserError


def refusals(words: Sequence[str], loader: ConfigLoader, name: str | None = PRIMARY) -> list[str]:
    """A sentence for each word that cannot be composed; none if there is nothing to be found.

    Raises whatever Hydra raises if not even the config without these words can be composed.
    """
    overrides, faults = parse(words)
    given = [o for o in overrides if o.key_or_group == "hydra.searchpath"]
    sources = [str(o.input_line) for o in given if isinstance(o.value(), list)]
    faults += [fault for override in given for fault in source_faults(override.value())]
    overrides = [o for o in overrides if o not in given or isinstance(o.value(), list)]
    return [*faults, *Checker(Composition(loader, name, sources)).all_faults(overrides)]


def sweep_refusals(config: DictConfig, words: Sequence[str], loader: ConfigLoader) -> list[str]:
    """A sentence for each sweep and deletion of a composed command line that no job can have."""
    overrides, faults = parse(words)
    faults += source_faults(list(config.hydra.searchpath))
    if not any(override.is_sweep_override() or override.is_delete() for override in overrides):
        return faults
    sources = [word for word in config.hydra.overrides.hydra if "hydra.searchpath=" in word]
    checker = Checker(Composition(loader, config.hydra.job.config_name, sources))
    return [*faults, *checker.sweep_faults(overrides, config)]


def source_faults(paths: object) -> list[str]:
    """A sentence for each folder of configs that does not exist: Hydra passes over it."""
    if not isinstance(paths, list):
        return [f"hydra.searchpath must be a list of folders, got {shown(paths)}"]
    return [
        f"hydra.searchpath must be folders that exist, got {path}"
        for path in paths
        if (folder := str(path).removeprefix("file://")) and "://" not in folder
        if not Path(folder).is_dir()
    ]


@dataclass
class Checker:
    """Checks overrides one by one. Several command lines can share its compositions."""

    composition: Composition
    refused: list[str] = field(default_factory=list)  # groups without an option that exists

    def all_faults(self, overrides: Sequence[Override]) -> list[str]:
        """Everything that is wrong with parsed words, those of the values included."""
        self.refused = []
        groups = [o for o in overrides if self.composition.chooses(o)]
        keys = [o for o in overrides if not self.composition.chooses(o)]
        faults = [*self._option_faults(groups)]
        composed, more = self._compose(groups)
        if not is_search(composed):  # in which keys may depend on the option that is drawn
            more += self._of_some_options(overrides)
        faults += more
        config = _copied(composed, keys) if keys else composed
        searching = is_search(composed)
        for override in keys:
            faults += self._key_faults(override, config, searching)
        if len(faults) < len(overrides):  # some can be composed
            faults += self._value_errors(config, tuple(o.key_or_group for o in keys))
        return list(dict.fromkeys(faults or _fixed_below(_swept(groups), keys)))

    def sweep_faults(self, overrides: Sequence[Override], config: DictConfig) -> list[str]:
        """What is wrong with the sweeps and deletions among overrides of a composed config."""
        self.refused = []
        sweeps = [o for o in overrides if o.is_sweep_override()]
        groups = [o for o in sweeps if self.composition.chooses(o)]
        faults = [*self._option_faults(groups)]
        searching, config = is_search(config), _copied(config, overrides)
        if not searching:
            faults += self._of_some_options(overrides)
        depending = _swept(groups)
        # Options of `experiment` decide which keys there are: each job is composed by itself.
        anywhere = any(group.key_or_group not in config for group in groups)
        for override in overrides:
            if override.is_delete():
                faults += filter(None, [deletion_fault(override, config, self.composition)])
            elif anywhere or override.key_or_group.startswith(depending) or override in groups:
                continue  # checked by their options
            elif override in sweeps:
                faults += self._key_faults(override, config, searching)
        return list(dict.fromkeys(faults))

    def _option_faults(self, groups: Sequence[Override]) -> Iterator[str]:
        for override in groups:
            key = override.get_key_element().lstrip("+~")
            if override.is_delete():
                if (fault := deletion_fault(override, None, self.composition)) is not None:
                    self.refused.append(key)
                    yield fault
                continue
            for value in self._choices(override):
                if isinstance(value, dict):
                    continue  # the values of a node, `trainer={epochs:3},{epochs:4}`
                fault = option_fault(override.key_or_group, key, value, self.composition)
                if fault is not None:
                    self.refused.append(key)
                    yield fault
                    break
            else:
                if not self._choices(override):
                    got = str(override.input_line).partition("=")[2]
                    self.refused.append(key)
                    yield f"{key} must match at least one option, got {got}"

    def _choices(self, override: Override) -> list[object]:
        """The options, or lists of options, that a word chooses one after the other."""
        if not override.is_sweep_override():
            return [override.value()]
        options = self.composition.options(override.key_or_group)
        if (matched := matching(override, options)) is not None:
            return list(matched)
        return [_one(override, text).value() for text in first_values(override)]

    def _compose(self, groups: Sequence[Override]) -> tuple[DictConfig, list[str]]:
        """The config of the options that exist; sentences for those that cannot be composed."""
        chosen = []
        for override in groups:
            if override.get_key_element().lstrip("+~") in self.refused:
                continue
            if override.is_sweep_override():
                override = _one(override, str(self._choices(override)[0]))
            chosen.append(override)
        try:
            return self.composition.compose([str(o.input_line) for o in chosen]), []
        except Exception:  # whatever it is, it is of one of these
            return self._compose_one_by_one(chosen)

    def _compose_one_by_one(self, chosen: list[Override]) -> tuple[DictConfig, list[str]]:
        accepted: list[str] = []
        faults: list[str] = []
        config = self.composition.compose()
        for override in sorted(chosen, key=lambda o: o.package is not None):
            try:
                config = self.composition.compose([*accepted, str(override.input_line)])
                accepted.append(str(override.input_line))
            except Exception as error:
                self.refused.append(override.get_key_element().lstrip("+~"))
                faults.append(choice_fault(override, error, self.composition))
        return config, faults

    def _of_some_options(self, overrides: Sequence[Override]) -> list[str]:
        if not any(override.is_choice_sweep() for override in overrides):
            return []
        words = [str(o.input_line) for o in overrides if not o.is_delete()]
        try:
            refuse_keys_of_some_options(words, self._composes)
        except UserError as error:
            self.refused += [o.key_or_group for o in overrides if o.is_choice_sweep()]
            return [str(error)]
        return []

    def _composes(self, words: Sequence[str]) -> bool:
        try:
            self.composition.compose(words)
        except Exception:
            return False
        return True

    def _key_faults(self, override: Override, config: DictConfig, searching: bool) -> list[str]:
        """Why a key cannot be set, added or deleted in a config; it is changed if it can."""
        if self._depends_on_a_refused_group(override.key_or_group, config):
            return []
        if override.is_delete():
            fault = deletion_fault(override, config, self.composition)
            if fault is not None:
                return [fault]
        values = [override]
        if override.is_sweep_override():
            if (fault := sweep_fault(override, searching)) is not None:
                return [fault]
            values = [_one(override, text) for text in first_values(override)]
        for value in values:
            # A mapping is merged into what is there: each of several is set in a config of its own.
            is_one_of_several = value is not values[-1] and isinstance(value.value(), dict)
            try:
                set_value(copy.deepcopy(config) if is_one_of_several else config, value)
            except Exception as error:
                if not isinstance(override.value(), ChoiceSweep):  # its values were not typed
                    value.input_line = override.input_line
                typed = str(override.input_line)
                return [key_fault(value, typed, error, config, self.composition)]
        return []

    def _depends_on_a_refused_group(self, key: str, config: DictConfig) -> bool:
        """Whether another option than the one that was refused may have a key."""
        if not self.refused:
            return False
        below = any(key.startswith(f"{group.rpartition('@')[2]}.") for group in self.refused)
        overall = any(group.split("@")[0] not in config for group in self.refused)
        return (below or overall) and not is_known_by_type(key, config)

    def _value_errors(self, config: DictConfig, keys: tuple[str, ...]) -> list[str]:
        """What is wrong with the values of the words that can be composed.

        Where an option was refused, others may be wrong for this alone: only those of ``keys``.
        """
        errors = self._all_value_errors(config)
        own = [sentence for sentence in errors if sentence.partition(" ")[0] in keys]
        return own if self.refused else errors

    def _all_value_errors(self, config: DictConfig) -> list[str]:
        config = without_hydra(config) if "hydra" in config else config
        written = raw(config)
        if absent := missing_keys(written):
            return [f"{key} must be given" for key in absent]
        try:
            resolved = resolve_config(config)
        except UserError as error:
            return str(error).splitlines()
        errors = validation_errors(resolved) + target_errors(resolved)
        return errors + unknown_key_errors(written)


def _swept(groups: Sequence[Override]) -> tuple[str, ...]:
    """What the keys that depend on swept groups begin with, `loss.`."""
    swept = [override for override in groups if override.is_sweep_override()]
    return tuple(f"{override.package or override.key_or_group}." for override in swept)


def _fixed_below(swept: tuple[str, ...], keys: Sequence[Override]) -> list[str]:
    """Hydra sets keys that are not swept before it chooses from groups that are."""
    return [
        f"{key.key_or_group} must be set with ++ where its group is swept, ++{word}, got {word}"
        for key in keys
        if key.key_or_group.startswith(swept) and (word := str(key.input_line).lstrip("+"))
    ]


def _copied(config: DictConfig, overrides: Sequence[Override]) -> DictConfig:
    """A copy to be changed: without Hydra's own node, which is large, unless it is meant."""
    if any(override.is_hydra_override() for override in overrides):
        return copy.deepcopy(config)
    plain = without_hydra(config)
    OmegaConf.set_struct(plain, True)  # as Hydra does
    return plain


def _one(override: Override, text: str) -> Override:
    """An override with one value of its sweep."""
    word = f"{override.get_key_element()}={text}"
    return OverridesParser.create().parse_override(word)
