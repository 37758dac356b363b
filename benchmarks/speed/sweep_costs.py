"""What a sweep costs in addition to its training steps: time and disk of each run.

A command of 60 one-epoch runs on digits, in a folder that has its teacher already. Its overhead is
the whole time less that of the training steps of its one cohort.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kdsweep.common.files import read_json
from speed.commands import IMPORT_TORCH, TRAIN, run_python, seconds_of

RUNS, FEW = 60, 6
GRID = {
    RUNS: ("T=1,2,3,4,5,6,7,8,9,10", "alpha=0.1,0.2,0.3,0.5,0.7,0.9"),
    FEW: ("T=1,4,16", "alpha=0.1,0.9"),
}
SHORT = ("trainer.epochs=1", "teacher.trainer.epochs=1")
KINDS: dict[str, tuple[str, ...]] = {
    "with MLflow and report": (),
    "with neither": ("tracking=none", "tracking.report=false"),
}


@dataclass
class SweepCosts:
    """Seconds of each round, and bytes.

    Attributes:
        torch: of `python -c "import torch"`.
        whole: of the command, by kind, then by the number of runs.
        training: of its training steps, likewise.
        run_bytes: of a run's folder.
        sweep_bytes: of the sweep's folder without those of its runs, divided by the runs.
        mlflow_bytes: that MLflow's database and artifacts grow by with each run.
    """

    torch: list[float] = field(default_factory=list)
    whole: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    training: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    run_bytes: int = 0
    sweep_bytes: int = 0
    mlflow_bytes: int = 0


def measure_sweeps(
    rounds: int, watch: Callable[[int, float], None] = lambda number, seconds: None
) -> SweepCosts:
    """Run the commands in rounds; the first command of a folder, with its teacher, is not kept."""
    costs = SweepCosts(
        whole={kind: {str(runs): [] for runs in GRID} for kind in KINDS},
        training={kind: {str(runs): [] for runs in GRID} for kind in KINDS},
    )
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        for words in KINDS.values():
            run_python((TRAIN, *SHORT, *words), folder)
        for number in range(1, rounds + 1):
            began = time.perf_counter()
            costs.torch.append(seconds_of(IMPORT_TORCH, folder))
            for kind, words in KINDS.items():
                for runs in GRID:
                    _measure(costs, kind, words, runs, folder, number)
            watch(number, time.perf_counter() - began)
    return costs


def _measure(
    costs: SweepCosts, kind: str, words: tuple[str, ...], runs: int, folder: Path, number: int
) -> None:
    sweep = folder / "multirun" / f"{number}-{len(words)}-{runs}"
    mlflow = mlflow_bytes(folder)
    command = (TRAIN, *SHORT, *words, *GRID[runs], f"hydra.sweep.dir={sweep}")
    costs.whole[kind][str(runs)].append(seconds_of(command, folder))
    costs.training[kind][str(runs)].append(training_seconds(sweep))
    if runs == RUNS and not words:
        costs.mlflow_bytes = (mlflow_bytes(folder) - mlflow) // runs
        folders = run_folders(sweep)
        assert len(folders) == runs, f"{len(folders)} runs instead of {runs}"
        total = sum(map(bytes_below, folders))
        costs.run_bytes = total // runs
        costs.sweep_bytes = (bytes_below(sweep) - total) // runs


def run_folders(sweep: Path) -> list[Path]:
    """The folders of a sweep's runs."""
    return [path.parent for path in sweep.glob("*/result.json") if path.parent.name.isdigit()]


def training_seconds(sweep: Path) -> float:
    """Of the cohort's steps: each of its runs records those of all."""
    return max(read_json(run / "result.json")["seconds"] for run in run_folders(sweep))


def mlflow_bytes(folder: Path) -> int:
    """Of the database and the artifacts."""
    database = sum(path.stat().st_size for path in folder.glob("mlflow.db*"))
    return database + bytes_below(folder / "mlartifacts")


def bytes_below(folder: Path) -> int:
    """Of all files below a folder; links are not followed."""
    return sum(
        path.lstat().st_size for path in folder.rglob("*") if path.is_file() or path.is_symlink()
    )
