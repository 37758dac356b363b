"""Readers of the JSON files and the config that runs, sweeps and searches leave in their folders.

A file that is empty, damaged or another program's counts as missing: a warning names it once, and
nothing is stopped by it.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdsweep.common.files import read_json
from kdsweep.common.notices import warn_once
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import CONFIG, RESULT, RUN

SWEEP, SEARCH, TRIAL = "sweep.json", "search.json", "trial.json"

# The keys, with their types, by which a file of kdsweep is recognised.
Types = Mapping[str, type | tuple[type, ...]]
RUN_TYPES: Types = {"params": dict}
RESULT_TYPES: Types = {"status": str}
SWEEP_TYPES: Types = {"name": str, "created": (int, float)}
SEARCH_TYPES: Types = {"params": dict, "rows": list}
TRIAL_TYPES: Types = {"name": str, "tags": dict, "params": dict, "started": int}

# Keys that a sweep.json written by an older version may lack.
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
    "numerics": 3,
}


def read_run_metadata(folder: Path) -> dict[str, Any] | None:
    """A run folder's run.json; None if there is no usable one."""
    return _read(folder / RUN, RUN_TYPES)


def read_result(folder: Path) -> RunResult | None:
    """A run folder's result.json, whichever run it is of; None if there is no usable one."""
    content = _read(folder / RESULT, RESULT_TYPES)
    return None if content is None else RunResult.from_json(content)


def find_result(folder: Path, fingerprint: str) -> RunResult | None:
    """The result.json of the run with this fingerprint; None if it has not ended there."""
    result = read_result(folder)
    return result if result is not None and result.fingerprint == fingerprint else None


def read_sweep_metadata(folder: Path) -> dict[str, Any] | None:
    """A sweep's sweep.json; None if there is no usable one."""
    content = _read(folder / SWEEP, SWEEP_TYPES)
    return None if content is None else {**deepcopy(SWEEP_DEFAULTS), **content}


def sweeps_under(root: Path) -> dict[Path, dict[str, Any]]:
    """folder -> sweep.json of every sweep and search below a folder."""
    notes = {path.parent: read_sweep_metadata(path.parent) for path in sorted(root.rglob(SWEEP))}
    return {folder: note for folder, note in notes.items() if note is not None}


def has_been_in_mlflow(sweep: Mapping[str, Any] | None) -> bool:
    """Whether a store has accepted the sweep of a sweep.json before, so that an outage may pass."""
    return sweep is not None and sweep["tracking_uri"] is not None


def read_search_metadata(folder: Path) -> dict[str, Any] | None:
    """A search's search.json; None if there is no usable one."""
    return _read(folder / SEARCH, SEARCH_TYPES)


def read_trial_metadata(folder: Path) -> dict[str, Any] | None:
    """A trial's trial.json; None if there is no usable one."""
    return _read(folder / TRIAL, TRIAL_TYPES)


def read_fingerprint(folder: Path) -> str | None:
    """The fingerprint of the run that a folder belongs to; None if no file of it has one."""
    run, result = read_run_metadata(folder) or {}, read_result(folder)
    candidates = (run.get("fingerprint"), None if result is None else result.fingerprint)
    return next((one for one in candidates if isinstance(one, str)), None)


def read_run_config(folder: Path) -> DictConfig | None:
    """The config in a run's folder; None if there is no usable one."""
    path = folder / CONFIG
    try:
        config = OmegaConf.load(path)
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file makes a parser raise anything
        _warn(path, f"it cannot be read ({type(error).__name__})")
        return None
    if not isinstance(config, DictConfig) or not isinstance(config.get("tracking"), DictConfig):
        _warn(path, "it is no config of a run")
        return None
    return config


def _read(path: Path, types: Types) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn(path, f"it cannot be read ({error.strerror})")
        return None
    except ValueError:
        _warn(path, "it holds no JSON object")
        return None
    for key, kind in types.items():
        if not isinstance(content.get(key), kind):
            _warn(path, f"it has no {key!r} as kdsweep writes it")
            return None
    return content


def _warn(path: Path, why: str) -> None:
    warn_once(f"{path} is passed over: {why}", path.absolute())
