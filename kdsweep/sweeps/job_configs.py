"""The configs of a sweep's jobs: composed once for all that differ in values only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kdsweep.common import pacing
from kdsweep.common.pacing import LinePacer
from kdsweep.common.text import counted
from kdsweep.config.copying import PackedConfig

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader


class Word(NamedTuple):
    """An override; ``is_value``: it sets a value of the config itself, no option of a group."""

    override: Override
    is_value: bool


class JobConfigLoader:
    """Hydra's config loader for the jobs of one sweep, with the same configs in less time.

    Composing takes a tenth of a second, and a grid may have hundreds of jobs. Most of them choose
    the same options of the groups: these share one composition, and their values are set in a copy.
    Each config is kept until it is taken, since Hydra's sweeper composes all jobs to check them.
    """

    def __init__(self, loader: "ConfigLoader") -> None:
        self._loader = loader
        self._composed: dict[tuple[str, ...], PackedConfig] = {}
        self._configs: dict[tuple[str, ...], DictConfig] = {}
        self._words: dict[str, Word] = {}  # most of them are in many jobs
        self._pacer = LinePacer(first=2.0)  # nothing has been printed yet

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        config = self._load(master_config, sweep_overrides)
        self._configs[tuple(sweep_overrides)] = config
        if self._pacer.is_due():
            pacing.logger.info("%s composed", counted(len(self._configs), "job"))
        return config

    def take(self, master_config: DictConfig, overrides: Sequence[str]) -> DictConfig:
        """The config of a job, for the caller to change."""
        config = self._configs.pop(tuple(overrides), None)
        return self._load(master_config, overrides) if config is None else config

    def _load(self, master_config: DictConfig, words: Sequence[str]) -> DictConfig:
        try:
            config = self._load_with_values(master_config, words)
        except (HydraException, OmegaConfBaseException):
            config = None  # Hydra raises its own error below
        if config is None:
            return self._loader.load_sweep_config(master_config, list(words))
        return config

    def _load_with_values(
        self, master_config: DictConfig, words: Sequence[str]
    ) -> DictConfig | None:
        """The shared composition with the values of one job; None if Hydra must compose it."""
        parsed = [self._parsed(word) for word in words]
        values = [word.override for word in parsed if word.is_value]
        if any(override.type != OverrideType.CHANGE for override in values):
            return None  # whether a key can be added depends on the values before it
        lines = {override.input_line for override in values}
        choices = tuple(word for word in words if word not in lines)
        if choices not in self._composed:
            composed = self._loader.load_sweep_config(master_config, list(choices))
            self._composed[choices] = PackedConfig(composed)
        config = self._composed[choices].copy()
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        with open_dict(config):
            config.hydra.overrides.task = [
                word.override.input_line for word in parsed if not word.override.is_hydra_override()
            ]
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    def _parsed(self, word: str) -> Word:
        if word not in self._words:
            (override,) = OverridesParser.create().parse_overrides([word])
            self._words[word] = Word(override, self._is_value(override))
        return self._words[word]

    def _is_value(self, override: Override) -> bool:
        key = override.key_or_group
        is_group = override.package is not None or bool(self._loader.get_group_options(key))
        return not (is_group or override.is_hydra_override())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # before __init__, in a copy, there is no _loader
            raise AttributeError(name)
        return getattr(self._loader, name)
