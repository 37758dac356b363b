"""Whether networks and loss terms can be trained on batches of one image."""

from collections.abc import Sequence

import torch

from kdsweep.common.types import Batch, Output
from kdsweep.data.pipeline.split import Dataset
from kdsweep.errors import UserError
from kdsweep.losses.base.multi_teacher import per_teacher_terms
from kdsweep.losses.base.term import Term
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.training.student import Student

FAILURES = (ValueError, RuntimeError, IndexError)


def refuse_single_images(
    student: Student, teachers: Sequence[FeatureExtractor], dataset: Dataset
) -> None:
    """Raise UserError if the network or a term of a student fails on a batch of one image.

    BatchNorm does where it has one value of each channel to normalise, and terms may that compare
    the images of a batch. Networks and terms must not be used afterwards.

    Args:
        teachers: whose outputs the terms compare with; none where the student has no such terms.
    """
    images = torch.zeros(1, *dataset.image_shape, device=student.device)
    with torch.random.fork_rng(), torch.no_grad():
        try:
            output = student.network(images)
        except FAILURES as error:
            raise UserError(_too_small("student.model", error)) from error
        blank = Output(torch.zeros_like(output.logits), {})  # of a term without a teacher
        targets = [_output_of_one(teacher, images) for teacher in teachers] or [blank]
        labels = torch.zeros(1, dtype=torch.int64, device=student.device)
        batch = Batch(images, labels, labels)
        for name, term in student.objective.terms.items():
            assert isinstance(term, Term)
            try:
                for part, target in zip(per_teacher_terms(term), targets, strict=False):
                    part(output, target, batch)
            except FAILURES as error:
                raise UserError(_too_small(f"loss.{name}", error)) from error


def _output_of_one(teacher: FeatureExtractor, images: torch.Tensor) -> Output:
    teacher.model.eval().to(images.device)
    try:
        return teacher.with_train_features(images)
    except FAILURES as error:
        raise UserError(_too_small("a teacher in train mode", error)) from error


def _too_small(key: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"trainer.batch_size must be at least 2 for {key}, got 1: {reason}"
