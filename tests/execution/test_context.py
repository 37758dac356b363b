"""What the cohorts of a process share: data sets, and the images they are cut from."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from commands import Command, Compose
from PIL import Image

from kdsweep.common.notices import warn_once
from kdsweep.config.resolve import resolve_config
from kdsweep.data.fake import Fake
from kdsweep.data.images import decoded
from kdsweep.execution.context import TrainingContext
from kdsweep.tracking.console import Progress


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each source of made images was read."""
    counts: Counter[str] = Counter()
    load = Fake.load

    def counted(self: Fake) -> object:
        counts[json.dumps(vars(self))] += 1
        return load(self)

    monkeypatch.setattr(Fake, "load", counted)
    return counts


@pytest.mark.ci
def test_data_sets_cut_from_the_same_images_read_them_once(
    compose: Compose, reads: Counter[str]
) -> None:
    context = TrainingContext(resolve_config(compose("tracking=none")).tracking, Progress())

    def dataset(*words: str) -> object:
        return context.dataset(resolve_config(compose("dataset=fake", *words)))

    whole = dataset()
    assert dataset("dataset.augment.flip=true") is whole
    assert dataset("dataset.train_fraction=0.5") is not whole
    assert list(reads.values()) == [1]
    dataset("dataset.source.noise=0.1")
    assert list(reads.values()) == [1, 1]
    context.forget_sources()
    dataset("dataset.train_fraction=0.5")
    dataset("dataset.train_fraction=0.25")
    assert list(reads.values()) == [2, 1]


def test_images_in_files_are_decoded_by_the_first_command_only(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part, name in product(("train", "test"), ("cat", "dog")):
        (tmp_path / part / name).mkdir(parents=True)
        Image.new("L", (8, 8), 30 + len(part)).save(tmp_path / part / name / "0.png")
    words = ["dataset=image_folder", f"dataset.root={tmp_path}", "dataset.val_fraction=0"]
    given = ["dataset.mean=[0.5,0.5,0.5]", "dataset.std=[0.5,0.5,0.5]", "tracking=none"]
    config = resolve_config(compose(*words, *given, f"cache.folder={tmp_path}/cache"))

    def digest() -> str:
        return TrainingContext(config.tracking, Progress(), config.cache).dataset(config).digest

    first = digest()
    monkeypatch.setattr(decoded, "decode", None)
    assert digest() == first
    config = replace(config, cache=replace(config.cache, gib=0))
    with pytest.raises(TypeError):
        digest()


@pytest.mark.slow
def test_a_sweep_over_the_size_of_the_data_reads_it_once(
    command: Command, reads: Counter[str]
) -> None:
    sizes = ["dataset.train_fraction=0.5,1.0", "dataset.augment.flip=true,false"]
    assert command("loss=ce", "trainer.epochs=1", *sizes).code == 0
    assert list(reads.values()) == [1]


def test_warnings_about_data_are_marked_and_not_in_the_answer(
    command: Command, tmp_path: Path
) -> None:
    warn_once.cache_clear()
    for part, name in product(("train", "test"), ("cat", "dog")):
        folder = tmp_path / "images" / part / name
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("no image")
        for number in range(10):
            colour = (number, number + len(part), number + ord(name[0]))
            Image.new("RGB", (8, 8), colour).save(folder / f"{number}.png")
    copied = tmp_path / "images" / "train" / "cat" / "3.png"
    shutil.copy(copied, tmp_path / "images" / "test" / "cat" / "copy.png")
    words = ["dataset=image_folder", f"dataset.root={tmp_path}/images", "dataset.val_fraction=0"]
    outcome = command(*words, "loss=ce", "trainer.batch_size=8", "dry_run=true")
    assert outcome.code == 0, outcome.err
    warnings = [line for line in outcome.err.splitlines() if line.startswith("warning: data")]
    assert len(warnings) == 2
    assert "left out of" in warnings[0]
    assert "1 of 21 test images are training images, too" in warnings[1]
    assert "left out of" not in outcome.out
