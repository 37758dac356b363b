import pytest
import torch

from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.image_operations import OPERATIONS, cut_out
from kdsweep.data.pipeline.strong_view import StrongParams, StrongView

VIEW = StrongView(Augment(crop_padding=2, flip=True), 2)


def drawn(n, view=VIEW):
    return view.draw(n, torch.Generator().manual_seed(0))


def apply(originals, params, view=VIEW):
    """The strong views of one batch."""
    (batch,) = params.batches(len(originals), "cpu")
    return view.apply(originals, batch)


def images(n):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, 3, 8, 10), dtype=torch.uint8, generator=generator)


def one_by_one(originals, params):
    """Each image on its own: crop and flip, its operations in their order, the cutout."""
    made = []
    cropped = VIEW.augment.apply(originals, params.crop)
    for number, image in enumerate(cropped.split(1)):
        chosen = zip(params.operation[number], params.strength[number], strict=True)
        for position, strength in chosen:
            operation, low, high = OPERATIONS[position]
            image = operation(image, (low + (high - low) * strength).view(1))
        size, column, row = params.cutout[number].view(3, 1)
        made.append(cut_out(image, size * 5, 10 - 9 * column, 8 - 7 * row))
    return torch.cat(made)


def test_batch_equals_images_one_by_one():
    originals, params = images(40), drawn(40)
    assert torch.equal(apply(originals, params), one_by_one(originals, params))


def test_golden_pixels_of_the_authors_code():
    """RandAugment of Jin-Ying/Multi-Level-Logit-Distillation, mdistiller/dataset/cifar100.py, with
    these parameters for its random numbers: a weighted sum of the pixels of each image."""
    i, (c, h, w) = torch.arange(14), torch.meshgrid(*map(torch.arange, (3, 32, 32)), indexing="ij")
    originals = torch.stack([37 * n * c + 5 * h * (n + 1) + 3 * w * w + 11 * n for n in range(14)])
    operation = torch.stack((i, (5 * i + 1) % 14), 1)
    strength = torch.stack((0.37 * i.double() + 0.21, 0.37 * i.double() + 0.42), 1) % 1
    cutout = (
        0.31 * i.double()[:, None] + torch.tensor([0.17, 0.34, 0.51], dtype=torch.float64)
    ) % 1
    still = Augment()
    params = StrongParams(still.draw(14, torch.Generator()), operation, strength, cutout)
    made = apply((originals % 256).byte(), params, StrongView(still, 2)).long()
    assert (made * (7 * c + 3 * h + w + 1)).sum((1, 2, 3)).tolist() == [
        *(11812575, 15743130, 22533425, 27253168, 27599168, 25642928, 26525470),
        *(24120530, 26753260, 27234788, 20446415, 22769149, 25521605, 21569383),
    ]


def test_draws_reach_every_operation_in_every_place():
    params = drawn(400)
    for place in params.operation.T:
        assert set(place.tolist()) == set(range(len(OPERATIONS)))
    for values in (params.strength, params.cutout):
        assert 0 <= values.min() < 0.02
        assert 0.98 < values.max() < 1


def test_batches_get_the_parameters_of_their_images():
    originals, params = images(10), drawn(10)
    parts = zip(originals.split(4), params.batches(4, "cpu"), strict=True)
    apart = torch.cat([VIEW.apply(*part) for part in parts])
    assert torch.equal(apart, apply(originals, params))


def test_views_are_strong_and_the_originals_are_left_alone():
    originals = images(40)
    before = originals.clone()
    made = apply(originals, drawn(40))
    assert (made != originals).flatten(1).any(1).all()
    assert torch.equal(originals, before)


@pytest.mark.parametrize("operations", [-1, 1.5, True, "2", None])
def test_operations_are_a_whole_number(operations):
    with pytest.raises(ValueError, match=r"dataset\.augment\.strong_view must be a whole number"):
        StrongView(Augment(), operations)
