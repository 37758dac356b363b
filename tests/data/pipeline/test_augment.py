import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsweep.data.pipeline.augment import Augment, AugmentParams


def one_by_one(images, padding, mode, draws):
    """Each image padded, cropped and flipped on its own."""
    out = []
    for image, top, left, flip in zip(images.numpy(), *draws, strict=True):
        _, height, width = image.shape
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode=mode)
        crop = padded[:, top : top + height, left : left + width]
        out.append(crop[:, :, ::-1] if flip else crop)
    return torch.from_numpy(np.stack(out))


@pytest.mark.ci
@settings(deadline=None)
@given(
    batch=st.integers(1, 9),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9)),
    padding=st.integers(0, 4),
    mode=st.sampled_from(["constant", "reflect"]),
    flip=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_batch_equals_images_one_by_one(batch, shape, padding, mode, flip, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, *shape), dtype=torch.uint8, generator=generator)
    augment = Augment(crop_padding=padding, padding_mode=mode, flip=flip)
    draws = augment.draw(batch, generator)
    assert torch.equal(augment.apply(images, draws), one_by_one(images, padding, mode, draws))


def test_batch_in_channels_last_gives_the_same_pixels():
    images = torch.randint(0, 256, (5, 3, 6, 7), dtype=torch.uint8)
    augment = Augment(crop_padding=2, flip=True)
    draws = augment.draw(5, torch.Generator())
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment.apply(last, draws), augment.apply(images, draws))


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_crop_and_flip_are_those_of_torchvision(mode):
    from torchvision.transforms.functional import crop, hflip, pad, pil_to_tensor, to_pil_image

    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    draws = AugmentParams(torch.tensor([5]), torch.tensor([1]), torch.tensor([True]))
    expected = pil_to_tensor(
        hflip(crop(pad(to_pil_image(image), 4, padding_mode=mode), 5, 1, 8, 8))
    )
    augment = Augment(crop_padding=4, padding_mode=mode, flip=True)
    flipped = augment.apply(image[None], draws)[0]
    assert torch.equal(flipped, expected)


def test_draws_reach_every_place_and_both_sides():
    draws = Augment(crop_padding=1, flip=True).draw(500, torch.Generator())
    places = set(zip(draws.top.tolist(), draws.left.tolist(), draws.flip.tolist(), strict=True))
    assert places == {(t, left, f) for t in range(3) for left in range(3) for f in (False, True)}


def test_no_augmentation_leaves_the_pixels_alone():
    images = torch.randint(0, 256, (4, 1, 3, 3), dtype=torch.uint8)
    augment = Augment()
    assert torch.equal(augment.apply(images, augment.draw(4, torch.Generator())), images)


@pytest.mark.parametrize("padding", [-1, 1.5, True, "4", None])
def test_padding_that_is_no_whole_number_is_refused(padding):
    with pytest.raises(ValueError, match=r"dataset\.augment\.crop_padding must be a whole number"):
        Augment(crop_padding=padding)


def test_other_padding_modes_are_refused():
    message = r"dataset\.augment\.padding_mode must be constant or reflect, got edge"
    with pytest.raises(ValueError, match=message):
        Augment(crop_padding=4, padding_mode="edge")


def test_flip_that_is_neither_true_nor_false_is_refused():
    with pytest.raises(ValueError, match=r"dataset\.augment\.flip must be true or false, got 0\.5"):
        Augment(flip=0.5)
