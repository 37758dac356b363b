"""Failed downloads of all published sources: the message has the files, addresses and folder."""

import threading
from functools import partial

import pytest

from kdsweep.common import pacing
from kdsweep.data.cifar import CIFAR10, CIFAR100
from kdsweep.data.imagenette import Imagenette
from kdsweep.data.images.download import explain_failed_download
from kdsweep.data.mnist import MNIST, FashionMNIST
from kdsweep.data.svhn import SVHN
from kdsweep.data.tiny_imagenet import TinyImageNet

IMAGENETTE = "https://s3.amazonaws.com/fast-ai-imageclas/"
KRIZHEVSKY = "https://www.cs.toronto.edu/~kriz/"
SVHN_FILES = ["train_32x32.mat", "test_32x32.mat"]
NO_NETWORK = "<urlopen error no network>"
ONE_FILE = [
    (CIFAR10, KRIZHEVSKY, "cifar-10-python.tar.gz"),
    (CIFAR100, KRIZHEVSKY, "cifar-100-python.tar.gz"),
    (partial(Imagenette, size="full"), IMAGENETTE, "imagenette2.tgz"),
    (partial(Imagenette, size="320px"), IMAGENETTE, "imagenette2-320.tgz"),
    (TinyImageNet, "http://cs231n.stanford.edu/", "tiny-imagenet-200.zip"),
]


def refusal(source, root):
    with pytest.raises(ValueError, match=r"^dataset\.root must be a folder that holds ") as refused:
        source(str(root)).load()
    return str(refused.value)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("source", "address", "file"), ONE_FILE)
def test_one_missing_file(source, address, file, tmp_path):
    root = tmp_path / "data"
    assert refusal(source, root) == (
        f"dataset.root must be a folder that holds {file}, because it could not be downloaded here "
        f"({NO_NETWORK}): fetch {address}{file} and put it into {root}, got {root}"
    )


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("source", "address", "file"), ONE_FILE)
def test_a_damaged_archive_is_called_damaged(source, address, file, tmp_path):
    (tmp_path / file).write_bytes(b"half of it")
    with pytest.raises(ValueError, match=r"^dataset\.root must hold whole archives") as refused:
        source(str(tmp_path)).load()
    message = str(refused.value)
    assert f"got {tmp_path}, where it is damaged and could not be downloaded again (" in message
    assert message.endswith(f"fetch {address}{file} and put it into {tmp_path} in place of {file}")


def several(names, urls, reason, folder, root):
    return (
        f"dataset.root must be a folder that holds {', '.join(names)}, because they could not be "
        f"downloaded here ({reason}): fetch {', '.join(urls)} and put them into {folder}, "
        f"got {root}"
    )


@pytest.mark.usefixtures("no_network")
def test_missing_files_of_svhn(tmp_path):
    urls = [f"http://ufldl.stanford.edu/housenumbers/{file}" for file in SVHN_FILES]
    assert refusal(SVHN, tmp_path) == several(SVHN_FILES, urls, NO_NETWORK, tmp_path, tmp_path)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("source", [MNIST, FashionMNIST])
def test_missing_files_of_mnist(source, tmp_path):
    from torchvision import datasets

    archive = getattr(datasets, source.__name__)
    names = [name for name, _ in archive.resources]
    urls = [archive.mirrors[0] + name for name in names]
    reason, folder = f"Error downloading {names[0]}", tmp_path / source.__name__ / "raw"
    assert refusal(source, tmp_path) == several(names, urls, reason, folder, tmp_path)


def test_root_that_is_a_file(tmp_path):
    (tmp_path / "data").write_text("no folder")
    assert "holds cifar-10" in refusal(CIFAR10, tmp_path / "data")


def test_a_download_that_takes_long_has_lines(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(pacing, "MIN_SECONDS", 0.001)
    printed = threading.Event()
    monkeypatch.setattr(pacing.logger, "info", lambda *args: (info(*args), printed.set()))
    (tmp_path / "a.tgz").write_bytes(bytes(3 * 2**20))
    archives = {"http://x/a.tgz": "0" * 32, "http://x/b.tgz": "0" * 32}
    with explain_failed_download(archives, tmp_path, "data"):
        printed.wait()
    assert caplog.messages[0] == (
        f"downloading, checking or unpacking a.tgz, b.tgz in {tmp_path}: 0 s, 3.0 MiB"
    )


info = pacing.logger.info
