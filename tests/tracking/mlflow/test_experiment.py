"""A project's folder may be moved: its artifacts are found, and new ones go there, too."""

import shutil
from pathlib import Path

import pytest

from kdsweep.tracking.mlflow.experiment import find_moved_folder, is_gone
from kdsweep.tracking.mlflow.store import MLflowStore


def project(fresh_database: Path, folder: Path) -> str:
    """A project with a run that has an artifact; its id."""
    folder.mkdir()
    shutil.copy(fresh_database, folder / "mlflow.db")
    return logged(MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=folder), folder, "a.txt")


def logged(store: MLflowStore, folder: Path, name: str) -> str:
    run_id = store.create_run(name="kl", parent_id=None, tags={}, params={})
    (folder / name).write_text(name)
    store.log_artifact(run_id, folder / name)
    return run_id


@pytest.mark.parametrize("name", ["new", "50% off?"])
def test_artifacts_follow_a_folder_that_was_moved(
    fresh_database: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = tmp_path / "old's %20", tmp_path / name
    first = project(fresh_database, old)
    old.rename(new)
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=new)
    second = logged(store, new, "b.txt")
    assert not old.exists()
    assert (new / "mlartifacts" / second / "artifacts" / "b.txt").is_file()
    assert [item.path for item in store.client.list_artifacts(first)] == ["a.txt"]
    assert caplog.text.count("the files of experiment kdsweep have moved: from") == 1
    MLflowStore.existing("sqlite:///mlflow.db", "kdsweep", cwd=new)
    assert caplog.text.count("have moved") == 1


def test_a_reader_follows_too(fresh_database: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    run_id = project(fresh_database, old)
    old.rename(new)
    store = MLflowStore.existing("sqlite:///mlflow.db", "kdsweep", cwd=new)
    # Its artifacts are not listed: mlflow remembers in a process where a run had them.
    place = (new / "mlartifacts" / run_id / "artifacts").as_uri()
    assert store.client.get_run(run_id).info.artifact_uri == place
    assert not old.exists()


def test_a_folder_that_was_copied_keeps_the_place_of_the_first(
    fresh_database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    project(fresh_database, old)
    shutil.copytree(old, new)
    run_id = logged(MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=new), new, "b.txt")
    assert (old / "mlartifacts" / run_id / "artifacts" / "b.txt").is_file()
    assert "tracking.experiment=NAME makes one that keeps them there" in caplog.text


def test_a_folder_that_uses_the_database_of_another_prints_nothing_about_its_files(
    fresh_database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    project(fresh_database, first)
    second.mkdir()
    shared = f"sqlite:///{first}/mlflow.db"
    MLflowStore.open(shared, "kdsweep", cwd=second)
    assert caplog.text == ""
    MLflowStore.open(shared, "kdsweep", str(second / "files"), cwd=second)
    assert f"not in tracking.artifacts={second}/files" in caplog.text


def test_only_folders_of_this_machine_can_be_gone(tmp_path: Path) -> None:
    assert is_gone((tmp_path / "a b").as_uri())
    assert not is_gone(tmp_path.as_uri())
    assert not is_gone("s3://bucket/folder")
    assert not is_gone("mlflow-artifacts:/1")


def test_the_longest_match_is_the_place(tmp_path: Path) -> None:
    for folder in ("out/artifacts", "artifacts", "others"):
        (tmp_path / folder / ("a run" if folder != "others" else "another one")).mkdir(parents=True)

    def found(location: str) -> Path | None:
        return find_moved_folder(location, tmp_path, ["one without files", "a run"])

    assert found("file:///old/out/artifacts") == tmp_path / "out" / "artifacts"
    assert found("file:///old/artifacts") == tmp_path / "artifacts"
    assert found("file:///old/others") is None  # of that name, but not with these runs


def test_a_disk_that_is_not_mounted_has_not_moved(fresh_database: Path, tmp_path: Path) -> None:
    home, disk = tmp_path / "home", tmp_path / "disk"
    for folder in (home, disk):
        folder.mkdir()
    shutil.copy(fresh_database, home / "mlflow.db")
    address = "sqlite:///mlflow.db"
    store = MLflowStore.open(address, "kdsweep", str(disk / "mlartifacts"), cwd=home)
    run_id = logged(store, home, "a.txt")
    (home / "mlartifacts").mkdir()
    disk.rename(tmp_path / "away")
    with pytest.raises(ValueError, match=r"must have its files at hand, got kdsweep, .* mounted"):
        MLflowStore.open(address, "kdsweep", cwd=home)
    reader = MLflowStore.existing(address, "kdsweep", cwd=home)
    place = (disk / "mlartifacts" / run_id / "artifacts").as_uri()
    assert reader.client.get_run(run_id).info.artifact_uri == place
    assert not disk.exists()
