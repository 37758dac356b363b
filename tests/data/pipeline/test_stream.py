import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.data.pipeline.stream import Stream, evaluation_batches, sample_images
from kdsweep.data.pipeline.strong_view import StrongView
from kdsweep.data.types import LabelledImages
from kdsweep.training.one_device import OneDevice

MEAN, STD = (0.5, 0.25, 0.1), (0.2, 0.3, 0.4)


def labelled(num_images=50):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num_images, 3, 6, 5), dtype=torch.uint8, generator=generator)
    return LabelledImages(images, torch.arange(num_images) % 7)


def stream(data=None, batch_size=8, seed=0, augment=None, operations=0, **options):
    augment = augment or Augment(crop_padding=2, flip=True)
    return Stream(
        data or labelled(),
        batch_size=batch_size,
        seed=seed,
        augment=augment,
        strong=StrongView(augment, operations),
        mean=MEAN,
        std=STD,
        **options,
    )


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def joined(batches):
    """Images, labels and index of all batches."""
    return [torch.cat(parts) for parts in zip(*(batch[:3] for batch in batches), strict=True)]


@pytest.mark.ci
@settings(deadline=None)
@given(num_images=st.integers(1, 40), batch_size=st.integers(1, 40))
def test_every_image_comes_once_but_a_lonely_last_one(num_images, batch_size):
    batch_size = min(batch_size, num_images)
    this = stream(labelled(num_images), batch_size)
    sizes = [len(batch.index) for batch in this.epoch(0)]
    seen = joined(this.epoch(0))[2].tolist()
    assert len(sizes) == this.steps_per_epoch
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    assert batch_size == 1 or sizes[-1] > 1
    lonely = batch_size > 1 and num_images % batch_size == 1
    assert len(set(seen)) == len(seen) == num_images - lonely


@pytest.mark.parametrize("mix", [BatchMixer(), BatchMixer(mixup=1.0, cutmix=1.0)])
@pytest.mark.parametrize("operations", [0, 2])
def test_rows_are_those_of_the_whole_batches(mix, operations):
    whole = stream(mix=mix, operations=operations)
    parts = [
        stream(mix=mix, operations=operations, rows=lambda count, first=first: slice(*first(count)))
        for first in (lambda count: (0, count - 1), lambda count: (count - 1, count))
    ]
    for batch, *own in zip(*(one.epoch(1) for one in (whole, *parts)), strict=True):
        assert torch.equal(torch.cat([part.images for part in own]), batch.images)
        if operations:
            assert torch.equal(torch.cat([part.strong for part in own]), batch.strong)
        for part in own:
            assert torch.equal(part.labels, batch.labels)
            assert torch.equal(part.index, batch.index)
            assert bool(mix) == (part.mixed is not None)
            if mix:
                assert torch.equal(part.mixed.labels, batch.mixed.labels)


def test_labels_and_index_belong_to_the_images():
    data = labelled()
    images, labels, index = joined(stream(data, augment=Augment()).pixels(3))
    assert torch.equal(images, data.images[index])
    assert torch.equal(labels, data.labels[index])


def test_seed_and_epoch_replay_bitwise():
    first, second = stream(), stream()
    list(first.epoch(0))
    assert same(joined(first.epoch(3)), joined(second.epoch(3)))


@pytest.mark.parametrize(("seed", "epoch"), [(0, 4), (1, 3)])
def test_another_seed_or_epoch_gives_another_order(seed, epoch):
    index = joined(stream(seed=0).epoch(3))[2]
    assert not torch.equal(joined(stream(seed=seed).epoch(epoch))[2], index)


def test_another_epoch_gives_another_augmentation_of_the_same_image():
    seen = []
    for epoch in (0, 1):
        images, _, index = joined(stream().pixels(epoch))
        seen.append(images[index.argsort()])
    assert (seen[0] != seen[1]).flatten(1).any(dim=1).float().mean() > 0.8


def test_order_does_not_depend_on_the_augmentation():
    bare = joined(stream(augment=Augment()).epoch(2))[2]
    assert torch.equal(joined(stream().epoch(2))[2], bare)


def strong_views(this, epoch):
    """Of all images in the order of the data."""
    batches = list(this.epoch(epoch))
    order = torch.cat([batch.index for batch in batches]).argsort()
    return torch.cat([batch.strong for batch in batches])[order]


def test_a_strong_view_leaves_the_weak_one_as_it_is():
    alone, with_strong = stream(labelled(49)), stream(labelled(49), operations=2)
    assert same(joined(with_strong.epoch(3)), joined(alone.epoch(3)))
    assert all(batch.strong is None for batch in alone.epoch(3))


def test_strong_views_replay_bitwise_and_differ_between_epochs_and_seeds():
    first = strong_views(stream(operations=2), 3)
    assert torch.equal(strong_views(stream(operations=2), 3), first)
    for seed, epoch in ((0, 4), (1, 3)):
        other = strong_views(stream(seed=seed, operations=2), epoch)
        assert (other != first).flatten(1).any(dim=1).float().mean() > 0.8


def test_a_strong_view_shows_the_image_of_its_place():
    """One colour an image: crop, flip and the operations on places leave it in the middle."""
    data = labelled(40)
    data = data._replace(images=data.images[:, :, :1, :1].expand(40, 3, 16, 16).contiguous())
    this = stream(data, operations=1, augment=Augment())
    kept, raw = 0, list(this.pixels(0))
    for batch in raw:
        assert batch.strong.dtype == torch.uint8
        kept += (batch.strong == batch.images).flatten(1).any(1).sum().item()
    assert kept > 20


def test_stream_neither_reads_nor_moves_the_global_generator():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = joined(stream().epoch(0))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert same(first, joined(stream().epoch(0)))


def test_images_are_normalised_per_channel():
    this = stream()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    for batch, raw in zip(this.epoch(1), this.pixels(1), strict=True):
        assert batch.images.dtype == torch.float32
        torch.testing.assert_close(batch.images, (raw.images / 255 - mean) / std)


def test_data_is_not_changed_by_an_epoch():
    data = labelled()
    before = data.images.clone()
    list(stream(data).epoch(0))
    assert torch.equal(data.images, before)


@pytest.mark.parametrize("batch_size", [1, 8, 50, 64])
def test_evaluation_shows_everything_in_order(batch_size):
    data = labelled()
    batches = list(evaluation_batches(data, batch_size=batch_size, mean=MEAN, std=STD))
    images, labels, index = joined(batches)
    assert len(batches) == math.ceil(50 / batch_size)
    assert index.tolist() == list(range(50))
    assert torch.equal(labels, data.labels)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    torch.testing.assert_close(images, (data.images / 255 - mean) / std)


def test_evaluation_and_stream_normalise_alike():
    data = labelled()
    shown = joined(evaluation_batches(data, batch_size=7, mean=MEAN, std=STD))[0]
    images, _, index = joined(stream(data, augment=Augment()).epoch(0))
    assert torch.equal(images, shown[index])


@pytest.mark.parametrize(("count", "expected"), [(5, 5), (20, 20), (1000, 50)])
def test_samples_are_the_first_images_of_epoch_0(count, expected):
    this = stream()
    images, labels = sample_images(this, count)
    all_images, all_labels, _ = joined(this.pixels(0))
    assert images.dtype == torch.uint8
    assert len(images) == len(labels) == expected
    assert torch.equal(images, all_images[:count])
    assert torch.equal(labels, all_labels[:count])


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, "8", None])
def test_batch_size_that_is_no_count_is_refused(batch_size):
    with pytest.raises(ValueError, match=r"trainer\.batch_size must be a whole number >= 1, got "):
        stream(batch_size=batch_size)


def test_batch_size_larger_than_the_data_is_refused():
    message = "trainer.batch_size must be at most the 50 training images, got 51"
    with pytest.raises(ValueError, match=f"^{message}$"):
        stream(batch_size=51)


@pytest.mark.ci
@pytest.mark.parametrize("operations", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_an_epoch_moves_its_random_numbers_at_once(operations):
    """As often for two batches as for seven; on a device each transfer may wait."""
    moved = []
    for batch_size in (25, 7):
        data = labelled(49)._replace(images=labelled(49).images.to("meta"))
        augment = Augment(crop_padding=2, padding_mode="reflect", flip=True)
        on_device = Stream(
            data,
            batch_size=batch_size,
            seed=0,
            augment=augment,
            mix=BatchMixer(mixup=1.0, cutmix=1.0),
            strong=StrongView(augment, operations),
            mean=MEAN,
            std=STD,
            device="meta",
        )
        with OneDevice() as seen:
            batches = list(on_device.epoch(0))
        assert len(batches) == -(-49 // batch_size)
        assert not seen.nondeterministic
        moved.append(seen.moved)
    assert moved[0] == moved[1] > 0


class Shift:
    """An augmentation of a user's: adds one random number to each image."""

    def __call__(self, images, generator):
        change = torch.randint(1, 100, (len(images), 1, 1, 1), generator=generator)
        return (images.int() + change).remainder(256).to(torch.uint8)


def with_own(**own):
    return Stream(
        labelled(), batch_size=8, seed=3, augment=Augment(flip=True), own=own, mean=MEAN, std=STD
    )


def test_augmentations_of_the_user_s_follow_and_can_be_replayed():
    plain, shifted = with_own(), with_own(shift=Shift())
    first = list(shifted.pixels(1))
    torch.manual_seed(5)
    assert all(same(a[:3], b[:3]) for a, b in zip(first, shifted.pixels(1), strict=True))
    changes = []
    for before, after in zip(plain.pixels(1), first, strict=True):
        assert torch.equal(before.index, after.index)
        difference = (after.images.int() - before.images.int()).remainder(256)
        per_image = difference.flatten(1)
        assert (per_image == per_image[:, :1]).all()
        changes += per_image[:, 0].tolist()
    assert len(set(changes)) > 20  # each batch draws anew
    assert not torch.equal(joined(shifted.pixels(2))[0], joined(first)[0])


def test_each_of_them_has_draws_of_its_own():
    once, twice = with_own(a=Shift()), with_own(a=Shift(), b=Shift())
    images = [joined(s.pixels(0))[0].int() for s in (with_own(), once, twice)]
    first, second = ((b - a).remainder(256)[:, 0, 0, 0] for a, b in pairwise(images))
    assert not torch.equal(first, second)
