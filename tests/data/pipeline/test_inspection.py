import logging
from collections import Counter
from dataclasses import replace

import pytest
import torch
from PIL import Image

from kdsweep.common.notices import warn_once
from kdsweep.data.image_folder import ImageFolder
from kdsweep.data.images import lazy
from kdsweep.data.pipeline import inspection
from kdsweep.data.pipeline.inspection import DatasetInspector, read_through
from kdsweep.data.pipeline.split import SplitOptions, load_dataset
from kdsweep.data.types import CachedSource, DataError, LabelledImages, SourceData

OPTIONS = SplitOptions("made", val_fraction=0, mean=[0.5] * 3, std=[0.5] * 3)
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
    return load_dataset(ImageFolder(str(root), **options), OPTIONS)


def copy(root, source, target):
    (root / target).write_bytes((root / source).read_bytes())


@pytest.mark.parametrize("options", [{}, STORED], ids=["in memory", "on disk"])
def test_images_on_both_sides_of_a_split_are_counted_in_one_warning(root, options, warned):
    copy(root, "train/cat/0.bmp", "test/cat/again.bmp")
    copy(root, "train/cat/1.bmp", "test/dog/other.bmp")
    copy(root, "train/dog/5.bmp", "val/dog/copy.bmp")
    for _ in range(2):
        DatasetInspector().warn_of_overlap(load(root, **options), "here")
    (warning,) = warned()
    assert warning.startswith(
        "dataset made: 1 of 11 validation images and 2 of 12 test images are training images, too"
    )


@pytest.mark.parametrize("options", [{}, STORED], ids=["in memory", "on disk"])
def test_nothing_is_printed_of_images_that_differ(root, options, warned):
    copy(root, "train/cat/0.bmp", "train/dog/again.bmp")  # on one side only
    DatasetInspector().warn_of_overlap(load(root, **options), "here")
    assert warned() == []


def test_copies_that_the_split_has_parted_are_found(warned):
    class Twice:
        name = "twice"

        def load(self):
            images = torch.arange(20, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(2, 3, 2, 2)
            labels = torch.arange(40) % 2
            return SourceData(LabelledImages(images, labels), None, ("a", "b"))

        def digest(self):
            return ""

    DatasetInspector().warn_of_overlap(
        load_dataset(Twice(), replace(OPTIONS, test_fraction=0.5)), "here"
    )
    (warning,) = warned()
    assert " of 20 test images are training images, too" in warning


@pytest.fixture
def read(monkeypatch):
    """How often the content of each file was read for comparison, and each was decoded."""
    counts = Counter()

    def counted(kind, of):
        real = getattr(lazy, of)

        def call(images, row, *more):
            counts[kind, images.name(row)] += 1
            return real(images, row, *more)

        monkeypatch.setattr(lazy, of, call)

    counted("compared", "content_sha256")
    counted("decoded", "decode")
    return counts


def test_nothing_is_looked_at_twice_for_data_sets_cut_from_one_source(root, read):
    source, looked = CachedSource(ImageFolder(str(root), **STORED)), DatasetInspector()
    for limit in (2, 4, 6, 8):
        looked.inspect(load_dataset(source, replace(OPTIONS, limit=limit)), "here")
    files = {name for kind, name in read if kind == "compared"}
    assert len(files) == 20 + 8  # BMP files are all of equal length
    assert {*read.values()} == {1}


def test_images_in_memory_are_compared_once(root, monkeypatch):
    hashed = []
    digests = inspection._digests
    monkeypatch.setattr(
        inspection, "_digests", lambda images: hashed.append(len(images)) or digests(images)
    )
    source, looked = CachedSource(ImageFolder(str(root))), DatasetInspector()
    for limit in (2, 4, 8):
        looked.inspect(load_dataset(source, replace(OPTIONS, limit=limit)), "here")
    assert sum(hashed) == 20 + 8


def test_other_sources_are_not_taken_for_what_is_known(root, warned):
    looked, data = DatasetInspector(), load(root)
    looked.warn_of_overlap(data, "here")
    copy(root, "train/cat/0.bmp", "test/cat/100.bmp")
    looked.warn_of_overlap(load(root), "there")
    (warning,) = warned()
    assert "1 of 10 test images" in warning


def test_a_skipped_comparison_is_a_warning(root, warned, monkeypatch, read):
    copy(root, "train/cat/0.bmp", "test/cat/again.bmp")
    size = (root / "train" / "cat" / "0.bmp").stat().st_size
    monkeypatch.setattr(inspection, "DIGEST_GIB", (10 + 10 + 11) * size / 2**30)
    DatasetInspector().warn_of_overlap(load(root, **STORED), "here")
    assert "are training images, too" in warned()[0]
    monkeypatch.setattr(inspection, "DIGEST_GIB", (10 + 10 + 11) * size / 2**30 - 1e-9)
    read.clear()
    DatasetInspector().warn_of_overlap(load(root, **STORED), "here")
    (_, skipped) = warned()
    assert skipped.startswith(
        "dataset made: whether validation and test images are training images,"
    )
    assert not read


def test_a_broken_image_on_disk_is_found_by_reading_through(root):
    data = load(root, **STORED)
    bad = root / "test" / "dog" / "107.bmp"
    bad.write_bytes(bad.read_bytes()[:60])
    read_through(data.val.images)
    with pytest.raises(DataError, match=r"107\.bmp"):
        read_through(data.test.images)
