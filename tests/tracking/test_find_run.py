"""The folder of a run that is named by a word."""

import re
from pathlib import Path

import pytest

from kdsweep.common.files import write_json_atomic
from kdsweep.errors import UserError
from kdsweep.tracking.find_run import find_run
from kdsweep.tracking.mlflow.run_sync import sync
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.run_dir import append_row, make_row, read_rows

FINGERPRINT = "f00df00df00df00d"
RUN_ID = "abcd" * 8


def made(folder: Path, name: str = "kl seed=0", fingerprint: str = FINGERPRINT) -> Path:
    """A run that has ended."""
    folder.mkdir(parents=True)
    run = {"name": name, "fingerprint": fingerprint, "params": {"T": 4}, "started": 1}
    write_json_atomic(folder / "run.json", run | {"tags": {"kdsweep.role": "run"}})
    write_json_atomic(
        folder / "result.json", {"status": "FINISHED", "name": name, "fingerprint": fingerprint}
    )
    (folder / "config.yaml").write_text("T: 4\n")
    (folder / "overrides.yaml").write_text("- T=4\n")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "model.safetensors").write_bytes(b"weights")
    (folder / "checkpoint" / "classifier.json").write_text("{}")
    append_row(folder, make_row(0, 7, {"val/acc": 0.5, "val/loss": float("nan")}))
    append_row(folder, make_row(0, 8, {"test/acc": 0.25}))
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(word: str) -> Path:
    """Without a store."""

    def no_store() -> MLflowStore:
        raise AssertionError("no store is needed")

    return find_run(word, no_store, Path("downloads"))


def refused(word: str) -> str:
    with pytest.raises(UserError) as caught:
        found(word)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_may_be_named_from_multirun(project: Path) -> None:
    made(project / "multirun" / "mine" / "0")
    assert found("multirun/mine/0") == Path("multirun/mine/0")
    assert found("mine/0") == Path("multirun/mine/0")
    assert found(str(project / "multirun/mine/0")) == project / "multirun/mine/0"


def test_a_name_of_hydra_sweep_subdir_leads_to_the_run(project: Path) -> None:
    made(project / "multirun" / "mine" / "0")
    (project / "multirun" / "mine" / "T=4").symlink_to("0")
    assert found("mine/T=4") == Path("multirun/mine/0")
    assert found("kl seed=0") == Path("multirun/mine/0"), "found once"


def test_a_run_is_known_by_id_fingerprint_and_name(project: Path) -> None:
    one = made(Path("multirun/mine/0"))
    made(Path("multirun/mine/1"), "kl seed=1", "1" * 16)
    teacher = made(Path("teachers") / ("2" * 16), "teacher cnn", "2" * 16)
    note = {"name": "kl seed=0", "fingerprint": FINGERPRINT, "params": {}, "mlflow_run_id": RUN_ID}
    write_json_atomic(one / "run.json", note)
    for word in (RUN_ID, RUN_ID[:4], FINGERPRINT, "kl seed=0"):
        assert found(word) == one
    assert found("teacher cnn") == found("2" * 16) == teacher


def test_a_run_that_was_folded_into_an_equal_one_is_that_one(project: Path) -> None:
    own, equal = made(Path("multirun/mine/0/seed-0")), made(Path("multirun/mine/3/seed-0"))
    write_json_atomic(Path("multirun/mine/sweep.json"), {"name": "mine", "created": 0})
    write_json_atomic(equal / "result.json", {"status": "FINISHED", "same_as": "0/seed-0"})
    assert found("mine/3/seed-0") == own.absolute()


def test_a_sweep_of_one_is_its_run_and_another_has_a_best_one(project: Path) -> None:
    one = made(Path("multirun/mine/0"))
    note = {"name": "mine", "created": 0, "parent_run_id": "c0de" * 8}
    write_json_atomic(Path("multirun/mine/sweep.json"), note)
    assert found("mine") == found("multirun/mine") == found("c0de") == one
    better = made(Path("multirun/mine/1"), "kl seed=1", "1" * 16)
    for folder, accuracy in ((one, 0.5), (better, 0.75)):
        result = {"status": "FINISHED", "name": folder.name, "val/acc": accuracy}
        write_json_atomic(folder / "result.json", result)
    assert found("mine/best") == found("multirun/mine/best") == found("c0de/best") == better
    assert found("best") == better  # of the latest sweep
    for word in ("mine", "c0de"):
        assert refused(word) == (
            "RUN must be a single run, got multirun/mine, a sweep of 2; multirun/mine/best is the"
            " best by validation"
        )
    Path("multirun/empty").mkdir()
    write_json_atomic(Path("multirun/empty/sweep.json"), note)
    assert refused("empty") == "RUN must be a single run, got multirun/empty, a sweep without runs"


def test_what_is_no_run_is_refused(project: Path) -> None:
    made(Path("multirun/mine/0"))
    made(Path("multirun/other/0"))
    Path("empty").mkdir()
    assert refused("kl seed=0") == (
        "RUN must be a single run, got kl seed=0, which is in multirun/mine/0, multirun/other/0"
    )
    assert refused("empty").endswith("(with a run.json or a result.json), got empty")
    assert refused("best") == "RUN must be a run's folder, got best, and multirun holds no sweep"
    assert refused("") == refused("nowhere").replace("nowhere", "")
    with pytest.raises(UserError, match=r"student.checkpoint must be a run's folder, its id"):
        find_run("nowhere", MLflowStore, Path(), "student.checkpoint")


@pytest.mark.ci
def test_a_run_in_mlflow_is_found_in_its_folder_or_downloaded(
    project: Path, store: MLflowStore
) -> None:
    folder = made(project / "elsewhere" / "0")
    sync(folder, store)
    (run,) = store.search()
    run_id = run.info.run_id
    for word in (run_id, run_id[:6], FINGERPRINT):
        assert find_run(word, lambda: store, Path("downloads")) == folder
    assert not Path("downloads").exists()
    moved = folder.rename(project / "moved")
    again = find_run(run_id, lambda: store, Path("downloads"))
    assert again == Path("downloads") / run_id
    weights = ("checkpoint/model.safetensors", "checkpoint/classifier.json")
    for name in ("config.yaml", "overrides.yaml", "result.json", *weights):
        assert (again / name).read_bytes() == (moved / name).read_bytes(), name
    assert read_rows(again) == read_rows(moved)
    made(folder, fingerprint="e" * 16)  # the folder holds another run by now
    assert find_run(run_id, lambda: store, Path("downloads")) == again


def test_ids_of_no_run_or_of_several_are_refused(project: Path, store: MLflowStore) -> None:
    def refusal(word: str) -> str:
        with pytest.raises(UserError) as caught:
            find_run(word, lambda: store, Path("downloads"))
        return str(caught.value)

    assert refusal("f" * 32).startswith("RUN must be the id of a run of the experiment, got ffff")
    tags = {"kdsweep.role": "trial", "kdsweep.fingerprint": FINGERPRINT}
    one = store.create_run(name="trial", parent_id=None, tags=tags, params={})
    assert refusal(one) == f"RUN must be a single run, got {one}, a trial"
    store.create_run(name="trial", parent_id=None, tags=tags, params={})
    assert re.match(
        rf"RUN must be the id of one run, got {FINGERPRINT}, which may", refusal(FINGERPRINT)
    )
