"""Where a run comes from: the tags MLflow itself would set, and the state of the code."""

import functools
import getpass
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


@functools.cache
def provenance_tags() -> dict[str, str]:
    """Tags of user, command and code of this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        user = "unknown"
    return {
        "mlflow.user": user,
        "mlflow.source.name": Path(sys.argv[0]).name or "python",
        "mlflow.source.type": "LOCAL",
        **git_tags([Path(__file__).parent, Path.cwd()]),
    }


def git_tags(folders: Iterable[Path]) -> dict[str, str]:
    """The commit of the first of these folders in a git checkout, and whether files have changed.

    None of them need be in one: a package that was installed is not.
    """
    for folder in folders:
        if commit := _git(folder, "rev-parse", "--verify", "HEAD"):
            changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
            dirty = {"kdsweep.git.dirty": "true"} if changed else {}
            return {"mlflow.source.git.commit": commit, **dirty}
    return {}


def _git(folder: Path, *words: str) -> str | None:
    """The output of a git command; None if it fails."""
    try:
        done = subprocess.run(
            # A look must not lock the index against the user's own git.
            ["git", "--no-optional-locks", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
