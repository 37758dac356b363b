import math
from pathlib import Path

import pytest

from kdsweep.tracking.run_dir import (
    append_row,
    by_number,
    damaged_lines,
    make_row,
    read_rows,
    truncate_rows,
)


def test_rows_are_read_in_the_order_they_were_added(tmp_path: Path) -> None:
    rows = [make_row(epoch, 1000 + epoch, {"val/acc": epoch / 10}) for epoch in range(3)]
    for row in rows:
        append_row(tmp_path, row)
    assert read_rows(tmp_path) == rows


def test_a_value_that_is_not_finite_is_null(tmp_path: Path) -> None:
    append_row(tmp_path, make_row(0, 1, {"train/loss": math.nan, "val/loss": math.inf}))
    assert read_rows(tmp_path)[0]["metrics"] == {"train/loss": None, "val/loss": None}
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_half_written_line_is_passed_over(tmp_path: Path) -> None:
    append_row(tmp_path, make_row(0, 1, {"val/acc": 0.5}))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "ti')
    assert [row["epoch"] for row in read_rows(tmp_path)] == [0]


def test_cutting_drops_the_epochs_and_tests_that_will_be_measured_again(tmp_path: Path) -> None:
    for epoch in range(4):
        append_row(tmp_path, make_row(epoch, 1, {"val/acc": 0.5}))
    append_row(tmp_path, make_row(3, 1, {"test/acc": 0.5}))
    truncate_rows(tmp_path, 4)
    assert [row["metrics"] for row in read_rows(tmp_path)] == [{"val/acc": 0.5}] * 4
    truncate_rows(tmp_path, 2)
    assert [row["epoch"] for row in read_rows(tmp_path)] == [0, 1]


def test_a_folder_without_rows_has_none(tmp_path: Path) -> None:
    assert read_rows(tmp_path) == []


def test_folders_are_in_the_order_of_their_numbers() -> None:
    names = ["10/seed-0", "2/seed-10", "2/seed-9", "teacher", "1", "10"]
    assert sorted(names, key=by_number) == [
        "1",
        "2/seed-9",
        "2/seed-10",
        "10",
        "10/seed-0",
        "teacher",
    ]


def test_lines_that_hold_no_row_are_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append_row(tmp_path, make_row(0, 1, {"val/acc": 0.5}))
    harm = [
        b"[1, 2]",
        b'{"epoch": "one", "time": 1, "metrics": {}}',
        b'{"epoch": 1, "time": 1, "metrics": {"val/acc": "high"}}',
        b'{"epoch": 1, "time": 1, "metrics": [0.5]}',
        b"\xff\xfe",
        b"7",
    ]
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"\n".join([*harm, b""]))
    append_row(tmp_path, make_row(2, 1, {"val/acc": 0.6}))
    assert [row["epoch"] for row in read_rows(tmp_path)] == [0, 2]
    assert f"{tmp_path}/metrics.jsonl: passed over 6 lines that hold no row" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        b'{"epoch": 1, "time"',
        b"[1, 2]",
        b"7",
        b'{"epoch": 1, "time": 2}',
        b'{"epoch": "1", "time": 2, "metrics": {}}',
        b'{"epoch": 1, "time": 2, "metrics": {"val/acc": "high"}}',
        b'{"epoch": 1, "time": 2, "metrics": [0.5]}',
        b"\xff\xfe",
        b"\x00\x00\x00",
    ],
)
def test_a_damaged_line_is_no_row_and_has_a_number(tmp_path: Path, line: bytes) -> None:
    for epoch in (0, 2):
        append_row(tmp_path, make_row(epoch, 1, {"val/acc": 0.5}))
        with (tmp_path / "metrics.jsonl").open("ab") as file:
            file.write(line + b"\n" if epoch == 0 else b"")
    assert [row["epoch"] for row in read_rows(tmp_path)] == [0, 2]
    assert damaged_lines(tmp_path) == [2]
