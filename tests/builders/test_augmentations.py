"""The augmentation of a config: what it builds, and what is refused."""

import pytest
from commands import Compose, Refusal

from kdsweep.builders.augmentations import build_augmentation, build_views
from kdsweep.config.resolve import resolve_config
from kdsweep.data.pipeline.auto_augment import AutoAugment, RandAugment, TrivialAugment
from kdsweep.data.pipeline.central_view import CentralView
from kdsweep.data.pipeline.color_jitter import ColorJitter
from kdsweep.data.pipeline.random_boxes import RandomErasing, RandomResizedCrop
from kdsweep.data.pipeline.training_views import TrainingViews

VIEW = CentralView((24, 24))


def views(compose: Compose, *words: str) -> TrainingViews:
    return build_views(resolve_config(compose(*words)).dataset, VIEW, (24, 24))


def test_all_is_off_by_default(compose: Compose) -> None:
    assert views(compose) == TrainingViews(view=VIEW)
    assert views(compose, "dataset=imagenette") == TrainingViews(view=VIEW)


@pytest.mark.ci
def test_photographs_are_one_word(compose: Compose) -> None:
    words = ["dataset=imagenette", "dataset/augment=photographs"]
    found = views(compose, *words)
    assert found == TrainingViews(
        view=VIEW,
        crop=RandomResizedCrop((24, 24), [0.08, 1.0], [3 / 4, 4 / 3]),
        policy=TrivialAugment(),
        erasing=RandomErasing(0.1),
    )
    augment, _, _ = build_augmentation(resolve_config(compose(*words)).dataset.augment)
    assert (augment.flip, augment.crop_padding) == (True, 0)


def test_a_key_overrides_the_word(compose: Compose) -> None:
    words = ["dataset/augment=photographs", "dataset.augment.auto_augment=null"]
    found = views(compose, *words, "dataset.augment.scale=[0.5,1]", "dataset.interpolation=bicubic")
    assert found.policy is None
    assert found.crop == RandomResizedCrop((24, 24), [0.5, 1], [3 / 4, 4 / 3], "bicubic")


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        (["auto_augment=randaugment"], RandAugment(2, 9)),
        (["auto_augment=randaugment", "num_ops=3", "magnitude=5"], RandAugment(3, 5)),
        (["auto_augment=autoaugment"], AutoAugment()),
    ],
)
def test_policies(compose: Compose, words: list[str], policy: object) -> None:
    assert views(compose, *(f"dataset.augment.{word}" for word in words)).policy == policy


def test_jitter(compose: Compose) -> None:
    found = views(compose, "dataset.augment.color_jitter=[0.4,0.3,0.2,0.1]").jitter
    assert found == ColorJitter(0.4, 0.3, 0.2, 0.1)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "dataset.augment.auto_augment=randaugmnt",
            "dataset.augment.auto_augment must be one of randaugment, trivialaugment, autoaugment,"
            " got randaugmnt; did you mean randaugment?",
        ),
        ("dataset.augment.magnitude=31", "dataset.augment.magnitude must be at most 30, got 31"),
        (
            "dataset.augment.random_erasing=2",
            "dataset.augment.random_erasing must be a number in [0, 1], got 2",
        ),
        (
            "dataset.augment.scale=[1,0.5]",
            "dataset.augment.scale must be two ascending numbers in (0, 1], got [1, 0.5]",
        ),
        (
            "dataset.augment.color_jitter=-1",
            "dataset.augment.color_jitter must be null, a number >= 0, or [brightness, contrast,"
            " saturation] or with hue, which is at most 0.5, got -1",
        ),
        ("dataset.crop_pct=0", "dataset.crop_pct must be in [0.1, 1], got 0"),
        (
            "dataset.interpolation=nearest",
            "dataset.interpolation must be one of bilinear, bicubic, got nearest",
        ),
        (
            "dataset.image_size=big",
            "dataset.image_size must be null, a number of pixels >= 1 or [H, W], got big",
        ),
        ("dataset.image_size=9000", "dataset.image_size must be at most 8192, got 9000"),
    ],
)
def test_values_out_of_range(refusal: Refusal, word: str, message: str) -> None:
    assert refusal(word) == message
