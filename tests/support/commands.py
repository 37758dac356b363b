"""The real command line, called in this process.

A child process costs seconds of imports, so `run` calls the same `main` that train.py calls.
"""

import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra._internal.utils
import pytest
from omegaconf import DictConfig

from kdsweep.common.files import read_json
from kdsweep.tracking.results_table import collect

if TYPE_CHECKING:  # it imports torch, which the process that only starts the workers needs not
    from kdsweep.runs.spec import RunSpec

# Small enough for seconds, real enough to train.
TINY = [
    "dataset=fake",
    "dataset.source.shape=[1,8,8]",
    "dataset.source.num_train=160",
    "dataset.source.num_test=40",
    "teacher.model.width=4",
    "trainer.epochs=2",
    "trainer.batch_size=32",
    "teacher.trainer.epochs=1",
    "student.model.width=8",
]
# Figures take longer than the training; tests of the report and of plots set these keys.
UNDRAWN = ["tracking.report=false", "tracking.plots=none"]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str
    folder: Path  # where it was called

    @property
    def sweep(self) -> Path:
        """The folder of the latest sweep."""
        notes = sorted(
            self.folder.glob("multirun/**/sweep.json"), key=lambda path: read_json(path)["created"]
        )
        return notes[-1].parent

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The latest sweep's results, one a run folder."""
        return collect(self.sweep)


def run_train(words: Sequence[str]) -> int:
    """Call train.py's main with these words, in the current folder; returns the exit code."""
    from kdsweep.cli import main

    logging.getLogger("optuna").handlers.clear()  # they hold the stderr of an earlier test
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *words])
        patch.setattr(sys, "excepthook", sys.excepthook)  # main sets another one
        # Hydra looks for a debugger in the whole call stack, which is long below pytest.
        patch.setattr(hydra._internal.utils, "is_under_debugger", lambda: False)
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        try:
            main()
        except SystemExit as error:
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)  # as the interpreter does
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)  # as the interpreter does
            return 1
    return 0


def copy_of(outcome: Outcome, folder: Path) -> Outcome:
    """What a command left behind, without MLflow, in a folder where a test may change it."""
    ignored = shutil.ignore_patterns("mlflow.db", "mlartifacts")
    shutil.copytree(outcome.folder, folder, ignore=ignored, dirs_exist_ok=True)
    return replace(outcome, folder=folder)


Command = Callable[..., Outcome]
Compose = Callable[..., DictConfig]
Check = Callable[..., None]
Refusal = Callable[..., str]
Specs = Callable[..., "list[RunSpec]"]
Targets = Callable[..., list[Any]]


def overrides(words: tuple[str, ...], word: str) -> bool:
    """Whether one of the words sets the key of another word, or makes it meaningless."""
    key = word.partition("=")[0]
    groups = {other.partition("=")[0] for other in words}
    if key.startswith("dataset.source") and "dataset" in groups:
        return True  # another data set has other keys
    if key == "teacher.model.width" and "teacher" in groups:
        return True
    if key == "student.model.width" and {"student=timm", "student=torchvision"} & set(words):
        return True  # their networks have names
    return key in groups
