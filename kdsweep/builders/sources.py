"""The data sources of a command."""

import json

from kdsweep.builders.data import build_source
from kdsweep.common.disk_cache import DiskCache
from kdsweep.config.added_keys import is_of_kdsweep
from kdsweep.config.schema import DatasetConfig
from kdsweep.data.pipeline.split import readable_names
from kdsweep.data.types import NamedClasses, Source


class DataSources:
    """Each source is built once in a command, so that its files are listed and identified once.

    The digest of a source, which fingerprints have, is then that of the files that are loaded.
    """

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}
        self._digests: dict[str, str] = {}
        self._class_names: dict[str, tuple[str, ...]] = {}

    def source(self, dataset: DatasetConfig, cache: DiskCache) -> Source:
        """The source of a data set. Raises UserError if its options are wrong."""
        key = _key(dataset, cache)
        if key not in self._sources:
            self._sources[key] = build_source(dataset, cache)
        return self._sources[key]

    def digest(self, dataset: DatasetConfig, cache: DiskCache) -> str:
        """What identifies its content. Raises as `Source.digest` does."""
        key = _key(dataset, cache)
        if key not in self._digests:
            self._digests[key] = self.source(dataset, cache).digest()
        return self._digests[key]

    def class_names(self, dataset: DatasetConfig, cache: DiskCache) -> tuple[str, ...]:
        """The names of its classes, as its data set has them. Raises as `Source.load` does."""
        key = _key(dataset, cache)
        if key not in self._class_names:
            source = self.source(dataset, cache)
            if is_of_kdsweep(dataset.source) and isinstance(source, NamedClasses):
                names = source.class_names
            else:
                names = source.load().class_names
            self._class_names[key] = readable_names(names)
        return self._class_names[key]


def _key(dataset: DatasetConfig, cache: DiskCache) -> str:
    return json.dumps([dataset.source, str(cache.folder), cache.limit], sort_keys=True)
