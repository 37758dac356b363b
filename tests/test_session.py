"""What one process keeps while it trains: data sets, and the images they are cut from."""

import json
from collections import Counter

import pytest
from commands import Command, Compose

from kdsweep.config import resolved
from kdsweep.data.fake import Fake
from kdsweep.run import Session
from kdsweep.tracking.progress import Progress


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each source of made images was read."""
    counts: Counter[str] = Counter()
    load = Fake.load

    def counted(self: Fake) -> object:
        counts[json.dumps(vars(self))] += 1
        return load(self)

    monkeypatch.setattr(Fake, "load", counted)
    return counts


def test_data_sets_cut_from_the_same_images_read_them_once(
    compose: Compose, reads: Counter[str]
) -> None:
    session = Session(resolved(compose("tracking=none"))["tracking"], Progress())

    def dataset(*words: str) -> object:
        return session.dataset(resolved(compose("dataset=fake", *words)))

    whole = dataset()
    assert dataset("dataset.augment.flip=true") is whole
    assert dataset("dataset.train_fraction=0.5") is not whole
    assert list(reads.values()) == [1]
    dataset("dataset.source.noise=0.1")
    assert list(reads.values()) == [1, 1]
    session.forget_sources()
    dataset("dataset.train_fraction=0.5")
    dataset("dataset.train_fraction=0.25")
    assert list(reads.values()) == [2, 1]


def test_a_sweep_over_the_size_of_the_data_reads_it_once(
    command: Command, reads: Counter[str]
) -> None:
    assert command("dataset.train_fraction=0.5,1.0", "dataset.augment.flip=true,false").code == 0
    assert list(reads.values()) == [1]
