"""Storage cost of a trial, sqlite against a journal file; and the effect of a truncated line.

    python benchmarks/search_storage.py

Blocks of eight trials make the calls of a search (ask, set_user_attr, tell), on new storages;
rounds are interleaved. Then the last line of a journal is truncated, as by a full disk or a power
cut, and another trial is run.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

BLOCK = 8


def sqlite(folder: Path) -> BaseStorage:
    """The storage of search=bayes."""
    return optuna.storages.get_storage(RDBStorage(f"sqlite:///{folder}/study.db"))


def journal(folder: Path) -> BaseStorage:
    """Optuna's file with one line per operation."""
    return JournalStorage(JournalFileBackend(str(folder / "study.log")))


def cost(make: Callable[[Path], BaseStorage], trials: int) -> float:
    """Milliseconds per trial."""
    with tempfile.TemporaryDirectory() as folder:
        sampler = optuna.samplers.RandomSampler(seed=0)
        study = optuna.create_study(storage=make(Path(folder)), sampler=sampler)
        started = time.perf_counter()
        for _ in range(trials // BLOCK):
            block = [study.ask() for _ in range(BLOCK)]
            for trial in block:
                trial.suggest_float("T", 1, 16, log=True)
                trial.suggest_float("alpha", 0, 1)
                trial.set_user_attr("seeds", {"0": 0.9})
                study.tell(trial, 0.9)
        return 1000 * (time.perf_counter() - started) / trials


def after_half_a_line() -> str:
    """The state of a journal after truncating its last line and running another trial."""
    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(study_name="cut", storage=journal(Path(folder)))
        study.optimize(lambda trial: trial.suggest_float("T", 1, 16), n_trials=3)
        path = Path(folder, "study.log")
        path.write_bytes(path.read_bytes()[:-20])
        try:
            study = optuna.load_study(study_name="cut", storage=journal(Path(folder)))
            study.optimize(lambda trial: trial.suggest_float("T", 1, 16), n_trials=1)
            study = optuna.load_study(study_name="cut", storage=journal(Path(folder)))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return f"{len(study.trials)} trials"


def main() -> None:
    """Print both costs, their ratio, and the state of a truncated journal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ratios = []
    for number in range(1, options.rounds + 1):
        first, second = cost(sqlite, options.trials), cost(journal, options.trials)
        ratios.append(first / second)
        print(f"round {number}: sqlite {first:.1f} ms a trial, journal {second:.1f} ms", flush=True)
    spread = f"[{min(ratios):.1f}..{max(ratios):.1f}]"
    print(f"sqlite / journal: median {statistics.median(ratios):.1f} {spread}")
    print(f"a journal with half a line: {after_half_a_line()}")


if __name__ == "__main__":
    main()
