"""A teacher that trains beside its students, instead of before them.

They follow its course and not only its end: early targets are as soft as its early answers.
"""

import torch
from torch import Tensor

from kdsweep.common.types import Batch, Output
from kdsweep.models.components.feature_extractor import FeatureTap
from kdsweep.training.evaluation import eval_mode
from kdsweep.training.student import Student
from kdsweep.training.teacher import detached_output


class OnlineTeacher:
    """One teacher for a whole cohort. It never looks at a student: all its bits are its own.

    Args:
        student: its network, tapped for what the students ask, with an objective of hard labels
            alone, and an optimizer of its own.
    """

    def __init__(self, student: Student) -> None:
        self.student = student

    @property
    def students(self) -> tuple[Student, ...]:
        """Itself as one that learns."""
        return (self.student,)

    @property
    def networks(self) -> tuple[FeatureTap, ...]:
        """Its network, as one of one."""
        return (self.student.network,)

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return self.student.epoch

    @property
    def failure(self) -> str | None:
        """Why it ended, if it did."""
        return self.student.failure

    def fail(self, reason: str) -> None:
        """End it, and with it its students."""
        self.student.fail(reason)

    def targets(self, batch: Batch, step: int) -> Output:
        """What it says about a batch in training; then it learns the batch itself."""
        output = self.student.forward(batch, step)
        target = detached_output(output)
        self.student.update(batch, output, None, step)
        return target

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Output:
        """Logits (B, C) and features of normalised images, as it stands now, in eval mode."""
        with eval_mode([self.student.model]), self.student.autocast():
            return detached_output(self.student.network(images))
