import re

import pytest
import torch

from kdsweep.data.fake import Fake


def nearest_prototype_accuracy(raw):
    flat = [part.images.float().flatten(1) for part in (raw.train, raw.test)]
    classes = range(len(raw.class_names))
    prototypes = torch.stack([flat[0][raw.train.labels == label].mean(dim=0) for label in classes])
    guesses = torch.cdist(flat[1], prototypes).argmin(dim=1)
    return (guesses == raw.test.labels).float().mean().item()


def test_fake_is_learnable():
    assert nearest_prototype_accuracy(Fake().load()) > 0.95


def test_fake_gets_harder_with_noise():
    assert nearest_prototype_accuracy(Fake(shape=(1, 4, 4), noise=2.0).load()) < 0.9


def test_fake_has_the_requested_counts_and_shape():
    raw = Fake(num_train=31, num_test=7, num_classes=3, shape=[1, 5, 6]).load()
    assert raw.train.images.shape == (31, 1, 5, 6)
    assert raw.test.images.shape == (7, 1, 5, 6)
    assert raw.train.images.dtype == torch.uint8
    assert raw.train.labels.bincount().tolist() == [11, 10, 10]
    assert len(raw.class_names) == 3


def test_fake_follows_its_seed_alone():
    torch.manual_seed(1)
    first = Fake(num_train=20).load()
    torch.manual_seed(2)
    assert torch.equal(Fake(num_train=20).load().train.images, first.train.images)
    assert not torch.equal(Fake(num_train=20, seed=1).load().train.images, first.train.images)


def test_more_training_images_do_not_change_the_test_set():
    first, second = Fake(num_train=20).load(), Fake(num_train=40).load()
    assert torch.equal(first.test.images, second.test.images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "dataset.source.num_classes must be a whole number >= 2, got 1"),
        ({"num_train": 9}, "dataset.source.num_train must be a whole number >= 10, got 9"),
        ({"num_test": 0}, "dataset.source.num_test must be a whole number >= 1, got 0"),
        ({"shape": [8, 8]}, "dataset.source.shape must be [channels, H, W], got [8, 8]"),
        ({"shape": [1, 0, 8]}, "dataset.source.shape must be a whole number >= 1, got 0"),
        ({"noise": -0.5}, "dataset.source.noise must be a finite number >= 0, got -0.5"),
        ({"noise": float("nan")}, "dataset.source.noise must be a finite number >= 0, got nan"),
    ],
)
def test_bad_values_are_refused_with_one_message(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Fake(**change)
