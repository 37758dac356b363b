"""Predictions of any number of files, batch by batch: memory does not grow with their number."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from kdsweep.deploy.classifier import BATCH, Classifier, read_pixels
from kdsweep.deploy.images import ImageError
from kdsweep.deploy.predictions import Prediction, Predictions
from kdsweep.deploy.preprocessing import Preprocessing


@dataclass(frozen=True)
class FilePrediction:
    """The predictions of several classifiers for one file, in the order of the classifiers."""

    file: str
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class UnreadableFile:
    """A file that is not an image, or is damaged."""

    file: str
    reason: str


def predict_files(
    paths: Iterable[str],
    classifiers: Sequence[Classifier],
    *,
    top: int,
    batch_size: int = BATCH,
) -> Iterator[FilePrediction | UnreadableFile]:
    """The predictions for each file, in order.

    Classifiers with equal preprocessing share the decoded pixels.

    Args:
        classifiers: at least one; all have the same classes.
        top: maximum length of `Prediction.top`.
        batch_size: number of images in memory at a time.
    """
    remaining = iter(paths)
    while chunk := list(islice(remaining, batch_size)):
        yield from _of_chunk(chunk, classifiers, top)


def _of_chunk(
    paths: Sequence[str], classifiers: Sequence[Classifier], top: int
) -> Iterator[FilePrediction | UnreadableFile]:
    read: dict[Preprocessing, list[Tensor | ImageError]] = {}
    for one in classifiers:
        if one.preprocessing not in read:
            read[one.preprocessing] = read_pixels(one.preprocessing, paths)
    reasons = [
        next(filter(_is_error, outcomes), None) for outcomes in zip(*read.values(), strict=True)
    ]
    rows = [row for row, reason in enumerate(reasons) if reason is None]
    files = tuple(paths[row] for row in rows)
    predictions = [
        Predictions(_logits(one, read[one.preprocessing], rows), one.manifest.classes, files, top)
        for one in classifiers
    ]
    classified = map(FilePrediction, files, zip(*predictions, strict=True))
    for path, reason in zip(paths, reasons, strict=True):
        yield (
            UnreadableFile(path, reason.reason)
            if isinstance(reason, ImageError)
            else next(classified)
        )


def _is_error(outcome: object) -> bool:
    return isinstance(outcome, ImageError)


def _logits(
    classifier: Classifier, read: Sequence[Tensor | ImageError], rows: Sequence[int]
) -> Tensor:
    pixels = [one for row in rows if isinstance(one := read[row], Tensor)]
    if not pixels:
        return torch.zeros(0, len(classifier.classes))
    return classifier.logits_of_pixels(torch.stack(pixels))
