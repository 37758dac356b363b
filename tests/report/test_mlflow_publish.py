"""A report in MLflow: files, description, rank and verdict, and the columns of the runs' page."""

import json
import time
from pathlib import Path

import pytest
from commands import Command, Outcome
from experiments import made_sweep
from mlflow import MlflowClient
from mlflow.entities import Run
from outcomes import runs
from rows import row, rows
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import read_json
from kdsweep.report import mlflow_publish as module
from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.files import FILES, write_report
from kdsweep.report.mlflow_publish import columns, description, publish, verdict
from kdsweep.report.report import Report
from kdsweep.report.sources.collection import RunCollection
from kdsweep.report.sources.mlflow import from_mlflow
from kdsweep.sweeps.finalize import make_report
from kdsweep.tracking.mlflow.entities import TAG_LENGTH
from kdsweep.tracking.mlflow.store import MLflowStore

GRID = ("loss=ce,kl", "seed=0,1", "tracking.report=true")


def client(outcome: Outcome) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{outcome.folder}/mlflow.db")


def parent(outcome: Outcome) -> Run:
    return client(outcome).get_run(read_json(outcome.sweep / "sweep.json")["parent_run_id"])


def printed(outcome: Outcome) -> str:
    """What the terminal has text, without the folds of its lines."""
    return " ".join((outcome.out + outcome.err).split())


def tags(outcome: Outcome) -> dict[str, tuple[str | None, str | None]]:
    """Name of each run -> its rank and verdict."""
    return {
        run.info.run_name: (run.data.tags.get("kdsweep.rank"), run.data.tags.get("kdsweep.verdict"))
        for run in runs(outcome)["run"]
    }


@pytest.mark.ci
def test_a_sweep_ends_with_its_report_in_the_folder_in_mlflow_and_on_the_terminal(
    reported: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = reported
    monkeypatch.chdir(outcome.folder)
    found = parent(outcome)
    assert found.info.status == "FINISHED"
    kept = {item.path for item in client(outcome).list_artifacts(found.info.run_id)}
    assert set(FILES) <= kept
    assert all((outcome.sweep / name).is_file() for name in FILES)
    text = found.data.tags["mlflow.note.content"]
    assert "| kl T=4 alpha=0.5&nbsp;&nbsp; | 2&nbsp;" in text
    assert "came first on validation" in text or "beats" in text or "differ" in text
    ranks = tags(outcome)
    assert {ranks[f"ce seed={seed}"] for seed in (0, 1)} == {ranks["ce seed=0"]}
    assert {rank for rank, _ in ranks.values()} == {"1", "2"}
    assert {text for _, text in ranks.values() if text and "best" in text}
    assert f"report   {(outcome.sweep / 'report.html').relative_to(outcome.folder)}" in outcome.out
    assert "was chosen by validation among 2 cells" in " ".join(outcome.out.split())
    experiment = client(outcome).get_experiment(found.info.experiment_id)
    key = found.info.run_id[:12]
    assert f"viewStateShareKey={key}" in outcome.out
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    assert view["searchFilter"] == f"tags.mlflow.parentRunId = '{found.info.run_id}'"
    some = ["metrics.`test/acc`", "params.`T`", "params.`seed`", "tags.`kdsweep.verdict`"]
    assert set(some) <= set(view["selectedColumns"])
    assert "kdsweep leaderboard" in experiment.tags["mlflow.note.content"]

    class Counted:
        def __init__(self, store: MLflowStore) -> None:
            self.store, self.written = store, 0

        def __call__(self, *arguments: object) -> None:
            self.written += 1

    store = MLflowStore.existing("sqlite:///mlflow.db", "kdsweep", cwd=outcome.folder)
    counted = Counted(store)
    store.set_tags = counted  # type: ignore[method-assign]
    collection = from_mlflow(store, found.info.run_id)
    publish(write_report(collection), store, found.info.run_id)
    assert counted.written == 0, "nothing has changed since"
    answer = CliRunner().invoke(app, ["report", found.info.run_id])
    assert answer.exit_code == 0, answer.output
    assert "MLflow lacks" not in answer.output


@pytest.mark.slow
def test_a_stock_launcher_and_sync_make_it_too(command: Command) -> None:
    outcome = command(*GRID, "hydra/launcher=basic", tracking=True)
    assert outcome.code == 0, outcome.err
    assert {rank for rank, _ in tags(outcome).values()} == {"1", "2"}
    assert "report   " in outcome.out
    (outcome.sweep / "report.html").unlink()
    other = f"sqlite:///{outcome.folder}/other.db"
    answer = CliRunner().invoke(app, ["sync", str(outcome.sweep), "--uri", other])
    assert answer.exit_code == 0, answer.output
    store = MLflowStore.existing(other, "kdsweep")
    (again,) = store.search("tags.kdsweep.role = 'sweep'")
    assert again.data.tags["mlflow.note.content"]
    assert (outcome.sweep / "report.html").is_file()


@pytest.mark.slow
def test_a_report_that_fails_is_a_warning_and_the_sweep_has_ended(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(module, "publish", broken)
        outcome = command(*GRID, tracking=True)
    assert outcome.code == 0, outcome.err
    assert parent(outcome).info.status == "FINISHED"
    assert "MLflow did not take everything" in printed(outcome)
    assert "(no space left)" in printed(outcome)
    assert f"`kdsweep sync {outcome.sweep.relative_to(outcome.folder)}`" in printed(outcome)
    assert "searchFilter=" in outcome.out, "without a view the link has the filter"
    with monkeypatch.context() as patch:
        patch.setattr("kdsweep.report.files.write_report", broken)
        outcome = command(*GRID, "T=2")
    assert outcome.code == 0, outcome.err
    assert "no report was made (OSError: no space left): `kdsweep report" in printed(outcome)
    assert "report   " not in outcome.out


@pytest.mark.slow
def test_one_run_needs_no_report_and_none_is_made_where_it_is_not_wanted(command: Command) -> None:
    alone = command("loss=ce", "tracking.report=true")
    assert not (alone.sweep / "report.html").exists()
    unwanted = command("T=1,4", "tracking.report=false")
    assert not (unwanted.sweep / "report.html").exists()
    assert "report   " not in unwanted.out


@pytest.fixture
def store(fresh_database: Path) -> MLflowStore:
    return MLflowStore.existing(f"sqlite:///{fresh_database}", "elsewhere")


@pytest.mark.slow
def test_ranks_sort_as_text_and_what_people_wrote_stays(store: MLflowStore, tmp_path: Path) -> None:
    store.client.set_experiment_tag(store.experiment_id, "mlflow.note.content", "Mine.")
    sweep = made_sweep(store, tmp_path / "sweep", cells=11, seeds=2)
    collection = from_mlflow(store, sweep)
    publish(Report(collection, grid(collection.rows), []), store, sweep)
    found = store.search(f"tags.mlflow.parentRunId = '{sweep}'")
    ranks = {run.data.tags["kdsweep.cell"]: run.data.tags["kdsweep.rank"] for run in found}
    assert ranks["kl T=10 alpha=0.5"] == "01"
    assert ranks["ce"] == "11"
    verdicts = {
        run.data.tags["kdsweep.cell"]: run.data.tags.get("kdsweep.verdict") for run in found
    }
    assert verdicts["ce"] == "baseline"
    assert verdicts["kl T=10 alpha=0.5"] in ("best", "best, BEATS", "best, TIED")
    assert store.client.get_experiment(store.experiment_id).tags["mlflow.note.content"] == "Mine."


def test_a_verdict_that_holds_no_more_is_taken_away(store: MLflowStore, tmp_path: Path) -> None:
    sweep = made_sweep(store, tmp_path / "fading", cells=2, seeds=1)
    collection = from_mlflow(store, sweep)
    (worst,) = (str(r["mlflow_run_id"]) for r in collection.rows if r["loss"] == "ce")
    only = [r for r in collection.rows if r["loss"] == "kl"]
    store.set_tags(str(only[0]["mlflow_run_id"]), {"kdsweep.verdict": "LOSES"})
    publish(Report(collection, grid(collection.rows), []), store, sweep)
    assert store.client.get_run(worst).data.tags["kdsweep.verdict"] == "baseline"
    best = store.client.get_run(str(only[0]["mlflow_run_id"])).data.tags
    assert best["kdsweep.verdict"] == "best"


def test_what_is_the_same_in_all_runs_is_no_column() -> None:
    made = [row("kl", seed, 0.5, T=4.0, alpha=alpha) for seed in (0, 1) for alpha in (0.1, 0.9)]
    settings = [name for name in columns(made) if name.startswith("params.")]
    assert settings == ["params.`alpha`", "params.`seed`"]
    assert "params.`T`" in columns(None)


def test_verdicts() -> None:
    noise = [0.01, 0.0, 0.012, -0.01, 0.004]
    made = {"kl T=4": 0.9, "kl T=9": 0.7, "kl T=2": 0.801}
    taught = [row(cell, s, mean + e) for cell, mean in made.items() for s, e in enumerate(noise)]
    found = grid([*rows("ce", 0.8), *taught, row("kl T=1", 0, 0.1)])
    verdicts = {cell.name: verdict(found, cell).get("kdsweep.verdict") for cell in found.cells}
    assert verdicts == {
        "kl T=4": "best, BEATS",
        "kl T=2": "TIED",
        "ce": "baseline",
        "kl T=9": "LOSES",
        "kl T=1": None,
    }


def test_a_description_fits_into_a_tag(tmp_path: Path) -> None:
    made = [r for T in range(200) for r in rows(f"kl T={T} student.model.width=64", 0.8)]
    long = description(Report(RunCollection("many", [], tmp_path), grid(made), []))
    assert len(long) <= TAG_LENGTH
    shown = long.count("| kl T=")
    assert f"and {200 - shown} more cells." in long
    assert "report.html" in long
    short = description(Report(RunCollection("few", [], tmp_path), grid(rows("ce|x", 0.8)), []))
    assert "more cells" not in short
    assert r"ce\|x" in short


@pytest.mark.slow
def test_a_report_takes_a_tenth_of_its_sweep_at_most(command: Command) -> None:
    grid_of_nine = ["loss=kl", "T=1,4,16", "alpha=0.1,0.5,0.9", "seed=range(5)"]
    began = time.perf_counter()
    outcome = command(*grid_of_nine, "tracking=none", "tracking.report=false", tiny=False)
    trained = time.perf_counter()
    assert outcome.code == 0, outcome.err
    assert len(outcome.rows) == 45
    make_report(outcome.sweep)
    verdicts = time.perf_counter() - trained
    assert (outcome.sweep / "report.html").is_file()
    print(verdicts / (trained - began))
    assert verdicts < 0.1 * (trained - began)
