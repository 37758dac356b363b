"""Fill its disk at any moment: a sweep ends in a sentence and, resumed, as if it had not been.

    pytest -q -s -m slow tests/sweeps/test_full_disk.py

prints each moment, and how many there were. The disk is a small file system of its own, so that the
errors are those of a real one; MLflow's database is on the same disk or on another one.
"""

import random
import time
from pathlib import Path
from typing import Any

import pytest
from full_disk import Filler, small_disk
from mlflow import MlflowClient
from processes import SMALL, finish, recorded, results, start

LONGER = ["trainer.epochs=8", "tracking.checkpoint_seconds=0", "tracking.wait=10"]
GRID = ["T=1,4,16", "seed=0,1", *SMALL, *LONGER, "resume=true"]
SEARCH = [
    *["search=bayes", *SMALL, *LONGER, "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=3"],
    *["search.finalists=1", "search.finalist_seeds=1"],
]
STAGES = [
    *[word for word in SMALL if not word.startswith("teacher.")],
    *["teacher.trainer.epochs=4", "teacher.model.width=4", "student=cnn", "stages=hints"],
    *["stages.hints.epochs=4", "T=1,4", "seed=0,1", *LONGER, "resume=true"],
]
MOMENTS = 5
MEGABYTES = 48
# These measure the machine, and differ from run to run.
CLOCKS = {"seconds", "images_per_second", "latency_ms"}
PATIENCE = 150.0


def address(folder: Path) -> list[str]:
    return [
        f"tracking.uri=sqlite:///{folder}/mlflow.db",
        f"tracking.artifacts={folder}/mlartifacts",
    ]


def in_mlflow(store: Path, home: Path) -> dict[str, Any]:
    """State and every point of every metric of every run, by the place of its folder."""
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "kdsweep")
    found: dict[str, Any] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        place = Path(run.data.tags["kdsweep.folder"]).relative_to(home).as_posix()
        if place.startswith("multirun/20"):  # a grid's, named by the clock
            place = "/".join(["sweep", *place.split("/")[3:]])
        points = sorted(
            (key, point.step, 0.0 if key in CLOCKS else point.value)
            for key in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, key)
        )
        assert place not in found, f"{place} is there twice"
        found[place] = (run.data.tags["kdsweep.role"], run.info.status, points)
    return found


def states(store: Path) -> set[str]:
    if not (store / "mlflow.db").is_file():
        return set()
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    ids = [e.experiment_id for e in client.search_experiments() if e.name == "kdsweep"]
    return {run.info.status for run in client.search_runs(ids, max_results=1000)} if ids else set()


def fill_at(
    home: Path, words: list[str], epochs: int, chance: random.Random
) -> tuple[str, str, int]:
    """Start the sweep and fill its disk after so many epochs: how, its output, its exit code."""
    process = start(home, words)
    while process.poll() is None and recorded(home) < epochs:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[0]
    filler = Filler(home, chance)
    message, _ = process.communicate(timeout=PATIENCE)
    filler.free()
    return str(filler), message, process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("is_inside", [False, True], ids=["mlflow elsewhere", "mlflow on it"])
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(GRID, id="grid"),
        pytest.param(SEARCH, id="search"),
        pytest.param(STAGES, id="stages"),
    ],
)
def test_a_sweep_whose_disk_was_full_ends_as_if_it_had_not_been(
    tmp_path: Path, words: list[str], is_inside: bool
) -> None:
    chance = random.Random(f"{words}{is_inside}")
    whole = tmp_path / "whole"
    finish(whole, [*words, *address(whole)])
    total = recorded(whole)
    with small_disk(tmp_path / "disk", MEGABYTES) as home:
        store = home if is_inside else tmp_path / "store"
        store.mkdir(exist_ok=True)
        mine = [*words, *address(store)]
        for moment in range(MOMENTS):
            epochs = int(total * (moment + chance.random()) / (MOMENTS + 2))
            how, message, code = fill_at(home, mine, epochs, chance)
            last = message.strip().rpartition("\n")[2]
            print(f"moment {moment + 1}, after {epochs} of {total} epochs ({how}): {last}")
            assert "Traceback" not in message, message
            assert code == 1, message
            assert " is full (" in message or "must be on a disk with room" in message, message
            if not is_inside:
                assert "RUNNING" not in states(store), message
        finish(home, mine)
        assert results(home) == results(whole)
        assert in_mlflow(store, home) == in_mlflow(whole, whole)
    print(f"{MOMENTS} full disks, 0 differences")
