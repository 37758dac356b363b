"""The command that continues a sweep or a search, from the record of the one that began it."""

import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kdsweep.common.files import write_text_atomic
from kdsweep.config.copying import copy_config
from kdsweep.config.overrides import command_words, hydra_words
from kdsweep.config.resolve import hide_passwords
from kdsweep.errors import UserError
from kdsweep.tracking.find_sweep import MULTIRUN
from kdsweep.tracking.metadata import SWEEP, read_sweep_metadata

RECORD = "multirun.yaml"
# Keys that are set here, or have had their effect.
OWN = ("hydra.sweep.dir", "hydra.launcher.detach", "resume", "dry_run", "search.name")


def record_command(config: DictConfig, folder: Path) -> None:
    """Write the config of a search to its folder, as Hydra does for a sweep. Raises OSError."""
    config = copy_config(config)
    hide_passwords(config)
    write_text_atomic(folder / RECORD, OmegaConf.to_yaml(config))


def words_of(folder: Path) -> list[str]:
    """The words of the command that continues what is in a folder; goes to where it was started.

    Raises UserError if there is neither a sweep nor a search, or the record is damaged.
    """
    note = read_sweep_metadata(folder)
    if note is None or note["role"] not in ("sweep", "search"):
        raise UserError(
            f"FOLDER must be the folder of a sweep or a search with a {SWEEP}, got {folder}"
        )
    is_search = note["role"] == "search"
    if is_search and not (folder / RECORD).exists():
        raise UserError(
            f"FOLDER must have the {RECORD} of its search, got {folder}, where none was written;"
            " the command that began the search continues it"
        )
    try:
        config = OmegaConf.load(folder / RECORD)
        assert isinstance(config, DictConfig)
        given = [*hydra_words(config), *command_words(config)]
        start, sources = Path(config.hydra.runtime.cwd), config.hydra.runtime.config_sources
        folders = [str(s.path) for s in sources if s.provider == "command-line"]
    except (OSError, YAMLError, OmegaConfBaseException, AssertionError) as error:
        raise UserError(
            f"{folder / RECORD} must be Hydra's record of the sweep: {error}"
        ) from error
    if is_search:
        _refuse_moved(folder, start)
    try:
        os.chdir(start)  # where relative paths count from
    except OSError as error:
        raise UserError(f"the sweep was started in {start}, which cannot be opened") from error
    place = f"hydra.sweep.dir={_quoted(str(folder))}"
    return [
        *(word for path in folders for word in ("--config-dir", path)),
        *_without_own(given),
        # A search is always resumed; its folder follows from its name.
        *([f"search.name={_quoted(folder.name)}"] if is_search else [place, "resume=true"]),
    ]


def _refuse_moved(folder: Path, start: Path) -> None:
    """Raise UserError for a folder in which the command of a search would not work."""
    expected = start / MULTIRUN / folder.name
    if expected.resolve() != folder.resolve():
        raise UserError(
            f"FOLDER must be in {start / MULTIRUN}, as when its search was started, got {folder}"
        )


def _without_own(words: Sequence[str]) -> list[str]:
    return [word for word in words if word.partition("=")[0].lstrip("+") not in OWN]


def _quoted(text: str) -> str:
    """A text as a value of Hydra's grammar, whatever its characters."""
    return "'" + text.replace("'", "\\'") + "'"  # a backslash elsewhere is just that
