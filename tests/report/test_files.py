"""`kdsweep report`, the real command, on a real sweep, and the files that it writes."""

import csv
import json
import time
from pathlib import Path

import pytest
from commands import Outcome, copy_of
from measured import ce_rows, measured, soft_rows
from rows import Row, row
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.report.files import FILES, write_report
from kdsweep.report.render.markdown import markdown
from kdsweep.report.report import Report, report
from kdsweep.report.sources.collection import from_folder
from kdsweep.tracking.find_sweep import latest_sweep
from kdsweep.tracking.run_dir import METRICS, RESULT


def run_report(*words: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["report", *words])
    return answer.exit_code, answer.output


@pytest.mark.ci
def test_the_latest_sweep_is_reported(
    reported: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = copy_of(reported, tmp_path)
    for name in FILES:
        (outcome.sweep / name).unlink()
    earlier = tmp_path / "multirun" / "earlier" / "sweep.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text('{"created": 1.0, "name": "T=1,4"}')
    monkeypatch.chdir(tmp_path)
    code, output = run_report()
    assert code == 0, output
    page = (outcome.sweep / "report.md").read_text()
    assert page.startswith("# ")
    assert "| kl T=4 alpha=0.5 | 2 |" in page
    assert "| ce | 2 |" in page
    assert "could not be made" not in page
    assert str(outcome.sweep.relative_to(Path.cwd()) / "report.html") in output
    assert all(len(line) <= 80 for line in output.splitlines() if not line.startswith("report"))
    assert "…" not in output
    with (outcome.sweep / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


@pytest.mark.parametrize("words", [[], ["nowhere"]])
def test_without_a_sweep_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run_report(*words)
    assert code == 1
    assert output.startswith("SWEEP must be a sweep's folder")
    assert "Traceback" not in output


def test_a_damaged_note_is_named_and_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, note in (("bad", '{"created'), ("good", '{"created": 1.0, "name": "T=1,4"}')):
        (tmp_path / "multirun" / name).mkdir(parents=True)
        (tmp_path / "multirun" / name / "sweep.json").write_text(note)
    assert latest_sweep() == Path("multirun/good")
    code, output = run_report("multirun/bad")
    assert code == 1
    assert "SWEEP must be a sweep's folder, got multirun/bad" in output
    assert "Traceback" not in output


@pytest.mark.ci
def test_all_files_are_written_and_again_the_same(tmp_path: Path) -> None:
    made = measured([*ce_rows(), *soft_rows()], tmp_path / "new")
    write_report(made)
    assert sorted(path.name for path in made.folder.iterdir()) == sorted(FILES)
    first = {name: (made.folder / name).read_bytes() for name in FILES}
    write_report(made)
    assert {name: (made.folder / name).read_bytes() for name in FILES} == first


def test_the_text_has_every_sentence_and_every_table(made: Report) -> None:
    text = markdown(made)
    assert len(made.sections) > 6
    for section in made.sections:
        assert f"\n## {section.title}\n" in text
        assert all(sentence in text for sentence in section.sentences)
        for table in section.tables:
            assert f"| {' | '.join(table.header)} |" in text
            assert all(f"| {' | '.join(line)} |" in text for line in table.rows)


def test_a_bar_in_a_name_does_not_break_the_table() -> None:
    text = markdown(report(measured([{**r, "loss": "kl"} for r in [row("kl a=b|c", 0, 0.9)]])))
    assert "| kl a=b\\|c | 1 |" in text


def folder(home: Path, made: list[Row], asked: int) -> Path:
    """A sweep's folder as training leaves it, but for what a report does not read."""
    home.mkdir(parents=True)
    for number, result in enumerate(made):
        (home / str(number)).mkdir()
        (home / str(number) / RESULT).write_text(json.dumps(result))
        epochs = [{"epoch": e, "time": e, "metrics": {"val/acc": 0.1 * e}} for e in range(5)]
        (home / str(number) / METRICS).write_text("\n".join(map(json.dumps, epochs)))
    note = {"name": "made", "created": 1.0, "tracking_uri": None, "experiment_id": None}
    fingerprints = {str(number): f"{number:016x}" for number in range(asked)}
    (home / "sweep.json").write_text(json.dumps({**note, "fingerprints": fingerprints}))
    return home


@pytest.mark.ci
def test_missing_failed_pruned_and_running_runs_are_listed(tmp_path: Path) -> None:
    made = soft_rows(seeds=3)
    for place, status in ((0, "FAILED"), (4, "PRUNED"), (8, "RUNNING")):
        made[place] |= {"status": status, "test/acc": None, "val/acc": None, "reason": None}
    made[0]["reason"] = "loss is not finite"
    home = folder(tmp_path / "sweep", made, asked=len(made) + 2)
    found = write_report(from_folder(home))
    text = (home / "report.md").read_text()
    assert "Not in any mean: 1 FAILED, 1 PRUNED, 1 RUNNING." in found.conclusions
    assert "2 runs were requested and never started: 18, 19." in found.conclusions
    assert "5 of 20 runs have no result." in text
    assert "| 0 | kl T=1 alpha=0.5 | 0 | FAILED | loss is not finite |" in text
    assert "| 18 |  |  | MISSING |" in text
    assert "Cells with fewer seeds than others: " in text
    assert "| kl T=1 alpha=0.5 | 2 |" in text


@pytest.mark.ci
def test_with_one_seed_the_numbers_are_shown_and_nothing_is_concluded(tmp_path: Path) -> None:
    home = folder(tmp_path / "sweep", [*ce_rows(seeds=1), *soft_rows(seeds=1)], asked=7)
    write_report(from_folder(home))
    text = (home / "report.md").read_text()
    assert "One seed: nothing can be concluded." in text
    assert "| kl T=4 alpha=0.9 | 1 | 93." in text
    assert not any(word in text for word in ("BEATS", "LOSES", "TIED", "beats"))


def test_of_nothing_no_part_has_anything_to_say() -> None:
    assert report(measured([])).sections == []


@pytest.mark.slow
def test_a_thousand_runs_take_seconds(tmp_path: Path) -> None:
    """Processor seconds, so that a busy machine does not fail it."""

    def seconds(cells: int) -> float:
        Ts, rest = (1.0, 2.0, 4.0, 8.0), [f"optimizer.lr={n}" for n in range(cells // 4)]
        made = [r for words in rest for r in soft_rows(Ts, (0.5,), rest=words)]
        home = folder(tmp_path / str(cells), made, asked=len(made))
        began = time.process_time()
        write_report(from_folder(home))
        return time.process_time() - began

    seconds(4)  # imports
    few, many = seconds(20), seconds(200)
    assert many < 10
    assert many / few < 12
