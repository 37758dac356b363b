"""The files of a run folder: their names, and the rows of metrics.jsonl.

A row is one epoch: ``{"epoch": 0, "time": unix ms, "metrics": {"train/loss": ...}}``; the test
metrics are one more row with the last epoch's number.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from kdsweep.common.files import without_nan, write_text_atomic
from kdsweep.common.notices import warn_once

RUN = "run.json"
RESULT = "result.json"
CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
METRICS = "metrics.jsonl"
LOG = "train.log"
WEIGHTS = "checkpoint/model.safetensors"
CLASSIFIER = "checkpoint/classifier.json"  # what is needed to load them (kdsweep.deploy)
PREDICTIONS = "answers.safetensors"


class Row(TypedDict):
    """One line of metrics.jsonl."""

    epoch: int
    time: int  # unix milliseconds
    metrics: dict[str, float | None]  # None where the value was not finite


def real_folder(folder: Path) -> Path:
    """The folder itself, if it is given by a name that `hydra.sweep.subdir` has made a link."""
    if not folder.is_symlink():
        return folder
    return Path(os.path.normpath(folder.parent / os.readlink(folder)))


def make_row(epoch: int, time: int, metrics: Mapping[str, float]) -> Row:
    """A row as it is read back: a value that is not finite is None."""
    values: Any = without_nan(metrics)
    return {"epoch": epoch, "time": time, "metrics": values}


def by_number(name: str) -> list[tuple[bool, int, str]]:
    """A sort key for the names of folders: `2/seed-0` comes before `10/seed-0`."""
    parts = re.findall(r"\d+|\D+", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def append_row(folder: Path, row: Row) -> None:
    """Add one line to metrics.jsonl."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_rows(folder: Path) -> list[Row]:
    """The rows of metrics.jsonl, none if there is no such file.

    A last line that a killed process left half-written is ignored; so is any other line that is no
    row, with a warning. `damaged_lines` has their numbers.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    if count := len(damaged_lines(folder)):
        lines = "1 line that holds" if count == 1 else f"{count} lines that hold"
        warn_once(f"{path}: passed over {lines} no row", path.absolute())
    return [row for row in map(_row, path.read_bytes().split(b"\n")) if row is not None]


def read_new_rows(folder: Path, position: int) -> tuple[list[Row], int]:
    """The rows of metrics.jsonl from a position in the file on, and the position of what follows.

    A line that another process is still writing follows. A file that is shorter by now, because
    its run was started again, is read from its beginning.
    """
    try:
        with (folder / METRICS).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(position if position <= size else 0)
            *lines, rest = file.read().split(b"\n")
            end = file.tell() - len(rest)
    except FileNotFoundError:
        return [], position
    return [row for row in map(_row, lines) if row is not None], end


def damaged_lines(folder: Path) -> list[int]:
    """The numbers, from 1, of the lines of metrics.jsonl that are no rows."""
    path = folder / METRICS
    if not path.exists():
        return []
    *complete, _ = path.read_bytes().split(b"\n")  # what follows the last one was being written
    return [number for number, line in enumerate(complete, start=1) if line and _row(line) is None]


def _row(line: bytes) -> Row | None:
    """The row of a line, None if it is no row."""
    try:
        row = json.loads(line)
        integers = type(row["epoch"]) is int and type(row["time"]) is int
        values = row["metrics"].values()
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    numbers = all(value is None or type(value) in (int, float) for value in values)
    return row if integers and numbers else None


def truncate_rows(folder: Path, resume_epoch: int) -> list[Row]:
    """Keep, and return, the rows that a run resumed at ``resume_epoch`` does not measure again."""
    if not (folder / METRICS).exists():
        return []
    rows = [
        row
        for row in read_rows(folder)
        if row["epoch"] < resume_epoch
        and not any(key.startswith("test/") for key in row["metrics"])
    ]
    write_text_atomic(folder / METRICS, "".join(json.dumps(row) + "\n" for row in rows))
    return rows
