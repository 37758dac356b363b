"""A sweep of nine runs over four seeds by one worker and by two, as whole commands.

Each command has MLflow and the report, in a folder that has the teacher already. The networks are
large enough for the imports of a worker not to dominate.
"""

import tempfile
from functools import partial
from pathlib import Path

from speed.cohorts import WORKS
from speed.commands import TRAIN, run_python
from speed.rounds import Column, Samples, Spread, ratio, time_rounds
from speed.sweep_costs import Watch

ONE, TWO = "1 worker", "2 workers"
COUNTS = {ONE: 1, TWO: 2}
SEEDS = 4
IMAGES, EPOCHS = 640, 4  # in five batches
WORK = WORKS["vgg"]
WORDS = (
    *WORK.words,
    *("dataset=fake", f"dataset.source.num_train={IMAGES}", "dataset.source.num_test=256"),
    *("loss=kl", "T=1,4,16", "alpha=0.1,0.5,0.9", f"seed=range({SEEDS})"),
    *(f"trainer.epochs={EPOCHS}", "teacher.trainer.epochs=1"),
)


def time_workers(
    rounds: int, watch: Watch = lambda number, seconds: None, words: tuple[str, ...] = WORDS
) -> Samples:
    """Seconds of the command with each number of workers in each round.

    The round that is not kept trains the teacher.
    """
    with tempfile.TemporaryDirectory() as folder:
        columns = {name: Column(partial(_run, Path(folder), name, words)) for name in COUNTS}
        return time_rounds(columns, rounds, watch=watch)


def of_one(samples: Samples) -> Spread:
    """Two workers relative to one, round by round."""
    return ratio(samples[TWO], samples[ONE])


def _run(folder: Path, name: str, words: tuple[str, ...], number: int) -> None:
    count = COUNTS[name]
    sweep = f"hydra.sweep.dir=multirun/{number}-{count}"
    run_python((TRAIN, "-m", *words, f"hydra.launcher.workers={count}", sweep), folder)
