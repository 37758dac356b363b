"""The command that continues a sweep, from Hydra's own record of the one that began it."""

import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kdsweep.config.overrides import command_words, hydra_words
from kdsweep.errors import UserError
from kdsweep.tracking.metadata import SWEEP, read_sweep_metadata

RECORD = "multirun.yaml"
# Keys that are set here, or have had their effect.
OWN = ("hydra.sweep.dir", "hydra.launcher.detach", "resume", "dry_run")


def words_of(folder: Path) -> list[str]:
    """The words of the command that continues the sweep in a folder; goes to where it was started.

    Raises UserError if there is no sweep, or the record is damaged.
    """
    if (note := read_sweep_metadata(folder)) is None or note["role"] != "sweep":
        raise UserError(f"FOLDER must be the folder of a sweep with a {SWEEP}, got {folder}")
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
    try:
        os.chdir(start)  # where relative paths count from
    except OSError as error:
        raise UserError(f"the sweep was started in {start}, which cannot be opened") from error
    return [
        *(word for path in folders for word in ("--config-dir", path)),
        *_without_own(given),
        f"hydra.sweep.dir={_quoted(str(folder))}",
        "resume=true",
    ]


def _without_own(words: Sequence[str]) -> list[str]:
    return [word for word in words if word.partition("=")[0].lstrip("+") not in OWN]


def _quoted(text: str) -> str:
    """A text as a value of Hydra's grammar, whatever its characters."""
    return "'" + text.replace("'", "\\'") + "'"  # a backslash elsewhere is just that
