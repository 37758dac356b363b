import logging

import pytest
import torch
from PIL import Image

from kdsweep.data.image_folder import ImageFolder
from kdsweep.data.inspection import read_through, warn_of_overlap
from kdsweep.data.labelled import DataError, Labelled, Raw
from kdsweep.data.notices import warn_once
from kdsweep.data.split import load_dataset

OPTIONS = {
    "name": "made",
    "val_fraction": 0,
    "test_fraction": None,
    "split_seed": 0,
    "train_fraction": 1.0,
    "limit": None,
    "per_class": None,
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "classes": None,
}
STORED = {"memory_gib": 1e-9, "workers": 0}


@pytest.fixture
def root(tmp_path):
    """Two classes; all images differ."""
    for part, number in (("train", 0), ("val", 50), ("test", 100)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for _ in range(5):
                image = Image.new("RGB", (4, 4), (number, 3 * number % 256, 7))
                image.save(tmp_path / part / name / f"{number}.bmp")
                number += 1
    return tmp_path


@pytest.fixture
def warned(caplog):
    warn_once.cache_clear()
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def load(root, **options):
    return load_dataset(ImageFolder(str(root), **options), **OPTIONS)


def copy(root, source, target):
    (root / target).write_bytes((root / source).read_bytes())


@pytest.mark.parametrize("options", [{}, STORED], ids=["in memory", "on disk"])
def test_images_on_both_sides_of_a_split_are_counted_in_one_warning(root, options, warned):
    copy(root, "train/cat/0.bmp", "test/cat/again.bmp")
    copy(root, "train/cat/1.bmp", "test/dog/other.bmp")
    copy(root, "train/dog/5.bmp", "val/dog/copy.bmp")
    for _ in range(2):
        warn_of_overlap(load(root, **options))
    (warning,) = warned()
    assert warning.startswith(
        "dataset made: 1 of 11 validation images and 2 of 12 test images are training images, too"
    )


@pytest.mark.parametrize("options", [{}, STORED], ids=["in memory", "on disk"])
def test_nothing_is_said_of_images_that_differ(root, options, warned):
    copy(root, "train/cat/0.bmp", "train/dog/again.bmp")  # on one side only
    warn_of_overlap(load(root, **options))
    assert warned() == []


def test_copies_that_the_split_has_parted_are_found(warned):
    class Twice:
        name = "twice"

        def load(self):
            images = torch.arange(20, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(2, 3, 2, 2)
            labels = torch.arange(40) % 2
            return Raw(Labelled(images, labels), None, ("a", "b"))

        def digest(self):
            return ""

    warn_of_overlap(load_dataset(Twice(), **{**OPTIONS, "test_fraction": 0.5}))
    (warning,) = warned()
    assert " of 20 test images are training images, too" in warning


def test_a_broken_image_on_disk_is_found_by_reading_through(root):
    data = load(root, **STORED)
    bad = root / "test" / "dog" / "107.bmp"
    bad.write_bytes(bad.read_bytes()[:60])
    read_through(data.val.images)
    with pytest.raises(DataError, match=r"107\.bmp"):
        read_through(data.test.images)
