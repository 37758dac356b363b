"""The cost of a search, before its runs are known."""

import pytest
from commands import Command

SEARCH = ["search=bayes", "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2", "dry_run=true"]


def cells(out: str) -> list[list[str]]:
    """The first three columns of the printed table."""
    lines = [line for line in out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")][:3] for line in lines]


@pytest.mark.slow
def test_every_trial_is_counted_with_all_its_seeds(command: Command) -> None:
    outcome = command(*SEARCH, "search.seeds=[0,1]", "search.finalist_seeds=4")
    assert outcome.code == 0, outcome.err
    cost = "at most 5 trials with seed=0,1, then 3 finalists with seed=2,3,4,5; nothing was trained"
    assert cost in " ".join(outcome.out.split())
    assert "each taken to cost what kl T=4 alpha=0.5 seed=0 costs" in outcome.out
    trials = [row for row in cells(outcome.out) if not row[0].startswith("teacher")]
    # Blocks of two and one left over, for each seed; then the finalists together.
    assert [row[1] for row in trials] == ["4 x 2", "2 x 1", "4 x 3"]


@pytest.mark.ci
def test_an_estimate_creates_nothing(command: Command) -> None:
    outcome = command(*SEARCH, "search.finalists=0", "tracking=mlflow", "teacher.store=own")
    assert outcome.code == 0, outcome.err
    assert "at most 5 trials with seed=0; nothing was trained" in outcome.out
    assert not [path for path in outcome.folder.rglob("*") if path.is_file()]


@pytest.mark.ci
def test_the_stock_sweeper_has_no_estimate(command: Command) -> None:
    outcome = command(*SEARCH, "hydra/sweeper=optuna")
    assert outcome.code == 1
    assert "dry_run must be false in a search, got true" in outcome.err
