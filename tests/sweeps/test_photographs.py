"""Photographs of several sizes, by the whole command line: the recipe, views and sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Command
from outcomes import both, digests, interrupt
from PIL import Image

import kdsweep
from kdsweep.tracking.predictions import load_predictions

pytestmark = pytest.mark.slow

WORDS = [
    *("dataset=image_folder", "dataset.root=photographs", "dataset/augment=photographs"),
    *("dataset.source.image_size=20", "dataset.source.crop=true", "dataset.image_size=16"),
    *("dataset.val_fraction=0.2", "trainer.batch_size=16"),
    *("student=cnn", "student.model.width=4", "trainer.epochs=3"),
    *("teacher.model.width=4", "teacher.trainer.epochs=1", "T=1,4"),
]


@pytest.fixture(autouse=True)
def photographs(tmp_path: Path) -> Path:
    """Two classes of 24 + 8 images each, of other sizes, in the folder of the commands."""
    root, generator = tmp_path / "photographs", np.random.default_rng(0)
    for number in range(64):
        label, part = number % 2, "test" if number < 16 else "train"
        folder = root / part / ("ants", "bees")[label]
        folder.mkdir(parents=True, exist_ok=True)
        size = (20 + number % 7, 30 - number % 9)
        pixels = generator.integers(0, 160, (*size, 3)) + 60 * (np.arange(3) == label)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["dataset.source.memory_gib=1e-9", "dataset.augment.color_jitter=[0.4,0.4,0.4,0.1]"],
        ["dataset.augment.auto_augment=randaugment", "teacher.view=weak", "teacher.image_size=24"],
        ["dataset.augment.auto_augment=autoaugment", "teacher.view=centre"],
        ["student.image_size=12", "dataset.augment.cutmix=1", "teacher=ensemble"],
        ["teacher=peers", "student.image_size=12", "+teacher.peers.second.image_size=16"],
        ["teacher.online=true", "teacher.image_size=24"],
    ],
)
def test_lockstep_gives_the_bits_of_separate_runs(command: Command, words: list[str]) -> None:
    given = [word for word in WORDS if not (words[:1] == ["teacher=peers"] and "teacher." in word)]
    given = [word for word in given if words[-1:] != ["teacher=ensemble"] or "teacher." not in word]
    together, alone = both(command, *given, *words)
    assert together == alone
    assert len(together) == 2


def test_a_run_without_a_teacher_may_join_those_whose_teacher_sees_another_view(
    command: Command,
) -> None:
    words = [*WORDS[:-1], "teacher.view=centre", "dataset.augment.mixup=0.2", "loss=ce,kl"]
    together, alone = both(command, *words)
    assert together == alone
    assert len(together) == 2


def test_workers_and_memory_give_the_same_bits(command: Command) -> None:
    in_memory = digests(command(*WORDS))
    for workers in (0, 2):
        on_disk = ["dataset.source.memory_gib=1e-9", f"dataset.source.workers={workers}"]
        where = f"hydra.sweep.dir=multirun/workers{workers}"
        assert digests(command(*WORDS, *on_disk, where)) == in_memory


def test_resumed_is_the_same_bits(command: Command) -> None:
    words = [*WORDS, "teacher.view=centre"]
    whole = digests(command(*words, "hydra.sweep.dir=multirun/whole"))
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, epoch=1, seed=0)
        assert command(*words, "hydra.sweep.dir=multirun/parts").code != 0
    again = command(*words, "hydra.sweep.dir=multirun/parts", "resume=true")
    assert digests(again) == whole


def test_a_loaded_student_predicts_as_it_was_evaluated(command: Command, photographs: Path) -> None:
    outcome = command(*WORDS, "student.image_size=12", "T=4")
    assert outcome.code == 0, outcome.err
    loaded = kdsweep.load(outcome.sweep / "0")
    assert loaded.preprocessing.in_shape == (3, 12, 12)
    assert loaded.preprocessing.pixel_shape == (3, 16, 16)
    files = sorted((photographs / "test").glob("*/*"))
    expected = load_predictions(outcome.sweep / "0" / "answers.safetensors").logits["test"]
    found = loaded.predict(files, batch_size=7).logits
    assert (found - torch.tensor(expected)).abs().max() < 1e-5
