"""Keys of Hydra, and of kdsweep's search, that have no effect where they are given."""

from omegaconf import DictConfig

from kdsweep.errors import UserError

IDLE_DIRS = {
    "hydra.run.dir": "a single run is a sweep of one, too",
    "hydra.sweep.subdir": "the folder of a run is its number in the sweep",
}


def refuse_idle_dirs(config: DictConfig, *keys: str) -> None:
    """Refuse a directory of Hydra's that nothing would be written to: these, or all `IDLE_DIRS`.

    Raises UserError, naming the key and its value.
    """
    for word in config.hydra.overrides.hydra:
        key, _, value = word.lstrip("+").partition("=")
        if key in (keys or IDLE_DIRS):
            raise UserError(
                f"{key} must be left out, got {value}: {IDLE_DIRS[key]}, and"
                " hydra.sweep.dir=FOLDER names its folder"
            )


def refuse_search_keys(overrides: tuple[str, ...]) -> None:
    """Raise UserError for a key of kdsweep's search in a grid or under another sweeper."""
    for word in overrides:
        if word.startswith("search."):
            key, _, value = word.partition("=")
            raise UserError(f"{key} must be left out unless search=bayes searches, got {value}")
