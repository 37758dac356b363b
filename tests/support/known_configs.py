"""The configs of Hydra and kdsweep, each read once: Hydra reads them again for each composition.

A composition needs the defaults lists of all of them, but the values of few, since `merge_defaults`
begins with what is merged already: these are copied when they are used.
"""

import pickle
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult

from kdsweep.cli import CONF

SOURCES = {"hydra.conf", str(CONF), ""}  # those of Hydra, of kdsweep, and the typed configs

read = ConfigRepository.load_config

_known: dict[tuple[str, str, str], "KnownConfig"] = {}


class KnownConfig(ConfigResult):
    """One whose `config` is a copy, for the caller to change."""

    pickled: bytes

    def __getattr__(self, name: str) -> Any:
        if name != "config":
            raise AttributeError(name)
        self.config = pickle.loads(self.pickled)
        return self.config


def load_config(self: ConfigRepository, config_path: str) -> ConfigResult | None:
    """What `ConfigRepository.load_config` returns."""
    source = self._find_object_source(config_path, ObjectType.CONFIG)
    if source is None or source.path not in SOURCES:
        return read(self, config_path)  # a test's own files may change
    key = (source.provider, source.path, config_path)
    if key not in _known:
        result = read(self, config_path)
        assert result is not None
        _known[key] = _of(vars(result) | {"pickled": pickle.dumps(result.config)})
    return _of(vars(_known[key]))


def _of(values: dict[str, Any]) -> KnownConfig:
    made = KnownConfig.__new__(KnownConfig)
    vars(made).update((name, value) for name, value in values.items() if name != "config")
    return made
