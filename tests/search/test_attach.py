"""`kdsweep attach` continues a search with the command that began it."""

from pathlib import Path

import pytest
from commands import Command
from omegaconf import read_write
from studies import Load
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import read_json
from kdsweep.config.copying import copy_config
from kdsweep.sweeps.attach import record_command
from kdsweep.training.student import Student

# Without a name: it follows from what is not searched.
SEARCH = [
    *[
        "search=bayes",
        "loss=ce",
        "teacher=none",
        "optimizer=sgd",
        "optimizer.lr=interval(0.01,0.1)",
    ],
    *["hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1", "search.finalists=0"],
]


def attach(folder: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["attach", str(folder)])
    return done.exit_code, done.output


@pytest.fixture
def search(command: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a search that was stopped in its second trial."""
    step, first = Student.step, []

    def stop(student: Student, *arguments: object) -> None:
        first.append(student)
        if student is not first[0]:
            raise SystemExit(143)
        step(student, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Student, "step", stop)
        outcome = command(*SEARCH)
    assert outcome.code == 143, outcome.err
    return outcome.sweep


@pytest.mark.ci
def test_it_has_the_rest_of_its_trials(
    search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_json(search / "0" / "seed-0" / "result.json")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, output = attach(search)
    assert code == 0, output
    assert "3 trials complete" in output
    results = sorted(search.glob("?/seed-0/result.json"))
    assert [read_json(path)["status"] for path in results] == 3 * ["FINISHED"]
    assert read_json(search / "0" / "seed-0" / "result.json") == first
    assert [path.name for path in search.parent.iterdir()] == [search.name]


def test_a_folder_that_was_moved_is_refused(search: Path, tmp_path: Path) -> None:
    moved = search.rename(tmp_path / "moved")
    code, output = attach(moved)
    assert code == 1
    assert output == (
        f"FOLDER must be in {search.parent}, as when its search was started, got {moved}\n"
    )


def test_a_search_of_an_older_kdsweep_names_the_command(search: Path) -> None:
    (search / "multirun.yaml").unlink()
    code, output = attach(search)
    assert code == 1
    assert output == (
        f"FOLDER must have the multirun.yaml of its search, got {search}, where none was written;"
        " the command that began the search continues it\n"
    )


def test_its_record_has_no_password(load: Load, tmp_path: Path) -> None:
    """As of a config in a file; words of a command have none by then."""
    address = "postgresql://me:secret@db/studies"
    config = copy_config(load("search=bayes")[1])
    with read_write(config.hydra):
        config.hydra.sweeper.storage = address
    record_command(config, tmp_path)
    text = (tmp_path / "multirun.yaml").read_text()
    assert "secret" not in text
    assert "storage: postgresql://me:***@db/studies" in text
    assert config.hydra.sweeper.storage == address
