"""The real command line in processes of its own, and what they leave behind."""

import csv
import itertools
import multiprocessing
import multiprocessing.context
import os
import runpy
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from commands import TINY
from mlflow import MlflowClient
from mlflow.entities import Run

from kdsweep.common.files import read_json

TRAIN = Path(__file__).parents[2] / "train.py"
IMPORTED = [
    *["kdsweep.cli.train", "kdsweep.search.controller", "kdsweep.search.sweeper", "torch._dynamo"],
    *["kdsweep.sweeps.finalize", "mlflow.store.tracking.sqlalchemy_store", "sklearn.datasets"],
]
FORKS = itertools.count()
SMALL = [word for word in TINY if not word.startswith("trainer.epochs")]


def start(folder: Path, words: Sequence[str]) -> "subprocess.Popen[str]":
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(TRAIN), *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


class Fork:
    """A command in a fork of a process that has imported all of kdsweep, as `start` returns it.

    It is a process of its own like any other, but is at work from its first moment. It may start no
    processes.
    """

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        folder.mkdir(exist_ok=True)
        self._output = folder.parent / f"{folder.name}-{next(FORKS)}.log"
        self._output.touch()  # it may be killed before it opens it
        self._process = _forks().Process(target=_run, args=(folder, list(words), self._output))
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self) -> tuple[str, None]:
        self._process.join()
        return self._output.read_text(encoding="utf-8"), None


@cache
def _forks() -> "multiprocessing.context.ForkServerContext":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def _run(folder: Path, words: list[str], output: Path) -> None:
    """Run train.py in this process."""
    with output.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    sys.argv = [str(TRAIN), *words]
    runpy.run_path(str(TRAIN), run_name="__main__")


Start = Callable[[Path, Sequence[str]], "subprocess.Popen[str] | Fork"]


def kill(process: "subprocess.Popen[str] | Fork") -> None:
    """Kill a command with -9, with the processes that it has started."""
    if isinstance(process, Fork):
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def finish(folder: Path, words: Sequence[str], start: Start = start) -> str:
    """Run a command to its end, and return its output."""
    process = start(folder, words)
    message, _ = process.communicate()
    assert process.returncode == 0, message
    return message


def recorded(folder: Path) -> int:
    """Epochs that all runs together have recorded, those of the teacher as well."""
    walk = os.walk(folder)  # unlike glob it lives with folders that vanish meanwhile
    paths = [Path(place) / "metrics.jsonl" for place, _, files in walk if "metrics.jsonl" in files]
    return sum(path.read_text().count("\n") for path in paths)


def results(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What each run ended with, by its place in the sweep."""
    (sweep,) = {path.parent for path in folder.glob("multirun/**/sweep.json")}
    keys = ("status", "epochs", "val/acc", "val/acc_best", "test/acc", "weights_sha256", "same_as")
    return {
        str(path.parent.relative_to(sweep)): tuple(read_json(path)[key] for key in keys)
        for path in sweep.glob("**/result.json")
    }


# What the clock or chance decides, and no seed.
CLOCK = {"seconds", "images_per_second", "latency_ms", "mlflow_run_id"}


def table(folder: Path) -> list[dict[str, str]]:
    """The rows of results.csv, without what depends on the clock."""
    (path,) = folder.glob("multirun/**/results.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: value for key, value in row.items() if key not in CLOCK}
            for row in csv.DictReader(file)
        ]


def trials(folder: Path) -> list[Any]:
    """A search's table of trials, without who worked on them and when; empty for a grid."""
    storage = f"sqlite:///{folder}/optuna.db"
    if not (folder / "optuna.db").exists():
        return []
    (name,) = optuna.get_all_study_names(storage)
    return [
        (
            *(trial.number, trial.state, trial.params, trial.values, trial.intermediate_values),
            {key: value for key, value in trial.user_attrs.items() if key != "kdsweep.owner"},
        )
        for trial in optuna.load_study(study_name=name, storage=storage).trials
    ]


def mlflow_runs(folder: Path) -> list[Any]:
    """All that MLflow has of each run: state, parent, params, every point of every metric.

    Runs are named by role and folder, for their ids differ. Of a metric that depends on the clock
    only the steps count.
    """
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    named = {run.info.run_id: _place(run, folder) for run in found}
    return sorted(
        (
            named[run.info.run_id],
            run.info.status,
            named.get(run.data.tags.get("mlflow.parentRunId", ""), ""),
            sorted(run.data.params.items()),
            sorted(_points(client, run)),
            run.data.tags.get("kdsweep.weights_sha256", ""),
        )
        for run in found
    )


def _place(run: Run, folder: Path) -> str:
    """Where a run is kept, from its sweep's folder down; a teacher's folder is in none."""
    place = Path(run.data.tags["kdsweep.folder"])
    sweeps = [path.parent for path in folder.glob("multirun/**/sweep.json")]
    home = next((sweep for sweep in sweeps if place.is_relative_to(sweep)), folder)
    return f"{run.data.tags['kdsweep.role']} {place.relative_to(home)}"


def _points(client: MlflowClient, run: Run) -> list[tuple[str, int, float]]:
    return [
        (key, point.step, 0.0 if key in CLOCK else point.value)
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    ]


def assert_mlflow_is_tidy(folder: Path, runs: int, store: str | None = None) -> None:
    """As many runs as there should be, none running, no orphan, no twin, no metric step twice."""
    client = MlflowClient(store or f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    names = [(r.data.tags["kdsweep.role"], r.data.tags["kdsweep.folder"]) for r in found]
    assert len(found) == runs, sorted(names)
    assert "RUNNING" not in {run.info.status for run in found}
    ids = {run.info.run_id for run in found}
    assert {run.data.tags.get("mlflow.parentRunId") for run in found} <= ids | {None}
    assert set(Counter(names).values()) == {1}
    for run in found:
        for key in run.data.metrics:
            steps = [p.step for p in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps)), (run.info.run_name, key)


def runs_of(folder: Path) -> int:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    return len(client.search_runs([experiment.experiment_id], max_results=1000))
