"""What a run's data is built into: splits to evaluate on, and a sample where none is held out."""

import pytest
import torch
from commands import TINY, Compose

from kdsweep.builders.data import build_dataset, build_splits, build_stream, teacher_split
from kdsweep.config.resolve import resolve_config
from kdsweep.config.run_config import RunConfig
from kdsweep.errors import UserError


@pytest.fixture
def config(compose: Compose):
    return lambda *words: resolve_config(compose(*TINY, *words))


def test_test_and_val_are_evaluated_in_their_order(config) -> None:
    run: RunConfig = config()
    dataset = build_dataset(run.dataset, "cpu")
    splits = build_splits(run, dataset, "cpu")
    assert list(splits) == ["val", "test"]
    for name, split in splits.items():
        labels = torch.cat([batch.labels for batch in split.batches()])
        assert torch.equal(labels, split.labels)
        assert torch.equal(labels, getattr(dataset, name).labels)
    assert teacher_split(run, dataset, "cpu").name == "val"


def test_without_val_a_teacher_is_measured_on_an_even_sample_of_the_training_images(config) -> None:
    run = config("dataset.val_fraction=0", "dataset.source.num_train=2500")
    dataset = build_dataset(run.dataset, "cpu")
    assert list(build_splits(run, dataset, "cpu")) == ["test"]
    split = teacher_split(run, dataset, "cpu")
    assert split.name == "no validation split, 1,000 training images"
    assert len(split.labels) == 1000
    assert torch.equal(split.labels[[0, -1]], dataset.train.labels[[0, -1]])


def test_a_wrong_value_is_named_with_its_key(config) -> None:
    run = config("dataset.augment.crop_padding=-1")
    dataset = build_dataset(run.dataset, "cpu")
    with pytest.raises(UserError, match=r"dataset\.augment.crop_padding must be"):
        build_stream(run, dataset, "cpu")
