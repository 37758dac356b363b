"""A real MLflow store for every test: one schema is made, each test gets a copy of the file."""

import shutil
from pathlib import Path

import pytest

from kdsweep.tracking.mlflow.store import MLflowStore


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as mlflow makes it, which takes seconds; copying it takes milliseconds."""
    folder = tmp_path_factory.mktemp("template")
    MLflowStore.open("sqlite:///mlflow.db", "template", cwd=folder)
    return folder / "mlflow.db"


@pytest.fixture
def database(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(template, tmp_path / "mlflow.db"))


@pytest.fixture
def store(database: Path) -> MLflowStore:
    return MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=database.parent)
