"""The same rows from MLflow as from the folders, to the digit."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from commands import Command, Outcome, copy_of
from experiments import made_sweep
from outcomes import interrupt

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.errors import UserError
from kdsweep.report.files import write_report
from kdsweep.report.leaderboard import leaderboards
from kdsweep.report.sources.collection import FolderRun, RunCollection, from_folder
from kdsweep.report.sources.mlflow import from_mlflow, from_query
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.results_table import COLUMNS
from kdsweep.tracking.run_dir import make_row

FAIL = "optimizer.lr=0.02,1e30"


def store_of(outcome: Outcome) -> MLflowStore:
    return MLflowStore.existing("sqlite:///mlflow.db", "kdsweep", cwd=outcome.folder)


def both(outcome: Outcome) -> tuple[RunCollection, RunCollection]:
    """A sweep from its folder, and from MLflow."""
    parent = read_json(outcome.sweep / "sweep.json")["parent_run_id"]
    return from_folder(outcome.sweep), from_mlflow(store_of(outcome), parent)


@pytest.mark.slow
def test_rows_and_all_else_are_those_of_the_folders(command: Command) -> None:
    # Two jobs are folded, two runs fail.
    outcome = command("loss=ce,kl", "T=1,4", FAIL, "trainer.epochs=1", tracking=True)
    from_dir, stored = both(outcome)
    assert {row["status"] for row in from_dir.rows} == {"FINISHED", "FAILED"}
    assert any(row["same_as"] for row in from_dir.rows)
    assert [set(row) for row in stored.rows] == [set(COLUMNS)] * len(from_dir.rows)
    assert stored.rows == from_dir.rows
    assert (stored.name, stored.folder) == (from_dir.name, from_dir.folder)
    assert (stored.missing, stored.links) == (from_dir.missing, from_dir.links)
    for run, other in zip(from_dir.runs, stored.runs, strict=True):
        assert other.config == run.config
        assert other.history == run.history
        assert _digest(other.predictions) == _digest(run.predictions)
        assert _digest(other.teacher_predictions) == _digest(run.teacher_predictions)
    assert any(run.teacher_predictions is not None for run in stored.runs)


def _digest(answers: Any) -> str | None:
    return None if answers is None else str(answers.digest)


@pytest.mark.slow
def test_what_was_interrupted_is_the_same_and_stays_so_when_it_has_gone_on(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["T=1,4", "seed=0,1", "tracking.checkpoint_seconds=0"]
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=1, seed=1)
        assert command(*words, tracking=True).code == 130
    stopped = command(*words, "dry_run=true", tracking=True)
    from_dir, stored = both(stopped)
    assert [row["status"] for row in stored.rows].count("KILLED") == 2
    assert {row["reason"] for row in stored.rows} == {None, "interrupted"}
    assert stored.rows == from_dir.rows
    resumed = command(*words, "resume=true", tracking=True)
    from_dir, stored = both(resumed)
    assert {row["status"] for row in from_dir.rows} == {"FINISHED"}
    assert stored.rows == from_dir.rows
    assert not store_of(resumed).search("tags.kdsweep.reason LIKE '%'"), "it is interrupted no more"


def test_records_of_what_was_deployed_are_read_where_there_are_some(
    fresh_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(fresh_database, "mlflow.db")
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep")
    run_id = store.create_run(
        name="kl", parent_id=None, tags={"kdsweep.role": "run"}, params={"T": "4.0"}
    )
    records = tmp_path / "0" / "deploy"
    records.mkdir(parents=True)
    quantized = {"measured_on": "val", "images": 3, "threads": 1, "rows": []}
    write_json_atomic(records / "quantize.json", quantized)
    (records / "damaged.json").write_text("{")
    (records / "model.onnx").write_bytes(b"onnx")
    for path in records.iterdir():
        store.log_artifact(run_id, path, "deploy")
    expected = {"quantize": quantized}
    assert FolderRun({}, tmp_path / "0", tmp_path).deployed == expected
    assert FolderRun({}, tmp_path / "1", tmp_path).deployed == {}
    assert from_mlflow(store, run_id).runs[0].deployed == {}  # without a request
    store.log(run_id, rows=[make_row(1, 1, {"deploy/torch_fp32/bytes": 9.0})])
    assert from_mlflow(store, run_id).runs[0].deployed == expected


def test_a_run_that_is_training_is_running_in_both(reported: Outcome, tmp_path: Path) -> None:
    outcome = copy_of(reported, tmp_path)
    shutil.copy(reported.folder / "mlflow.db", tmp_path)
    note = read_json(outcome.sweep / "3" / "run.json")
    (outcome.sweep / "3" / "result.json").unlink()
    store_of(outcome).reopen(note["mlflow_run_id"])
    from_dir, stored = both(outcome)
    assert [row["status"] for row in from_dir.rows] == ["FINISHED"] * 3 + ["RUNNING"]
    assert from_dir.rows[3]["loss"] == "kl"  # without which a baseline would not be known as one
    assert stored.rows == from_dir.rows


@pytest.mark.slow
def test_a_search_is_the_same_with_pruned_runs(command: Command) -> None:
    words = ["search=bayes", "hydra.sweeper.n_jobs=2", "search.finalists=1", "search.seeds=[0,1]"]
    few = ["hydra.sweeper.n_trials=8", "search/pruner=median", "trainer.epochs=4"]
    eager = ["search.pruner.n_startup_trials=1", "search.pruner.n_warmup_steps=0"]
    outcome = command(*words, *few, *eager, "T=interval(1.0,16.0)", tracking=True)
    assert outcome.code == 0, outcome.err
    from_dir, stored = both(outcome)
    trained = [row for row in from_dir.rows if row["same_as"] is None]  # a search notes no jobs
    assert stored.rows == trained
    assert {"FINISHED", "PRUNED"} == {row["status"] for row in stored.rows}


@pytest.mark.slow
def test_a_query_finds_the_runs_of_each_sweep(command: Command) -> None:
    outcome = command("T=1,4", tracking=True)
    assert command("T=2", "seed=0,1", tracking=True).code == 0
    parts = from_query(store_of(outcome), "params.T != '1.0'")
    assert [[row["T"] for row in part.rows] for part in parts] == [[4.0], [2.0, 2.0]]
    for query, message in {
        "params.T == 4": "must be a filter that MLflow understands",
        "params.T = '9.0'": "must match some run of the experiment",
    }.items():
        with pytest.raises(UserError, match=message):
            from_query(store_of(outcome), query)
    with pytest.raises(UserError, match="must be the id of a run in the store, got 0000"):
        from_mlflow(store_of(outcome), "0" * 32)


@pytest.mark.slow
def test_a_thousand_runs_take_at_most_twelve_times_what_a_hundred_take(
    fresh_database: Path, tmp_path: Path
) -> None:
    seconds = {number: _seconds_of(number, fresh_database, tmp_path) for number in (100, 1000)}
    for few, many in zip(seconds[100], seconds[1000], strict=True):
        assert many < 12 * max(few, 0.1)
        assert many < 10


def _seconds_of(number: int, database: Path, tmp_path: Path) -> tuple[float, float]:
    """Processor seconds of a report, its files included, and of the leaderboard."""
    home = tmp_path / str(number)
    home.mkdir()
    shutil.copy(database, home / "mlflow.db")
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=home)
    sweep = made_sweep(store, home / "sweep", cells=number // 5, seeds=5, noise=0.002)
    write_report(from_mlflow(store, sweep))  # what is done once: imports
    started = time.process_time()
    found = write_report(from_mlflow(store, sweep))
    assert len(found.grid.cells) == number // 5
    assert all(cell.against_best.p is not None for cell in found.grid.cells if cell.against_best)
    between = time.process_time()
    assert len(leaderboards(store)[0].entries) == number // 5
    return between - started, time.process_time() - between
