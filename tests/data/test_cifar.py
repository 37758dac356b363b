"""The real archives are too large for a test: small ones of the same format are written here."""

import hashlib
import pickle
import re
import tarfile
import warnings
from urllib.error import URLError

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
    from torchvision.datasets import CIFAR10 as theirs

    folder = tmp_path / theirs.base_folder
    folder.mkdir()
    written = [
        write_batch(folder / f"data_batch_{n}", 20, "labels", 10, seed=n) for n in range(1, 6)
    ]
    write_batch(folder / "test_batch", 10, "labels", 10, seed=6)
    names = [f"name {label}" for label in range(10)]
    (folder / "batches.meta").write_bytes(old_pickle({"label_names": names}))
    train = [(f"data_batch_{n}", md5(folder / f"data_batch_{n}")) for n in range(1, 6)]
    monkeypatch.setattr(theirs, "train_list", train)
    monkeypatch.setattr(theirs, "test_list", [("test_batch", md5(folder / "test_batch"))])
    monkeypatch.setattr(theirs, "meta", {**theirs.meta, "md5": md5(folder / "batches.meta")})
    return tmp_path, written, theirs


def test_cifar10_is_read_in_order(cifar10):
    root, written, _ = cifar10
    raw = CIFAR10(str(root)).load()
    assert torch.equal(raw.train.images, torch.cat([pixels for pixels, _ in written]))
    assert raw.train.labels.tolist() == [label for _, labels in written for label in labels]
    assert raw.train.images.is_contiguous()
    assert raw.test.images.shape == (10, 3, 32, 32)
    assert raw.class_names[3] == "name 3"


def test_cifar10_is_unpacked_from_its_archive(cifar10, monkeypatch):
    root, written, theirs = cifar10
    with tarfile.open(root / theirs.filename, "w:gz") as archive:
        archive.add(root / theirs.base_folder, theirs.base_folder)
    for path in (root / theirs.base_folder).iterdir():
        path.unlink()
    monkeypatch.setattr(theirs, "tgz_md5", md5(root / theirs.filename))
    assert torch.equal(CIFAR10(str(root)).load().train.images[:20], written[0][0])


def test_cifar100_reads_the_fine_labels(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100 as theirs

    folder = tmp_path / theirs.base_folder
    folder.mkdir()
    pixels, labels = write_batch(folder / "train", 200, "fine_labels", 100, seed=1)
    write_batch(folder / "test", 100, "fine_labels", 100, seed=2)
    names = [f"name {label}" for label in range(100)]
    (folder / "meta").write_bytes(old_pickle({"fine_label_names": names}))
    monkeypatch.setattr(theirs, "train_list", [("train", md5(folder / "train"))])
    monkeypatch.setattr(theirs, "test_list", [("test", md5(folder / "test"))])
    monkeypatch.setattr(theirs, "meta", {**theirs.meta, "md5": md5(folder / "meta")})
    raw = CIFAR100(str(tmp_path)).load()
    assert torch.equal(raw.train.images, pixels)
    assert raw.train.labels.tolist() == labels
    assert len(raw.class_names) == 100


@pytest.mark.parametrize(
    ("source", "archive"),
    [(CIFAR10, "cifar-10-python.tar.gz"), (CIFAR100, "cifar-100-python.tar.gz")],
)
def test_failed_download_says_what_to_put_where(source, archive, tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    sentence = (
        f"dataset.root must be a folder that holds {archive}, because it could not be downloaded "
        f"here (<urlopen error no network>): fetch https://www.cs.toronto.edu/~kriz/{archive} "
        f"and put it into {tmp_path / 'data'}, got {tmp_path / 'data'}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        source(str(tmp_path / "data")).load()


def test_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "data").write_text("no folder")
    with pytest.raises(ValueError, match=r"dataset\.root must be a folder that holds cifar-10"):
        CIFAR10(str(tmp_path / "data")).load()


def test_warnings_about_the_old_format_do_not_escape(cifar10, monkeypatch):
    root, _, theirs = cifar10
    read = theirs._load_meta

    def warn_and_read(archive):
        warnings.warn("written by an old NumPy", DeprecationWarning, stacklevel=1)
        read(archive)

    monkeypatch.setattr(theirs, "_load_meta", warn_and_read)
    assert len(CIFAR10(str(root)).load().train.labels) == 100
