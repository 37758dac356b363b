"""`kdsweep report`, the real command, on a real sweep."""

import csv
from pathlib import Path

import pytest
from commands import Command
from typer.testing import CliRunner

from kdsweep.cli import app


def report(*words: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["report", *words])
    return answer.exit_code, answer.output


def test_the_latest_sweep_is_told_of(command: Command) -> None:
    assert command("loss=ce", "seed=0,1").code == 0
    outcome = command("loss=ce,kl", "seed=0,1,2")
    assert outcome.code == 0, outcome.err
    code, said = report()
    assert code == 0, said
    page = (outcome.sweep / "report.md").read_text()
    assert page.startswith("# ")
    assert "| kl T=4 alpha=0.5 | 3 |" in page
    assert "| ce | 3 |" in page
    assert str(outcome.sweep.relative_to(Path.cwd()) / "report.md") in said
    with (outcome.sweep / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6
    assert report(str(outcome.sweep))[0] == 0


def test_a_table_fits_a_terminal(command: Command) -> None:
    assert command("loss=ce,kl", "seed=0,1", "T=1,4").code == 0
    _, said = report()
    assert all(len(line) <= 80 for line in said.splitlines() if not line.startswith("report"))
    assert "…" not in said


@pytest.mark.parametrize("words", [[], ["nowhere"]])
def test_without_a_sweep_there_is_nothing_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = report(*words)
    assert code == 1
    assert "SWEEP must be a sweep's folder, got n" in said
    assert "Traceback" not in said
