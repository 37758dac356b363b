"""Several requests to a sqlite file with one commit.

MLflow commits each of its requests, and several times within some. A commit waits for the disk, so
that nearly all of the time that a run takes to upload would be spent in twenty of them.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

# As MLflow begins each of its sessions. Foreign keys can be switched on before a transaction only.
PRAGMAS = ("foreign_keys = ON", "busy_timeout = 20000", "case_sensitive_like = true")
# No other writer comes between what MLflow looks for and adds, such as a data set.
BEGIN = "BEGIN IMMEDIATE"


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

    if not isinstance(store.ManagedSessionMaker, _PerThread):
        store.get_experiment = _PerThread(store.get_experiment)
        store.ManagedSessionMaker = _PerThread(store.ManagedSessionMaker)
    sessions, experiments = store.ManagedSessionMaker, store.get_experiment
    usual = sessions.call, experiments.call
    with store.engine.begin() as connection:
        for pragma in PRAGMAS:
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        connection.exec_driver_sql(BEGIN)
        # Their commits and rollbacks end a savepoint and leave the transaction open ("joining a
        # session into an external transaction" in SQLAlchemy's documentation).
        joined = sessionmaker(
            connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        )
        # Not as sessions of "sqlite", each of which would begin with the pragmas.
        sessions.call = _get_managed_session_maker(joined, "")  # type: ignore[no-untyped-call]
        # MLflow reads it for each run and each model. Nobody else can change it meanwhile.
        experiments.call = functools.cache(experiments.call)
        try:
            yield
        finally:
            sessions.call, experiments.call = usual


class _PerThread(threading.local):
    """Stands for a method of MLflow's store: each thread calls a function of its own."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)
