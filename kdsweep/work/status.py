"""`kdsweep status FOLDER`: how far a sweep is, from its files alone, seen from any host."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.common.processes import is_local, is_running
from kdsweep.common.text import clock_time, shorten
from kdsweep.errors import UserError
from kdsweep.tracking.metadata import read_run_metadata, read_sweep_metadata
from kdsweep.tracking.printing import print_line, print_table
from kdsweep.tracking.results_table import collect
from kdsweep.tracking.run_dir import read_rows
from kdsweep.work import attempt
from kdsweep.work.attempt import Record, attempt_path
from kdsweep.work.outcomes import lacking
from kdsweep.work.pace import Share, seconds_left
from kdsweep.work.unit_file import UnitFile, numbers, read_unit

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

RUNNING, LOST, QUEUED, FAILED, DONE = "running", "lost", "queued", "failed", "done"
ORDER = (RUNNING, LOST, QUEUED, FAILED, DONE)  # of the table and of counts
LISTED = (RUNNING, LOST, FAILED)  # all others are counted
LONGEST_NAME = 48


@dataclass(frozen=True)
class UnitStatus:
    """A unit, and how far it is.

    Attributes:
        state: of the five above; a lost one has had no heartbeat for a while.
        record: of its last attempt.
        silent: of one in training, seconds since its last heartbeat, by the file server's clock.
    """

    unit: UnitFile
    state: str
    record: Record | None
    silent: float | None = None

    @property
    def share(self) -> Share:
        progress: Mapping[str, Any] = {} if self.record is None else self.record.progress
        work = self.unit.runs[0].epochs * len(self.unit.runs)
        return Share(work, progress.get("fraction", 0.0), progress.get("seconds_left"))


def show_status(folder: Path, console: "Console") -> None:
    """Print how far the sweep in a folder is. Raises UserError if there is none."""
    if (note := read_sweep_metadata(folder)) is None:
        raise UserError(f"FOLDER must be the folder of a sweep, got {folder}")
    units = list(unit_states(folder))
    if any(one.state in LISTED for one in units):
        print_table(console, _table(units))
    print_line(console, f"runs   {_counts(_run_states(folder, note))}")
    if units:
        print_line(console, f"units  {_counts(Counter(one.state for one in units))}")
    if (left := _seconds_left(folder, note, units)) is not None:
        print_line(console, f"ETA    {clock_time(left)}")
    print_line(console, f"sweep  {_controller(note)}")


def unit_states(folder: Path) -> Iterator[UnitStatus]:
    """Every unit that is still of use, and how far it is. Damaged files are passed over."""
    now = _server_time(folder)
    for number in numbers(folder):
        with suppress(UserError):
            unit, record = read_unit(folder, number), attempt.latest(folder, number)
            if record is None or record.state != attempt.WITHDRAWN:
                yield _status(folder, unit, record, now)


def _status(folder: Path, unit: UnitFile, record: Record | None, now: float) -> UnitStatus:
    if not lacking(folder, unit):
        return UnitStatus(unit, DONE, record)
    if record is None or record.state == attempt.PARKED:
        return UnitStatus(unit, QUEUED, record)
    if record.state != attempt.RUNNING:  # a teacher may be done, and have failed
        return UnitStatus(unit, FAILED, record)
    written = attempt_path(folder, unit.number, record.attempt).stat().st_mtime
    silent, owner = max(now - written, 0.0), dict(record.owner)
    is_seen = bool(owner) and is_local(owner)
    is_lost = not is_running(owner) if is_seen else silent >= attempt.LOST_SECONDS
    return UnitStatus(unit, LOST if is_lost else RUNNING, record, silent)


def _server_time(folder: Path) -> float:
    """Now, by the clock that the files' times are of; by this host's if nothing can be written."""
    probe = folder / f".status.{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink()


def _run_states(folder: Path, note: Mapping[str, Any]) -> Counter[str]:
    """How many runs of a sweep there are of each state."""
    names = {"FINISHED": DONE, "RUNNING": RUNNING, "FAILED": FAILED}
    rows = collect(folder)
    counts = Counter(names.get(row["status"], str(row["status"]).lower()) for row in rows)
    if (queued := len(note["fingerprints"]) - len(rows)) > 0:
        counts[QUEUED] = queued
    return counts


def _seconds_left(
    folder: Path, note: Mapping[str, Any], units: Sequence[UnitStatus]
) -> float | None:
    """Until all is trained, as fast as what is in training; None if nothing is."""
    if note["ended"] or note["role"] == "search":  # of which it is not known what is to come
        return None
    if units:
        training = [one.share for one in units if one.state == RUNNING]
        waiting = sum(one.share.work for one in units if one.state in (QUEUED, LOST))
        return seconds_left(training, waiting)
    rows = collect(folder)
    runs = [_share(folder / str(row["run"])) for row in rows if row["status"] == "RUNNING"]
    epochs = max((one.work for one in runs), default=0.0)
    waiting = epochs * max(len(note["fingerprints"]) - len(rows), 0)
    return seconds_left(runs, waiting) if _is_at_work(note) else None


def _share(run: Path) -> Share:
    """How far a run is that a sweep without workers trains, by its metrics."""
    params = (read_run_metadata(run) or {}).get("params") or {}
    epochs = float(params.get("trainer.epochs", 1))
    rows = read_rows(run)
    if len(rows) < 2:
        return Share(epochs, 0.0, None)
    first, last = rows[0], rows[-1]
    each = (last["time"] - first["time"]) / 1000 / (len(rows) - 1)
    done = last["epoch"] + 1
    return Share(epochs, done / epochs, each * max(epochs - done, 0.0))


def _table(units: Sequence[UnitStatus]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("unit", "to train", "runs", "state", "epochs", "left", "where")
    shown = sorted((one for one in units if one.state in LISTED), key=_order)
    for one in shown:
        cells = [
            str(one.unit.number),
            shorten(one.unit.name, LONGEST_NAME),
            str(len(one.unit.runs)),
            one.state,
            *_progress(one),
            _where(one),
        ]
        table.add_row(*map(escape, cells))
    return table


def _order(one: UnitStatus) -> tuple[int, int]:
    return ORDER.index(one.state), one.unit.number


def _progress(one: UnitStatus) -> tuple[str, str]:
    """The epochs of a unit that are done, and the time that it still takes."""
    epochs, share = one.unit.runs[0].epochs, one.share
    if one.state == FAILED or one.record is None or not one.record.progress:
        return "", ""
    left = "" if share.seconds_left is None else clock_time(share.seconds_left)
    return f"{share.fraction * epochs:.0f}/{epochs}", left


def _where(one: UnitStatus) -> str:
    """Where a unit is trained, or why it has failed."""
    if one.record is None:
        return ""
    if one.state == FAILED:
        return one.record.reason or "see its runs"
    silent = f", no sign for {one.silent:.0f} s" if one.state == LOST else ""
    return f"{one.record.place}{silent}"


def _counts(counts: Counter[str]) -> str:
    names = [*ORDER, *sorted(counts.keys() - set(ORDER))]
    return ", ".join(f"{counts[name]} {name}" for name in names if counts[name]) or "none"


def _is_at_work(note: Mapping[str, Any]) -> bool:
    """Whether the process that has started a sweep may be at work."""
    return not note["ended"] and (not is_local(dict(note)) or is_running(dict(note)))


def _controller(note: Mapping[str, Any]) -> str:
    """What is known of the process that has started a sweep."""
    if note["ended"]:
        return "over"
    if note["pid"] is None:
        return "unknown"
    process = f"process {note['pid']} on {note['host']}"
    if not is_local(dict(note)):
        return f"started by {process}"
    if _is_at_work(note):
        return f"controlled by {process}"
    how = "" if note["role"] == "search" else " with resume=true"
    return f"interrupted, {process} is gone: the same command{how} continues it"
