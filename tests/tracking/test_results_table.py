import csv
import io
from pathlib import Path
from typing import Any

from rich.console import Console

from kdsweep.common.files import write_json_atomic
from kdsweep.tracking.results_table import COLUMNS, caption, collect, ranked, table, write_csv


def result(run: int, **changes: Any) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS) | {
        "run": run,
        "cell": f"kl T={run}",
        "seed": 0,
        "loss": "kl",
        "student": "mlp",
        "status": "FINISHED",
        "val/acc": 0.9,
        "val/loss": 1.0,
        "test/acc": 0.8,
    }
    return row | changes


def rendered(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table as a wide terminal shows it."""
    console = Console(file=io.StringIO(), width=200, record=True)
    console.print(table(rows))
    lines = console.export_text().splitlines()
    cells = [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")]
        for line in lines
        if line.startswith(("│", "┃"))
    ]
    return cells[0], cells[1:]


def test_runs_are_collected_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2):
        (tmp_path / str(number)).mkdir()
        write_json_atomic(
            tmp_path / str(number) / "result.json", {"status": "FINISHED", "val/acc": 0.5}
        )
    (tmp_path / "3").mkdir()
    write_json_atomic(tmp_path / "3" / "run.json", {"cell": "ce", "seed": 1, "params": {}})
    (tmp_path / "4").mkdir()  # claimed, not started
    (tmp_path / "plots").mkdir()
    rows = collect(tmp_path)
    assert [row["run"] for row in rows] == [2, 3, 10]
    assert [row["status"] for row in rows] == ["FINISHED", "RUNNING", "FINISHED"]
    assert (rows[1]["cell"], rows[1]["seed"], rows[1]["val/acc"]) == ("ce", 1, None)
    assert all(tuple(row) == COLUMNS for row in rows)


def test_a_folded_job_has_the_mlflow_run_that_was_logged_later_for_the_trained_one(
    tmp_path: Path,
) -> None:
    def wrote(number: int, **changes: Any) -> None:
        (tmp_path / str(number)).mkdir()
        content = {"status": "FINISHED", "val/acc": 0.5, "mlflow_run_id": None} | changes
        write_json_atomic(tmp_path / str(number) / "result.json", content)

    wrote(0, mlflow_run_id="a")
    wrote(1, same_as="0")
    wrote(2, same_as="3")  # a trained run that is not there
    assert [row["mlflow_run_id"] for row in collect(tmp_path)] == ["a", "a", None]


def test_the_csv_has_a_row_per_run_and_run_comes_first(tmp_path: Path) -> None:
    rows = [result(0, cell='mse, "x"'), result(1, **{"test/acc": None})]
    write_csv(rows, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        header, *found = list(csv.reader(file))
    assert header[:4] == ["run", "cell", "seed", "val/acc"]
    assert [row[:2] for row in found] == [["0", 'mse, "x"'], ["1", "kl T=1"]]
    assert found[0][header.index("test/acc")] == "0.8"
    assert found[1][header.index("test/acc")] == ""


def test_the_best_run_comes_first_ties_by_loss_and_runs_without_a_value_last() -> None:
    rows = [
        result(0, **{"val/acc": None, "status": "FAILED"}),
        result(1, **{"val/acc": 0.9, "val/loss": 0.5}),
        result(2, **{"val/acc": 0.95}),
        result(3, **{"val/acc": 0.9, "val/loss": 0.4}),
        result(4, **{"val/acc": 0.9, "val/loss": None}),
        result(5, **{"val/acc": 0.0}),
    ]
    assert [row["run"] for row in ranked(rows)] == [2, 3, 1, 4, 5, 0]


def test_a_plain_table() -> None:
    header, rows = rendered([result(0), result(1, **{"val/acc": 0.98765, "test/acc": 0.5})])
    assert header == ["run", "cell", "seed", "val/acc", "test/acc"]
    assert rows == [["1", "kl T=1", "0", "98.77", "50.00"], ["0", "kl T=0", "0", "90.00", "80.00"]]


def ce(run: int, *, rest: str = "", **changes: Any) -> dict[str, Any]:
    """A cross-entropy run, which stands below the others in the table."""
    row = result(run, loss="ce", cell=f"ce {rest}".strip(), **{"val/acc": 0.1})
    return row | changes


def differences(rows: list[dict[str, Any]]) -> dict[str, str]:
    """run -> vs ce, without the ce runs."""
    header, found = rendered(rows)
    column = header.index("vs ce")
    assert all(not row[column] for row in found if row[1].startswith("ce"))
    return {row[0]: row[column] for row in found if not row[1].startswith("ce")}


def test_the_difference_to_ce_is_that_of_the_same_seed() -> None:
    rows = [
        ce(0, seed=0, **{"test/acc": 0.70}),
        ce(1, seed=1, **{"test/acc": 0.60}),
        ce(2, seed=0, **{"test/acc": 0.0}, same_as="1"),
        result(3, seed=0, cell="kl T=4 alpha=0.5", **{"test/acc": 0.7123}),
        result(4, seed=1, cell="fitnet+kl T=1 alpha=0.9", loss="fitnet+kl", **{"test/acc": 0.55}),
        result(5, seed=2),
        result(6, seed=0, **{"test/acc": None}),
    ]
    assert differences(rows) == {"3": "+1.23", "4": "-5.00", "5": "", "6": ""}


def test_the_difference_to_ce_is_that_of_the_same_cell_apart_from_the_loss() -> None:
    rows = [
        ce(0, rest="optimizer.lr=0.001", **{"test/acc": 0.5}),
        ce(1, rest="optimizer.lr=0.02", **{"test/acc": 0.7}),
        result(2, cell="kl T=4 alpha=0.5 optimizer.lr=0.001", **{"test/acc": 0.6}),
        result(3, cell="kl T=4 alpha=0.5 optimizer.lr=0.02", **{"test/acc": 0.6}),
        result(4, cell="kl T=4 alpha=0.5 optimizer.lr=0.1", **{"test/acc": 0.6}),
    ]
    assert differences(rows) == {"2": "+10.00", "3": "-10.00", "4": ""}


def test_what_only_the_soft_terms_follow_does_not_part_a_run_from_its_baseline() -> None:
    # ce is the same run under every teacher: it is trained once, under the first one's name.
    rows = [
        ce(0, rest="teacher=cnn student=mlp", **{"test/acc": 0.5}),
        ce(1, rest="teacher=cnn student=mlp", **{"test/acc": 0.5}, same_as="0"),
        result(2, cell="kl T=4 alpha=0.5 loss.kl.weight=2 teacher=vgg16 student=mlp"),
        result(3, cell="kl T=4 alpha=0.5 teacher.seed=1 student=mlp"),
        result(4, cell="kl T=4 alpha=0.5 student=cnn"),
    ]
    assert differences(rows) == {"2": "+30.00", "3": "+30.00", "4": ""}


def test_a_status_column_appears_only_if_some_run_did_not_finish() -> None:
    failed = result(1, **{"status": "FAILED", "reason": "loss is nan [epoch 3]", "val/acc": None})
    assert "status" not in rendered([result(0)])[0]
    header, rows = rendered([result(0), failed])
    assert [row[header.index("status")] for row in rows] == [
        "FINISHED",
        "FAILED: loss is nan [epoch 3]",
    ]
    assert rows[1][header.index("val/acc")] == ""


def test_a_folded_run_is_counted_but_not_shown_again() -> None:
    rows = [result(0), result(1, same_as="0"), result(2)]
    assert [cells[0] for cells in rendered(rows)[1]] == ["0", "2"]
    assert "1 more job was the same as a run shown here" in caption(rows)
    assert "more job" not in caption(rows[:1])


def test_the_caption_explains_how_runs_were_chosen_and_warns_of_one_seed() -> None:
    two_cells = [result(0), result(1)]
    assert "Sorted by validation" in caption([result(0)])
    assert "One seed" not in caption([result(0)])
    assert "One seed cannot rank cells" in caption(two_cells)
    assert "One seed" not in caption([*two_cells, result(2, seed=1)])
