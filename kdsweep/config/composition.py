"""Configs of some words of a command line, composed by Hydra's own loader."""

from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Glob, Override
from hydra.types import RunMode
from omegaconf import DictConfig

PRIMARY = "train"


class Composition:
    """Composes words once; ``sources`` are those that add folders of configs."""

    def __init__(
        self, loader: ConfigLoader, name: str | None = PRIMARY, sources: Sequence[str] = ()
    ) -> None:
        self._loader, self._name, self._sources = loader, name, list(sources)
        self._listed: dict[tuple[str, ObjectType], list[str]] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def options(self, group: str) -> list[str]:
        """The options of a group; none if it is no group."""
        return self._list(group, ObjectType.CONFIG)

    def groups(self, parent: str = "") -> list[str]:
        """The names of the groups, or of those below another."""
        return self._list(parent, ObjectType.GROUP)

    def is_group(self, name: str) -> bool:
        """Whether there is such a group, be it one with groups of options only."""
        parent, _, last = name.rpartition("/")
        return last in self.groups(parent)

    def _list(self, group: str, kind: ObjectType) -> list[str]:
        if (group, kind) not in self._listed:
            self._listed[group, kind] = self._loader.get_group_options(
                group, kind, self._name, self._sources
            )
        return self._listed[group, kind]

    def has_option(self, group: str, option: str) -> bool:
        """Whether a group has an option, `base/kd` in a folder below its own too."""
        folder, _, name = option.rpartition("/")
        return name in self.options(f"{group}/{folder}" if folder else group)

    def chooses(self, override: Override) -> bool:
        """Whether an override chooses options of a group, and sets no value."""
        is_group = not override.is_value_path and self.is_group(override.key_or_group)
        return is_group and not isinstance(override.value(), dict)

    def compose(self, words: Sequence[str] = ()) -> DictConfig:
        """The config of these words without sweeps. Raises whatever Hydra raises."""
        key = tuple(words)
        if key not in self._composed:
            self._composed[key] = self._loader.load_configuration(
                self._name, [*self._sources, *words], RunMode.MULTIRUN
            )
        return self._composed[key]


def set_value(config: DictConfig, override: Override) -> None:
    """Change a config as an override without a sweep does. Raises whatever Hydra raises."""
    ConfigLoaderImpl._apply_overrides_to_config([override], config)


def matching(override: Override, options: list[str]) -> list[str] | None:
    """The options that `loss=glob(k*)` sweeps over; None for any other override."""
    value = override._value
    return value.filter(options) if isinstance(value, Glob) else None
