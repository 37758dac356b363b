"""The results of a sweep: read from its run folders, as a csv file and as a printed table."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.common.cells import CellName
from kdsweep.common.files import atomic_write
from kdsweep.tracking.metadata import read_result, read_run_metadata

if TYPE_CHECKING:
    from rich.table import Table

ResultRow = dict[str, Any]  # of results.csv, with `COLUMNS` as keys

CSV, REPORT = "results.csv", "report.html"  # of a sweep and its report, in the sweep's folder

# How a cell's words begin that have no effect on a run that learns from the labels alone.
SOFT_KEY = re.compile(r"(loss|teacher)[.=]")

COLUMNS = (
    *("run", "cell", "seed"),
    *("val/acc", "val/loss", "test/acc", "test/loss", "test/ece"),
    *("val/agreement", "test/agreement", "val/acc_best"),
    *("loss", "T", "alpha", "student", "teacher"),
    *("status", "reason", "same_as"),
    *("epochs", "seconds", "num_params", "latency_ms"),
    *("name", "role", "fingerprint", "mlflow_run_id", "weights_sha256"),
)


def collect(sweep_folder: Path) -> list[ResultRow]:
    """One dict per run folder, in the order of the numbers, with `COLUMNS` as keys.

    A sweep's runs are in `<number>/`, those of a search in `<trial>/seed-<seed>/`. A run without a
    result.json has status RUNNING and what its run.json knows.
    """
    numbered = [path for path in sweep_folder.iterdir() if path.is_dir() and path.name.isdigit()]
    folders: list[Path] = []
    for folder in sorted(numbered, key=lambda path: int(path.name)):
        seeds = [path for path in folder.glob("seed-*") if path.is_dir()]
        folders += sorted(seeds, key=lambda path: int(path.name.partition("-")[2])) or [folder]
    rows = (read_row(folder, folder.relative_to(sweep_folder).as_posix()) for folder in folders)
    return _with_ids_of_owners([row for row in rows if row])


def _with_ids_of_owners(rows: list[ResultRow]) -> list[ResultRow]:
    """A job that was folded has the MLflow run of the one that was trained.

    That one may have it only since a later upload.
    """
    ids = {str(row["run"]): row["mlflow_run_id"] for row in rows}
    for row in rows:
        if row["same_as"] is not None:
            row["mlflow_run_id"] = ids.get(str(row["same_as"]), row["mlflow_run_id"])
    return rows


def read_row(folder: Path, run: str) -> ResultRow | None:
    """The row of a run folder, with `COLUMNS` as keys; None if it is no run folder.

    ``run`` is the run's name among the others, its number in a sweep.
    """
    if (result := read_result(folder)) is not None:
        row = result.to_json()
    elif (metadata := read_run_metadata(folder)) is None:
        return None
    else:
        row = metadata | settings_from_params(metadata.get("params") or {}) | {"status": "RUNNING"}
    row["run"] = int(run) if run.isdigit() else run
    return {column: row.get(column) for column in COLUMNS}


def settings_from_params(params: Mapping[str, Any]) -> ResultRow:
    """The columns that follow from a run's params, as they are in its result.json."""
    row: ResultRow = {key: float(params[key]) for key in ("T", "alpha") if key in params}
    teacher = params.get("teacher")
    return row | {
        "loss": params.get("loss"),
        "student": params.get("student"),
        "teacher": None if teacher == "none" else teacher,
        "num_params": int(params["num_params"]) if "num_params" in params else None,
    }


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write the rows with `COLUMNS` as header; what a run does not have stays empty."""
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def ranked(rows: Iterable[ResultRow]) -> list[ResultRow]:
    """The best val/acc first, ties by val/loss; runs without a value last, in their order."""

    def key(row: ResultRow) -> tuple[bool, float, float]:
        accuracy, loss = row.get("val/acc"), row.get("val/loss")
        return accuracy is None, -(accuracy or 0.0), float("inf") if loss is None else loss

    return sorted(rows, key=key)


def table(rows: Sequence[ResultRow]) -> "Table":
    """The runs that were trained, best first, accuracies in percent.

    "vs ce" is test/acc minus that of the plain cross-entropy run which is the same in everything
    that cross-entropy depends on, seed included, in points; the column is there only if the sweep
    has such runs. So is "status", only if some run did not finish.
    """
    from rich.markup import escape
    from rich.table import Table

    baselines = {  # test/acc of the ce runs, by what they share with the runs compared to them
        _baseline_key(row): row["test/acc"]
        for row in rows
        if row.get("loss") == "ce" and row.get("test/acc") is not None and not is_duplicate(row)
    }
    all_finished = all(row.get("status") == "FINISHED" for row in rows)
    result = Table()
    result.add_column("run", justify="right", no_wrap=True)
    result.add_column("cell", overflow="fold")
    for name in ("seed", "val/acc", "test/acc", *(["vs ce"] if baselines else [])):
        result.add_column(name, justify="right", no_wrap=True)
    if not all_finished:
        result.add_column("status", overflow="fold")
    for row in ranked(row for row in rows if not is_duplicate(row)):
        cells = [
            str(row["run"]),
            str(row.get("cell") or row.get("name") or ""),
            "" if row.get("seed") is None else str(row["seed"]),
            _percent(row.get("val/acc")),
            _percent(row.get("test/acc")),
        ]
        if baselines:
            cells.append(_difference(row, baselines))
        if not all_finished:
            reason = row.get("reason")
            cells.append(f"{row.get('status')}: {reason}" if reason else str(row.get("status")))
        result.add_row(*map(escape, cells))
    return result


def caption(rows: Sequence[ResultRow]) -> str:
    """How to read the table."""
    text = "Sorted by validation (val/acc, ties by val/loss); test/acc is for information only."
    if len({row.get("seed") for row in rows}) == 1 and len(rows) > 1:
        text += " One seed cannot rank cells."
    if duplicates := sum(is_duplicate(row) for row in rows):
        jobs = "1 more job was" if duplicates == 1 else f"{duplicates} more jobs were"
        text += f" Trained once: {jobs} the same as a run shown here."
    return text


def is_duplicate(row: Mapping[str, Any]) -> bool:
    """Whether the run was not trained because another one of the sweep is the same."""
    return row.get("same_as") is not None


def _baseline_key(row: ResultRow) -> tuple[Any, str]:
    return row.get("seed"), cell_for_ce(row)


def cell_for_ce(row: Mapping[str, Any]) -> str:
    """A row's cell without its loss and what cross-entropy does not depend on: `student=cnn`."""
    words = (f"{key}={value}" for key, value in _cell_name(row).others.items())
    return " ".join(word for word in words if not SOFT_KEY.match(word))


def cell_without_T_and_alpha(row: Mapping[str, Any]) -> str:
    """A row's cell without T and alpha: `kl optimizer.lr=0.02`."""
    return str(_cell_name(row)._replace(T=None, alpha=None))


def _cell_name(row: Mapping[str, Any]) -> CellName:
    return CellName.parse(str(row.get("cell") or ""))


def _difference(row: ResultRow, baselines: Mapping[tuple[Any, str], float]) -> str:
    baseline = baselines.get(_baseline_key(row))
    if row.get("loss") == "ce" or row.get("test/acc") is None or baseline is None:
        return ""
    return f"{100 * (row['test/acc'] - baseline):+.2f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
