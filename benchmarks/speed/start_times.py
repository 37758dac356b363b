"""Seconds from a command to its first training step, next to those of `import torch`.

Cold: the first command in an empty folder, which makes MLflow's database and begins with its
teacher. Warm: one in a folder where the same command has trained before. Files that Python has
compiled and pages that the system has cached are there in both cases.

A folder of many images is read by one command that is not timed; timed is a second one, next to the
same training on digits.
"""

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from speed.commands import COMPOSE, FIRST_STEP, HELP, IMPORT_TORCH, TRAIN, run_python
from speed.rounds import Column, Samples, time_rounds

TORCH, COMPOSED, HELPED = "import torch", "import hydra, compose", "train.py --help"
SECOND_DIGITS, SECOND_IMAGES = "digits, second command", "many images, second command"
GRID = ("T=1,4,16", "alpha=0.1,0.5,0.9", "trainer.epochs=1", "teacher.trainer.epochs=1")
ON_LABELS = ("teacher=none", "loss=ce", "student=cnn", "trainer.epochs=1")


def time_starts(
    images: Path | None,
    many: Path | None,
    rounds: int,
    watch: Callable[[int, float], None] = lambda number, seconds: None,
) -> Samples:
    """Seconds of each round, by command.

    Args:
        images: a folder of images for a cold and a warm start, or None: only those of the digits.
        many: a folder of many images for a second command, or None.
    """
    with tempfile.TemporaryDirectory() as home:
        top = Path(home)
        columns = {
            name: Column(partial(_end, words, top))
            for name, words in {TORCH: IMPORT_TORCH, COMPOSED: COMPOSE, HELPED: HELP}.items()
        }
        columns |= _cold_and_warm("digits", GRID, top)
        if images is not None:
            columns |= _cold_and_warm("images", (*folder_words(images), "student=cnn", *GRID), top)
        if many is not None:
            columns[SECOND_DIGITS] = _second(ON_LABELS, top / "second-digits")
            words = (*folder_words(many), *ON_LABELS)
            columns[SECOND_IMAGES] = _second(words, top / "second-images")
        return time_rounds(columns, rounds, watch=watch)


def folder_words(images: Path) -> tuple[str, str]:
    """The overrides for a folder of images."""
    return "dataset=image_folder", f"dataset.root={images.resolve()}"


def _cold_and_warm(name: str, words: tuple[str, ...], top: Path) -> dict[str, Column]:
    warm = top / f"{name}-warm"
    warm.mkdir()
    run_python((TRAIN, *words), warm)
    return {
        f"{name}, cold": Column(partial(_cold, words, top / f"{name}-cold")),
        f"{name}, warm": Column(partial(_warm, words, warm)),
    }


def _second(words: tuple[str, ...], folder: Path) -> Column:
    folder.mkdir()
    run_python((FIRST_STEP, *words), folder)
    return Column(partial(_warm, words, folder))


def _end(words: tuple[str, ...], folder: Path, number: int) -> None:
    run_python(words, folder)


def _cold(words: tuple[str, ...], folder: Path, number: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run_python((FIRST_STEP, *words), folder)


def _warm(words: tuple[str, ...], folder: Path, number: int) -> None:
    run_python((FIRST_STEP, *words, f"hydra.sweep.dir=multirun/{number}"), folder)
