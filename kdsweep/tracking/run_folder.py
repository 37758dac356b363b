"""What lies in a run folder: the names of its files, and the rows of metrics.jsonl.

A row is one epoch: ``{"epoch": 0, "time": unix ms, "metrics": {"train/loss": ...}}``; the test
metrics are one more row with the last epoch's number.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from kdsweep.tracking.files import without_nan, write_text_atomic

RUN = "run.json"
RESULT = "result.json"
CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
METRICS = "metrics.jsonl"
LOG = "train.log"
WEIGHTS = "checkpoint/model.safetensors"
ANSWERS = "answers.safetensors"

# Every result.json has all of these, null where a run has no such thing.
RESULT_KEYS = (
    "status",
    "reason",
    "name",
    "role",
    "fingerprint",
    "cell",
    "seed",
    "mlflow_run_id",
    "val/acc",
    "val/loss",
    "val/acc_best",
    "val/agreement",
    "test/acc",
    "test/loss",
    "test/ece",
    "test/agreement",
    "epochs",
    "seconds",
    "num_params",
    "latency_ms",
    "weights_sha256",
    "same_as",
    "with_cohort",  # whether it ended because its whole cohort did, and can go on
    "T",
    "alpha",
    "loss",
    "student",
    "teacher",
)


class Row(TypedDict):
    """One line of metrics.jsonl."""

    epoch: int
    time: int  # unix milliseconds
    metrics: dict[str, float | None]  # None where the value was not finite


def make_row(epoch: int, time: int, metrics: Mapping[str, float]) -> Row:
    """A row as it will be read back: what is not finite is None."""
    values: Any = without_nan(metrics)
    return {"epoch": epoch, "time": time, "metrics": values}


def append_row(folder: Path, row: Row) -> None:
    """Add one line to metrics.jsonl."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_rows(folder: Path) -> list[Row]:
    """The rows of metrics.jsonl, none if there is no such file.

    A line that a dying process left half-written is passed over, as is any other damaged one:
    `damaged_lines` has their numbers.
    """
    return [row for row in _lines(folder) if row is not None]


def damaged_lines(folder: Path) -> list[int]:
    """The numbers, from 1, of the lines of metrics.jsonl that are no rows."""
    return [number for number, row in enumerate(_lines(folder), start=1) if row is None]


def _lines(folder: Path) -> list[Row | None]:
    path = folder / METRICS
    if not path.exists():
        return []
    return [_row(line) for line in path.read_bytes().split(b"\n") if line.strip()]


def _row(line: bytes) -> Row | None:
    """The row that a line holds, None if it is damaged."""
    try:
        found = json.loads(line)
        is_row = isinstance(found["epoch"], int) and isinstance(found["time"], int)
        values = list(found["metrics"].values())
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    is_whole = is_row and all(isinstance(value, float | int | None) for value in values)
    return found if is_whole else None


def cut_rows(folder: Path, resume_epoch: int) -> list[Row]:
    """Keep only what a run resumed at ``resume_epoch`` will not measure again; returns that."""
    rows = [row for row in read_rows(folder) if row["epoch"] < resume_epoch and not _is_test(row)]
    write_text_atomic(folder / METRICS, "".join(json.dumps(row) + "\n" for row in rows))
    return rows


def _is_test(row: Row) -> bool:
    return any(key.startswith("test/") for key in row["metrics"])
