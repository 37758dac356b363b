"""`kdsweep status`: a sweep as its files describe it."""

import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.common.processes import new_lease
from kdsweep.errors import UserError
from kdsweep.work import attempt
from kdsweep.work.attempt import Attempt, attempt_path
from kdsweep.work.pace import Share, seconds_left
from kdsweep.work.status import show_status, unit_states
from kdsweep.work.unit_file import Root, UnitFile, UnitRun, write_unit

RUNS = 6  # two a unit


@pytest.fixture(autouse=True)
def _sweep(tmp_path: Path) -> None:
    """A sweep of three cohorts that this process controls."""
    fingerprints = {str(number): f"f{number}" for number in range(RUNS)}
    note = {"name": "grid", "created": time.time(), "fingerprints": fingerprints, "ended": False}
    write_json_atomic(tmp_path / "sweep.json", {**note, **new_lease()})
    for number in range(3):
        runs = tuple(
            UnitRun(
                name=f"kl seed={run}",
                fingerprint=f"f{run}",
                folder=str(run),
                further=(),
                epochs=10,
                parent_run_id=None,
                root=0,
            )
            for run in (2 * number, 2 * number + 1)
        )
        root = Root(config={}, cell={}, number=0, overrides=(), swept=())
        write_unit(
            tmp_path,
            UnitFile(
                number=number,
                role="run",
                name=f"{runs[0].name}, ...",
                needs=(),
                place=(number + 1, 3),
                cwd=str(tmp_path),
                parent_run_id=None,
                roots=(root,),
                runs=runs,
            ),
        )


def end(folder: Path, run: int, status: str = "FINISHED", *, with_cohort: bool = False) -> None:
    (folder / str(run)).mkdir(exist_ok=True)
    result = {"status": status, "fingerprint": f"f{run}", "with_cohort": with_cohort}
    write_json_atomic(folder / str(run) / "result.json", result)


def begin(folder: Path, number: int, fraction: float | None = None, **changes: Any) -> Attempt:
    made = Attempt.make(folder, number, 1)
    assert made is not None
    if fraction is not None:
        made.progress = lambda: {"fraction": fraction, "seconds_left": 60.0, "epoch": 0}
    made.beat()
    path = attempt_path(folder, number, 1)
    write_json_atomic(path, read_json(path) | changes)
    return made


def shown(folder: Path) -> str:
    text = StringIO()
    show_status(folder, Console(file=text, width=120))
    return text.getvalue()


def test_a_sweep_that_has_just_begun(tmp_path: Path) -> None:
    text = shown(tmp_path)
    assert "runs   6 queued\n" in text
    assert "units  3 queued\n" in text
    assert "controlled by process" in text
    assert "ETA" not in text


def test_a_sweep_in_training(tmp_path: Path) -> None:
    end(tmp_path, 0)
    end(tmp_path, 1, "FAILED")
    begin(tmp_path, 1, fraction=0.5)
    text = shown(tmp_path)
    assert "runs   4 queued, 1 failed, 1 done\n" in text
    assert "units  1 running, 1 queued, 1 done\n" in text
    assert "5/10" in text
    # 20 epochs wait, and 10 of the other 20 take a minute.
    assert "ETA    0:03:00\n" in text


def test_a_unit_that_has_failed_is_shown_with_its_reason(tmp_path: Path) -> None:
    begin(tmp_path, 0).end(attempt.FAILED, "dataset.root must hold images, got none")
    text = shown(tmp_path)
    assert "dataset.root must hold images, got none" in " ".join(text.split())
    assert "units  2 queued, 1 failed\n" in text


@pytest.mark.parametrize(
    ("changes", "age", "state"),
    [
        ({}, 0, "running"),
        ({"born": "1"}, 0, "lost"),  # another process has its pid
        ({"host": "another.example", "boot": "x"}, 0, "running"),
        ({"host": "another.example", "boot": "x"}, 61, "lost"),
        ({"host": "another.example", "boot": "x", "beat": 0.0}, 10, "running"),
    ],
)
def test_whether_a_process_is_at_work(
    tmp_path: Path, changes: dict[str, Any], age: float, state: str
) -> None:
    import os

    begin(tmp_path, 0, **changes)
    path = attempt_path(tmp_path, 0, 1)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    first, *_ = unit_states(tmp_path)
    assert first.state == state


def test_a_unit_that_was_left_is_none(tmp_path: Path) -> None:
    assert attempt.withdraw(tmp_path, 0)
    assert [one.unit.number for one in unit_states(tmp_path)] == [1, 2]


def test_a_unit_that_was_parked_waits(tmp_path: Path) -> None:
    begin(tmp_path, 0).end(attempt.PARKED)
    assert next(unit_states(tmp_path)).state == "queued"


def test_a_sweep_without_workers(tmp_path: Path) -> None:
    for path in (tmp_path / "work").iterdir():
        path.unlink()
    end(tmp_path, 0)
    begun = tmp_path / "1"
    begun.mkdir()
    write_json_atomic(begun / "run.json", {"params": {"trainer.epochs": 10}, "fingerprint": "f1"})
    rows = [
        f'{{"epoch": {epoch}, "time": {1000 * epoch}, "metrics": {{}}}}\n' for epoch in range(5)
    ]
    (begun / "metrics.jsonl").write_text("".join(rows))
    text = shown(tmp_path)
    assert "runs   1 running, 4 queued, 1 done\n" in text
    assert "units" not in text
    assert "ETA    0:00:45\n" in text  # 5 epochs of this one, 40 of the others, a second each


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ended": True}, "sweep  over"),
        ({"born": "1"}, "is gone: the same command with resume=true continues it"),
        ({"role": "search", "born": "1"}, "is gone: the same command continues it"),
        ({"host": "another.example", "boot": "x"}, "started by process"),
    ],
)
def test_what_controls_it(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    note = read_json(tmp_path / "sweep.json")
    write_json_atomic(tmp_path / "sweep.json", note | changes)
    assert sentence in shown(tmp_path)


def test_of_a_search_it_is_not_known_how_long_it_takes(tmp_path: Path) -> None:
    begin(tmp_path, 0, 0.5)
    assert "ETA" in shown(tmp_path)
    note = read_json(tmp_path / "sweep.json")
    write_json_atomic(tmp_path / "sweep.json", note | {"role": "search"})
    assert "ETA" not in shown(tmp_path)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="FOLDER must be the folder of a sweep, got"):
        show_status(tmp_path / "nowhere", Console())


def test_nothing_is_written_next_to_the_sweep(tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    shown(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("training", "waiting", "seconds"),
    [
        ([Share(10, 0.5, 5.0)], 10, 15.0),
        ([Share(10, 0.5, 5.0), Share(10, 0.5, 5.0)], 10, 10.0),
        ([Share(10, 0.5, 50.0), Share(10, 0.0, None)], 0, 150.0),
        ([Share(1, 0.5, 50.0), Share(100, 0.5, 1.0)], 0, 50.0),  # not before the slowest
        ([Share(10, 0.0, None)], 10, None),
        ([], 10, None),
    ],
)
def test_the_time_left(training: list[Share], waiting: float, seconds: float | None) -> None:
    found = seconds_left(training, waiting)
    assert found == (None if seconds is None else pytest.approx(seconds))
