"""The augmentation of a data set: views of photographs, crops, mixing, and the user's own."""

import torch

from kdsweep.builders.instantiate import instantiate_node, naming_key
from kdsweep.common.validation import as_typed, check_bool, check_option
from kdsweep.config.schema import AugmentConfig, DatasetConfig
from kdsweep.config.targets import target_fault
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.auto_augment import AutoAugment, Policy, RandAugment, TrivialAugment
from kdsweep.data.pipeline.central_view import CentralView
from kdsweep.data.pipeline.color_jitter import ColorJitter
from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.data.pipeline.random_boxes import RandomErasing, RandomResizedCrop
from kdsweep.data.pipeline.resampling import Size
from kdsweep.data.pipeline.source_checks import require_same_kind
from kdsweep.data.pipeline.stream import Stream
from kdsweep.data.pipeline.strong_view import StrongView
from kdsweep.data.pipeline.training_views import TrainingViews
from kdsweep.data.types import Augmentation, in_order
from kdsweep.errors import UserError

POLICIES = ("randaugment", "trivialaugment", "autoaugment")


def build_augmentation(options: AugmentConfig) -> tuple[Augment, BatchMixer, StrongView]:
    """What is done to each image, to each batch, and to each image's second view, if any.

    Raises UserError for options out of range.
    """
    with naming_key("dataset.augment"):
        augment = Augment(
            crop_padding=options.crop_padding,
            padding_mode=options.padding_mode,
            flip=options.flip,
        )
        mix = BatchMixer(mixup=options.mixup, cutmix=options.cutmix)
        return augment, mix, StrongView(augment, options.strong_view)


def build_views(
    dataset: DatasetConfig, view: CentralView | None = None, size: Size = (1, 1)
) -> TrainingViews:
    """What is done to each training image before and after `Augment`.

    Args:
        view: that of evaluation, unless it has the images as they are decoded.
        size: (H, W) of the images that networks are given; it has no effect on what is refused.

    Raises UserError for options out of range.
    """
    options = dataset.augment
    with naming_key("dataset.augment"):
        check_bool("dataset.augment.random_resized_crop", options.random_resized_crop)
        crop = RandomResizedCrop(size, options.scale, options.ratio, dataset.interpolation)
        erasing = RandomErasing(options.random_erasing)
        return TrainingViews(
            view=view,
            crop=crop if options.random_resized_crop else None,
            policy=_policy(options),
            jitter=ColorJitter.of(options.color_jitter),
            erasing=erasing if erasing.p > 0 else None,
        )


def _policy(options: AugmentConfig) -> Policy | None:
    rand_augment = RandAugment(options.num_ops, options.magnitude)
    if options.auto_augment is None:
        return None
    check_option("dataset.augment.auto_augment", options.auto_augment, POLICIES)
    policies: tuple[Policy, ...] = (rand_augment, TrivialAugment(), AutoAugment())
    return policies[POLICIES.index(options.auto_augment)]


def build_own_augmentations(options: AugmentConfig) -> dict[str, Augmentation]:
    """The augmentations of the user's, by name. Raises UserError for options they do not take."""
    augmentations = {}
    for name, node in options.own.items():
        key = f"dataset.augment.own.{name}"
        if (fault := target_fault(node, key)) is not None:
            raise UserError(fault)
        augmentations[name] = instantiate_node(node, key)
        if not callable(augmentations[name]):
            raise UserError(
                f"{key}._target_ must be an augmentation, which is called with images and a"
                f" generator, got {as_typed(node['_target_'])}"
            )
    return augmentations


def refuse_own_augmentations(stream: Stream, options: AugmentConfig) -> None:
    """Raise UserError for an augmentation of the user's that fails on two images of a stream."""
    if not stream.own:
        return
    index = torch.arange(min(2, len(stream.data.labels)), device=stream.data.labels.device)
    images = next(in_order(stream.data.subset(index).images, len(index)))
    if (view := stream.views.view) is not None:
        images = view(images)
    for name, augmentation in stream.own.items():
        with naming_key(f"dataset.augment.own.{name}", options.own[name]):
            augmented: object = augmentation(images.clone(), torch.Generator().manual_seed(0))
            require_same_kind(images, augmented)
