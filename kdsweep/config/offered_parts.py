"""Packages that offer parts for kdsweep by an entry point, with configs of their own.

    [project.entry-points."kdsweep.parts"]
    mylab = "mylab"

A config may name what is in that package, and the options in its folder `conf` are among those of
the groups: `mylab/conf/loss/focal.yaml` is `loss=focal`. Options of kdsweep come first.
"""

from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

GROUP = "kdsweep.parts"
CONF = "conf"


class OfferedParts(NamedTuple):
    name: str  # of the entry point
    module: str

    @property
    def configs(self) -> Path | None:
        """The folder of its configs; None without one."""
        try:
            spec = find_spec(self.module)
        except ImportError:
            return None
        folders = [] if spec is None else spec.submodule_search_locations or []
        return next((path for folder in folders if (path := Path(folder) / CONF).is_dir()), None)


@cache  # reading the metadata of all installed packages takes longer than composing a config
def offered_parts() -> tuple[OfferedParts, ...]:
    """Those of the installed packages, by name."""
    entries = entry_points(group=GROUP)
    return tuple(sorted(OfferedParts(entry.name, entry.module) for entry in entries))


class OfferedConfigs(SearchPathPlugin):
    """Adds their configs to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for parts in offered_parts():
            if (folder := parts.configs) is not None:
                search_path.append(f"{GROUP} {parts.name}", f"file://{folder}")
