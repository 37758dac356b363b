"""Several sweeps as one: what they do not name and differ in is put into their cells' names.

A sweep's cells are named by what its own command varied. Beside those of another sweep, that may
not tell them apart: `kl T=4` of one was trained with another learning rate than that of the other.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from kdsweep.common.text import format_number
from kdsweep.errors import UserError
from kdsweep.report.analysis.aggregate import Row
from kdsweep.report.sources.collection import Evidence, Run
from kdsweep.report.sources.mlflow import REPORTS
from kdsweep.tracking.predictions import Predictions
from kdsweep.tracking.run_dir import Row as Epoch

Settings = dict[str, Any]  # `optimizer.lr` -> 0.02: the leaves of a config

NODES = ("dataset", "student", "teacher", "loss", "optimizer", "schedule", "trainer", "hard")
# Where or how a run was trained, not what: two runs that differ in nothing else are the same cell.
WHERE = re.compile(
    r"dataset\.root|dataset\.source\.(root|path|memory_gib|workers)|teacher\.store"
    r"|(student|teacher)\.features\..*|(teacher\.)?trainer\.(device|threads|test_curve)"
)
# What decides which images a run is measured on.
MEASURED_ON = re.compile(r"dataset\.(name|source\..*|val_fraction|test_fraction|split_seed)")
# Sources of whatever is in a folder: its name tells one set from another, wherever it lies.
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
WORD = re.compile(r" (?=[\w.+]+=)")


def merge(parts: Sequence[Evidence]) -> Evidence:
    """The runs of several sweeps as those of one; a run that is in two of them counts once.

    Raises:
        UserError: if they were not measured on the same images, or cannot be told apart.
    """
    if len(parts) == 1:
        return parts[0]
    sweeps = [_Sweep(part, label) for part, label in zip(parts, labels(parts), strict=True)]
    _refuse_other_images(sweeps)
    keys = _telling(sweeps)
    if len(keys) > MOST_WORDS:
        raise UserError(
            f"SWEEP must name sweeps that differ in at most {MOST_WORDS} settings that they do not"
            f" vary themselves, got {len(keys)} of them: {', '.join(keys)}"
        )
    runs: list[Run] = [
        _Renamed(run, sweep.row(run, keys)) for sweep in sweeps for run in sweep.part.runs
    ]
    runs = _each_once(runs)
    _refuse_two_of_one(runs)
    return Evidence(
        name=" + ".join(part.name for part in parts),
        runs=runs,
        home=REPORTS / slug(parts),
        missing=tuple(f"{sweep.label}/{name}" for sweep in sweeps for name in sweep.part.missing),
        links={run_id: page for part in parts for run_id, page in part.links.items()},
    )


def labels(parts: Sequence[Evidence]) -> list[str]:
    """What each sweep is called in the names of its runs: `2026-11-21/10-00-00`, `bayes`."""
    found = [re.sub(r"^.*?multirun/", "", part.home.as_posix()) for part in parts]
    return found if len(set(found)) == len(found) else [part.home.as_posix() for part in parts]


def slug(parts: Sequence[Evidence]) -> str:
    """The name of a folder for all of them."""
    name = "+".join(re.sub(r"[^\w.-]+", "_", label) for label in labels(parts))
    return name if len(name) <= 80 else f"{name[:60]}-{sha256(name.encode()).hexdigest()[:12]}"


class _Sweep:
    """A sweep that is to be merged."""

    def __init__(self, part: Evidence, label: str) -> None:
        self.part, self.label = part, label
        self.cells: dict[str, Settings] = {}
        for run in part.runs:
            if (name := _cell(run.row)) not in self.cells:
                self.cells[name] = settings(run.config, run.row)

    @cached_property
    def values(self) -> dict[str, set[str]]:
        """Every setting -> all values that it has in this sweep."""
        found: dict[str, set[str]] = {}
        for cell in self.cells.values():
            for key, value in cell.items():
                if WHERE.fullmatch(key):
                    continue
                found.setdefault(key, set()).add(_text(value))
        return found

    def fixed(self, key: str) -> str | None:
        """The one value of a setting; None where it varies or is not there."""
        values = self.values.get(key, set())
        return next(iter(values)) if len(values) == 1 else None

    def names(self, key: str) -> bool:
        """Whether the sweep varied this setting by its name."""
        word = _word(key, "")
        return any(part.startswith(word) for name in self.cells for part in WORD.split(name))

    def row(self, run: Run, keys: Sequence[str]) -> Row:
        """A run's row with what tells its cell from those of other sweeps."""
        name = _cell(run.row)
        said, known = WORD.split(name), self.cells[name]
        words = [_word(key, known[key]) for key in keys if key in known and not self.names(key)]
        fixed = [word for word in said[1:] if word.startswith(("T=", "alpha="))]
        others = sorted([*(word for word in said[1:] if word not in fixed), *words])
        cell = " ".join([said[0], *fixed, *others])
        of, same_as = f"{self.label}/", run.row["same_as"]
        return run.row | {
            "cell": cell,
            "name": f"{cell} seed={run.row['seed']}",
            "run": f"{of}{run.row['run']}",
            "same_as": None if same_as is None else f"{of}{same_as}",
        }


@dataclass(frozen=True)
class _Renamed:
    """A run under the name that it has beside those of other sweeps."""

    run: Run
    row: Row

    @property
    def config(self) -> dict[str, Any]:
        return self.run.config

    @property
    def history(self) -> list[Epoch]:
        return self.run.history

    @property
    def answers(self) -> Predictions | None:
        return self.run.answers

    @property
    def teacher_answers(self) -> Predictions | None:
        return self.run.teacher_answers


def settings(config: Mapping[str, Any], row: Mapping[str, Any]) -> Settings:
    """What a run's results depend on beside its seed, T and alpha, leaf by leaf."""
    nodes = [node for node in NODES if node != "teacher" or row["teacher"] is not None]
    found = dict(leaf for node in nodes for leaf in leaves(node, config.get(node)))
    found |= {f"stages.{k}": v for k, v in leaves("", config.get("stages") or {})}
    if config.get("hard_weight") is not None:
        found["hard_weight"] = config["hard_weight"]
    return {key: value for key, value in found.items() if not _follows_root(key, value, row)}


def leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """`student.model.width: 64` of nested mappings."""
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for key, child in value.items():
        yield from leaves(f"{prefix}.{key}" if prefix else str(key), child)


def measured_on(found: Mapping[str, Any]) -> dict[str, str]:
    """Those of a run's settings or params that decide which images it is measured on."""
    kept = {
        key: _text(value)
        for key, value in found.items()
        if MEASURED_ON.fullmatch(key) and not WHERE.fullmatch(key) and value is not None
    }
    if str(found.get("dataset.source._target_")).endswith(GENERIC):
        for key in ("dataset.source.root", "dataset.source.path"):
            if (place := found.get(key)) is not None:
                kept[key] = PurePath(str(place)).name
    return kept


def _follows_root(key: str, value: Any, row: Mapping[str, Any]) -> bool:
    leaf = key.rpartition(".")[2]
    return key.startswith("loss.") and any(
        leaf in names and row.get(root) is not None and value == row[root]
        for root, names in FROM_ROOT.items()
    )


def _refuse_other_images(sweeps: Sequence[_Sweep]) -> None:
    seen = [
        {tuple(sorted(measured_on(cell).items())) for cell in sweep.cells.values()}
        for sweep in sweeps
    ]
    for sweep, images in zip(sweeps, seen, strict=True):
        if images != seen[0]:
            ours, theirs = (dict(min(found, default=())) for found in (seen[0], images))
            key = next((k for k in ours | theirs if ours.get(k) != theirs.get(k)), "dataset.name")
            raise UserError(
                "SWEEP must name sweeps that were measured on the same images, got"
                f" {key}={ours.get(key)} in {sweeps[0].label} and {key}={theirs.get(key)} in"
                f" {sweep.label}: their accuracies cannot be compared"
            )


def _telling(sweeps: Sequence[_Sweep]) -> list[str]:
    """The settings that differ between sweeps and are in no name of theirs."""
    found: list[str] = []
    nodes = dict.fromkeys(key.partition(".")[0] for sweep in sweeps for key in sweep.values)
    for node in nodes:
        head = HEADS.get(node)
        if head is not None and _differs(head, sweeps):
            found.append(head)
        for group in _alike(head, sweeps):
            keys = dict.fromkeys(key for sweep in group for key in sweep.values)
            inside = [key for key in keys if key.partition(".")[0] == node and key != head]
            found += [key for key in inside if _differs(key, group) and key not in found]
    return found


def _alike(head: str | None, sweeps: Sequence[_Sweep]) -> list[list[_Sweep]]:
    """The sweeps by what names a node of theirs; those that vary it stand alone."""
    if head is None:
        return [list(sweeps)]
    groups: dict[str, list[_Sweep]] = {}
    for sweep in sweeps:
        if (name := sweep.fixed(head)) is not None:
            groups.setdefault(name, []).append(sweep)
    return list(groups.values())


def _differs(key: str, sweeps: Sequence[_Sweep]) -> bool:
    """Whether the name of a cell has to say a setting: some sweep has fixed it to another value."""
    known = [sweep for sweep in sweeps if key in sweep.values]
    fixed = {value for sweep in known if (value := sweep.fixed(key)) is not None}
    varied = any(sweep.names(key) for sweep in known)
    return len(fixed) > 1 or (bool(fixed) and varied)


def _each_once(runs: Iterable[Run]) -> list[Run]:
    """The same run of two sweeps counts in the first that finished it; the other says so."""
    runs = list(runs)
    owners: dict[str, Row] = {}
    for run in runs:
        row, mark = run.row, str(run.row["fingerprint"])
        better = row["status"] == "FINISHED" and owners.get(mark, {}).get("status") != "FINISHED"
        if row["same_as"] is None and (mark not in owners or better):
            owners[mark] = row
    return [_folded(run, owners.get(str(run.row["fingerprint"]), run.row)) for run in runs]


def _folded(run: Run, owner: Row) -> Run:
    if owner is run.row or run.row["same_as"] is not None:
        return run
    return _Renamed(run, run.row | {"same_as": owner["run"]})


def _refuse_two_of_one(runs: Iterable[Run]) -> None:
    """A cell has one run a seed: a second one means that something differs which no config says."""
    seen: dict[str, Row] = {}
    for row in (run.row for run in runs if run.row["status"] == "FINISHED"):
        if row["same_as"] is not None:
            continue
        other = seen.setdefault(str(row["name"]), row)
        if other is not row:
            raise UserError(
                f"SWEEP must name sweeps that have each run once, got two of {row['name']},"
                f" {other['run']} and {row['run']}, that differ in nothing their configs say"
                " (trained on another number of threads or device, from other files, or by another"
                " version of kdsweep)"
            )


def _cell(row: Mapping[str, Any]) -> str:
    return str(row["cell"] or row["name"])


def _word(key: str, value: Any) -> str:
    """`optimizer.lr=0.02`, `student=cnn`: as it would stand on the command line."""
    if key in HEADS.values():
        node, _, leaf = key.partition(".")
        return f"{node}={value}" if leaf == "name" else f"{node}={str(value).rpartition('.')[2]}"
    return f"{key}={_text(value)}"


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return json.dumps(value, separators=(",", ":"))
    return format_number(value)
