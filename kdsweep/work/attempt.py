"""Which process trains a unit: attempts, each a file with a heartbeat, and the last one counts.

A process takes a unit by making the file of the next attempt, which exactly one process can. It may
if the attempt before has ended, or its process is gone: one of this host is looked for, and of any
other one it must be seen that its heartbeats do not get more for a while. Only that while is
measured, by the clock of who looks; the clocks of two hosts are never compared.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from kdsweep.common.files import look_anew, read_json, write_json_atomic
from kdsweep.common.pacing import Clock
from kdsweep.common.processes import is_local, is_running, new_lease
from kdsweep.common.repeating import repeating
from kdsweep.work.unit_file import FOLDER

HEARTBEAT_SECONDS = 2.0
LOST_SECONDS = 60.0  # without a further heartbeat, after which a process that is not seen is gone
LOOK_SECONDS = 1.0  # between two looks at the heartbeats of another process

# States. One that is withdrawn is trained by no process any more: its runs are in other units.
RUNNING, DONE, PARKED, FAILED, WITHDRAWN = "running", "done", "parked", "failed", "left"


@dataclass(frozen=True)
class Record:
    """An attempt as its file has it.

    Attributes:
        attempt: from 1.
        owner: its process, as `new_lease` describes it; empty while the file is not yet written.
        count: of heartbeats.
        state: of the five above.
        reason: why it has failed.
        notes: lines for the user.
        progress: of the display of its process.
    """

    number: int
    attempt: int
    owner: Mapping[str, Any] = field(default_factory=dict)
    count: int = -1
    state: str = RUNNING
    reason: str | None = None
    notes: Sequence[str] = ()
    progress: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it is trained, for people."""
        if not self.owner:
            return "a process"
        return f"process {self.owner['pid']} on {self.owner['host']}"


def attempt_path(folder: Path, number: int, attempt: int) -> Path:
    """The file of an attempt at a unit of the sweep in a folder."""
    return folder / FOLDER / f"{number}.attempt-{attempt}.json"


def latest(folder: Path, number: int, known: int = 0, *, anew: bool = True) -> Record | None:
    """The last attempt at a unit; None if there is none. The one ``known`` is not looked for.

    ``anew``: as `look_anew`, which is needed once for many units.
    """
    if anew:
        look_anew(folder / FOLDER)
    attempt = known
    while attempt_path(folder, number, attempt + 1).exists():
        attempt += 1
    return read_attempt(folder, number, attempt) if attempt else None


def read_attempt(folder: Path, number: int, attempt: int) -> Record:
    """An attempt. A file that is not written yet, or damaged, is of one that runs."""
    try:
        content = read_json(attempt_path(folder, number, attempt))
        names = ("count", "state", "reason", "notes", "progress")
        known = {name: content[name] for name in names}
        owner = {key: value for key, value in content.items() if key not in known}
    except (OSError, ValueError, KeyError):
        return Record(number, attempt)
    return Record(number, attempt, owner, **known)


class Observer:
    """Finds out which attempts of other processes are still at work."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[int, int], tuple[int, float]] = {}  # heartbeats, and since when
        self._beaten: set[tuple[int, int]] = set()

    def is_lost(self, record: Record) -> bool:
        """Whether the process of an attempt that has not ended is gone, as far as is known now."""
        if record.owner and is_local(dict(record.owner)):
            return not is_running(dict(record.owner))
        return self.seconds_unchanged(record) >= LOST_SECONDS

    def seconds_unchanged(self, record: Record) -> float:
        """How long an attempt has been seen without a further heartbeat."""
        key, now = (record.number, record.attempt), self._clock()
        count, since = self._seen.get(key, (None, now))
        if count == record.count:
            return now - since
        if count is not None:
            self._beaten.add(key)
        self._seen[key] = (record.count, now)
        return 0.0

    def has_beaten(self, record: Record) -> bool:
        """Whether an attempt is seen to run, or has had a heartbeat since it was first seen."""
        if record.owner and is_local(dict(record.owner)):
            return is_running(dict(record.owner))
        return (record.number, record.attempt) in self._beaten

    def forget(self, number: int) -> None:
        """A unit is over."""
        for key in [key for key in self._seen if key[0] == number]:
            del self._seen[key]
            self._beaten.discard(key)


class Taken(Exception):
    """Another process has the unit. ``record`` is its attempt."""

    def __init__(self, record: Record) -> None:
        super().__init__(f"it is trained by {record.place}")
        self.record = record


def take(folder: Path, number: int, sleep: Callable[[float], None] = time.sleep) -> "Attempt":
    """Take a unit: only this process trains it from now on.

    Where the process of the last attempt cannot be seen, its heartbeats are waited for.
    Raises Taken if it is still at work, or the unit is withdrawn.
    """
    observer = Observer()
    while True:
        last = latest(folder, number)
        if last is not None and last.state == WITHDRAWN:
            raise Taken(last)
        if last is None or last.state != RUNNING or observer.is_lost(last):
            made = Attempt.make(folder, number, 1 if last is None else last.attempt + 1)
            if made is not None:
                return made
        elif observer.has_beaten(last):
            raise Taken(last)
        else:
            sleep(LOOK_SECONDS)


class Attempt:
    """An attempt of this process. ``progress`` and ``notes`` go to its file with each heartbeat."""

    def __init__(self, folder: Path, number: int, attempt: int) -> None:
        self._folder, self.number, self.attempt = folder, number, attempt
        self._owner, self._count = new_lease(), 0
        self._began, self._beaten = time.time(), time.monotonic()
        self._is_lost = False
        self.progress: Callable[[], Mapping[str, Any]] = dict
        self.notes: Callable[[], Sequence[str]] = list

    @classmethod
    def make(cls, folder: Path, number: int, attempt: int, state: str = RUNNING) -> Self | None:
        """Make the file of an attempt; None if another process has made it. Raises OSError."""
        made = cls(folder, number, attempt)
        path = attempt_path(folder, number, attempt)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return None
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(made._content(state)))
        return made

    @property
    def is_lost(self) -> bool:
        """Whether another process has taken the unit since.

        After a pause without heartbeats, in which that may have happened, it is looked for.
        """
        if time.monotonic() - self._beaten > LOST_SECONDS / 3:
            self._look()
        return self._is_lost

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Inside, a heartbeat every `HEARTBEAT_SECONDS`, from a thread of its own."""
        with repeating("heartbeat", self.beat, HEARTBEAT_SECONDS):
            yield

    def beat(self) -> None:
        """Write a heartbeat, unless the unit is lost. A disk that is full counts as none."""
        self._look()
        if not self._is_lost:
            self._count += 1
            try:
                self._write(RUNNING)
            except OSError:
                return
            self._beaten = time.monotonic()

    def end(self, state: str, reason: str | None = None) -> None:
        """Note how the attempt has ended. Raises OSError if that cannot be written."""
        self._look()
        if not self._is_lost:
            self._write(state, reason)

    def _look(self) -> None:
        self._is_lost |= attempt_path(self._folder, self.number, self.attempt + 1).exists()

    def _write(self, state: str, reason: str | None = None) -> None:
        path = attempt_path(self._folder, self.number, self.attempt)
        write_json_atomic(path, self._content(state, reason))

    def _content(self, state: str, reason: str | None = None) -> dict[str, Any]:
        return {
            **self._owner,
            "began": self._began,
            "beat": time.time(),
            "count": self._count,
            "state": state,
            "reason": reason,
            "notes": list(self.notes()),
            "progress": dict(self.progress()),
        }


def withdraw(folder: Path, number: int, observer: Observer | None = None) -> bool:
    """Have no process train a unit any more; False if one does, or has just taken it.

    An ``observer`` that is used again notices that a process of another host is gone.
    """
    last = latest(folder, number)
    if last is not None and last.state == RUNNING:
        if not (observer or Observer()).is_lost(last):
            return False
    elif last is not None and last.state == WITHDRAWN:
        return True
    made = Attempt.make(folder, number, 1 if last is None else last.attempt + 1, WITHDRAWN)
    return made is not None
