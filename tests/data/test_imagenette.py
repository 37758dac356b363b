"""The real archive cannot be had here: a small one of the same layout is written."""

import hashlib
import logging
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.builders.data import build_dataset
from kdsweep.common.notices import warn_once
from kdsweep.config.resolve import resolve_config
from kdsweep.data.imagenette import Imagenette
from kdsweep.data.images.lazy import StoredImages

WNIDS = ["n01440764", "n02102040", "n02979186", "n03000684", "n03028079"]
WNIDS += ["n03394916", "n03417042", "n03425413", "n03445777", "n03888257"]
OPTIONS = {"size": "160px", "image_size": 8}


@pytest.fixture
def root(tmp_path):
    """``imagenette2-160/`` with 4 + 2 photographs a class, wide ones and one that is grey."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        for wnid in WNIDS:
            folder = tmp_path / "imagenette2-160" / part / wnid
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (16, 24, 3), dtype=np.uint8)
                name = f"{wnid}_{number}.JPEG"
                Image.fromarray(pixels).convert("L" if number == 1 else "RGB").save(folder / name)
    (tmp_path / "imagenette2-160" / "noisy_imagenette.csv").write_text("path,noisy_labels_0\n")
    return tmp_path


def test_val_is_the_test_set_and_classes_have_readable_names(root):
    raw = Imagenette(str(root), **OPTIONS).load()
    assert raw.class_names[:2] == ("tench", "English springer")
    assert raw.train.labels.tolist() == [label for label in range(10) for _ in range(4)]
    assert raw.test.labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert raw.val is None
    assert raw.train.images.shape == (40, 3, 8, 8)


def test_archive_is_unpacked(root, tmp_path_factory, monkeypatch):
    from torchvision.datasets import Imagenette as archive_class

    fresh = tmp_path_factory.mktemp("fresh")
    archive = fresh / "imagenette2-160.tgz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(root / "imagenette2-160", "imagenette2-160")
    url, _ = archive_class._ARCHIVES["160px"]
    known = {"160px": (url, hashlib.md5(archive.read_bytes()).hexdigest())}
    monkeypatch.setattr(archive_class, "_ARCHIVES", known)
    packed, unpacked = (Imagenette(str(place), **OPTIONS) for place in (fresh, root))
    assert packed.digest() == unpacked.digest()
    assert torch.equal(packed.load().train.images, unpacked.load().train.images)


def test_images_too_large_for_memory_stay_on_disk(root):
    in_memory = Imagenette(str(root), **OPTIONS).load()
    stored = Imagenette(str(root), **OPTIONS, memory_gib=1e-9, workers=0).load()
    assert isinstance(stored.train.images, StoredImages)
    assert torch.equal(stored.train.images[torch.arange(40)], in_memory.train.images)


def test_digest_follows_the_bytes(root):
    first = Imagenette(str(root), **OPTIONS).digest()
    image = root / "imagenette2-160" / "val" / WNIDS[3] / f"{WNIDS[3]}_0.JPEG"
    Image.new("RGB", (24, 16)).save(image)
    assert Imagenette(str(root), **OPTIONS).digest() != first


def test_what_is_left_out_is_counted(root, caplog):
    warn_once.cache_clear()
    folder = root / "imagenette2-160"
    (folder / "train" / WNIDS[0] / "a.txt").write_text("no image")
    (folder / "val" / WNIDS[1] / "b.txt").write_text("no image")
    with caplog.at_level(logging.WARNING):
        Imagenette(str(root), **OPTIONS).load()
    assert f"dataset.root: left out of {folder} are .txt (2)" in caplog.messages


def test_an_incomplete_folder_is_a_warning(root, caplog):
    with caplog.at_level(logging.WARNING):
        Imagenette(str(root), **OPTIONS).load()
    (record,) = caplog.records
    assert "holds 40 train + 20 test images, published are 9,469 train + 3,925 test" in (
        record.getMessage()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "val"), "must hold a folder val/, got"),
        (lambda folder: shutil.rmtree(folder / "val" / WNIDS[0]), f"without '{WNIDS[0]}'"),
        (
            lambda folder: [shutil.move(folder / p / WNIDS[0], folder / p / "cat") for p in PARTS],
            "must hold no other classes than those of Imagenette, got",
        ),
    ],
)
def test_other_layout_is_refused(root, change, message):
    change(root / "imagenette2-160")
    with pytest.raises(ValueError, match=r"^dataset\.root ") as refused:
        Imagenette(str(root), **OPTIONS).load()
    assert message in str(refused.value)


PARTS = ("train", "val")


def test_unknown_size_is_refused():
    with pytest.raises(ValueError, match=r"^dataset\.source\.size must be one of full, 320px, 160"):
        Imagenette("data", size="64px")


def test_config_makes_a_data_set(root, compose):
    words = ["dataset=imagenette", f"dataset.root={root}", "dataset.source.size=160px"]
    config = resolve_config(compose(*words, "dataset.source.image_size=16"))
    dataset = build_dataset(replace(config.dataset, val_fraction=0.25), "cpu")
    assert dataset.image_shape == (3, 16, 16)
    sizes = [len(part.labels) for part in (dataset.train, dataset.val, dataset.test)]
    assert sizes == [30, 10, 20]
