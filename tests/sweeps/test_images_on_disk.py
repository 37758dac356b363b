"""Sweeps over images that do not fit into memory and are decoded batch by batch."""

import numpy as np
import pytest
from PIL import Image

from kdsweep.data.images import lazy

WORDS = (
    *("loss=ce", "dataset=image_folder", "trainer.batch_size=8"),
    *("dataset.source.image_size=8", "dataset.source.draft=true"),
)
ON_DISK = "dataset.source.memory_gib=1e-9"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of two classes of JPEG files, for no test to change."""
    generator = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data") / "images"
    for part, count in (("train", 12), ("test", 4)):
        for name in ("cat", "dog"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:02}.jpg")
    return root


@pytest.fixture
def decoded(monkeypatch):
    """The names of images, one for each time that their pixels are computed for a batch."""
    names = []
    decode = lazy.decode

    def noted(images, row, image_format):
        names.append(images.key(row))
        return decode(images, row, image_format)

    monkeypatch.setattr(lazy, "decode", noted)
    return names


def test_students_share_one_decode(command, root, decoded):
    words = (*WORDS, f"dataset.root={root}", ON_DISK, "dataset.source.workers=0")
    counts = []
    for rates in ("0.1", "0.1,0.2,0.3"):
        decoded.clear()
        outcome = command("-m", *words, f"optimizer.lr={rates}")
        assert outcome.code == 0, outcome.err
        counts.append(len(decoded))
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("workers", ["0", "auto", pytest.param("2", marks=pytest.mark.slow)])
def test_bits_do_not_depend_on_the_number_of_processes(trained, root, workers):
    words = (*WORDS, f"dataset.root={root}")
    (in_memory,) = trained(*words).rows
    (row,) = trained(*words, ON_DISK, f"dataset.source.workers={workers}").rows
    assert row["weights_sha256"] == in_memory["weights_sha256"]
