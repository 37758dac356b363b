"""`kdsweep promote`: a run's model in the registry."""

import json
import shutil
from pathlib import Path

import pytest
from commands import Command, Outcome, copy_of

import kdsweep
from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.deploy.registry import _listed, promote
from kdsweep.errors import UserError
from kdsweep.report.sources.address import Address
from kdsweep.tracking.find_run import find_run


@pytest.fixture
def sweep(trained: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """A sweep of two cells that has not been in MLflow, next to an empty store."""
    outcome = copy_of(trained("T=1,4"), tmp_path)
    monkeypatch.chdir(tmp_path)
    return outcome


@pytest.fixture
def store_here(fresh_database: Path, tmp_path: Path) -> Address:
    """A store without the experiment, which is created."""
    shutil.copy(fresh_database, tmp_path / "mlflow.db")
    return Address("sqlite:///mlflow.db", None)


@pytest.mark.ci
def test_promote_registers_the_model_of_the_best_run_once(
    sweep: Outcome, store_here: Address
) -> None:
    """The run is not in MLflow: it is uploaded first."""
    found = [promote("best", "student", "champion", store_here) for _ in range(2)]
    assert [one.is_new for one in found] == [True, False]
    assert {one.version for one in found} == {"1"}
    assert found[0].address == "models:/student@champion"
    client = store_here.open().client
    version = client.get_model_version_by_alias("student", "champion")
    (model,) = client.search_logged_models([client.get_run(version.run_id).info.experiment_id])
    assert version.source == model.model_uri
    assert model.status == "READY"
    folder = find_run("best", store_here.open, Path("downloads"))
    run = read_json(folder / "run.json")
    assert version.tags == {"kdsweep.run": run["name"], "kdsweep.fingerprint": run["fingerprint"]}
    assert version.run_id == run["mlflow_run_id"]
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "student", "version": "1"}]
    assert version.description.startswith("# student\n")
    files = {one.path for one in client.list_logged_model_artifacts(model.model_id)}
    assert {"model_card.md", "MLmodel", "model.safetensors", "classifier.json"} <= files


@pytest.mark.ci
def test_the_alias_moves_and_a_registered_model_is_a_source(
    sweep: Outcome, store_here: Address
) -> None:
    first, second = (sweep.sweep / name for name in "01")
    assert promote(str(first), "student", "champion", store_here).version == "1"
    assert promote(str(second), "student", "champion", store_here).version == "2"
    client = store_here.open().client
    assert client.get_model_version_by_alias("student", "champion").version == 2
    again = promote("models:/student/1", "student", "old", store_here)
    assert (again.version, again.is_new) == ("1", False)
    loaded = kdsweep.load("models:/student@old", uri="sqlite:///mlflow.db")
    assert loaded.manifest == kdsweep.load(first).manifest


@pytest.mark.parametrize("tag", [None, "{", "3", '["x", {"name": "a"}]'])
def test_a_damaged_tag_of_versions_is_no_error(tag: str | None) -> None:
    assert _listed(tag) in ([], [{"name": "a"}])


def test_names_that_mlflow_refuses(sweep: Outcome, store_here: Address) -> None:
    with pytest.raises(UserError, match="--name and --alias must be names that MLflow accepts"):
        promote("best", "a/b", "champion", store_here)
    with pytest.raises(UserError, match="--name must not have both kinds of quotes"):
        promote("best", "a'\"b", "champion", store_here)


def test_a_source_must_have_finished(sweep: Outcome, store_here: Address) -> None:
    path = sweep.sweep / "0/result.json"
    write_json_atomic(path, read_json(path) | {"status": "KILLED"})
    with pytest.raises(UserError, match=r"SOURCE must be a finished run .* which is KILLED"):
        promote(str(sweep.sweep / "0"), "student", None, store_here)
