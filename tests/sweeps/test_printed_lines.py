"""What a sweep prints where its output is no terminal, and how its paths are printed."""

import os
import sys
from io import StringIO
from pathlib import Path

import pytest
from commands import Command
from rich.console import Console

from kdsweep.common import pacing
from kdsweep.search.plots import PAGE
from kdsweep.search.results import _show_places
from kdsweep.sweeps import job_configs
from kdsweep.sweeps.callbacks import show_mlflow_page
from kdsweep.sweeps.record import PLOTS


def test_the_first_line_comes_before_torch(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows it imports torch: here, the import fails."""
    monkeypatch.setitem(sys.modules, "kdsweep.sweeps.batch", None)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    outcome = command("T=1,4,16")
    assert outcome.code == 1
    assert outcome.out.startswith("Launching 3 jobs in lockstep\n")
    assert os.environ["TQDM_DISABLE"] == "1"  # libraries' bars are no lines


def test_the_first_line_of_a_search_comes_before_torch(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kdsweep.search.controller", None)
    outcome = command("search=bayes", "hydra.sweeper.n_trials=7")
    assert outcome.code == 1
    assert outcome.out.startswith("Launching a search of 7 trials\n")


@pytest.mark.slow
def test_no_path_is_wrapped_in_40_columns(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    folder = tmp_path / "a-folder-of-a-rather-long-name" / "[the] :one: of this sweep"
    outcome = command("loss=ce", f"hydra.sweep.dir='{folder}'")
    assert outcome.code == 0, outcome.err
    assert f"results  {folder}/results.csv\n" in outcome.out
    resumed = command("loss=ce", f"hydra.sweep.dir='{folder}'", "resume=true")
    assert f"resume: continues in {folder}\n" in resumed.err


def narrow() -> tuple[Console, StringIO]:
    file = StringIO()
    return Console(file=file, width=40, force_terminal=True, color_system=None), file


@pytest.mark.ci
def test_composing_many_jobs_has_lines(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "MIN_SECONDS", 0)
    monkeypatch.setattr(job_configs, "LinePacer", lambda first: pacing.LinePacer())
    monkeypatch.setitem(sys.modules, "kdsweep.sweeps.batch", None)
    outcome = command("T=1,4")
    assert outcome.out.startswith("1 job composed\n2 jobs composed\nLaunching 2 jobs")


@pytest.mark.parametrize("uri", ["sqlite:////data/of/a/{}/mlflow.db", "http://host.of.{}:5000"])
def test_no_address_is_wrapped_in_40_columns(uri: str) -> None:
    console, file = narrow()
    uri = uri.format("name-that-is-longer-than-forty-columns-are-wide")
    note = {"tracking_uri": uri, "experiment_id": "1", "parent_run_id": "f" * 32, "view": None}
    show_mlflow_page(note, console)
    assert (uri if uri.startswith("http") else f"--backend-store-uri {uri}\n") in file.getvalue()
    assert all(line.startswith(("browse  ", "         then http")) for line in lines(file))
    assert "f" * 32 in file.getvalue()


def test_no_file_of_a_search_is_wrapped_in_40_columns(tmp_path: Path) -> None:
    folder = tmp_path / "a-folder-of-a-rather-long-name" / "[the] :one: of this search"
    (folder / PLOTS).mkdir(parents=True)
    (folder / PLOTS / PAGE).touch()
    (folder / "report.html").touch()
    console, file = narrow()
    _show_places(console, folder)
    assert [line.split(maxsplit=1) for line in lines(file)] == [
        ["results", f"{folder}/optimization_results.yaml, {folder}/results.csv"],
        ["plots", f"{folder}/plots/{PAGE}"],
        ["report", f"{folder}/report.html"],
    ]


def lines(file: StringIO) -> list[str]:
    return file.getvalue().splitlines()
