"""`kdsweep leaderboard`: the best cells over all sweeps, those of each data set by themselves."""

from pathlib import Path

import pytest
from experiments import made_run, made_sweep
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.report.leaderboard import Leaderboard, LeaderboardEntry, leaderboards
from kdsweep.tracking.mlflow.store import MLflowStore


@pytest.fixture
def store(fresh_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MLflowStore:
    (tmp_path / "mlflow.db").write_bytes(fresh_database.read_bytes())
    monkeypatch.chdir(tmp_path)
    return MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)


def leaderboard(*words: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["leaderboard", *words], env={"COLUMNS": "120"})
    return answer.exit_code, answer.output


def board(store: MLflowStore, dataset: str = "digits") -> Leaderboard:
    (found,) = (found for found in leaderboards(store) if found.dataset == dataset)
    return found


@pytest.mark.slow
def test_cells_of_all_sweeps_are_sorted_by_validation(store: MLflowStore, tmp_path: Path) -> None:
    first = made_sweep(store, tmp_path / "multirun/2026-11-21/10-00-00", cells=3, seeds=3)
    made_sweep(store, tmp_path / "multirun/bayes", cells=6, seeds=2)
    found = board(store).entries
    assert [(s.cell, s.sweep, len(s.val)) for s in found[:2]] == [
        ("kl T=5 alpha=0.5", "bayes", 2),
        ("kl T=2 alpha=0.5", "2026-11-21/10-00-00", 3),
    ]
    assert found[0].val == pytest.approx([0.505, 0.509])
    assert found[0].test == pytest.approx([0.495, 0.499])
    best = store.client.get_run(found[1].run_id)
    assert best.data.tags["mlflow.parentRunId"] == first
    assert best.data.metrics["val/acc"] == max(found[1].val)
    code, message = leaderboard("--limit", "1")
    assert code == 0, message
    assert "50.70 ±0.28" in message
    assert found[0].run_id[:8] in message
    assert "and 8 more cells: --limit 9" in message
    assert "kl T=2" not in message


def test_other_images_are_another_table(store: MLflowStore, tmp_path: Path) -> None:
    made_sweep(store, tmp_path / "one", cells=2, seeds=1)
    made_sweep(store, tmp_path / "two", cells=2, seeds=1, **{"dataset.name": "cifar10"})
    made_sweep(store, tmp_path / "three", cells=2, seeds=1, **{"dataset.split_seed": "7"})
    found = leaderboards(store)
    assert [(b.dataset, b.details) for b in found] == [
        ("digits", ""),
        ("cifar10", ""),
        ("digits", "dataset.split_seed=7"),
    ]
    assert [[s.sweep for s in b.entries] for b in found] == [
        ["one"] * 2,
        ["two"] * 2,
        ["three"] * 2,
    ]
    _, message = leaderboard()
    assert "digits (dataset.split_seed=7)" in message
    assert "cifar10" in message


def test_single_runs_are_one_cell_if_they_differ_in_the_seed_alone(
    store: MLflowStore, tmp_path: Path
) -> None:
    for seed in (0, 1):
        made_run(store, "", tmp_path / str(seed), 4, seed)
    made_run(store, "", tmp_path / "9", 4, 2, **{"optimizer.lr": "0.9"})
    assert sorted(len(entry.val) for entry in board(store).entries) == [1, 2]


def test_what_has_not_finished_does_not_count(store: MLflowStore, tmp_path: Path) -> None:
    sweep = made_sweep(store, tmp_path / "one", cells=2, seeds=2)
    (run, *_) = store.search(f"tags.mlflow.parentRunId = '{sweep}' and params.loss = 'kl'")
    store.client.set_terminated(run.info.run_id, "FAILED")
    assert {s.cell: len(s.val) for s in board(store).entries} == {"kl T=1 alpha=0.5": 1, "ce": 2}


def test_without_validation_cells_come_last_by_test() -> None:
    chosen = LeaderboardEntry("a", "", [0.5], [0.1])
    blind = [LeaderboardEntry("b", "", [], [0.9]), LeaderboardEntry("c", "", [], [0.95])]
    assert [s.cell for s in sorted([*blind, chosen], key=lambda s: s.rank)] == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--experiment must have a run that has finished, got none"),
        (["--experiment", "x"], "--experiment must be one of Default, elsewhere, kdsweep, got x"),
        (
            ["--uri", "sqlite:///y.db"],
            "--uri must be an MLflow store, got sqlite:///y.db, which is",
        ),
        (["--uri", "y"], "--uri must be sqlite:///FILE"),
    ],
)
def test_where_there_is_nothing_to_rank_there_is_an_error(
    store: MLflowStore, words: list[str], message: str
) -> None:
    code, answer = leaderboard(*words)
    assert code == 1
    assert answer.startswith(message)
    assert not Path("y.db").exists()
