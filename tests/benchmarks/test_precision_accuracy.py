"""benchmarks/precision_accuracy.py: its differences, its table, its verdict."""

import json
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]


@pytest.fixture
def script(load: Any) -> Any:
    return load("precision_accuracy")


def results(moved_by: float = 0.0) -> dict[str, Any]:
    """Two cells and three seeds; bf16 moves the second cell."""
    base = {"kl T=1": (0.5, 0.6, 0.7), "kl T=4": (0.4, 0.5, 0.6)}
    noise = (0.01, -0.01, 0.0)

    def rows(cell_shifts: dict[str, float]) -> list[dict[str, Any]]:
        return [
            {"cell": cell, "seed": seed, "val/acc": acc + shift, "test/acc": acc + shift}
            for cell, accs in base.items()
            for seed, acc in enumerate(accs)
            for shift in [cell_shifts[cell] + (noise[seed] if any(cell_shifts.values()) else 0)]
        ]

    still = dict.fromkeys(base, 0.0)
    return {
        "machine": {"cpu": "Made CPU", "instructions": "AVX2", "torch": "2"},
        "extent": {"seeds": 3, "epochs": 1},
        "rows": {
            "fp32 contiguous": rows(still),
            "bf16 channels_last": rows(still | {"kl T=4": moved_by}),
        },
    }


def test_differences_are_paired_by_seed(script: Any) -> None:
    rows = results(moved_by=0.02)["rows"]
    rows["bf16 channels_last"].reverse()  # the order of the rows is of no matter
    paired = script.paired(rows, "bf16 channels_last", "kl T=4", "test/acc")
    assert paired.mean == pytest.approx(2.0)
    assert paired.error == pytest.approx(1.0 / 3**0.5)  # sd 1 point of three seeds
    over_cells = script.paired_over_cells(rows, "bf16 channels_last", "test/acc")
    assert over_cells.mean == pytest.approx(1.0)
    assert over_cells.error == pytest.approx(1.0 / 3**0.5)


def test_a_mean_that_moves_by_more_than_two_errors_is_counted(script: Any) -> None:
    assert script.Paired(-1.0, 0.5).holds
    assert not script.Paired(1.01, 0.5).holds
    text = script.report(results(moved_by=0.02))
    assert "Made CPU; instructions AVX2, torch 2. 3 seeds, 1 epochs." in text
    assert "| kl T=4 | test/acc | 50.00 | +2.00 (0.58) |" in text
    assert "| all cells | test/acc |  | +1.00 (0.58) |" in text
    assert text.endswith("2 of 4 means of cells are within 2 paired standard errors.")


def test_the_exit_code_is_that_of_the_verdict(script: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for moved_by, code in ((0.001, 0), (0.02, 3)):
        path.write_text(json.dumps(results(moved_by)))
        assert script.main(["--out", str(path)]) == code


def test_the_words_of_a_setting_are_those_of_students_and_teacher(script: Any) -> None:
    assert script.words_of("bf16 channels_last") == (
        *("trainer.precision=bf16", "trainer.memory_format=channels_last"),
        *("teacher.precision=bf16", "teacher.memory_format=channels_last"),
    )


def test_one_seed_has_no_standard_error(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script.parse_options(["--seeds", "1"])
    assert "--seeds must be at least 2, got 1" in capsys.readouterr().err


def test_the_published_table_is_that_on_record(script: Any, load: Any) -> None:
    page = (TOP / "docs/performance.md").read_text()
    known = script.RESULTS
    expected = script.report(json.loads(known.read_text())) if known.is_file() else ""
    assert load("speed.pages").block(page, script.BLOCK) == expected
