"""The real archive cannot be had here: a small one of the same layout is written."""

import hashlib
import logging
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.builders.data import build_dataset
from kdsweep.common.notices import warn_once
from kdsweep.config.resolve import resolve_config
from kdsweep.data import tiny_imagenet
from kdsweep.data.tiny_imagenet import TinyImageNet

WNIDS = ["n02124075", "n01443537", "n04067472"]  # as in the archive, not sorted
WORDS = ["n00001740\tentity", "n01443537\tgoldfish, Carassius auratus"]
WORDS += ["n02124075\tEgyptian cat", "n04067472\treel"]


def save(path, generator):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """``tiny-imagenet-200/`` with 4 images a class, 2 a class in val/ and one in test/."""
    folder = tmp_path / "tiny-imagenet-200"
    generator = np.random.default_rng(0)
    for wnid in WNIDS:
        for number in range(4):
            save(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", generator)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t9\t9\n")
    rows = [(f"val_{number}.JPEG", WNIDS[number % 3]) for number in range(6)]
    for name, _ in rows:
        save(folder / "val" / "images" / name, generator)
    annotations = "".join(f"{name}\t{wnid}\t0\t32\t44\t62\n" for name, wnid in rows)
    (folder / "val" / "val_annotations.txt").write_text(annotations)
    save(folder / "test" / "images" / "test_0.JPEG", generator)
    (folder / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (folder / "words.txt").write_text("\n".join(WORDS) + "\n")
    return folder


def pixels(path):
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


def test_val_is_the_test_set_by_its_annotations(folder):
    raw = TinyImageNet(str(folder.parent)).load()
    assert raw.class_names == ("goldfish", "Egyptian cat", "reel")
    assert raw.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert raw.test.labels.tolist() == [1, 0, 2, 1, 0, 2]
    assert raw.val is None
    assert torch.equal(raw.test.images[3], pixels(folder / "val" / "images" / "val_3.JPEG"))
    first_cat = folder / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_0.JPEG"
    assert torch.equal(raw.train.images[4], pixels(first_cat))


def test_images_too_large_for_memory_stay_on_disk(folder):
    in_memory = TinyImageNet(str(folder.parent), image_size=32).load()
    stored = TinyImageNet(str(folder.parent), image_size=32, memory_gib=1e-9, workers=0).load()
    assert torch.equal(stored.test.images[torch.arange(6)], in_memory.test.images)


def test_what_is_left_out_is_counted_but_for_what_is_published(folder, caplog):
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        TinyImageNet(str(folder.parent)).load()
        assert not [text for text in caplog.messages if "left out" in text]
        (folder / "train" / WNIDS[0] / "a.txt").write_text("no image")
        TinyImageNet(str(folder.parent)).load()
    assert f"dataset.root: left out of {folder} are .txt (1)" in caplog.messages


def test_archive_is_unpacked(folder, tmp_path_factory, monkeypatch):
    fresh = tmp_path_factory.mktemp("fresh")
    archive = fresh / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*"):
            file.write(path, path.relative_to(folder.parent))
    monkeypatch.setattr(tiny_imagenet, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    assert TinyImageNet(str(fresh)).digest() == TinyImageNet(str(folder.parent)).digest()


def test_digest_follows_the_annotations(folder):
    first = TinyImageNet(str(folder.parent)).digest()
    file = folder / "val" / "val_annotations.txt"
    file.write_text(file.read_text().replace(WNIDS[0], WNIDS[1]))
    assert TinyImageNet(str(folder.parent)).digest() != first


@pytest.mark.parametrize("file", ["wnids.txt", "words.txt", "val/val_annotations.txt"])
def test_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(
        ValueError, match=rf"^dataset\.root must hold .* got {folder} without {file}"
    ):
        TinyImageNet(str(folder.parent)).load()


@pytest.mark.parametrize("line", ["val_0.JPEG\tn99999999\t0\t0\t1\t1", "val_0.JPEG"])
def test_unknown_class_in_the_annotations_is_refused(folder, line):
    (folder / "val" / "val_annotations.txt").write_text(line)
    with pytest.raises(ValueError, match=r"^dataset\.root must hold annotations of the classes"):
        TinyImageNet(str(folder.parent)).load()


def test_missing_image_is_named(folder):
    (folder / "val" / "images" / "val_2.JPEG").unlink()
    with pytest.raises(ValueError, match=r"^dataset\.source must give readable .*val_2\.JPEG"):
        TinyImageNet(str(folder.parent), image_size=64).load()


@pytest.mark.ci
def test_config_makes_a_data_set(folder, compose):
    words = ["dataset=tiny_imagenet", f"dataset.root={folder.parent}", "dataset.classes=3"]
    config = resolve_config(compose(*words))
    dataset = build_dataset(replace(config.dataset, val_fraction=0.25), "cpu")
    assert dataset.image_shape == (3, 64, 64)
    sizes = [len(part.labels) for part in (dataset.train, dataset.val, dataset.test)]
    assert sizes == [9, 3, 6]
