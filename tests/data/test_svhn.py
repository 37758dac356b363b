"""The real files cannot be had here: small ones of the same format (MATLAB 5) are written."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from kdsweep.builders.data import build_dataset
from kdsweep.config.resolve import resolve_config
from kdsweep.data.svhn import SVHN


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder with both files; the digit 0 has the label 10 in them."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN as archive

    known = {}
    for part, rows in (("train", 40), ("test", 20)):
        pixels = np.random.default_rng(rows).integers(0, 256, (32, 32, 3, rows), dtype=np.uint8)
        labels = (np.arange(rows) % 10 + 1).astype(np.uint8)[:, None]
        url, name, _ = archive.split_list[part]
        savemat(tmp_path / name, {"X": pixels, "y": labels})
        known[part] = [url, name, hashlib.md5((tmp_path / name).read_bytes()).hexdigest()]
    monkeypatch.setattr(archive, "split_list", {**archive.split_list, **known})
    return tmp_path


def test_pixels_and_labels_are_those_of_the_file(root):
    from scipy.io import loadmat

    raw = SVHN(str(root)).load()
    written = torch.from_numpy(loadmat(root / "train_32x32.mat")["X"])
    assert torch.equal(raw.train.images, written.permute(3, 2, 0, 1))
    assert raw.train.images.is_contiguous()
    assert raw.train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 4
    assert raw.test.images.shape == (20, 3, 32, 32)
    assert raw.class_names == tuple("0123456789")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("damage", [True, False])
def test_missing_or_damaged_file_is_named(root, damage):
    file = root / "test_32x32.mat"
    file.write_bytes(b"no mat") if damage else file.unlink()
    message = r"be a folder that holds train_32x32\.mat, test_32x32\.mat, .* \(<urlopen error no "
    if damage:
        message = r"hold whole archives, .*, where it is damaged .* in place of test_32x32\.mat$"
    with pytest.raises(ValueError, match=rf"^dataset\.root must {message}"):
        SVHN(str(root)).load()


def test_config_makes_a_data_set(root, compose):
    config = resolve_config(compose("dataset=svhn", f"dataset.root={root}"))
    dataset = build_dataset(replace(config.dataset, val_fraction=0.25), "cpu")
    assert dataset.image_shape == (3, 32, 32)
    assert len(dataset.test.labels) == 20
