"""Weights whose classes are those of the data set in another order."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from kdsweep.common.notices import note_once
from kdsweep.data.pipeline.split import Dataset, readable_names
from kdsweep.errors import UserError
from kdsweep.models.components.checks import Shape
from kdsweep.models.components.head import reorder_classes
from kdsweep.models.components.text_head import TEXT_HEAD
from kdsweep.training.weight_fit import first_names
from kdsweep.training.weight_labels import class_labels


class Task(NamedTuple):
    """What a network is used for: the names of the C classes, and the shape of an image."""

    classes: Sequence[str]
    image_shape: Shape

    @classmethod
    def of(cls, dataset: Dataset) -> "Task":
        """The task of a data set."""
        return cls(dataset.class_names, dataset.image_shape)


def positions(labels: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """Where each class is among the labels, if they are the same names in another order."""
    if tuple(labels) == tuple(classes) or sorted(labels) != sorted(classes):
        return None
    place = {label: number for number, label in enumerate(labels)}
    return [place[name] for name in classes] if len(place) == len(labels) else None


def put_in_order(
    model: nn.Module, word: str, key: str, task: Task, label: str | None = None
) -> None:
    """Have a network with the weights of a file give the logits of a data set's classes in order.

    Nothing is changed where the file does not name its classes, or names others.

    Args:
        word: `FILE` or `FILE:PART`.
        key: the config key that names it.
        label: what the line about it begins with; None: the key.

    Raises UserError if its head cannot be put in another order.
    """
    if hasattr(model, TEXT_HEAD):  # which has its own order
        return
    labels = known_labels(word) or ()
    if (order := positions(labels, task.classes)) is None:
        return
    own, given = first_names(labels, 3), first_names(task.classes, 3)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, *task.image_shape, generator=generator)
    try:
        reorder_classes(model, images, order)
    except ValueError as error:
        raise UserError(
            f"{key} must be weights for {given}, in this order, got {word}, which is for {own}, and"
            f" {error}, which could be put in another order"
        ) from error
    note_once(
        f"{label or key}: its classes ({own}) were put in the order of the data set ({given})"
    )


def note_other_labels(word: str, key: str, task: Task) -> None:
    """Note that a network is used whose classes have other names than those of the data set."""
    labels = known_labels(word)
    if labels is not None and len(labels) == len(task.classes) and {*labels} != {*task.classes}:
        note_once(
            f"{key}: the classes of its weights are {first_names(labels, 3)}, those of the data set"
            f" {first_names(task.classes, 3)}: it is used as if they were the same, in this order"
        )


def known_labels(word: str) -> tuple[str, ...] | None:
    """Those of `class_labels`, written as a data set has the names of its classes."""
    labels = class_labels(word)
    return None if labels is None else readable_names(labels)
