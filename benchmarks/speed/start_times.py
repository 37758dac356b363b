"""Seconds from a command to its first training step, next to those of `import torch`.

Cold: the first command in an empty folder, which makes MLflow's database and begins with its
teacher. Warm: one in a folder where the same command has trained before. Files that Python has
compiled and pages that the system has cached are there in both cases.
"""

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from speed.commands import FIRST_STEP, IMPORT_TORCH, TRAIN, run_python
from speed.rounds import Column, Samples, time_rounds

TORCH = "import torch"
DIGITS = ("T=1,4,16", "alpha=0.1,0.5,0.9", "trainer.epochs=1")
SHORT_TEACHER = ("teacher.trainer.epochs=1",)


def time_starts(
    images: Path | None,
    rounds: int,
    watch: Callable[[int, float], None] = lambda number, seconds: None,
) -> Samples:
    """Seconds of each round: `import torch`, `digits, cold`, `digits, warm`, and of the images.

    Args:
        images: a folder of images, or None: only the digits.
    """
    words = {"digits": (*DIGITS, *SHORT_TEACHER)}
    if images is not None:
        given = ("dataset=image_folder", f"dataset.root={images.resolve()}", "student=cnn")
        words["images"] = (*given, *DIGITS, *SHORT_TEACHER)
    with tempfile.TemporaryDirectory() as home:
        top = Path(home)
        columns = {TORCH: Column(lambda number: run_python(IMPORT_TORCH, top))}
        for name, command in words.items():
            warm = top / f"{name}-warm"
            warm.mkdir()
            run_python((TRAIN, *command), warm)
            columns[f"{name}, cold"] = Column(partial(_cold, command, top / f"{name}-cold"))
            columns[f"{name}, warm"] = Column(partial(_warm, command, warm))
        return time_rounds(columns, rounds, watch=watch)


def _cold(words: tuple[str, ...], folder: Path, number: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run_python((FIRST_STEP, *words), folder)


def _warm(words: tuple[str, ...], folder: Path, number: int) -> None:
    run_python((FIRST_STEP, *words, f"hydra.sweep.dir=multirun/{number}"), folder)
