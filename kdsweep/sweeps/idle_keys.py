"""Keys of Hydra, and of kdsweep's search, that have no effect where they are given."""

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kdsweep.common.text import error_reason
from kdsweep.config.overrides import hydra_words, is_kdsweep_search, is_lockstep
from kdsweep.errors import UserError

RUN_DIR, SUBDIR, CHDIR = "hydra.run.dir", "hydra.sweep.subdir", "hydra.job.chdir"


def refuse_idle_dirs(config: DictConfig) -> None:
    """Refuse directories of Hydra's that would not be used as they are meant.

    Raises UserError, naming the key and its value.
    """
    for word in hydra_words(config):
        key, _, value = word.lstrip("+").partition("=")
        if key == RUN_DIR or (key == SUBDIR and (why := _why_no_subdir(config))):
            reason = "a single run is a sweep of one, too" if key == RUN_DIR else why
            raise UserError(
                f"{key} must be left out, got {value}: {reason}, and hydra.sweep.dir=FOLDER names"
                " its folder"
            )
    if config.hydra.job.chdir:
        raise UserError(
            f"{CHDIR} must be false or null, got true: paths are relative to the folder in which"
            " the command is called, and what a run writes is in its own folder"
        )
    try:
        str(config.hydra.sweep.dir)
    except OmegaConfBaseException as error:
        raise UserError(
            "hydra.sweep.dir must be one folder for all runs of a sweep, got none:"
            f" {error_reason(error)}; {SUBDIR} names the folders of runs"
        ) from error


def _why_no_subdir(config: DictConfig) -> str | None:
    """Why the runs of a sweep have no names of the user's; None if they may."""
    if is_kdsweep_search(config):
        return "the runs of a search are in folders of its trials"
    if not is_lockstep(config):
        return "the folder of a run is its number unless hydra/launcher is lockstep"
    return None


def refuse_search_keys(overrides: tuple[str, ...]) -> None:
    """Raise UserError for a key of kdsweep's search in a grid or under another sweeper."""
    for word in overrides:
        if word.startswith("search."):
            key, _, value = word.partition("=")
            raise UserError(f"{key} must be left out unless search=bayes searches, got {value}")
