"""Several sweeps as one: settings in which they differ are put into the names of their cells.

A sweep's cells are named by what its own command varied. Next to those of another sweep, that may
not distinguish them: `kl T=4` of one was trained with another learning rate than that of the other.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from kdsweep.common.cells import CellName
from kdsweep.common.nested import leaves
from kdsweep.common.text import format_number
from kdsweep.errors import UserError
from kdsweep.report.analysis.aggregate import cell_name, is_finished
from kdsweep.report.sources.collection import Run, RunCollection
from kdsweep.report.sources.mlflow import REPORTS
from kdsweep.tracking.results_table import ResultRow

Settings = dict[str, Any]  # `optimizer.lr` -> 0.02: the leaves of a config

NODES = ("dataset", "student", "teacher", "loss", "optimizer", "schedule", "trainer", "hard")
# Where or how a run was trained, not what: two runs that differ in nothing else are the same cell.
WHERE = re.compile(
    r"dataset\.root|dataset\.source\.(root|path|memory_gib|workers)|teacher\.store"
    r"|(student|teacher)\.features\..*|(teacher\.)?trainer\.(device|threads|test_curve)"
)
# Settings that decide which images a run is measured on.
MEASURED_ON = re.compile(r"dataset\.(name|source\..*|val_fraction|test_fraction|split_seed)")
# Sources of arbitrary folders: the folder's name, wherever it is, identifies the data set.
GENERIC = (".ImageFolder", ".HuggingFace")
# A node's key that names the rest of it.
HEADS = {
    "student": "student.name",
    "teacher": "teacher.name",
    "optimizer": "optimizer._target_",
    "schedule": "schedule._target_",
}
FROM_ROOT = {"T": ("T", "tau"), "alpha": ("weight",)}  # leaves of a term that follow a root key
MOST_WORDS = 5


def merge(parts: Sequence[RunCollection]) -> RunCollection:
    """The runs of several sweeps as those of one; a run that is in two of them counts once.

    Raises UserError if they were not measured on the same images, or cannot be distinguished.
    """
    if len(parts) == 1:
        return parts[0]
    sweeps = [_Sweep(part, label) for part, label in zip(parts, labels(parts), strict=True)]
    _refuse_other_images(sweeps)
    keys = _distinguishing_keys(sweeps)
    if len(keys) > MOST_WORDS:
        raise UserError(
            f"SWEEP must name sweeps that differ in at most {MOST_WORDS} settings that they do not"
            f" vary themselves, got {len(keys)} of them: {', '.join(keys)}"
        )
    renamed = [run.with_row(sweep.row(run, keys)) for sweep in sweeps for run in sweep.part.runs]
    runs = _each_once(renamed)
    _refuse_two_of_one(runs)
    name = "+".join(re.sub(r"[^\w.-]+", "_", label) for label in labels(parts))
    folder = name if len(name) <= 80 else f"{name[:60]}-{sha256(name.encode()).hexdigest()[:12]}"
    return RunCollection(
        name=" + ".join(part.name for part in parts),
        runs=runs,
        folder=REPORTS / folder,
        missing=tuple(f"{sweep.label}/{name}" for sweep in sweeps for name in sweep.part.missing),
        links={run_id: page for part in parts for run_id, page in part.links.items()},
    )


def labels(parts: Sequence[RunCollection]) -> list[str]:
    """The label of each sweep in the names of its runs: `2026-11-21/10-00-00`, `bayes`."""
    short = [re.sub(r"^.*?multirun/", "", part.folder.as_posix()) for part in parts]
    return short if len(set(short)) == len(short) else [part.folder.as_posix() for part in parts]


class _Sweep:
    """A sweep that is to be merged."""

    def __init__(self, part: RunCollection, label: str) -> None:
        self.part, self.label = part, label
        self.cells: dict[str, Settings] = {}
        for run in part.runs:
            if (name := cell_name(run.row)) not in self.cells:
                self.cells[name] = settings(run.config, run.row)
        self.names = {name: CellName.parse(name) for name in self.cells}

    @cached_property
    def values(self) -> dict[str, set[str]]:
        """Every setting -> all its values in this sweep."""
        values: dict[str, set[str]] = {}
        for cell in self.cells.values():
            for key, value in cell.items():
                if not WHERE.fullmatch(key):
                    values.setdefault(key, set()).add(_text(value))
        return values

    def fixed(self, key: str) -> str | None:
        """The one value of a setting; None where it varies or does not exist."""
        values = self.values.get(key, set())
        return next(iter(values)) if len(values) == 1 else None

    def is_named(self, key: str) -> bool:
        """Whether the names of the cells have this setting, as the sweep varied it."""
        return any(_shown(key) in name.others for name in self.names.values())

    def row(self, run: Run, keys: Sequence[str]) -> ResultRow:
        """A run's row with the settings that distinguish its cell from those of other sweeps."""
        text = cell_name(run.row)
        name, known = self.names[text], self.cells[text]
        added = {}
        for key in keys:
            if key in known and not self.is_named(key):
                value = _text(known[key])  # of a `_target_`, the name of the class
                added[_shown(key)] = value.rpartition(".")[2] if "_target_" in key else value
        others = sorted({**name.others, **added}.items(), key="=".join)
        cell = str(name._replace(others=dict(others)))
        same_as = run.row["same_as"]
        return run.row | {
            "cell": cell,
            "name": f"{cell} seed={run.row['seed']}",
            "run": f"{self.label}/{run.row['run']}",
            "same_as": None if same_as is None else f"{self.label}/{same_as}",
        }


def settings(config: Mapping[str, Any], row: Mapping[str, Any]) -> Settings:
    """The settings that a run's results depend on, without its seed, T and alpha, leaf by leaf."""
    nodes = [node for node in NODES if node != "teacher" or row["teacher"] is not None]
    every = dict(leaf for node in nodes for leaf in leaves(config.get(node), node))
    every |= {f"stages.{k}": v for k, v in leaves(config.get("stages") or {})}
    if config.get("hard_weight") is not None:
        every["hard_weight"] = config["hard_weight"]
    # Leaves of a loss term that follow T or alpha are those.
    following = {
        key
        for key, value in every.items()
        for root, names in FROM_ROOT.items()
        if key.startswith("loss.") and key.rpartition(".")[2] in names
        if row.get(root) is not None and value == row[root]
    }
    return {key: value for key, value in every.items() if key not in following}


def measured_on(values: Mapping[str, Any]) -> dict[str, str]:
    """The settings or params of a run that decide which images it is measured on."""
    kept = {
        key: _text(value)
        for key, value in values.items()
        if MEASURED_ON.fullmatch(key) and not WHERE.fullmatch(key) and value is not None
    }
    if str(values.get("dataset.source._target_")).endswith(GENERIC):
        for key in ("dataset.source.root", "dataset.source.path"):
            if (place := values.get(key)) is not None:
                kept[key] = PurePath(str(place)).name
    return kept


def _refuse_other_images(sweeps: Sequence[_Sweep]) -> None:
    seen = [
        {tuple(sorted(measured_on(cell).items())) for cell in sweep.cells.values()}
        for sweep in sweeps
    ]
    for sweep, images in zip(sweeps, seen, strict=True):
        if images != seen[0]:
            first, other = (dict(min(each, default=())) for each in (seen[0], images))
            key = next((k for k in first | other if first.get(k) != other.get(k)), "dataset.name")
            raise UserError(
                "SWEEP must name sweeps that were measured on the same images, got"
                f" {key}={first.get(key)} in {sweeps[0].label} and {key}={other.get(key)} in"
                f" {sweep.label}: their accuracies cannot be compared"
            )


def _distinguishing_keys(sweeps: Sequence[_Sweep]) -> list[str]:
    """The settings that differ between sweeps and are in none of their names."""
    keys: list[str] = []
    nodes = dict.fromkeys(key.partition(".")[0] for sweep in sweeps for key in sweep.values)
    for node in nodes:
        head = HEADS.get(node)
        if head is not None and _differs(head, sweeps):
            keys.append(head)
        for group in _groups(head, sweeps):
            every = dict.fromkeys(key for sweep in group for key in sweep.values)
            inside = [key for key in every if key.partition(".")[0] == node and key != head]
            keys += [key for key in inside if _differs(key, group) and key not in keys]
    return keys


def _groups(head: str | None, sweeps: Sequence[_Sweep]) -> list[list[_Sweep]]:
    """The sweeps by the name of a node; those that vary it are left out."""
    if head is None:
        return [list(sweeps)]
    groups: dict[str, list[_Sweep]] = {}
    for sweep in sweeps:
        if (name := sweep.fixed(head)) is not None:
            groups.setdefault(name, []).append(sweep)
    return list(groups.values())


def _differs(key: str, sweeps: Sequence[_Sweep]) -> bool:
    """Whether the name of a cell needs a setting: some sweep has fixed it to another value."""
    known = [sweep for sweep in sweeps if key in sweep.values]
    fixed = {value for sweep in known if (value := sweep.fixed(key)) is not None}
    varied = any(sweep.is_named(key) for sweep in known)
    return len(fixed) > 1 or (bool(fixed) and varied)


def _each_once(runs: Sequence[Run]) -> list[Run]:
    """A run that is in two sweeps counts in the first that finished it; the others refer to it."""
    owners: dict[str, ResultRow] = {}
    for row in (run.row for run in runs):
        fingerprint = str(row["fingerprint"])
        owner = owners.get(fingerprint, {"status": None})
        better = row["status"] == "FINISHED" and owner["status"] != "FINISHED"
        if row["same_as"] is None and (fingerprint not in owners or better):
            owners[fingerprint] = row
    once: list[Run] = []
    for run in runs:
        owner = owners.get(str(run.row["fingerprint"]), run.row)
        is_owner = owner is run.row or run.row["same_as"] is not None
        once.append(run if is_owner else run.with_row(run.row | {"same_as": owner["run"]}))
    return once


def _refuse_two_of_one(runs: Iterable[Run]) -> None:
    """A cell has one run a seed; a second one differs in something that no config has."""
    seen: dict[str, ResultRow] = {}
    for row in (run.row for run in runs if is_finished(run.row)):
        other = seen.setdefault(str(row["name"]), row)
        if other is not row:
            raise UserError(
                f"SWEEP must name sweeps that have each run once, got two of {row['name']},"
                f" {other['run']} and {row['run']}, whose configs are the same"
                " (trained on another number of threads or device, from other files, or by another"
                " version of kdsweep)"
            )


def _shown(key: str) -> str:
    """A setting's key as on the command line: `optimizer.lr`, `student`."""
    return key.partition(".")[0] if key in HEADS.values() else key


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return json.dumps(value, separators=(",", ":"))
    return format_number(value)
