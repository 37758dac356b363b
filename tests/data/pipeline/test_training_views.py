"""Views of photographs in the stream: replayed by seed and epoch, whatever else is done."""

import pytest
import torch
from photographs import pictures
from torchvision.transforms.v2 import functional as F

from kdsweep.common.rng import derive
from kdsweep.data.images.encoded import ImageFormat
from kdsweep.data.images.files import ImageFiles
from kdsweep.data.images.lazy import StoredImages
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.auto_augment import RandAugment
from kdsweep.data.pipeline.central_view import CentralView
from kdsweep.data.pipeline.color_jitter import ColorJitter
from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.data.pipeline.random_boxes import RandomErasing, RandomResizedCrop
from kdsweep.data.pipeline.stream import Stream, evaluation_batches
from kdsweep.data.pipeline.strong_view import StrongView
from kdsweep.data.pipeline.training_views import TrainingViews
from kdsweep.data.types import LabelledImages
from kdsweep.training.one_device import OneDevice

MEAN, STD = (0.5, 0.25, 0.1), (0.2, 0.3, 0.4)
SIZE = (24, 28)
CENTRE = CentralView(SIZE, 0.7)
PARTS = {
    "view": CENTRE,
    "crop": RandomResizedCrop(SIZE),
    "policy": RandAugment(),
    "jitter": ColorJitter(0.4, 0.4, 0.4, 0.1),
    "erasing": RandomErasing(0.5),
}
ALL = TrainingViews(**PARTS)
FLIP = Augment(flip=True)


def stream(views=ALL, **options):
    images = pictures(50)
    given = {"batch_size": 8, "seed": 0, "augment": FLIP, "mean": MEAN, "std": STD, **options}
    return Stream(LabelledImages(images, torch.arange(50) % 7), views=views, **given)


def joined(batches, view="images"):
    """The images of an epoch, in the order of the data."""
    batches = list(batches)
    order = torch.cat([batch.index for batch in batches]).argsort()
    return torch.cat([getattr(batch, view) for batch in batches])[order]


def test_each_image_follows_from_seed_epoch_and_position():
    """Resuming begins with any epoch; its batches need not have been computed from the first on."""
    once = stream()
    list(once.epoch(0))
    replayed = joined(stream().epoch(2))
    assert torch.equal(joined(once.epoch(2)), replayed)
    for other in (stream(seed=1).epoch(2), once.epoch(1)):
        assert (joined(other) != replayed).flatten(1).any(1).all()


def test_views_do_not_depend_on_the_batch_size():
    """Of 50 images batches of 7 leave one out, which BatchNorm could not process."""
    seen = {}
    for batch_size in (7, 8):
        for batch in stream(batch_size=batch_size).epoch(1):
            for position, image in zip(batch.index.tolist(), batch.images, strict=True):
                assert torch.equal(seen.setdefault(position, image), image)
    assert len(seen) == 50


def test_size_is_that_of_training():
    assert joined(stream().pixels(0)).shape == (50, 3, *SIZE)
    assert joined(stream(TrainingViews(view=CENTRE)).pixels(0)).shape == (50, 3, *SIZE)
    assert joined(stream(TrainingViews()).pixels(0)).shape == (50, 3, 40, 52)


@pytest.mark.parametrize("name", ["crop", "policy", "jitter", "erasing"])
def test_no_part_changes_what_the_others_draw(name):
    def drawn(views):
        parts = torch.arange(50).split(7)
        return views.draw(50, (40, 52), parts, torch.device("cpu"), 0, 3)

    field = {"erasing": "erased"}.get(name, name)
    only = TrainingViews(view=CENTRE, **{name: PARTS[name]})
    for alone, among in zip(drawn(only), drawn(ALL), strict=True):
        one, other = getattr(alone, field), getattr(among, field)
        assert torch.equal(getattr(one, "value", one), getattr(other, "value", other))


@pytest.mark.parametrize("mix", [BatchMixer(), BatchMixer(cutmix=1.0)])
@pytest.mark.parametrize("operations", [0, 2])
def test_rows_are_those_of_the_whole_batches(mix, operations):
    options = {"mix": mix, "strong": StrongView(FLIP, operations)}
    if not operations:
        options["teacher_view"] = "weak"
    whole = stream(**options)
    parts = [
        stream(rows=lambda count, first=first: slice(*first(count)), **options)
        for first in (lambda count: (0, count - 1), lambda count: (count - 1, count))
    ]
    for batch, *own in zip(*(one.epoch(1) for one in (whole, *parts)), strict=True):
        for view in ("images", "strong" if operations else "teacher"):
            assert torch.equal(
                torch.cat([getattr(part, view) for part in own]), getattr(batch, view)
            )


@pytest.mark.ci
def test_workers_change_no_pixel(tmp_path):
    for number, image in enumerate(pictures(12)):
        F.to_pil_image(image).save(tmp_path / f"{number:02}.png")

    def epoch(workers):
        files = ImageFiles(tmp_path, sorted(tmp_path.iterdir()))
        images = StoredImages(files, ImageFormat(3, 40, 52), workers)
        options = {"batch_size": 5, "seed": 0, "augment": FLIP, "mean": MEAN, "std": STD}
        return joined(
            Stream(LabelledImages(images, torch.arange(12)), **options, views=ALL).epoch(1)
        )

    in_memory = LabelledImages(pictures(12), torch.arange(12))
    options = {"batch_size": 5, "seed": 0, "augment": FLIP, "mean": MEAN, "std": STD}
    expected = joined(Stream(in_memory, **options, views=ALL).epoch(1))
    for workers in (0, 2):
        assert torch.equal(epoch(workers), expected)


def test_order_of_what_is_done():
    """Box, flip, operations, colours, erasing; the erased box has the mean colour."""
    this = stream()
    (batch,) = list(stream(batch_size=50).pixels(1))
    generator = this._generator(1)
    order = this._shuffled(generator)
    flip = FLIP.draw(50, generator).flip
    parts = [torch.arange(50)]
    (drawn,) = ALL.draw(50, (40, 52), parts, torch.device("cpu"), 0, 1)
    placed = ALL.placed(pictures(50)[order], drawn)
    flipped = torch.where(flip.view(-1, 1, 1, 1), placed.flip(-1), placed)
    coloured = ALL.coloured(flipped, drawn)
    assert torch.equal(batch.index, order)
    mean = torch.tensor([128, 64, 26]).byte().view(3, 1, 1)
    assert torch.equal(batch.images, ALL.erased(coloured, drawn, mean))
    erased = batch.images != coloured
    normalised = stream(batch_size=50)
    (pixels,) = list(normalised.epoch(1))
    inside = erased.any(1, keepdim=True).expand_as(pixels.images)
    assert inside.any()
    assert pixels.images[inside].abs().max() <= 0.5 / 255 / min(STD) + 1e-6


def test_teacher_sees_the_same_images():
    assert all(batch.teacher is None for batch in stream().epoch(0))
    batch = next(stream().epoch(0))
    assert batch.as_seen_by_teacher() is batch


def test_teacher_sees_the_box_and_the_flip_before_colours():
    geometric = TrainingViews(view=CENTRE, crop=PARTS["crop"])
    weak = joined(stream(teacher_view="weak").pixels(1), "teacher")
    assert torch.equal(weak, joined(stream(geometric).pixels(1)))
    seen = next(stream(teacher_view="weak").epoch(1)).as_seen_by_teacher()
    assert torch.equal(seen.images, next(stream(geometric).epoch(1)).images)
    assert seen.teacher is None


def test_teacher_sees_the_view_of_evaluation():
    this = stream(teacher_view="centre")
    expected = torch.cat(
        [
            batch.images
            for batch in evaluation_batches(
                this.data, batch_size=8, mean=MEAN, std=STD, view=CENTRE
            )
        ]
    )
    assert torch.equal(joined(this.epoch(4), "teacher"), expected)
    as_stored = stream(TrainingViews(), teacher_view="centre", augment=Augment(crop_padding=3))
    assert torch.equal(joined(as_stored.pixels(0), "teacher"), pictures(50))


@pytest.mark.parametrize("mix", [BatchMixer(mixup=1.0), BatchMixer(cutmix=1.0)])
def test_views_of_the_teacher_are_mixed_alike(mix):
    """With the same images in both views, the mixed ones are the same."""
    still = TrainingViews(view=CENTRE)
    batches = stream(still, mix=mix, augment=Augment(), teacher_view="centre").epoch(0)
    for batch in batches:
        assert torch.equal(batch.images, batch.teacher)
        assert batch.mixed is not None


def test_strong_views_begin_with_the_same_box():
    strong = StrongView(Augment(), 1)
    (batch,) = list(stream(batch_size=50, augment=Augment(), strong=strong).pixels(0))
    generator = torch.Generator().manual_seed(derive("strong", 0, 0))
    (drawn,) = strong.draw(50, generator).batches(50, "cpu")
    weak = stream(TrainingViews(view=CENTRE, crop=PARTS["crop"]), batch_size=50, augment=Augment())
    (placed,) = list(weak.pixels(0))
    assert torch.equal(batch.strong, strong.apply(placed.images, drawn))


@pytest.mark.slow
def test_nothing_waits_for_the_device():
    """As on a GPU, whatever the number of batches: parameters are moved once an epoch."""
    data = LabelledImages(pictures(49), torch.arange(49))
    views = TrainingViews(**{**PARTS, "view": CentralView(SIZE, 0.7)})
    moved = []
    for batch_size in (7, 49):
        options = {"batch_size": batch_size, "seed": 0, "augment": FLIP, "mean": MEAN, "std": STD}
        this = Stream(data, **options, views=views, teacher_view="centre", device="meta")
        with OneDevice() as seen:
            list(this.epoch(0))
        assert not seen.nondeterministic
        moved.append(seen.moved)
    assert moved[0] == moved[1] > 0


def test_evaluation_shows_the_centre():
    data = LabelledImages(pictures(9), torch.arange(9))
    (batch,) = evaluation_batches(data, batch_size=9, mean=(0,) * 3, std=(1,) * 3, view=CENTRE)
    resized = F.resize(data.images, [34, 44])
    assert CENTRE._before_crop((40, 52)) == (34, 44)
    torch.testing.assert_close(batch.images * 255, F.center_crop(resized, list(SIZE)).float())
