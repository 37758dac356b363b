"""The real archives cannot be had here: small files of the same format (idx) are written."""

import gzip
import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from kdsweep.builders.data import build_dataset
from kdsweep.config.resolve import resolve_config
from kdsweep.data.mnist import MNIST, FashionMNIST

SOURCES = [(MNIST, "MNIST"), (FashionMNIST, "FashionMNIST")]
ROWS = {"train": 40, "t10k": 20}


def idx(values):
    """An idx file of bytes: two zeros, 8 for uint8, the number of dimensions, each length."""
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim)
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def made(part, rows):
    pixels = np.random.default_rng(rows).integers(0, 256, (rows, 28, 28), dtype=np.uint8)
    labels = (np.arange(rows) % 10).astype(np.uint8)
    return {f"{part}-images-idx3-ubyte": pixels, f"{part}-labels-idx1-ubyte": labels}


@pytest.fixture
def files():
    """The four files' names and what they hold."""
    return {
        name: values for part, rows in ROWS.items() for name, values in made(part, rows).items()
    }


def write(root, folder, files):
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for name, values in files.items():
        (raw / name).write_bytes(idx(values))
    return raw


@pytest.mark.parametrize(("source", "folder"), SOURCES)
def test_one_channel_stays_one_channel(source, folder, tmp_path, files):
    write(tmp_path, folder, files)
    raw = source(str(tmp_path)).load()
    expected = torch.from_numpy(files["train-images-idx3-ubyte"]).unsqueeze(1)
    assert torch.equal(raw.train.images, expected)
    assert raw.train.labels.tolist() == [row % 10 for row in range(40)]
    assert raw.train.labels.dtype == torch.int64
    assert raw.test.images.shape == (20, 1, 28, 28)


def test_classes_have_readable_names(tmp_path, files):
    write(tmp_path, "MNIST", files)
    write(tmp_path, "FashionMNIST", files)
    assert MNIST(str(tmp_path)).load().class_names == tuple("0123456789")
    assert FashionMNIST(str(tmp_path)).load().class_names[9] == "Ankle boot"


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("source", "folder"), SOURCES)
def test_packed_files_are_unpacked(source, folder, tmp_path, files, monkeypatch):
    from torchvision import datasets

    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for name, values in files.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
    sums = [(f.name, hashlib.md5(f.read_bytes()).hexdigest()) for f in sorted(raw.iterdir())]
    monkeypatch.setattr(getattr(datasets, folder), "resources", sums)
    assert len(source(str(tmp_path)).load().train.labels) == 40


def test_digest_follows_pixels_and_labels(tmp_path, files):
    digests = set()
    for change in (None, "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        if change is not None:
            files[change].flat[3] ^= 1
        root = tmp_path / str(change)
        write(root, "MNIST", files)
        digests.add(MNIST(str(root)).digest())
    assert len(digests) == 3


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
@pytest.mark.parametrize("kept", [0, 10, 36])
def test_damaged_file_is_refused(name, kept, tmp_path, files):
    raw = write(tmp_path, "MNIST", files)
    (raw / name).write_bytes(idx(files[name])[:kept])
    with pytest.raises(ValueError, match=r"^dataset\.root must hold whole files of MNIST, got a"):
        MNIST(str(tmp_path)).load()


@pytest.mark.parametrize(
    ("option", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")]
)
def test_config_makes_a_data_set(option, folder, tmp_path, files, compose):
    write(tmp_path, folder, files)
    config = resolve_config(compose(f"dataset={option}", f"dataset.root={tmp_path}"))
    dataset = build_dataset(replace(config.dataset, val_fraction=0.25), "cpu")
    assert dataset.image_shape == (1, 28, 28)
    sizes = [len(part.labels) for part in (dataset.train, dataset.val, dataset.test)]
    assert sizes == [30, 10, 20]
