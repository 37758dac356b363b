"""The conclusions in sentences: what was shown, and no more."""

from typing import Any

from rows import row, rows

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.cell_table import cell_table, terminal_table
from kdsweep.report.conclusions import conclusions


def text_of(*made: list[dict[str, Any]]) -> str:
    return "\n".join(conclusions(grid([r for some in made for r in some])))


def shaken(cell: str, mean: float) -> list[dict[str, Any]]:
    """Rows whose noise is not that of `rows`."""
    return [row(cell, seed, mean + e) for seed, e in enumerate([0.01, 0.0, 0.012, -0.01, 0.004])]


def test_a_winner_is_called_one() -> None:
    text = text_of(rows("ce", 0.80), shaken("kl T=4", 0.90))
    assert text.startswith("kl T=4 beats ce: +10.26 [")
    assert "points on test, p = " in text
    assert "It is better than the other cell." in text


def test_a_loser_is_called_one_although_it_came_first_on_validation() -> None:
    lucky = [{**r, "val/acc": 0.99} for r in shaken("kl T=4", 0.70)]
    assert "kl T=4 loses to ce" in text_of(rows("ce", 0.80), lucky)


def test_a_tie_has_the_number_of_seeds_it_needs() -> None:
    text = text_of(rows("ce", 0.80), shaken("kl T=4", 0.801))
    assert "is not shown to differ from ce" in text
    assert "5 seeds find a difference of" in text
    assert "needs about" in text
    assert "Statistically tied with it: ce." in text


def test_ties_are_counted_and_named() -> None:
    text = text_of(rows("ce", 0.80), shaken("kl T=4", 0.901), rows("kl T=1", 0.9))
    assert "Statistically tied with it, 1 of 2 other cells: kl T=1." in text


def test_a_cell_that_is_better_on_test_than_the_chosen_one_is_named() -> None:
    chosen = [{**r, "val/acc": 0.99} for r in shaken("kl T=1", 0.80)]
    text = text_of(chosen, rows("kl T=4", 0.9), rows("kl T=8", 0.8))
    assert "Better than it on test, 1 of 2 other cells: kl T=4." in text
    assert "Statistically tied with it, 1 of 2 other cells: kl T=8." in text
    table = {line[0]: line[-1] for line in cell_table(grid([*chosen, *rows("kl T=4", 0.9)])).rows}
    assert table == {"kl T=1": "best", "kl T=4": "better"}


def test_what_was_not_tested_is_no_tie() -> None:
    text = text_of([row("kl T=1", 0, 0.99)], rows("kl T=4", 0.9), rows("kl T=8", 0.9))
    assert text.startswith("kl T=4 came first on validation: 90.06")  # one seed is no rank
    assert "Not compared with it, for lack of shared seeds or of spread: 2 other cells." in text
    assert "tied" not in text


def test_missing_runs_are_counted_and_named() -> None:
    found = grid(rows("kl T=4", 0.9))
    assert conclusions(found, ["7"])[-1] == "1 run was requested and never started: 7."
    assert conclusions(found, [str(n) for n in range(12)])[-1].startswith(
        "12 runs were requested and"
    )


def test_one_seed_concludes_nothing_and_still_shows_the_number() -> None:
    text = text_of(rows("ce", 0.8, seeds=1), rows("kl T=4", 0.9, seeds=1))
    assert text.startswith("One seed: nothing can be concluded. kl T=4 came first on validation")
    assert "90.00 %" in text
    assert "beats" not in text


def test_without_validation_the_test_set_chooses_nothing() -> None:
    made = [{**r, "val/acc": None} for r in [*rows("ce", 0.8), *shaken("kl T=4", 0.9)]]
    assert text_of(made).startswith("Nothing was held out to choose by")
    table = terminal_table(grid(made))
    verdicts = {line[0]: line[table.header.index("verdict")] for line in table.rows}
    assert verdicts == {"ce": "", "kl T=4": "BEATS"}
    assert "to best" not in table.header


def test_without_a_baseline_the_best_is_only_named() -> None:
    text = text_of(rows("kl T=1", 0.8), shaken("kl T=4", 0.9))
    assert text.startswith("kl T=4 came first on validation: 90.")


def test_what_did_not_finish_is_counted() -> None:
    failed = [row("kl T=9", seed, None) for seed in range(2)]
    running = [row("kl T=4", 9, None, status="RUNNING")]
    assert "Not in any mean: 2 FAILED, 1 RUNNING." in text_of(rows("kl T=4", 0.9), failed, running)
    assert text_of(failed).startswith("No run has finished")


def test_the_gap_of_the_chosen_cell_between_validation_and_test_is_there() -> None:
    lucky = [{**r, "val/acc": r["val/acc"] + 0.05} for r in rows("kl T=4", 0.90)]
    text = text_of(rows("kl T=1", 0.90), lucky)
    assert "chosen by validation among 2 cells; its mean there is +5.00 points" in text


def test_the_table_has_a_line_a_cell_with_verdict_and_tie() -> None:
    made = [*rows("ce", 0.80), *shaken("kl T=4", 0.90), *shaken("kl T=1", 0.899)]
    table = cell_table(grid(made))
    found = {line[0]: dict(zip(table.header[6:], line[6:], strict=True)) for line in table.rows}
    assert {name: row["verdict"] for name, row in found.items()} == {
        "kl T=4": "BEATS",
        "kl T=1": "BEATS",
        "ce": "",
    }
    assert found["kl T=4"]["to best"] == "best"
    assert found["ce"]["to best"] == "worse"
    assert 0 < float(found["kl T=4"]["p"]) < 0.001
    assert found["kl T=4"]["vs ce"].startswith("+10.")


def test_on_a_terminal_a_column_that_no_cell_has_is_left_out() -> None:
    table = terminal_table(grid(rows("kl T=4", 0.9, seeds=1)))
    assert table.header == ("cell", "n", "val/acc", "test/acc", "to best")
    assert terminal_table(grid([])).rows == []
