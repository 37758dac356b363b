"""Where studies are kept: a database, or a journal, a file on a file system that hosts may share.

A search needs of either that it belongs to Optuna, Optuna's way into it, and a lock around the
moments in which trials are queued and claimed.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy import func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from kdsweep.common.passwords import redact_password, reveal
from kdsweep.common.text import first_line
from kdsweep.errors import UserError
from kdsweep.tracking.mlflow import connections

# Tables that show which program a database belongs to: Optuna, MLflow, and one that both have.
STUDIES, MLFLOW, VERSION = "studies", "experiments", "alembic_version"
POSTGRES_LOCK = 0x6B6473  # the number of the advisory lock, "kds"; any that no other program uses
JOURNAL = "journal:///"
RECORD = b'{"op_code":'  # the beginning of each line of a journal
GRACE_SECONDS = 30  # after which the lock of a journal is taken from a process that may be dead
ANOTHER = "another program"


class StudyStorage(Protocol):
    """A database or a journal; nothing of it is created before `open`."""

    kind: str
    example: str  # an address of such a storage

    def owner(self) -> str | None:
        """The program that it belongs to, None if Optuna may use it."""

    def open(self) -> BaseStorage:
        """Optuna's storage, created if it does not exist yet."""
        ...

    def lock(self) -> AbstractContextManager[object]:
        """Inside, no other host is inside, where the storage can rule that out.

        PostgreSQL frees the lock of a process that dies, a journal does after 30 seconds.
        """
        ...

    def close(self) -> None:
        """Close the connections to a database."""


def storage_at(address: str) -> StudyStorage:
    """The storage at an address, not connected yet.

    Raises UserError for an address that is none, or a driver that is missing.
    """
    with storage_errors(address):
        return Journal(address) if address.startswith("journal:") else Database(address)


@contextmanager
def storage_errors(address: str) -> Iterator[None]:
    """Turn errors of a storage, or of Optuna about what is in it, into a UserError."""
    try:
        yield
    # A wrong port is a ValueError, tables of another Optuna are a RuntimeError.
    except (
        *(SQLAlchemyError, StorageInternalError, ImportError),
        *(ValueError, RuntimeError, OSError),
    ) as error:
        why = first_line(error)
        if isinstance(error, ImportError) and address.startswith("postgresql:"):
            why = "its driver is missing; pip install 'kdsweep[postgres]'"
        raise UserError(
            f"hydra.sweeper.storage must be a storage that works, got {redact_password(address)}:"
            f" {why}"
        ) from error


class Database:
    """A database that SQLAlchemy knows."""

    kind, example = "database", "sqlite:///optuna.db"

    def __init__(self, address: str) -> None:
        self._address = reveal(address)
        self._engine = connections.engine_of(self._address)

    def owner(self) -> str | None:
        tables = set(inspect(self._engine).get_table_names())
        if MLFLOW in tables:
            return "MLflow"
        # A server's database may have tables of several programs.
        others = tables if self._engine.name == "sqlite" else tables & {VERSION}
        return ANOTHER if others and STUDIES not in tables else None

    def open(self) -> BaseStorage:
        # Minutes of training lie between two writes; a server may have closed the connection.
        storage = RDBStorage(connections.bounded(self._address), {"pool_pre_ping": True})
        self._engine = storage.engine
        return optuna.storages.get_storage(storage)

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self._engine.begin() as connection:
            if self._engine.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(POSTGRES_LOCK)))
            yield

    def close(self) -> None:
        self._engine.dispose()


class Journal:
    """A file to which Optuna appends each operation as a line.

    The locks are files that Optuna creates next to it, which works over NFS 3 and later.
    """

    kind, example = "journal", f"{JOURNAL}optuna.journal"

    def __init__(self, address: str) -> None:
        name = address.removeprefix(JOURNAL)
        if not address.startswith(JOURNAL) or not name:
            raise ValueError(f"the address of a journal is {JOURNAL}FILE")
        self._path = Path(name).absolute()

    def owner(self) -> str | None:
        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            begin = file.read(len(RECORD))
        return None if RECORD.startswith(begin) else ANOTHER

    def open(self) -> BaseStorage:
        backend = JournalFileBackend(str(self._path), lock_obj=_AppendLock(self._path))
        return JournalStorage(backend)

    @contextmanager
    def lock(self) -> Iterator[None]:
        lock = _FileLock(f"{self._path}.claims")
        lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def close(self) -> None:
        pass  # no file stays open


class _FileLock(JournalFileOpenLock):
    """Optuna's lock, which others break if it is held for longer than `GRACE_SECONDS`."""

    def __init__(self, path: str) -> None:
        super().__init__(path, GRACE_SECONDS)

    def release(self) -> None:
        with suppress(RuntimeError):  # it was broken: this process was suspended
            super().release()


class _AppendLock(_FileLock):
    """The lock of a journal around each append. Inside, the journal ends with a whole line.

    A process that is killed while it appends, or a full disk, leaves a part of a line. Optuna would
    append to that part, and could never read the journal again.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal

    def acquire(self) -> bool:
        acquired = super().acquire()
        try:
            _cut_to_whole_lines(self._journal)
        except BaseException:
            self.release()
            raise
        return acquired


def _cut_to_whole_lines(path: Path) -> None:
    with path.open("rb+") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
