"""Files are classified in order and in batches; unreadable ones are named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import RGB, written
from PIL import Image

from kdsweep.deploy import predict
from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.predict import FilePrediction, UnreadableFile, predict_files


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Seven images, of which the third and the last are broken."""
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    generator = np.random.default_rng(0)
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(path)
    paths[2].write_bytes(b"nothing")
    paths[6].unlink()
    return [str(path) for path in paths]


def test_unreadable_files_are_named_in_order(bundle: Path, files: list[str]) -> None:
    classifier = read_bundle(bundle)
    found = list(predict_files(files, [classifier], top=2, batch_size=3))
    assert [one.file for one in found] == files
    unreadable = [row for row, one in enumerate(found) if isinstance(one, UnreadableFile)]
    assert unreadable == [2, 6]
    expected = classifier.predict([file for row, file in enumerate(files) if row not in (2, 6)])
    classified = [one.predictions[0] for one in found if isinstance(one, FilePrediction)]
    for one, other in zip(classified, expected, strict=True):
        assert (one.file, one.label) == (other.file, other.label)
        assert one.probability == pytest.approx(other.probability, abs=1e-6)


def test_memory_holds_one_batch(
    bundle: Path, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = predict.read_pixels
    monkeypatch.setattr(
        predict, "read_pixels", lambda how, paths: read.append(len(paths)) or real(how, paths)
    )
    found = predict_files(iter(files), [read_bundle(bundle)], top=1, batch_size=2)
    next(found)
    assert read == [2]  # nothing is read ahead
    list(found)
    assert read == [2, 2, 2, 1]


def test_classifiers_that_prepare_images_alike_read_them_once(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = predict.read_pixels
    monkeypatch.setattr(
        predict, "read_pixels", lambda how, paths: read.append(len(paths)) or real(how, paths)
    )
    one, alike = (read_bundle(written(tmp_path / str(seed), seed)) for seed in (0, 1))
    other = read_bundle(written(tmp_path / "2", 2, preprocessing=replace(RGB, image_size=(4, 4))))
    list(predict_files(files, [one, alike], top=1))
    assert read == [7]
    found = list(predict_files(files, [one, other], top=1))
    assert read == [7, 7, 7]
    classified = [one for one in found if isinstance(one, FilePrediction)]
    expected = other.predict([one.file for one in classified])
    assert [one.predictions[1].label for one in classified] == expected.labels
    assert not torch.equal(one.logits(files[:1]), other.logits(files[:1]))
