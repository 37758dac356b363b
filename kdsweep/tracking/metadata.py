"""The notes that runs and sweeps leave in their folders, as whoever comes later reads them.

A note that is empty, damaged or another program's counts as missing: a warning names the file once,
and nothing stops for it.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdsweep.common.files import read_json, warn_once
from kdsweep.tracking.run_dir import CONFIG, RESULT, RESULT_KEYS, RUN

SWEEP, SEARCH, TRIAL = "sweep.json", "search.json", "trial.json"

Kinds = Mapping[str, type | tuple[type, ...]]
# By which a note of ours is distinguished from another program's.
RUN_KINDS: Kinds = {"params": dict}
RESULT_KINDS: Kinds = {"status": str}
SWEEP_KINDS: Kinds = {"name": str, "created": (int, float)}
SEARCH_KINDS: Kinds = {"params": dict, "rows": list}
TRIAL_KINDS: Kinds = {"name": str, "tags": dict, "params": dict, "started": int}

# What a sweep.json that was written by an older version may lack.
SWEEP_DEFAULTS: dict[str, Any] = {
    "role": "sweep",
    "nested": True,
    "parent_run_id": None,
    "experiment_id": None,
    "tracking_uri": None,
    "fingerprints": {},
    "pid": None,
    "host": None,
    "ended": False,
}


def read_run_metadata(folder: Path) -> dict[str, Any] | None:
    """A run folder's run.json; None if there is none that can be used."""
    return _note(folder / RUN, RUN_KINDS)


def read_result(folder: Path) -> dict[str, Any] | None:
    """A run folder's result.json, whichever run it is of; None if there is none to be used."""
    found = _note(folder / RESULT, RESULT_KINDS)
    return None if found is None else dict.fromkeys(RESULT_KEYS) | found


def find_result(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The result.json of the run with this fingerprint; None if it has not ended there."""
    found = read_result(folder)
    return found if found is not None and found["fingerprint"] == fingerprint else None


def read_sweep_metadata(folder: Path) -> dict[str, Any] | None:
    """A sweep's sweep.json; None if there is none that can be used."""
    found = _note(folder / SWEEP, SWEEP_KINDS)
    return None if found is None else {**deepcopy(SWEEP_DEFAULTS), **found}


def has_been_in_mlflow(sweep: Mapping[str, Any] | None) -> bool:
    """Whether a store has taken the sweep of a sweep.json before, so that an outage may pass."""
    return sweep is not None and sweep["tracking_uri"] is not None


def read_search_metadata(folder: Path) -> dict[str, Any] | None:
    """A search's search.json; None if there is none that can be used."""
    return _note(folder / SEARCH, SEARCH_KINDS)


def read_trial_metadata(folder: Path) -> dict[str, Any] | None:
    """A trial's trial.json; None if there is none that can be used."""
    return _note(folder / TRIAL, TRIAL_KINDS)


def read_fingerprint(folder: Path) -> str | None:
    """The fingerprint of the run that a folder belongs to; None if no note of it can be used."""
    for note in (read_run_metadata(folder), read_result(folder)):
        if note is not None and isinstance(note.get("fingerprint"), str):
            return str(note["fingerprint"])
    return None


def read_run_config(folder: Path) -> DictConfig | None:
    """The config in a run's folder; None if there is none that can be used."""
    path = folder / CONFIG
    try:
        found = OmegaConf.load(path)
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a damaged file makes a parser say
        _warn(path, f"it cannot be read ({type(error).__name__})")
        return None
    if not isinstance(found, DictConfig) or not isinstance(found.get("tracking"), DictConfig):
        _warn(path, "it is no config of a run")
        return None
    return found


def _note(path: Path, kinds: Kinds) -> dict[str, Any] | None:
    try:
        found = read_json(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn(path, f"it cannot be read ({error.strerror})")
        return None
    except ValueError:
        _warn(path, "it holds no JSON object")
        return None
    for key, kind in kinds.items():
        if not isinstance(found.get(key), kind):
            _warn(path, f"it has no {key!r} as kdsweep writes it")
            return None
    return found


def _warn(path: Path, why: str) -> None:
    warn_once(path, f"{path} is passed over: {why}")
