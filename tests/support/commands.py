"""The real command line, called in this process.

A child process costs seconds of imports, so `run` calls the same `main` that train.py calls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdsweep.common.files import read_json
from kdsweep.tracking.results_table import collect

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


Command = Callable[..., Outcome]
Compose = Callable[..., DictConfig]
Check = Callable[..., None]
Refusal = Callable[..., str]
Targets = Callable[..., list[Any]]


def overrides(words: tuple[str, ...], word: str) -> bool:
    """Whether one of the words sets the key of another word, or makes it meaningless."""
    key = word.partition("=")[0]
    groups = {other.partition("=")[0] for other in words}
    if key.startswith("dataset.source") and "dataset" in groups:
        return True  # another data set has other keys
    if key == "teacher.model.width" and "teacher" in groups:
        return True
    return key in groups
