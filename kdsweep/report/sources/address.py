"""The MLflow store that the user names."""

import os
from typing import NamedTuple

from kdsweep.errors import UserError
from kdsweep.tracking.mlflow.backend import is_sqlite_file, scheme_of
from kdsweep.tracking.mlflow.store import MLflowStore

URI = "sqlite:///mlflow.db"
EXPERIMENT = "kdsweep"


class Address(NamedTuple):
    """Where MLflow is; None for what is as in the environment, or else as in conf/tracking."""

    uri: str | None = None
    experiment: str | None = None

    def resolved(self) -> tuple[str, str]:
        """The address of the store and the name of the experiment."""
        uri = self.uri or os.environ.get("MLFLOW_TRACKING_URI") or URI
        return uri, self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT

    def open(self) -> MLflowStore:
        """The store, which must be there already. Raises UserError."""
        try:
            return MLflowStore.existing(*self.resolved())
        except ValueError as error:
            raise UserError(str(error).replace("tracking.uri", "--uri")) from error

    def refuse_absent(self) -> None:
        """Raises UserError if the user has named a missing store, needed or not."""
        if self.uri is not None:
            try:
                MLflowStore.refuse_absent(self.uri)
            except ValueError as error:
                raise UserError(str(error).replace("tracking.uri", "--uri")) from error


def present_uri(recorded: str | None) -> str | None:
    """The address of a store that was recorded; that of the default one if its file is gone.

    The project's folder was moved then, and its database with it.
    """
    is_file = recorded is not None and scheme_of(recorded) == "sqlite"
    return URI if is_file and not is_sqlite_file(str(recorded)) else recorded
