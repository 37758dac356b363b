"""The real archives cannot be had here: files of the same names and formats are written."""

import logging
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from kdsweep.builders.data import build_dataset
from kdsweep.common.notices import warn_once
from kdsweep.config.resolve import resolve_config
from kdsweep.data import imagenet
from kdsweep.data.imagenet import ImageNet

# (id in the development kit, WordNet id, words): the ids are not in the order of the WordNet ids.
CLASSES = [
    (2, "n01440764", "tench, Tinca tinca"),
    (3, "n02012849", "crane"),
    (1, "n03126707", "crane"),
]
WNIDS = [wnid for _, wnid, _ in CLASSES]
NAMES = ("tench", "crane (n02012849)", "crane (n03126707)")
VAL_NUMBERS = [1, 2, 2, 3, 1, 3]  # of the development kit
VAL_LABELS = [2, 0, 0, 1, 2, 1]
KIT, GROUND_TRUTH = "ILSVRC2012_devkit_t12", "ILSVRC2012_validation_ground_truth.txt"


def save(path, generator, size=(40, 50)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def write_images(top):
    """``train/<wnid>/`` with 4 images a class, and ``val/`` with 6 images, without folders."""
    generator = np.random.default_rng(0)
    for wnid in WNIDS:
        for number in range(4):
            save(top / "train" / wnid / f"{wnid}_{number}.JPEG", generator)
    for position in range(1, 7):
        save(top / "val" / f"ILSVRC2012_val_{position:08}.JPEG", generator)


def write_kit(root):
    """The two files of the development kit that are read, with the fields of the published ones."""
    data = root / KIT / "data"
    data.mkdir(parents=True)
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children"]
    synsets = [(number, wnid, words, "a gloss", 0, []) for number, wnid, words in sorted(CLASSES)]
    synsets.append((4, "n00001740", "entity", "a gloss", 3, [1, 2, 3]))
    table = np.array([tuple(row) for row in synsets], dtype=[(name, "O") for name in fields])
    savemat(data / "meta.mat", {"synsets": table[:, None]})
    (data / GROUND_TRUTH).write_text("".join(f"{number}\n" for number in VAL_NUMBERS))


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path)
    write_kit(tmp_path)
    return tmp_path


def load(root, **options):
    return ImageNet(str(root), image_size=16, crop=True, workers=0, **options).load()


def labels(data):
    return data.train.labels.tolist(), data.test.labels.tolist()


def test_val_without_folders_has_the_labels_of_the_development_kit(root):
    data = load(root)
    assert data.class_names == NAMES
    assert labels(data) == ([0] * 4 + [1] * 4 + [2] * 4, VAL_LABELS)
    assert data.val is None


def test_development_kit_is_read_from_its_archive(root):
    expected = load(root)
    with tarfile.open(root / f"{KIT}.tar.gz", "w:gz") as archive:
        archive.add(root / KIT, KIT)
    shutil.rmtree(root / KIT)
    data = load(root)
    assert (data.class_names, labels(data)) == (expected.class_names, labels(expected))


def test_val_with_class_folders_needs_no_labels(root):
    flat = load(root)
    for position, label in enumerate(VAL_LABELS, start=1):
        name = f"ILSVRC2012_val_{position:08}.JPEG"
        (root / "val" / WNIDS[label]).mkdir(exist_ok=True)
        (root / "val" / name).rename(root / "val" / WNIDS[label] / name)
    shutil.rmtree(root / KIT)
    data = load(root)
    assert data.class_names == tuple(WNIDS)
    order = sorted(range(6), key=lambda row: VAL_LABELS[row])
    assert torch.equal(data.test.images, flat.test.images[order])
    assert torch.equal(data.test.labels, flat.test.labels[order])


def test_archive_of_kaggle_is_read(tmp_path):
    write_images(tmp_path / "ILSVRC" / "Data" / "CLS-LOC")
    of_number = {number: wnid for number, wnid, _ in CLASSES}
    lines = ["ImageId,PredictionString"] + [
        f"ILSVRC2012_val_{position:08},{of_number[number]} 1 2 30 40 {of_number[number]} 5 6 7 8 "
        for position, number in reversed([*enumerate(VAL_NUMBERS, start=1)])
    ]
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(lines))
    mapping = "".join(f"{wnid} {words}\n" for _, wnid, words in CLASSES)
    (tmp_path / "LOC_synset_mapping.txt").write_text(mapping)
    data = load(tmp_path)
    assert data.class_names == NAMES
    assert labels(data)[1] == VAL_LABELS


def test_all_classes_have_the_names_of_torchvision(root, monkeypatch):
    shutil.rmtree(root / KIT)
    names = dict.fromkeys(map("n{:08}".format, range(1000)))
    found = imagenet._words_of_torchvision(sorted(names))
    assert (found["n00000000"], found["n00000999"]) == ("tench", "toilet tissue")
    assert imagenet._words_of_torchvision(WNIDS) == {}


def test_images_of_classes_that_train_lacks_are_left_out(root, caplog):
    warn_once.cache_clear()
    shutil.rmtree(root / "train" / WNIDS[1])
    with caplog.at_level(logging.WARNING):
        data = load(root)
    assert data.class_names == ("tench", "crane")
    assert labels(data)[1] == [1, 0, 0, 1]
    left_out = f"dataset.root: 2 images of {root / 'val'} are left out, because train/ has no"
    assert any(text.startswith(left_out) for text in caplog.messages)


def test_incomplete_set_of_all_classes_is_a_warning(root, caplog, monkeypatch):
    warn_once.cache_clear()
    monkeypatch.setattr(imagenet, "NUM_CLASSES", 3)
    with caplog.at_level(logging.WARNING):
        load(root)
    assert (
        f"dataset.root: {root} holds 12 images in train/ and 6 in val/; published are 1,281,167 and"
        " 50,000" in caplog.messages
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "train"), r"hold train/ with a folder .* without it$"),
        (lambda root: shutil.rmtree(root / "val"), r"hold val/ next to train/.* without it$"),
        (
            lambda root: shutil.rmtree(root / KIT),
            rf"hold a label of every image in a val/ .* {KIT} .* LOC_val_solution\.csv, got .*01",
        ),
        (
            lambda root: (root / KIT / "data" / "meta.mat").write_bytes(b"no matrix"),
            rf"hold {KIT} as it was published, got ",
        ),
        (
            lambda root: (root / KIT / "data" / GROUND_TRUTH).unlink(),
            rf"hold {KIT} as it was published, got .*{GROUND_TRUTH}",
        ),
        (
            lambda root: (root / KIT / "data" / GROUND_TRUTH).write_text("1\n2\n4711\n"),
            rf"hold {KIT} as it was published, got .*4711",
        ),
        (
            lambda root: (root / "train" / "cat").mkdir(),
            r"hold at least 2 class folders .* \(n01440764\), got 'cat' in ",
        ),
        (
            lambda root: (
                (root / "val" / "ILSVRC2012_val_00000004.JPEG").unlink()
                or (root / "val" / "ILSVRC2012_val_00000006.JPEG").unlink()
            ),
            r"hold images of every class in val/, got .* without any of n02012849$",
        ),
        (lambda root: [p.unlink() for p in (root / "val").iterdir()], r"hold images in val/, got"),
    ],
)
def test_what_is_missing_is_one_sentence(root, change, message):
    change(root)
    with pytest.raises(ValueError, match=r"^dataset\.root must " + message):
        load(root)


def test_archives_that_are_not_unpacked_are_named(tmp_path):
    (tmp_path / "ILSVRC2012_img_train.tar").touch()
    with pytest.raises(
        ValueError, match=r" with ILSVRC2012_img_train\.tar, which must be unpacked"
    ):
        load(tmp_path)


def test_root_must_be_given():
    with pytest.raises(ValueError, match=r"^dataset\.root must be given"):
        ImageNet(None)


def test_digest_follows_the_labels(root):
    first = ImageNet(str(root)).digest()
    (root / KIT / "data" / GROUND_TRUTH).write_text("\n".join("221313"))
    assert ImageNet(str(root)).digest() != first


def test_config_makes_a_data_set(root, compose):
    words = ["dataset=imagenet", f"dataset.root={root}", "dataset.source.image_size=16"]
    config = resolve_config(compose(*words, "dataset.val_fraction=0.25"))
    dataset = build_dataset(config.dataset, "cpu")
    assert dataset.image_shape == (3, 16, 16)
    assert dataset.decoding.draft
    sizes = [len(part.labels) for part in (dataset.train, dataset.val, dataset.test)]
    assert sizes == [9, 3, 6]
