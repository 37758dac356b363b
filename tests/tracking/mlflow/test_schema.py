"""The schema of a database is compared once, and without importing mlflow's migrations."""

from pathlib import Path

import mlflow
import pytest
from alembic.script import ScriptDirectory
from mlflow.store.db import utils

from kdsweep.tracking.mlflow.schema import MIGRATIONS, is_current, known_revisions
from kdsweep.tracking.mlflow.store import MLflowStore


def test_the_revisions_are_those_that_alembic_finds() -> None:
    """A contract with the files of the installed mlflow."""
    scripts = ScriptDirectory(str((Path(mlflow.__file__).parent / MIGRATIONS).parent))
    known, latest = known_revisions()
    assert latest == scripts.get_current_head()
    assert known == {script.revision for script in scripts.walk_revisions()}


def test_an_existing_database_is_opened_without_importing_a_migration(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def imported(*_: object) -> None:
        pytest.fail("alembic has imported the migrations")

    monkeypatch.setattr(ScriptDirectory, "_load_revisions", imported)
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=database.parent)
    assert store.client.get_experiment(store.experiment_id).name == "kdsweep"


def test_mlflow_compares_the_schema_of_other_databases_itself() -> None:
    before = utils._verify_schema
    with is_current():
        assert utils._verify_schema is not before
    assert utils._verify_schema is before
