"""Overhead of a search without its trainings: kdsweep against the stock sweeper and launcher.

    python benchmarks/search_overhead.py --trials 200

Both run trials of an empty job, without MLflow, eight per batch, on a study in sqlite: kdsweep with
the lockstep launcher, hydra-optuna-sweeper with Hydra's basic launcher. The cost of a trial is the
time between the folders of the first and the last, which excludes imports. Rounds are interleaved.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

OURS = """
from kdsweep.search import search_runs
from kdsweep.common.files import write_json_atomic
from kdsweep.tracking.result import RunResult
from kdsweep.work.endings import Ended


class Empty:
    def __init__(self, *arguments, **options):
        self.ended = {}

    @property
    def units(self):
        return len(self.ended)

    def add(self, targets):
        for target in targets:
            spec, acc = target.spec, 1 / target.spec.config.T
            result = {"status": "FINISHED", "same_as": None, "reason": None, "with_cohort": False}
            result |= {"fingerprint": spec.fingerprint, "name": spec.name, "seed": 0}
            result |= {"val/acc": acc, "test/acc": acc}
            write_json_atomic(target.run_dir / "result.json", result)
            self.ended[spec.fingerprint] = RunResult.from_json(result)

    def step(self):
        ended, self.ended = self.ended, {}
        return Ended(ended)

    def close(self, leave=False):
        pass


search_runs.OpenTraining = Empty
from kdsweep.cli import main
main()
"""
STOCK = """
from kdsweep.sweeps import single_job
single_job.train_one = lambda cfg, hydra: 1 / cfg.T
from kdsweep.cli import main
main()
"""
BOTH = ["tracking=none", "hydra.sweeper.n_jobs=8", "hydra.sweeper.storage=sqlite:///study.db"]
OF_OURS = ["search=bayes", "search.finalists=0"]
OF_STOCK = [
    *["hydra/sweeper=optuna", "hydra/launcher=basic", "hydra.sweeper.direction=maximize"],
    "hydra.sweeper.study_name=stock",
]
SPACE = ["T=tag(log,interval(1.0,16.0))", "alpha=interval(0.0,1.0)"]


def main() -> None:
    """Time the rounds and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for number in range(1, options.rounds + 1):
        ours = cost(OURS, OF_OURS, options.trials)
        other = cost(STOCK, OF_STOCK, options.trials)
        ratios.append(ours[0] / other[0])
        print(
            f"round {number}: ours {1000 * ours[0]:.0f} ms a trial (second half / first half"
            f" {ours[1]:.2f}), stock {1000 * other[0]:.0f} ms ({other[1]:.2f}),"
            f" ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(
        f"median ratio {statistics.median(ratios):.2f} [{min(ratios):.2f}..{max(ratios):.2f}],"
        f" n = {len(ratios)} rounds of {options.trials} trials"
    )


def cost(program: str, words: list[str], trials: int) -> tuple[float, float]:
    """Seconds per trial, and the ratio of the second half to the first half."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-c", program, *words, *SPACE, *BOTH]
        command.append(f"hydra.sweeper.n_trials={trials}")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True)
        times = sorted(
            path.stat().st_mtime for path in Path(home).glob("multirun/**/.hydra/config.yaml")
        )
    assert len(times) == trials, f"{len(times)} jobs of {trials}"
    middle = times[trials // 2]
    halves = [(middle - times[0]) / (trials // 2), (times[-1] - middle) / (trials - trials // 2)]
    return (times[-1] - times[0]) / (trials - 1), halves[1] / halves[0]


if __name__ == "__main__":
    main()
