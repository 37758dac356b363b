"""What a sweep costs in addition to its training steps: time and disk of each run.

Commands of one-epoch runs on digits, in a folder that has their teacher already. The overhead of a
command is its whole time less that of the training steps of its one cohort; that of a run is what
the runs beyond the first few add to it, so that imports and the like do not count.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kdsweep.common.files import read_json
from speed.commands import IMPORT_TORCH, TRAIN, run_python, seconds_of

FEW, RUNS = 10, 60
ALPHAS = ",".join(f"{number / 10:g}" for number in range(10))
SHORT = ("trainer.epochs=1", "teacher.trainer.epochs=1")
WITH_ALL, WITH_NEITHER = "with MLflow and report", "with neither"
KINDS: dict[str, tuple[str, ...]] = {
    WITH_ALL: (),
    WITH_NEITHER: ("tracking=none", "tracking.report=false"),
}
Watch = Callable[[int, float], None]  # the number of a round that has ended, its seconds


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


def grid_words(runs: int) -> tuple[str, str]:
    """The overrides of a T x alpha grid of so many runs, a multiple of ten."""
    temperatures, rest = divmod(runs, 10)
    assert rest == 0, f"{runs} runs are no grid with ten values of alpha"
    return f"T={','.join(str(T) for T in range(1, temperatures + 1))}", f"alpha={ALPHAS}"


def measure_sweeps(
    commands: Mapping[str, tuple[int, ...]],
    rounds: int,
    watch: Watch = lambda number, seconds: None,
) -> SweepCosts:
    """Run commands in rounds; the first command of a folder, with its teacher, is not kept.

    Args:
        commands: by kind, the numbers of runs.
    """
    costs = SweepCosts(
        whole={kind: {str(runs): [] for runs in counts} for kind, counts in commands.items()},
        training={kind: {str(runs): [] for runs in counts} for kind, counts in commands.items()},
    )
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        for kind in commands:
            run_python((TRAIN, *SHORT, *KINDS[kind]), folder)
        for number in range(1, rounds + 1):
            began = time.perf_counter()
            costs.torch.append(seconds_of(IMPORT_TORCH, folder))
            for kind, counts in commands.items():
                for runs in counts:
                    _measure(costs, kind, runs, folder, number)
            watch(number, time.perf_counter() - began)
    return costs


def _measure(costs: SweepCosts, kind: str, runs: int, folder: Path, number: int) -> None:
    words = KINDS[kind]
    sweep = folder / "multirun" / f"{number}-{len(words)}-{runs}"
    mlflow = mlflow_bytes(folder)
    command = (TRAIN, *SHORT, *words, *grid_words(runs), f"hydra.sweep.dir={sweep}")
    costs.whole[kind][str(runs)].append(seconds_of(command, folder))
    costs.training[kind][str(runs)].append(training_seconds(sweep))
    if runs == RUNS and kind == WITH_ALL:
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
