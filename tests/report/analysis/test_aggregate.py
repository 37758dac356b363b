"""Cells: what was chosen, what it is compared with, and what became of runs without a result."""

from rows import row, rows

from kdsweep.report.analysis.aggregate import grid


def test_cells_are_ranked_by_validation_and_shown_on_test() -> None:
    low = [{**found, "val/acc": 0.95} for found in rows("kl T=4", 0.70)]
    found = grid([*rows("kl T=1", 0.90), *low])
    assert [cell.name for cell in found.cells] == ["kl T=4", "kl T=1"]
    assert found.best is not None
    assert found.best.test is not None
    assert round(found.best.test.mean, 3) == 0.701
    assert round(found.optimism or 0, 3) == 0.249


def test_ties_on_validation_are_settled_by_the_loss_there() -> None:
    made = [{**r, "val/loss": 0.4} for r in rows("kl T=1", 0.9)]
    made += [{**r, "val/loss": 0.3} for r in reversed(rows("kl T=4", 0.9))]
    assert [cell.name for cell in grid(made).cells] == ["kl T=4", "kl T=1"]


def test_every_cell_is_compared_with_the_baseline_and_with_the_best() -> None:
    better = [{**r, "test/acc": r["test/acc"] + 0.001 * r["seed"]} for r in rows("kl T=4", 0.9)]
    found = grid([*rows("ce", 0.8), *better, *rows("kl T=1", 0.8, spread=-1.0)])
    by_name = {cell.name: cell for cell in found.cells}
    best, same, baseline = by_name["kl T=4"], by_name["kl T=1"], by_name["ce"]
    assert found.best is best
    assert best.against_baseline is not None
    assert best.against_baseline.verdict == "BEATS"
    assert best.against_best is None
    assert best.is_tied_with_best
    assert same.against_baseline is not None
    assert same.against_baseline.verdict == "TIED"
    assert not same.is_tied_with_best
    assert baseline.against_baseline is None
    assert found.baselines == {"kl T=4": "ce", "kl T=1": "ce"}


def test_a_baseline_is_the_same_in_all_but_what_teaches() -> None:
    made = [*rows("ce student=cnn", 0.8), *rows("ce student=mlp", 0.7)]
    made += [*rows("kl T=4 student=cnn", 0.9), *rows("kl T=4 student=mlp", 0.9)]
    assert grid(made).baselines == {
        "kl T=4 student=cnn": "ce student=cnn",
        "kl T=4 student=mlp": "ce student=mlp",
    }


def test_runs_without_a_result_are_counted_and_not_averaged() -> None:
    failed = [row("kl T=9", seed, None) for seed in range(2)]
    running = row("kl T=4", 7, None, status="RUNNING")
    folded = row("kl T=4", 9, 0.1, same_as="3")
    found = grid([*rows("kl T=4", 0.9), running, folded, *failed])
    best, last = found.cells
    assert [row["status"] for row in best.rows] == ["FINISHED"] * 5 + ["RUNNING"]
    assert best.test is not None
    assert best.test.n == 5
    assert (last.name, last.test) == ("kl T=9", None)
    assert [row["status"] for row in last.rows] == ["FAILED"] * 2
    assert found.seeds == 5


def test_without_a_finished_run_there_is_no_best() -> None:
    found = grid([row("kl T=9", 0, None)])
    assert (found.best, found.seeds, found.optimism) == (None, 0, None)
    assert grid([]).cells == []


def test_with_one_seed_nothing_is_concluded() -> None:
    found = grid([row("ce", 0, 0.8), row("kl T=4", 0, 0.9)])
    assert found.seeds == 1
    (cell,) = (cell for cell in found.cells if cell.name == "kl T=4")
    assert cell.against_baseline is not None
    assert cell.against_baseline.verdict is None


def test_the_best_cell_is_none_of_those_with_few_seeds() -> None:
    lucky = [row(f"kl T={T}", 0, 0.99) for T in (1, 2, 8)]
    found = grid([*lucky, *rows("kl T=4", 0.9), *rows("ce", 0.8, seeds=3)])
    assert found.best is not None
    assert found.best.name == "kl T=4"
    assert [cell.name for cell in found.cells[:2]] == ["kl T=4", "ce"]
    assert {cell.name for cell in found.cells if cell.is_tied_with_best} == {"kl T=4"}


def test_one_comparison_has_one_verdict() -> None:
    made = [*rows("ce", 0.80), *rows("kl T=4", 0.90, 0.5), *rows("kl T=1", 0.85, 0.7)]
    found = {cell.name: cell for cell in grid(made).cells}
    ours, theirs = found["kl T=4"].against_baseline, found["ce"].against_best
    assert ours is not None
    assert theirs == ours.reversed
    assert (ours.verdict, theirs.verdict) == ("BEATS", "LOSES")
