import re
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsweep.data.digits import Digits
from kdsweep.data.pipeline.pixel_stats import pixel_statistics
from kdsweep.data.pipeline.split import SplitOptions, load_dataset
from kdsweep.data.types import LabelledImages, SourceData

DEFAULTS = {"name": "made", "val_fraction": 0.2, "test_fraction": 0.25}


@dataclass
class Made:
    """A source whose images all differ, so that none can be taken for another."""

    counts: tuple[int, ...] = (60, 40, 20)
    own_test: int = 0
    own_val: int = 0
    name: str = "made"

    def load(self):
        labels = torch.repeat_interleave(
            torch.arange(len(self.counts)), torch.tensor(self.counts)
        ).roll(7)
        numbers = torch.arange(len(labels))
        images = torch.stack((numbers % 256, numbers * 7 // 5 % 256, labels), dim=1)
        images = images.to(torch.uint8)[:, :, None, None].expand(-1, -1, 2, 2).contiguous()
        everything = LabelledImages(images, labels)
        names = tuple("abcdefghij"[: len(self.counts)])
        test, val = (
            everything.subset(torch.arange(own)) if own else None
            for own in (self.own_test, self.own_val)
        )
        return SourceData(everything, test, names, val)

    def digest(self):
        return "made"


def load(source=None, **changes):
    return load_dataset(source or Made(), SplitOptions(**{**DEFAULTS, **changes}))


def own_test(**changes):
    return load(Made(own_test=30), test_fraction=None, **changes)


counts = st.lists(st.integers(20, 60), min_size=2, max_size=6).map(tuple)
fractions = st.floats(0.05, 0.4)


@pytest.mark.ci
@settings(deadline=None, max_examples=50)
@given(counts, fractions, fractions, st.integers(0, 100))
def test_split_is_disjoint_complete_and_stratified(counts, val, test, seed):
    data = load(Made(counts), val_fraction=val, test_fraction=test, split_seed=seed)
    parts = (data.train_index, data.val_index, data.test_index)
    assert torch.cat(parts).sort().values.tolist() == list(range(sum(counts)))
    shares = ((1 - test) * (1 - val), (1 - test) * val, test)
    for part, share in zip((data.train, data.val, data.test), shares, strict=True):
        for label, count in enumerate(counts):
            # one rounding per cut and class, one per cut for the whole
            assert abs(int((part.labels == label).sum()) - share * count) < 4


def test_images_and_labels_are_those_at_the_index():
    raw = Made().load().train
    data = load(limit=20)
    for part, index in (
        (data.train, data.train_index),
        (data.val, data.val_index),
        (data.test, data.test_index),
    ):
        assert torch.equal(part.images, raw.images[index])
        assert torch.equal(part.labels, raw.labels[index])


def test_split_depends_on_split_seed_alone():
    torch.manual_seed(1)
    first = load()
    torch.manual_seed(2)
    again, other = load(), load(split_seed=1)
    for part in ("train_index", "val_index", "test_index"):
        assert torch.equal(getattr(first, part), getattr(again, part))
        assert not torch.equal(getattr(first, part), getattr(other, part))


def test_splitting_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    load(Digits(), name="digits")
    assert torch.equal(before, torch.get_rng_state())


REDUCTIONS = [{"train_fraction": 0.5}, {"per_class": 3}, {"limit": 12}]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reduction_changes_neither_val_nor_test_nor_statistics(reduction):
    whole, reduced = load(), load(**reduction)
    assert torch.equal(whole.val_index, reduced.val_index)
    assert torch.equal(whole.val.images, reduced.val.images)
    assert torch.equal(whole.test_index, reduced.test_index)
    assert (whole.mean, whole.std) == (reduced.mean, reduced.std)
    assert {*reduced.train_index.tolist()} < {*whole.train_index.tolist()}


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ({"train_fraction": 0.5}, [18, 12, 6]),
        ({"per_class": 15}, [15, 15, 12]),
        ({"limit": 12}, [6, 4, 2]),
        ({"limit": 72, "per_class": 36}, [36, 24, 12]),
        ({"train_fraction": 0.5, "per_class": 8, "limit": 11}, [4, 4, 3]),
    ],
)
def test_reduction_keeps_so_many_of_each_class(reduction, expected):
    assert load(**reduction).train.labels.bincount().tolist() == expected


def test_statistics_do_not_look_at_val_and_test():
    data = load()
    raw = Made().load().train
    kept = {*data.train_index.tolist()}

    class Changed(Made):
        def load(self):
            raw = super().load()
            for row in range(len(raw.train.labels)):
                if row not in kept:
                    raw.train.images[row] = 255
            return raw

    changed = load(Changed())
    assert changed.val.images.min() == 255
    assert (changed.mean, changed.std) == (data.mean, data.std)
    assert (data.mean, data.std) == pixel_statistics(raw.images[data.train_index])


def test_given_mean_and_std_override_the_computed_ones():
    data = load(mean=[0.1, 0.2, 0.3], std=[1, 2, 3])
    assert (data.mean, data.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


@pytest.mark.parametrize(("given", "other"), [("mean", "std"), ("std", "mean")])
def test_mean_and_std_are_given_together(given, other):
    message = f"dataset.{other} must be given where dataset.{given} is, or both be null, got null"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load(**{given: [1, 1, 1]})


def test_more_images_of_a_class_than_there_are_is_refused():
    message = (
        "dataset.per_class must be null or at most 36, the training images of the largest class,"
        " got 37"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load(per_class=37)


def test_a_limit_above_all_images_is_mentioned(caplog):
    data = load(train_fraction=0.5, limit=37)
    assert len(data.train.labels) == 36
    assert "dataset.limit=37 keeps all of the 36 training images left" in caplog.text
    caplog.clear()
    assert len(load(train_fraction=0.5, limit=36).train.labels) == 36
    assert not caplog.text


def test_no_val_fraction_trains_on_everything_that_is_not_test():
    data = load(val_fraction=0)
    assert data.val is None
    assert data.val_index is None
    assert len(data.train.labels) + len(data.test.labels) == 120


def test_own_test_set_is_kept_whole():
    data = own_test()
    assert data.test_index.tolist() == list(range(30))
    assert len(data.train.labels) + len(data.val.labels) == 120


def test_own_val_set_is_used_instead_of_val_fraction():
    data = load(Made(own_test=30, own_val=25), test_fraction=None)
    assert data.val_index.tolist() == list(range(25))
    assert len(data.train.labels) == 120


def test_shape_and_classes_are_those_of_the_data():
    data = load(classes=3)
    assert data.image_shape == (3, 2, 2)
    assert data.num_classes == 3
    assert data.class_names == ("a", "b", "c")


def test_digest_is_the_same_for_the_same_data_and_split():
    assert load().digest == load().digest
    assert len(load().digest) == 64


@pytest.mark.parametrize(
    "change", [{"split_seed": 1}, {"limit": 30}, {"val_fraction": 0}, {"test_fraction": 0.3}]
)
def test_digest_moves_with_the_split(change):
    assert load(**change).digest != load().digest


def test_digest_moves_with_a_pixel_and_with_a_label():
    class OtherPixel(Made):
        def load(self):
            raw = super().load()
            raw.train.images[5, 0, 0, 0] += 1
            return raw

    class OtherLabel(Made):
        def load(self):
            raw = super().load()
            raw.test.labels[0] = 1 - raw.test.labels[0].clamp(max=1)
            return raw

    settings = {"test_fraction": None}
    digests = {
        load(kind(own_test=30), **settings).digest for kind in (Made, OtherPixel, OtherLabel)
    }
    assert len(digests) == 3


def test_to_moves_a_copy():
    data = load()
    moved = data.to("meta")
    assert moved.train.images.device.type == moved.val.labels.device.type == "meta"
    assert moved.test.images.device.type == "meta"
    assert data.train.images.device.type == "cpu"
    assert load(val_fraction=0).to("meta").val is None


REFUSED = [
    ({"val_fraction": 1.0}, r"dataset.val_fraction must be in [0, 1), got 1"),
    ({"val_fraction": -0.1}, r"dataset.val_fraction must be in [0, 1), got -0.1"),
    ({"val_fraction": float("nan")}, r"dataset.val_fraction must be in [0, 1), got nan"),
    ({"val_fraction": None}, r"dataset.val_fraction must be in [0, 1), got null"),
    ({"train_fraction": 0}, r"dataset.train_fraction must be in (0, 1], got 0"),
    ({"train_fraction": 1.1}, r"dataset.train_fraction must be in (0, 1], got 1.1"),
    (
        {"test_fraction": None},
        "dataset.test_fraction must be in (0, 1), because made has no test set of its own, "
        "got null",
    ),
    (
        {"test_fraction": 1},
        "dataset.test_fraction must be in (0, 1), because made has no test set of its own, got 1",
    ),
    ({"split_seed": -1}, "dataset.split_seed must be a whole number >= 0, got -1"),
    ({"split_seed": "a"}, "dataset.split_seed must be a whole number >= 0, got a"),
    ({"limit": 0}, "dataset.limit must be a whole number >= 1 or null, got 0"),
    ({"limit": 2.5}, "dataset.limit must be a whole number >= 1 or null, got 2.5"),
    ({"per_class": 0}, "dataset.per_class must be a whole number >= 1 or null, got 0"),
    ({"classes": 10}, "dataset.classes must be null or 3, the classes made has, got 10"),
    ({"std": [0.1, 0, 0.1]}, "dataset.std must be > 0 in every channel, got [0.1, 0.0, 0.1]"),
    (
        {"mean": [0.5]},
        "dataset.mean must be null or a list of 3 finite numbers, one per channel, got [0.5]",
    ),
    (
        {"std": 0.5},
        "dataset.std must be null or a list of 3 finite numbers, one per channel, got 0.5",
    ),
    (
        {"mean": [0.5, float("inf"), 0]},
        "dataset.mean must be null or a list of 3 finite numbers, one per channel, "
        "got [0.5, inf, 0]",
    ),
    (
        {"val_fraction": 0.001},
        "dataset.val_fraction must give at least one image of the 90 there are, got 0.001",
    ),
    (
        {"test_fraction": 0.001},
        "dataset.test_fraction must give at least one image of the 120 there are, got 0.001",
    ),
    (
        {"limit": 2},
        "dataset.limit must leave training images of every class, got 2, which leaves none of 'c'",
    ),
    (
        {"train_fraction": 0.01},
        "dataset.train_fraction must leave training images of every class, "
        "got 0.01, which leaves none of 'b'",
    ),
    (
        {"val_fraction": 0.999},
        "dataset.val_fraction must leave training images of every class, "
        "got 0.999, which leaves none of 'a'",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_bad_values_are_refused_with_one_message(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load(**change)


def test_test_fraction_next_to_an_own_test_set_is_refused():
    with pytest.raises(ValueError, match=r"dataset\.test_fraction must be null, because made has"):
        load(Made(own_test=30), test_fraction=0.2)


def test_class_without_any_training_image_is_refused():
    with pytest.raises(ValueError, match="which leaves none of 'b'"):
        load(Made((20, 0, 20)))


def test_channel_of_one_value_needs_a_given_std():
    class Black(Made):
        def load(self):
            raw = super().load()
            raw.train.images[:, 1] = 0
            return raw

    with pytest.raises(ValueError, match=r"dataset\.mean and dataset\.std must be given"):
        load(Black())
    assert load(Black(), mean=[0, 0, 0], std=[1, 1, 1]).std == (1.0, 1.0, 1.0)
