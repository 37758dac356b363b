"""The real archives are too large for a test: small ones of the same format are written here."""

import hashlib
import pickle
import tarfile
import warnings

import numpy as np
import pytest
import torch

from kdsweep.data.cifar import CIFAR10, CIFAR100


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def old_pickle(content):
    """Pickled as in 2009: by a NumPy of other module names, which wrote dtype flags as numbers."""
    now = pickle.dumps(content, protocol=2)
    old = now.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    return old.replace(b"\x89\x88\x87", b"K\x00K\x01\x87")


def write_batch(path, rows, label_key, num_classes, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, 3072), dtype=np.uint8)
    labels = [row % num_classes for row in range(rows)]
    path.write_bytes(old_pickle({"data": pixels, label_key: labels, "filenames": ["x.png"] * rows}))
    return torch.from_numpy(pixels).view(rows, 3, 32, 32), labels


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """The folder, its training pixels and labels in order, and torchvision's class."""
    from torchvision.datasets import CIFAR10 as dataset

    folder = tmp_path / dataset.base_folder
    folder.mkdir()
    written = [
        write_batch(folder / f"data_batch_{n}", 20, "labels", 10, seed=n) for n in range(1, 6)
    ]
    write_batch(folder / "test_batch", 10, "labels", 10, seed=6)
    names = [f"name {label}" for label in range(10)]
    (folder / "batches.meta").write_bytes(old_pickle({"label_names": names}))
    train = [(f"data_batch_{n}", md5(folder / f"data_batch_{n}")) for n in range(1, 6)]
    monkeypatch.setattr(dataset, "train_list", train)
    monkeypatch.setattr(dataset, "test_list", [("test_batch", md5(folder / "test_batch"))])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(folder / "batches.meta")})
    return tmp_path, written, dataset


def test_cifar10_is_read_in_order(cifar10):
    root, written, _ = cifar10
    raw = CIFAR10(str(root)).load()
    assert torch.equal(raw.train.images, torch.cat([pixels for pixels, _ in written]))
    assert raw.train.labels.tolist() == [label for _, labels in written for label in labels]
    assert raw.train.images.is_contiguous()
    assert raw.test.images.shape == (10, 3, 32, 32)
    assert raw.class_names[3] == "name 3"


def test_cifar10_is_unpacked_from_its_archive(cifar10, monkeypatch):
    root, written, dataset = cifar10
    with tarfile.open(root / dataset.filename, "w:gz") as archive:
        archive.add(root / dataset.base_folder, dataset.base_folder)
    for path in (root / dataset.base_folder).iterdir():
        path.unlink()
    monkeypatch.setattr(dataset, "tgz_md5", md5(root / dataset.filename))
    assert torch.equal(CIFAR10(str(root)).load().train.images[:20], written[0][0])


def test_cifar100_reads_the_fine_labels(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100 as dataset

    folder = tmp_path / dataset.base_folder
    folder.mkdir()
    pixels, labels = write_batch(folder / "train", 200, "fine_labels", 100, seed=1)
    write_batch(folder / "test", 100, "fine_labels", 100, seed=2)
    names = [f"name {label}" for label in range(100)]
    (folder / "meta").write_bytes(old_pickle({"fine_label_names": names}))
    monkeypatch.setattr(dataset, "train_list", [("train", md5(folder / "train"))])
    monkeypatch.setattr(dataset, "test_list", [("test", md5(folder / "test"))])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(folder / "meta")})
    raw = CIFAR100(str(tmp_path)).load()
    assert torch.equal(raw.train.images, pixels)
    assert raw.train.labels.tolist() == labels
    assert len(raw.class_names) == 100


def test_warnings_about_the_old_format_do_not_escape(cifar10, monkeypatch):
    root, _, dataset = cifar10
    read = dataset._load_meta

    def warn_and_read(archive):
        warnings.warn("written by an old NumPy", DeprecationWarning, stacklevel=1)
        read(archive)

    monkeypatch.setattr(dataset, "_load_meta", warn_and_read)
    assert len(CIFAR10(str(root)).load().train.labels) == 100
