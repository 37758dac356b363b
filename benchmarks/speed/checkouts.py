"""The same commands with this checkout and with another one, such as that of an earlier commit."""

import tempfile
from functools import partial
from pathlib import Path

from speed.commands import TOP, run_python
from speed.rounds import Column, Samples, time_rounds
from speed.sweep_costs import KINDS, RUNS, SHORT, Watch, grid_words

OWN, OTHER = "this checkout", "the other one"


def time_checkouts(
    other: Path, rounds: int, watch: Watch = lambda number, seconds: None
) -> Samples:
    """Seconds of 60 one-epoch runs on digits in each round, as `KIND, CHECKOUT`.

    Each checkout has a folder of its own, in which the round that is not kept trains the teacher.
    """
    columns = {}
    with tempfile.TemporaryDirectory() as home:
        for name, top in {OWN: TOP, OTHER: other.resolve()}.items():
            folder = Path(home) / name.replace(" ", "-")
            folder.mkdir()
            for kind in KINDS:
                columns[column_of(kind, name)] = Column(partial(_run, top, folder, kind))
        return time_rounds(columns, rounds, watch=watch)


def column_of(kind: str, checkout: str) -> str:
    """The name of a column of the samples."""
    return f"{kind}, {checkout}"


def _run(top: Path, folder: Path, kind: str, number: int) -> None:
    words = KINDS[kind]
    sweep = f"hydra.sweep.dir=multirun/{number}-{len(words)}"
    command = (str(top / "train.py"), *SHORT, *words, *grid_words(RUNS), sweep)
    run_python(command, folder, top=top)
