"""A real MLflow store for every test: a copy of the one that has been made for all tests."""

import shutil
from pathlib import Path

import pytest

from kdsweep.tracking.mlflow.store import MLflowStore


@pytest.fixture
def database(fresh_database: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(fresh_database, tmp_path / "mlflow.db"))


@pytest.fixture
def store(database: Path) -> MLflowStore:
    return MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=database.parent)
