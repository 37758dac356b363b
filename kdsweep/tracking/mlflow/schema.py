"""The revision of the schema of an MLflow database, compared without importing the migrations.

mlflow compares it whenever it opens a database, and imports all of its migrations for that, which
takes about as long as the half of `import mlflow`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIGRATIONS = Path("store", "db_migrations", "versions")  # in the package
# `revision = "451aebb31d03"`, `down_revision: str | None = None`: a migration, the one before it.
ASSIGNED = re.compile(r"^(revision|down_revision)\b[^=\n]*=(.*)$", re.MULTILINE)


def known_revisions() -> tuple[set[str], str]:
    """The revisions that the installed mlflow has migrations to, and the latest of them."""
    import mlflow

    revisions: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for path in (Path(str(mlflow.__file__)).parent / MIGRATIONS).glob("*.py"):
        for name, value in ASSIGNED.findall(path.read_text(encoding="utf-8")):
            revisions[name].update(re.findall(r"[\"'](\w+)[\"']", value))
    (latest,) = revisions["revision"] - revisions["down_revision"]
    return revisions["revision"], latest


@contextmanager
def is_current() -> Iterator[None]:
    """Inside, mlflow opens a database whose schema has been compared, and does not do it again."""
    from mlflow.store.db import utils

    verify = utils._verify_schema
    utils._verify_schema = lambda engine: None
    try:
        yield
    finally:
        utils._verify_schema = verify
