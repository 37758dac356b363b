"""Kill sweeps with SIGKILL at random moments, resume them, and compare each with one never killed.

    python benchmarks/kills.py                       # 200 kills, some 20 minutes
    python benchmarks/kills.py --kills 20 --kind search --seed 7

Each kind of sweep is trained once without a kill. Then the same command is started repeatedly
in a separate folder, each start killed after a random time (with all of its child processes),
until one completes. The output is compared with the uninterrupted sweep: the result and the
weights of every run, results.csv, the trials of a search, and in MLflow every run with its status,
parent, parameters and every point of every metric. Times and ids are ignored.

Starts are forked from a process that has imported everything, to exclude the time of imports.
The exit code is 1 if there was a difference.
"""

import argparse
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from processes import SMALL, mlflow_runs, results, table, trials
from rich.console import Console
from rich.table import Table

from kdsweep.cli import main as train

PRELOADED = (
    "kdsweep.sweeps.batch",
    "kdsweep.search.controller",
    "kdsweep.report.mlflow_publish",
    "kdsweep.report.files",
    "kdsweep.search.plots",
    "sklearn.datasets",
)

BRIEF = ["trainer.epochs=6", "tracking.checkpoint_seconds=0"]
WITHOUT_TEACHER = [word for word in SMALL if not word.startswith("teacher.")]
SEARCH = [
    *["search=bayes", *SMALL, *BRIEF, "hydra.sweeper.n_trials=6", "search.finalists=1"],
    *["search.finalist_seeds=1", "tracking.report=false"],
]
KINDS = {
    "grid": ["T=1,4", "alpha=0.1,0.9", *SMALL, *BRIEF, "resume=true"],
    "search": [*SEARCH, "hydra.sweeper.n_jobs=3", "search.seeds=[0,1]"],
    "stages": [
        *["stages=hints", "stages.hints.epochs=4", "student=cnn", "T=1,4", "teacher.model.width=4"],
        *[*WITHOUT_TEACHER, *BRIEF, "teacher.trainer.epochs=3", "resume=true"],
        "tracking.report=false",
    ],
    "peers": [
        *["teacher=peers", "student=cnn", "T=1,4", *WITHOUT_TEACHER, *BRIEF, "resume=true"],
        "tracking.report=false",
    ],
    # The assignment of trials to workers is random, and so is the history of a sampler: a fixed
    # sequence of points gives every trial one correct result.
    "workers": [
        *[*SEARCH, "hydra.sweeper.n_jobs=1", "search.workers=2"],
        *["hydra/sweeper/sampler=qmc", "hydra.sweeper.sampler.seed=0"],
    ],
}


@dataclass
class Tally:
    """Kills of one kind of sweep, and their outcome."""

    sweeps: int = 0
    kills: int = 0
    differences: list[str] = field(default_factory=list)


def fork(folder: Path, words: list[str]) -> int:
    """Start a command in its own process group; its output is appended to out.log."""
    folder.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        out = os.open("out.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["train.py", *words]
        train()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        if isinstance(error.code, str):
            sys.stderr.write(error.code)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int, seconds: float | None) -> int | None:
    """The exit code of a process, None if it is alive after the timeout in seconds."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while deadline is None or time.monotonic() < deadline:
        ended_pid, status = os.waitpid(pid, 0 if deadline is None else os.WNOHANG)
        if ended_pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def kill(pid: int) -> None:
    """Kill a process with all of its children, and wait until they have ended."""
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.005)


def train_with_kills(
    folder: Path, words: list[str], longest: float, most: int, chance: random.Random
) -> int:
    """Start a command until it completes; returns the number of kills.

    Args:
        longest: the undisturbed sweep's seconds; a kill comes at a random moment of these.
        most: after so many kills it is left alone.
    """
    kills = 0
    while True:
        pid = fork(folder, words)
        code = ended(pid, chance.uniform(0, longest) if kills < most else None)
        if code == 0:
            return kills
        if code is not None:
            raise RuntimeError(f"exit code {code} after {kills} kills: {folder / 'out.log'}")
        kill(pid)
        kills += 1


VIEWS: dict[str, Callable[[Path], Any]] = {
    "runs": results,
    "results.csv": table,
    "trials": trials,
    "MLflow": mlflow_runs,
}


def differing(folder: Path, whole: dict[str, Any]) -> list[str]:
    """The views in which a sweep differs from the uninterrupted one."""
    return [name for name, view in VIEWS.items() if view(folder) != whole[name]]


def try_kind(kind: str, root: Path, wanted: int, chance: random.Random) -> Tally:
    """Kill sweeps of one kind until the number of kills is reached."""
    words, tally = KINDS[kind], Tally()
    start = time.monotonic()
    pid = fork(root / "whole", words)
    if (code := ended(pid, None)) != 0:
        raise RuntimeError(f"exit code {code} without a kill: {root / 'whole' / 'out.log'}")
    longest = time.monotonic() - start
    whole = {name: view(root / "whole") for name, view in VIEWS.items()}
    while tally.kills < wanted:
        folder = root / str(tally.sweeps)
        tally.kills += train_with_kills(folder, words, longest, wanted - tally.kills, chance)
        tally.sweeps += 1
        if files := differing(folder, whole):
            tally.differences.append(f"{folder}: {', '.join(files)}")
        else:
            shutil.rmtree(folder)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="over all kinds")
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: all of them")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    for name in PRELOADED:
        importlib.import_module(name)
    kinds, chance = options.kind or list(KINDS), random.Random(options.seed)
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    shown = Table("kind", "sweeps", "kills", "differences")
    differences: list[str] = []
    for place, kind in enumerate(kinds):
        share = options.kills // len(kinds) + (place < options.kills % len(kinds))
        tally = try_kind(kind, root / kind, share, chance)
        shown.add_row(kind, *map(str, (tally.sweeps, tally.kills, len(tally.differences))))
        differences += tally.differences
        print(f"{kind}: {tally.kills} kills, {len(tally.differences)} differences", flush=True)
    Console().print(shown)
    print("\n".join(differences))
    if not differences:
        shutil.rmtree(root)
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())
