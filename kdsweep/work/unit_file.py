"""A work unit as a file of a sweep's folder, from which any process can train it.

It is JSON and has no password. The keys of a config that are no texts are kept as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdsweep.common.files import read_json, write_text_atomic
from kdsweep.errors import UserError

FOLDER = "work"  # of the units and their attempts, in the folder of a sweep
VERSION = 1
PAIRS = "kdsweep.pairs"  # stands for a mapping whose keys are no texts


@dataclass(frozen=True, kw_only=True)
class Root:
    """A run of the sweep, from whose config the specs of others are built, too: all it needs."""

    config: Mapping[str, Any]
    cell: Mapping[str, Any]
    number: int
    overrides: tuple[str, ...]
    swept: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class UnitRun:
    """A run of a unit.

    Attributes:
        folder: of the run, relative to that of the sweep, or absolute.
        further: folders that its training writes as well, of its peers and its online teacher.
        root: the position of the root in whose tree of specs it is.
    """

    name: str
    fingerprint: str
    folder: str
    further: tuple[str, ...]
    epochs: int
    parent_run_id: str | None
    root: int


@dataclass(frozen=True, kw_only=True)
class UnitFile:
    """A unit.

    Attributes:
        needs: the units that must be over before.
        place: which cohort it is, from 1, of how many alike.
        cwd: where paths of its configs count from.
        parent_run_id: the sweep's run in MLflow.
    """

    number: int
    role: str
    name: str
    needs: tuple[int, ...]
    place: tuple[int, int]
    cwd: str
    parent_run_id: str | None
    roots: tuple[Root, ...]
    runs: tuple[UnitRun, ...]


def unit_path(folder: Path, number: int) -> Path:
    """The file of a unit of the sweep in a folder."""
    return folder / FOLDER / f"{number}.json"


def numbers(folder: Path) -> list[int]:
    """The units of a sweep."""
    stems = (path.stem for path in (folder / FOLDER).glob("*.json"))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def write_unit(folder: Path, unit: UnitFile) -> None:
    """Write a unit to the folder of its sweep. Raises OSError.

    There may be thousands, and one that a power cut has damaged is planned anew: the disk is not
    waited for.
    """
    path = unit_path(folder, unit.number)
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({"version": VERSION, **_as_json(asdict(unit))}) + "\n"
    write_text_atomic(path, text, durable=False)


def read_unit(folder: Path, number: int) -> UnitFile:
    """A unit of the sweep in a folder. Raises UserError if there is none that can be used."""
    path = unit_path(folder, number)
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise UserError(_missing(folder, number)) from error
    except (OSError, ValueError) as error:
        raise UserError(f"N must be a work unit that can be read, got {number}: {error}") from error
    if content.get("version") != VERSION:
        raise UserError(
            f"{path} must be of a kdsweep that writes version {VERSION} of work units, got version"
            f" {content.get('version')}"
        )
    try:
        return _unit(_from_json(content))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} must be a work unit, got something else ({error!r})") from error


def _missing(folder: Path, number: int) -> str:
    if not (folder / FOLDER).is_dir():
        return (
            f"FOLDER must be the folder of a sweep with work units, on a file system that all hosts"
            f" share, got {folder}, in which there is no {FOLDER}/"
        )
    known = numbers(folder)
    allowed = f"from {known[0]} to {known[-1]}" if known else "of a sweep that has any"
    return f"N must be a work unit {allowed}, got {number}"


def _unit(content: Mapping[str, Any]) -> UnitFile:
    roots = (
        Root(**{**root, "overrides": tuple(root["overrides"]), "swept": tuple(root["swept"])})
        for root in content["roots"]
    )
    runs = (UnitRun(**{**run, "further": tuple(run["further"])}) for run in content["runs"])
    number, count = content["place"]
    rest = {key: content[key] for key in ("number", "role", "name", "cwd")}
    return UnitFile(
        **rest,
        needs=tuple(content["needs"]),
        place=(number, count),
        parent_run_id=content["parent_run_id"],
        roots=tuple(roots),
        runs=tuple(runs),
    )


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        items = {key: _as_json(child) for key, child in value.items()}
        return items if all(isinstance(key, str) for key in items) else {PAIRS: [*items.items()]}
    return [_as_json(child) for child in value] if isinstance(value, list | tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {PAIRS}:
            return {key: _from_json(child) for key, child in value[PAIRS]}
        return {key: _from_json(child) for key, child in value.items()}
    return [_from_json(child) for child in value] if isinstance(value, list) else value
