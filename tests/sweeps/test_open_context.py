"""An MLflow that is away when a sweep is resumed: all doors resume it, and name `kdsweep sync`."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from commands import Command, Outcome
from mlflow import MlflowClient
from outcomes import runs
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import write_json_atomic
from kdsweep.errors import UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.sweeps.open_context import open_context
from kdsweep.tracking.console import Progress
from kdsweep.tracking.metadata import SWEEP_DEFAULTS

SMALL = ["trainer.epochs=2", "tracking.checkpoint_seconds=0"]
GRID = ["T=1,4", *SMALL]
SEARCH = [
    *["search=bayes", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2", "search.finalists=0"],
    *SMALL,
]
STOCK = [*GRID, "hydra/launcher=basic", "hydra.sweep.dir=multirun/stock", "resume=true", "-m"]
DOORS = {
    "lockstep": (GRID, [*GRID, "resume=true"]),
    "chosen folder": (
        [*GRID, "hydra.sweep.dir=multirun/mine"],
        [*GRID, "hydra.sweep.dir=multirun/mine", "resume=true"],
    ),
    "search": (SEARCH, SEARCH),
    "stock": (STOCK, STOCK),
}


def interrupt(patch: pytest.MonkeyPatch) -> None:
    """Have Ctrl-C pressed when students are to be tested."""
    from kdsweep.execution import cohort

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    patch.setattr(cohort, "_finish", interrupted)


def away(folder: Path) -> None:
    """Put something that is no store where the store was."""
    (folder / "mlflow.db").rename(folder / "kept.db")
    (folder / "mlflow.db").mkdir()


def back(folder: Path) -> None:
    (folder / "mlflow.db").rmdir()
    (folder / "kept.db").rename(folder / "mlflow.db")


def assert_whole(outcome: Outcome) -> None:
    found = [run for kind in runs(outcome).values() for run in kind]
    states = {(run.data.tags["kdsweep.role"], run.info.status) for run in found}
    assert not [run for run in found if "kdsweep.reason" in run.data.tags]
    assert {state for _, state in states} == {"FINISHED"}, states
    client = MlflowClient(tracking_uri=f"sqlite:///{outcome.folder}/mlflow.db")
    for run in runs(outcome)["run"]:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val/acc")]
        assert steps == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_a_sweep_is_resumed_without_the_store_it_has_been_in(
    command: Command, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    first, again = DOORS[door]
    with monkeypatch.context() as patch:
        interrupt(patch)
        stopped = command(*first, tracking=True)
    assert stopped.code != 0
    away(stopped.folder)
    resumed = command(*again, tracking=True)
    assert resumed.code == 0, resumed.err
    sweep = stopped.sweep.relative_to(stopped.folder)
    assert "tracking.uri must be an MLflow store that works" in resumed.err
    assert f"`kdsweep sync {sweep}`" in resumed.err
    assert {row["status"] for row in resumed.rows} == {"FINISHED"}
    back(stopped.folder)
    (*_, last) = [part for part in resumed.err.split("`") if part.startswith("kdsweep sync ")]
    uploaded = CliRunner().invoke(app, shlex.split(last)[1:])  # the teacher has ended late, too
    assert uploaded.exit_code == 0, uploaded.output
    assert_whole(resumed)


@pytest.mark.slow
def test_a_new_sweep_is_refused_with_resume_too(command: Command) -> None:
    Path("mlflow.db").mkdir()
    refused = command(*GRID, "resume=true", tracking=True)
    assert refused.code == 1
    assert "tracking.uri must be an MLflow store that works" in refused.err
    assert not list(refused.folder.glob("multirun/**/run.json"))


def noted(folder: Path, uri: str | None) -> Path:
    """A folder with the sweep.json of a sweep that is in this store."""
    note = {**SWEEP_DEFAULTS, "tracking_uri": uri, "fingerprints": {}, "created": 0.0}
    write_json_atomic(folder / "sweep.json", {**note, "name": "kl", "role": "sweep"})
    return folder


def opened(tracking: dict[str, Any], sweep: Path | None) -> TrainingContext:
    with Progress() as progress:
        context = open_context(tracking, progress, sweep)
    context.close()
    return context


def broken(folder: Path) -> dict[str, Any]:
    """A store that does not work: a folder is no database."""
    return {"uri": f"sqlite:///{folder}"}


def test_the_store_may_be_away_if_the_sweep_has_been_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = opened(broken(tmp_path), noted(tmp_path, "sqlite:///mlflow.db"))
    assert context.store is None
    assert context.lacks_store
    message = capsys.readouterr().err
    assert "it is a folder" in message.replace("\n", " ")
    assert f"kdsweep sync {tmp_path}" in message.replace("\n", "")


def test_a_sweep_that_has_never_been_in_a_store_is_refused(tmp_path: Path) -> None:
    for sweep in (None, tmp_path, noted(tmp_path, None)):
        with pytest.raises(UserError, match=r"tracking\.uri must be an MLflow store that works"):
            opened(broken(tmp_path), sweep)


def test_a_store_of_a_kind_that_is_not_supported_is_refused() -> None:
    with pytest.raises(UserError, match=r"tracking\.uri must be"):
        opened({"uri": "file:./mlruns"}, None)


def test_a_value_that_is_not_allowed_is_no_outage(tmp_path: Path) -> None:
    sweep = noted(tmp_path, "sqlite:///mlflow.db")
    with pytest.raises(UserError, match=r"tracking\.experiment must be a name"):
        opened({"uri": f"sqlite:///{tmp_path}/mlflow.db", "experiment": ""}, sweep)
