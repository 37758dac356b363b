"""A search in a real MLflow store: search > trial, resumed, nothing twice, nothing raised."""

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.entities import Run
from omegaconf import OmegaConf
from optuna.trial import TrialState, create_trial

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.config.schema import SearchConfig
from kdsweep.search.mlflow_logging import SearchLogger
from kdsweep.search.space import parse
from kdsweep.sweeps.finalize import upload_sweep
from kdsweep.tracking.mlflow.pending import pending_uploads
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.trial_sync import sync_search, sync_trial
from kdsweep.tracking.result import RunResult

VALUES = {"T": 2.0, "alpha": 0.25}


@pytest.fixture
def store(fresh_database: Path, tmp_path: Path) -> MLflowStore:
    shutil.copy(fresh_database, tmp_path / "mlflow.db")
    return MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)


@pytest.fixture
def parent(store: MLflowStore) -> str:
    return store.create_run(name="bayes", parent_id=None, tags={}, params={})


def search_in(folder: Path, store: Any, parent: str | None) -> SearchLogger:
    """A search in this folder, as `open_sweep` has described it."""
    folder.mkdir(exist_ok=True)
    note = {"name": "bayes", "created": 0.0, "parent_run_id": parent}
    write_json_atomic(folder / "sweep.json", note)
    return SearchLogger(store, parent, folder)


@pytest.fixture
def runs(store: MLflowStore, parent: str, tmp_path: Path) -> SearchLogger:
    return search_in(tmp_path / "bayes", store, parent)


def read_run_id(trial: Path) -> str | None:
    run_id: str | None = read_json(trial / "trial.json").get("mlflow_run_id")
    return run_id


def begun(runs: SearchLogger, trial: int = 0) -> str:
    runs.trial(trial, "kl T=2 alpha=0.25", VALUES)
    run_id = read_run_id(runs.folder / str(trial))
    assert run_id is not None
    return run_id


def read(store: MLflowStore, run_id: str) -> Run:
    return store.client.get_run(run_id)


def children(store: MLflowStore, parent: str) -> list[str]:
    runs = store.client.search_runs(
        [store.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    return [run.info.run_id for run in runs]


def history(store: MLflowStore, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in store.client.get_metric_history(run_id, key)]


def results(*accuracies: float | None) -> list[RunResult]:
    return [
        RunResult(status="FAILED" if acc is None else "FINISHED", val_acc=acc, seed=seed)
        for seed, acc in enumerate(accuracies)
    ]


@pytest.fixture(autouse=True)
def _quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def study(*values: float | TrialState, direction: str = "maximize") -> optuna.Study:
    """A study with trials of these values; a state is a trial without a value."""
    made = optuna.create_study(direction=direction)
    for value in values:
        ended = isinstance(value, float)
        made.add_trial(
            create_trial(value=value) if ended else create_trial(state=value)  # type: ignore[arg-type]
        )
    return made


def test_a_trial_is_a_run_under_the_search(
    store: MLflowStore, runs: SearchLogger, parent: str, tmp_path: Path
) -> None:
    run_id = begun(runs, 3)
    assert children(store, parent) == [run_id]
    run = read(store, run_id)
    assert run.info.run_name == "trial 3: kl T=2 alpha=0.25"
    assert run.info.status == "RUNNING"
    assert run.data.params == {"T": "2", "alpha": "0.25"}
    assert run.data.tags["kdsweep.role"] == "trial"
    assert run.data.tags["kdsweep.cell"] == "kl T=2 alpha=0.25"


def test_a_trial_is_created_once_and_found_again_after_a_restart(
    store: MLflowStore, runs: SearchLogger, parent: str, tmp_path: Path
) -> None:
    run_id, other = begun(runs, 0), begun(runs, 1)
    assert run_id != other
    assert begun(runs, 0) == run_id
    again = SearchLogger(store, parent, tmp_path / "bayes")
    assert (begun(again, 0), begun(again, 1)) == (run_id, other)
    assert sorted(children(store, parent)) == sorted([run_id, other])


def test_the_trial_of_another_search_is_another_run(
    store: MLflowStore, runs: SearchLogger, parent: str, tmp_path: Path
) -> None:
    assert begun(search_in(tmp_path / "other", store, parent)) != begun(runs)


def test_a_trial_ends_with_its_mean_its_spread_and_how_many(
    store: MLflowStore, runs: SearchLogger
) -> None:
    run_id = begun(runs)
    runs.trial_ended(0, results(0.5, 0.75), TrialState.COMPLETE)
    assert read(store, run_id).info.status == "FINISHED"
    assert read(store, run_id).data.metrics == {
        "val/acc": 0.625,
        "val/acc_sd": pytest.approx(0.125 * 2**0.5),
        "val/acc_of_seed": 0.75,
        "seeds": 2,
    }
    assert history(store, run_id, "val/acc_of_seed") == [(0, 0.5), (1, 0.75)]


def test_a_pruned_trial_has_the_tag_of_its_runs(store: MLflowStore, runs: SearchLogger) -> None:
    run_id = begun(runs)
    runs.trial_ended(0, results(0.25), TrialState.PRUNED)
    assert read(store, run_id).info.status == "KILLED"
    assert read(store, run_id).data.tags["kdsweep.pruned"] == "true"


def test_one_seed_has_no_spread(store: MLflowStore, runs: SearchLogger) -> None:
    run_id = begun(runs)
    runs.trial_ended(0, results(0.5), TrialState.COMPLETE)
    assert read(store, run_id).data.metrics == {"val/acc": 0.5, "val/acc_of_seed": 0.5, "seeds": 1}


def test_a_failed_trial_may_have_nothing_to_log(store: MLflowStore, runs: SearchLogger) -> None:
    run_id = begun(runs)
    runs.trial_ended(0, results(None), TrialState.FAIL)
    assert read(store, run_id).info.status == "FAILED"
    assert read(store, run_id).data.metrics == {"seeds": 0}


def test_ending_a_trial_twice_logs_it_once(
    store: MLflowStore, runs: SearchLogger, parent: str, tmp_path: Path
) -> None:
    run_id = begun(runs)
    runs.trial_ended(0, results(0.5, 0.75), TrialState.COMPLETE)
    again = SearchLogger(store, parent, tmp_path / "bayes")
    assert begun(again) == run_id
    again.trial_ended(0, results(0.5, 0.75), TrialState.COMPLETE)
    assert history(store, run_id, "val/acc") == [(0, 0.625)]
    assert len(history(store, run_id, "val/acc_sd")) == 1


def test_the_best_so_far_is_a_curve_over_trials(
    store: MLflowStore, runs: SearchLogger, parent: str
) -> None:
    runs.best_so_far(study(0.5, TrialState.FAIL, 0.25, TrialState.PRUNED, 0.75))
    assert history(store, parent, "best") == [(1, 0.5), (2, 0.5), (3, 0.75)]


def test_a_block_that_ends_late_does_not_hide_its_best(
    store: MLflowStore, runs: SearchLogger, parent: str
) -> None:
    late, early = create_trial(value=0.97), create_trial(value=0.90)
    early.datetime_complete = datetime(2026, 1, 1)
    late.datetime_complete = datetime(2026, 1, 2)
    made = optuna.create_study(direction="maximize")
    made.add_trial(create_trial(state=TrialState.RUNNING))
    made.add_trial(early)
    runs.best_so_far(made)
    again = optuna.create_study(direction="maximize")
    again.add_trials([late, early])
    runs.best_so_far(again)
    assert history(store, parent, "best") == [(1, 0.90), (2, 0.97)]


def test_the_best_so_far_may_be_the_lowest(
    store: MLflowStore, runs: SearchLogger, parent: str
) -> None:
    runs.best_so_far(study(0.5, 0.75, 0.25, direction="minimize"))
    assert [value for _, value in history(store, parent, "best")] == [0.5, 0.5, 0.25]


def test_logging_the_best_again_adds_only_what_is_new(
    store: MLflowStore, runs: SearchLogger, parent: str, tmp_path: Path
) -> None:
    runs.best_so_far(study(0.5, 0.25))
    runs.best_so_far(study(0.5, 0.25))
    SearchLogger(store, parent, tmp_path / "bayes").best_so_far(study(0.5, 0.25, 0.75))
    assert history(store, parent, "best") == [(1, 0.5), (2, 0.5), (3, 0.75)]


def test_several_objectives_have_no_best(
    store: MLflowStore, runs: SearchLogger, parent: str
) -> None:
    made = optuna.create_study(directions=["maximize", "minimize"])
    made.add_trial(create_trial(values=[0.5, 10.0]))
    runs.best_so_far(made)
    assert read(store, parent).data.metrics == {}


@pytest.mark.parametrize(
    "word",
    [
        "T=interval(1,4)",
        "T=1,2,4",
    ],
)
def test_what_is_searched_and_how_are_params_of_the_search(
    store: MLflowStore, runs: SearchLogger, parent: str, word: str
) -> None:
    space = parse([word, "alpha=interval(0,1)"], lambda key, loss: True)
    sampler = {"sampler": {"_target_": "optuna.samplers.TPESampler"}}
    config = OmegaConf.create({"hydra": {"sweeper": sampler}})
    options = SearchConfig(seeds=[0, 1], pruner={"_target_": "optuna.pruners.MedianPruner"})
    for _ in range(2):
        runs.describe(space, config, options)
    params = read(store, parent).data.params
    assert params["sampler"] == "TPESampler"
    assert params["pruner"] == "MedianPruner"
    assert params["seeds"] == "0,1"
    described = [value for key, value in params.items() if key.startswith("space.")]
    assert len(described) == 2
    assert any("FloatDistribution" in value for value in described)


def test_the_results_are_on_the_run_of_the_search_and_may_be_uploaded_again(
    store: MLflowStore, runs: SearchLogger, parent: str, tmp_path: Path
) -> None:
    files = ["optimization_results.yaml", "plots/history.png", "plots/search.html"]
    (tmp_path / "bayes" / "plots").mkdir(parents=True)
    for text in ("first", "second"):
        for file in (*files, "plots/.half-written"):
            (tmp_path / "bayes" / file).write_text(text)
        upload_sweep(store, parent, tmp_path / "bayes", None, "FINISHED")
    kept = Path(store.client.download_artifacts(parent, ""))
    logged = {str(path.relative_to(kept)) for path in kept.rglob("*.*")}
    assert logged == {*files, "results.csv", "sweep.json"}
    assert {(kept / file).read_text() for file in files} == {"second"}
    assert read(store, parent).info.status == "FINISHED"


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_a_search_that_is_stopped_leaves_no_trial_open(
    store: MLflowStore, runs: SearchLogger, status: Any
) -> None:
    done, opened = begun(runs, 0), begun(runs, 1)
    runs.trial_ended(0, results(0.5), TrialState.COMPLETE)
    runs.stopped(status)
    ended = [read(store, run_id).info.status for run_id in (opened, done)]
    assert ended == [status, "FINISHED"]


def test_a_trial_that_was_stopped_and_resumed_ends_as_one_that_was_not(
    store: MLflowStore, runs: SearchLogger, parent: str, tmp_path: Path
) -> None:
    run_id = begun(runs)
    runs.stopped("KILLED")
    again = SearchLogger(store, parent, tmp_path / "bayes")
    assert begun(again) == run_id
    again.trial_ended(0, results(0.5), TrialState.COMPLETE)
    assert read(store, run_id).info.status == "FINISHED"
    assert history(store, run_id, "val/acc") == [(0, 0.5)]


class Broken:
    """A store in which nothing works."""

    def __getattr__(self, name: str) -> Any:
        def fail(*arguments: object, **named: object) -> None:
            raise OSError(f"{name}: no route to host")

        return fail


class DiesLater(Broken):
    """A store that accepted a trial and then broke."""

    def find_run(self, tags: object) -> str:
        return "a" * 32


def use_all(runs: SearchLogger) -> None:
    runs.trial(0, "kl", VALUES)
    runs.trial_ended(0, results(0.5, 0.75), TrialState.COMPLETE)
    runs.best_so_far(study(0.5))
    options = SearchConfig()
    config = OmegaConf.create({"hydra": {"sweeper": {"sampler": {"_target_": "a.B"}}}})
    runs.describe(parse(["T=1,2"], lambda key, loss: True), config, options)
    runs.stopped("KILLED")


@pytest.mark.parametrize("store_class", [Broken, DiesLater])
def test_a_store_that_breaks_stops_nothing_and_is_logged(
    store_class: type, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use_all(search_in(tmp_path, store_class(), "b" * 32))
    assert "MLflow did not take everything of the search" in caplog.text
    assert "no route to host" in caplog.text


def test_what_a_broken_store_missed_is_uploaded_from_the_files(
    store: MLflowStore, parent: str, tmp_path: Path
) -> None:
    use_all(search_in(tmp_path, Broken(), parent))
    assert pending_uploads([tmp_path / "0"], store)
    sync_trial(tmp_path / "0", store)
    sync_search(tmp_path, store, parent)
    assert not pending_uploads([tmp_path / "0"], store)
    (run_id,) = children(store, parent)
    assert read(store, run_id).info.status == "FINISHED"
    assert read(store, run_id).data.metrics["val/acc"] == 0.625
    assert history(store, parent, "best") == [(1, 0.5)]
    assert "space.T" in read(store, parent).data.params


def test_without_a_store_only_the_files_are_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use_all(search_in(tmp_path, None, None))
    assert read_run_id(tmp_path / "0") is None
    assert caplog.text == ""


def test_a_store_that_recovers_is_used_again(
    store: MLflowStore, parent: str, tmp_path: Path
) -> None:
    runs = search_in(tmp_path, Broken(), parent)
    runs.trial(0, "kl", VALUES)
    assert read_run_id(tmp_path / "0") is None
    runs.store = store
    run_id = begun(runs)
    assert children(store, parent) == [run_id]
