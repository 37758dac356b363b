"""The end of a sweep: what is made of it, and when."""

from pathlib import Path
from typing import Any

import pytest

from kdsweep.common.files import write_json_atomic
from kdsweep.sweeps import finalize
from kdsweep.tracking.results_table import collect


class Context:
    """Uploads a run, which has no id before."""

    store, run_dirs = object(), frozenset[Path]()

    def __init__(self, run: Path) -> None:
        self.run = run

    def upload_pending(self, pending_uploads: Any) -> bool:
        write_json_atomic(self.run / "run.json", {"params": {}, "mlflow_run_id": "late"})
        return True


def test_the_report_is_made_once_with_ids_that_come_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0").mkdir()
    write_json_atomic(tmp_path / "0" / "run.json", {"params": {}})
    made: list[list[str | None]] = []

    def make_report(folder: Path, context: Any) -> None:
        made.append([row["mlflow_run_id"] for row in collect(folder)])

    monkeypatch.setattr(finalize, "make_report", make_report)
    context: Any = Context(tmp_path / "0")
    finalize.close(tmp_path, context, "FINISHED", with_report=True)
    assert made == [["late"]]


def test_the_runs_of_a_sweep_are_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []

    class Repeating(Context):
        def pending_uploads(self, folders: list[Path]) -> list[Any]:
            assert folders == [tmp_path / "0"]
            return []

        def upload_pending(self, pending_uploads: Any) -> bool:
            return not pending_uploads() and not pending_uploads()

    def list_runs(folder: Path) -> list[Path]:
        listed.append(folder)
        return [folder / "0"]

    monkeypatch.setattr(finalize, "run_and_trial_dirs", list_runs)
    context: Any = Repeating(tmp_path / "0")
    finalize.close(tmp_path, context, "FINISHED", with_report=False)
    assert listed == [tmp_path]
