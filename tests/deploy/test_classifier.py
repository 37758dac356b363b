"""Predictions of images of any kind, in batches of bounded size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import written
from PIL import Image

from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.images import ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)


def test_images_of_every_kind_have_the_same_predictions(bundle: Path, tmp_path: Path) -> None:
    classifier = read_bundle(bundle)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, pixels in zip(paths, PIXELS, strict=True):
        Image.fromarray(pixels).save(path)
    tensor = torch.tensor(PIXELS).permute(0, 3, 1, 2)
    expected = classifier.predict(paths)
    assert expected.logits.shape == (5, 2)
    assert expected.logits.dtype == torch.float32
    for images in (
        [path.read_bytes() for path in paths],
        [Image.fromarray(pixels) for pixels in PIXELS],
        (str(path) for path in paths),
        PIXELS,
        list(PIXELS),
        PIXELS / 255,
        tensor,
        list(tensor),
        tensor / 255,
    ):
        assert torch.equal(classifier.predict(images).logits, expected.logits)
    for image in (paths[2], str(paths[2]), paths[2].read_bytes(), PIXELS[2], tensor[2]):
        (one,) = classifier.predict(image)
        assert one.label == expected[2].label
        assert one.probability == pytest.approx(expected[2].probability, abs=1e-6)


def test_its_text_is_one_line(bundle: Path) -> None:
    classifier = read_bundle(bundle)
    assert repr(classifier) == "<Classifier MLP: images 3 x 6 x 8, 2 classes, on cpu>"
    named = replace(classifier, source={"name": "kl T=4 seed=0"})
    assert repr(named).startswith("<Classifier kl T=4 seed=0: images ")


def test_predictions_are_a_sequence_in_order(bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png")
    found = read_bundle(bundle).predict([tmp_path / "a.png", *PIXELS[1:]])
    assert len(found) == 5
    assert [one.file for one in found] == [str(tmp_path / "a.png"), None, None, None, None]
    assert [one.label for one in found] == found.labels
    for row, one in enumerate(found):
        assert one == found[row]
        assert one.top == tuple(sorted(one.top, key=lambda pair: -pair[1]))
        assert (one.label, one.probability) == one.top[0]
        assert sum(probability for _, probability in one.top) == pytest.approx(1)
        assert one.probability == pytest.approx(found.probabilities[row].max().item())
    assert found[-1] == found[4]
    assert list(found[1:3]) == [found[1], found[2]]
    with pytest.raises(IndexError):
        found[5]


def test_top_limits_the_classes(bundle: Path) -> None:
    classifier = read_bundle(bundle)
    assert [len(one.top) for one in classifier.predict(PIXELS, top=1)] == [1] * 5
    assert [len(one.top) for one in classifier.predict(PIXELS, top=9)] == [2] * 5
    for options in ({"top": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="must be >= 1"):
            classifier.predict(PIXELS, **options)


def test_no_images_have_no_predictions(bundle: Path) -> None:
    found = read_bundle(bundle).predict([])
    assert list(found) == []
    assert found.probabilities.shape == (0, 2)


def test_a_forward_pass_has_a_batch_at_most(bundle: Path) -> None:
    classifier = read_bundle(bundle)
    sizes: list[int] = []
    classifier.module.register_forward_pre_hook(lambda _, images: sizes.append(len(images[0])))
    whole = classifier.predict(PIXELS).logits
    batched = classifier.predict(PIXELS, batch_size=2).logits
    assert sizes == [5, 2, 2, 1]
    assert torch.allclose(whole, batched, atol=1e-6)


def test_a_damaged_image_is_named(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"bad\.png"):
        read_bundle(bundle).predict([PIXELS[0], tmp_path / "bad.png"])


def test_it_computes_in_the_precision_of_its_run(tmp_path: Path) -> None:
    fp32 = read_bundle(written(tmp_path / "fp32"))
    bf16 = read_bundle(written(tmp_path / "bf16", precision="bf16"))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = fp32.module(torch.stack([fp32.preprocessing(one) for one in PIXELS])).float()
    assert torch.equal(bf16.logits(PIXELS), expected)
    assert bf16.logits(PIXELS).dtype == torch.float32
    assert not torch.equal(fp32.logits(PIXELS), expected)
