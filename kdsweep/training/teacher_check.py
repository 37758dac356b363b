"""The check of a trained teacher before students learn from it."""

from collections.abc import Sequence

from kdsweep.training.evaluation import Split, accuracy

NUM_NAMES = 3  # class names in a warning


def measured_accuracy(split: Split) -> float:
    """The top-1 accuracy, in [0, 1], of a teacher on a split that has its logits.

    Raises ValueError if a logit is not finite.
    """
    assert split.teacher_logits is not None, "it is a teacher's"
    if not split.teacher_logits.isfinite().all():
        raise ValueError(f"must give finite logits, got nan or inf ({split.name})")
    return accuracy(split.teacher_logits, split.labels)


def is_near_chance(accuracy: float, classes: int) -> bool:
    """Whether it is below twice the accuracy of guessing; for two classes, below 75 %."""
    return accuracy < min(2 / classes, (1 + 1 / classes) / 2)


def chance_warning(
    accuracy: float, num_images: int, class_names: Sequence[str], image_shape: tuple[int, int, int]
) -> str:
    """A warning with the settings to check if a teacher is hardly better than guessing.

    The accuracy, in [0, 1], was measured on ``num_images`` images of (channels, H, W).
    """
    measured = f"{num_images:,} image{'' if num_images == 1 else 's'}"
    named = ", ".join(class_names[:NUM_NAMES])
    more = ", ..." if len(class_names) > NUM_NAMES else ""
    return (
        f"{accuracy:.1%} (of {measured}) is near chance, which is {1 / len(class_names):.1%}; of a"
        f" teacher from elsewhere, compare the order of the classes (here {named}{more}), the"
        " normalisation (dataset.mean, dataset.std) and the input size (here"
        f" {' x '.join(map(str, image_shape))}) with those of its training"
    )
