"""The tags of where a run comes from."""

import subprocess
from pathlib import Path

import pytest

from kdsweep.tracking.mlflow import provenance
from kdsweep.tracking.mlflow.provenance import git_tags, provenance_tags


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with one commit, of one file."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "a.py").write_text("one")
    git(folder, "init", "-q")
    git(folder, "add", "a.py")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_is_a_tag_only_in_a_git_checkout(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")  # no commit yet
    commit = {"mlflow.source.git.commit": git(checkout, "rev-parse", "HEAD")}
    assert git_tags([tmp_path / "plain", tmp_path / "empty"]) == {}
    assert git_tags([tmp_path / "plain", checkout]) == commit
    assert git_tags([checkout, tmp_path / "plain"]) == commit


def test_changes_of_tracked_files_are_a_tag(checkout: Path) -> None:
    (checkout / "untracked").touch()
    assert "kdsweep.git.dirty" not in git_tags([checkout])
    (checkout / "a.py").write_text("two")
    assert git_tags([checkout])["kdsweep.git.dirty"] == "true"


def test_the_commit_is_that_of_the_package_whatever_the_current_folder(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = git_tags([Path(provenance.__file__).parent])
    monkeypatch.chdir(checkout)
    provenance_tags.cache_clear()
    expected = package or git_tags([checkout])  # an installed package has no checkout
    commit = "mlflow.source.git.commit"
    assert provenance_tags()[commit] == expected[commit]
    provenance_tags.cache_clear()
