"""RandAugment, TrivialAugment and AutoAugment against torchvision's classes and operations."""

import pytest
import torch
from photographs import SIZE, pictures
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from kdsweep.data.pipeline.auto_augment import (
    CHOSEN,
    IMAGENET_POLICY,
    KINDS,
    MAGNITUDES,
    MAGNITUDES_OF_POLICY,
    NAMES,
    NARROW,
    POLICY_OPERATIONS,
    WIDE,
    AutoAugment,
    RandAugment,
    TrivialAugment,
)
from kdsweep.data.pipeline.drawn_operations import operate

CLASSES = {
    v2.RandAugment: (NARROW, MAGNITUDES),
    v2.TrivialAugmentWide: (WIDE, MAGNITUDES),
    v2.AutoAugment: (NARROW, MAGNITUDES_OF_POLICY),
}
POLICIES = {
    "randaugment": RandAugment(),
    "more": RandAugment(num_ops=4, magnitude=30),
    "trivialaugment": TrivialAugment(),
    "autoaugment": AutoAugment(),
}


def of_torchvision(image, name, magnitude):
    done = v2.RandAugment()._apply_image_or_video_transform(
        to_pil_image(image), name, magnitude, v2.InterpolationMode.NEAREST, {}
    )
    return pil_to_tensor(done)


@pytest.mark.parametrize("original", CLASSES, ids=lambda one: one.__name__)
def test_operations_and_magnitudes_are_those_of_torchvision(original):
    ranges, count = CLASSES[original]
    ours, theirs = ranges.magnitudes(count, SIZE), original._AUGMENTATION_SPACE
    names = NAMES if original is v2.AutoAugment else NAMES[:CHOSEN]
    assert {*theirs} == {*names} - ({"Identity"} if original is v2.AutoAugment else set())
    for name, (magnitudes, signed) in theirs.items():
        expected = magnitudes(count, *SIZE)
        expected = torch.zeros(count) if expected is None else expected
        assert torch.equal(ours[NAMES.index(name)], expected.double()), name
        assert KINDS[name].signed == signed, name


def test_policy_is_that_of_torchvision():
    assert list(IMAGENET_POLICY) == v2.AutoAugment()._policies


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_magnitude_of_an_operation_equals_torchvision(name, channels):
    place, signs = NAMES.index(name), (1, -1) if KINDS[name].signed else (1,)
    magnitudes = torch.cat(
        [
            sign * ranges.magnitudes(count, SIZE)[place]
            for ranges, count in CLASSES.values()
            for sign in signs
        ]
    ).unique()
    images = pictures(len(magnitudes), channels)
    made = POLICY_OPERATIONS[place](images, magnitudes)
    for image, mine, magnitude in zip(images, made, magnitudes.tolist(), strict=True):
        assert torch.equal(mine, of_torchvision(image, name, magnitude)), magnitude


@pytest.mark.parametrize("name", POLICIES)
def test_a_batch_equals_torchvision_with_the_same_draws(name):
    images = pictures(48)
    drawn = POLICIES[name].draw(len(images), SIZE, torch.Generator().manual_seed(1))
    (batch,) = drawn.batches(len(images), "cpu")
    made = operate(images, batch, POLICY_OPERATIONS)
    for number, image in enumerate(images):
        pairs = zip(drawn.operation[number].tolist(), drawn.value[number].tolist(), strict=True)
        for operation, magnitude in pairs:
            image = of_torchvision(image, NAMES[operation], magnitude)
        assert torch.equal(made[number], image)


@pytest.mark.parametrize("name", POLICIES)
def test_draws_reach_every_operation_and_sign(name):
    drawn = POLICIES[name].draw(4000, SIZE, torch.Generator().manual_seed(0))
    found = {NAMES[place] for place in drawn.operation.flatten().tolist()}
    named = {name for pair in IMAGENET_POLICY for name, *_ in pair} | {"Identity"}
    assert found == (named if name == "autoaugment" else {*NAMES[:CHOSEN]})
    rotated = drawn.value[drawn.operation == NAMES.index("Rotate")]
    assert 0.4 < (rotated < 0).double().mean() < 0.6
    assert (drawn.value[drawn.operation == NAMES.index("Solarize")] >= 0).all()


def test_probabilities_are_those_of_the_policy():
    drawn = AutoAugment().draw(50_000, SIZE, torch.Generator().manual_seed(0))
    is_equalize = drawn.operation == NAMES.index("Equalize")
    expected = sum(
        chance for pair in IMAGENET_POLICY for name, chance, _ in pair if name == "Equalize"
    )
    assert is_equalize.double().sum(1).mean().item() == pytest.approx(expected / 25, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"magnitude": 31}, r"dataset\.augment\.magnitude must be at most 30, got 31"),
        ({"magnitude": -1}, r"dataset\.augment\.magnitude must be a whole number >= 0, got -1"),
        ({"num_ops": 0}, r"dataset\.augment\.num_ops must be a whole number >= 1, got 0"),
        ({"num_ops": True}, r"dataset\.augment\.num_ops must be a whole number >= 1, got true"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        RandAugment(**options)
