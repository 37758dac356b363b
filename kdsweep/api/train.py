"""`kdsweep.sweep`: the program of `kdsweep train`, in this process."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings, filterwarnings

from kdsweep.api import results
from kdsweep.api.results import Sweep
from kdsweep.api.words import command_words
from kdsweep.errors import RunFailed, UserError

FULL_ERROR = "HYDRA_FULL_ERROR"  # with it, Hydra raises errors instead of ending the process


def sweep(*overrides: str, **settings: Any) -> Sweep:
    """Train a run, a grid or a search as `kdsweep train` does, and return it.

    `kdsweep.sweep("loss=kl", "T=1,4,16", seed=[0, 1, 2])` trains what
    `kdsweep train loss=kl T=1,4,16 seed=0,1,2` trains: same folders, same bits, same runs in
    MLflow. The output is shown as on the command line. Ctrl-C, or a notebook's stop button, ends it
    in an orderly way; `resume=True` resumes it.

    Args:
        overrides: words of the command line, such as `search=bayes` or `trainer.epochs=10`.
        settings: values by key; a list is swept over. Keys with dots are given in a dictionary,
            `**{"trainer.epochs": 10}`.

    Raises UserError for what the user can correct, before any training, and RunFailed if a search
    has no complete trial.
    """
    from kdsweep.cli.train import run
    from kdsweep.sweeps.record import opened_here
    from kdsweep.training.memory import release_memory

    words = command_words(overrides, settings)
    known = len(opened_here)
    with _command_line(words), _raised_errors(), _logging_of_caller(), catch_warnings():
        # Of tqdm in a notebook without ipywidgets; the bars here are those of rich.
        filterwarnings("ignore", "IProgress not found")
        try:
            run()
        finally:
            release_memory()  # the process outlives the sweep
    if len(opened_here) == known:
        raise UserError(
            f"kdsweep.sweep must train something, got {' '.join(words) or 'no overrides'}"
        )
    return results.open(opened_here[-1])


@contextmanager
def _command_line(words: Sequence[str]) -> Iterator[None]:
    """Inside, the command line is `kdsweep train` with these words, for Hydra and for workers."""
    before = sys.argv
    sys.argv = ["kdsweep train", *words]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _raised_errors() -> Iterator[None]:
    """Inside, errors are raised where the command line would end the process with a sentence."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__cause__, UserError | RunFailed):
            raise error.__cause__ from None
        if error.code in (None, 0):
            return
        if error.code == 130:
            raise KeyboardInterrupt from error
        raise UserError(str(error.code)) from error
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before


@contextmanager
def _logging_of_caller() -> Iterator[None]:
    """Hydra configures the root logger for its command; afterwards it is as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers, root.level = handlers, level
