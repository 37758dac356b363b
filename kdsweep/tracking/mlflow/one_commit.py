"""Several requests to a sqlite file with one commit.

MLflow commits each of its requests, and several times within some. A commit waits for the disk, so
that nearly all of the time that a run takes to upload would be spent in twenty of them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Foreign keys can be switched on before a transaction only. IMMEDIATE: no other writer comes
# between what MLflow looks for and adds, such as a data set.
BEGIN = ("PRAGMA foreign_keys = ON", "PRAGMA busy_timeout = 20000", "BEGIN IMMEDIATE")

MakeSession = Callable[[bool], AbstractContextManager[Any]]


@contextmanager
def one_commit(client: "MlflowClient") -> Iterator[None]:
    """Commit what this thread writes inside at the end; after an exception nothing is written.

    Servers and other databases commit as ever. Other writers of the file wait meanwhile, so nothing
    slow belongs inside. Raises MlflowException if the file cannot be written.
    """
    store: Any = client._tracking_client.store
    if getattr(store, "db_type", None) != "sqlite":
        yield
        return
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with _joined_sessions(store):
            yield
    except SQLAlchemyError as error:
        raise MlflowException(str(error)) from error  # as from the sessions of MLflow


@contextmanager
def _joined_sessions(store: Any) -> Iterator[None]:
    """Have the sessions that this thread makes write within one transaction."""
    from mlflow.store.db.utils import _get_managed_session_maker
    from sqlalchemy.orm import sessionmaker

    if not isinstance(store.ManagedSessionMaker, _SessionMaker):
        store.ManagedSessionMaker = _SessionMaker(store.ManagedSessionMaker)
    sessions, usual = store.ManagedSessionMaker, store.ManagedSessionMaker.make
    with store.engine.begin() as connection:
        for statement in BEGIN:
            connection.exec_driver_sql(statement)
        # Their commits and rollbacks end a savepoint and leave the transaction open ("joining a
        # session into an external transaction" in SQLAlchemy's documentation).
        joined = sessionmaker(
            connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        )
        sessions.make = _get_managed_session_maker(joined, store.db_type)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            sessions.make = usual


class _SessionMaker(threading.local):
    """Makes the sessions of a store of MLflow's, for each thread by a function of its own."""

    def __init__(self, make: MakeSession) -> None:
        self.make = make

    def __call__(self, read_only: bool = True) -> AbstractContextManager[Any]:
        return self.make(read_only)
