"""Online distillation: a teacher that is trained together with its students, not before them.

The targets are those of every stage of its training: early ones are as soft as its early outputs.
"""

import torch
from torch import Tensor

from kdsweep.common.types import Batch, Output
from kdsweep.training.evaluation import eval_mode
from kdsweep.training.student import Student
from kdsweep.training.teacher import detached_output


class OnlineTeacher:
    """One teacher for a whole cohort, independent of the students, so that its bits are, too.

    Its own student has the network, with the features that the students need, an objective of hard
    labels alone, and an optimizer.
    """

    def __init__(self, student: Student) -> None:
        self.student = student
        self.networks = (student.network,)  # the only one

    def targets(self, batch: Batch, step: int) -> Output:
        """Its output for a batch in training mode; then it is updated by that batch."""
        output = self.student.forward(batch, step)
        target = detached_output(output)
        self.student.update(batch, output, None, step)
        return target

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Output:
        """Logits (B, C) and features of normalised images, in eval mode with current weights."""
        with eval_mode([self.student.model]), self.student.autocast():
            return detached_output(self.student.network(images))

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """The logits alone, for evaluation: no feature is copied."""
        with eval_mode([self.student.reported]):
            return self.student.logits(images).float()
