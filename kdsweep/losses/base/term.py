"""What every term of an objective is: one distillation method, unweighted.

Shapes: B images in a batch, C classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import check_not_negative


class Term(nn.Module):
    """One soft term. Its value is *unweighted*; ``weight`` is for the Objective to use.

    A subclass gives ``forward``, and where it needs them:

    - ``needs_teacher = False`` if it never looks at the teacher;
    - ``needs_labels = True`` if it asks what each image shows, so that images cannot be mixed;
    - ``student_features`` and ``teacher_features``, the module paths whose outputs it wants in
      ``Output.features``;
    - ``setup``, to make parameters or buffers whose shapes depend on both networks;
    - ``begin_with``, to take over what the term of its name has learned in the stage before, and
      ``needs_stage = True`` if it is nothing without that.
    """

    needs_teacher: bool = True
    needs_labels: bool = False
    needs_stage: bool = False
    student_features: tuple[str, ...]
    teacher_features: tuple[str, ...]

    def __init__(self, weight: float) -> None:
        """Raises ValueError unless ``weight`` is a finite number >= 0."""
        super().__init__()
        check_not_negative("weight", weight)
        self.weight = float(weight)
        self.student_features = ()
        self.teacher_features = ()

    def setup(self, student: Output, teacher: Output, labels: Tensor) -> None:
        """Called once, before training, with the outputs of one made batch.

        ``labels`` (N,) are those of all training images; ``Batch.index`` points into them. Random
        draws come from torch's default generator, which the caller has seeded.
        """

    def load_stage_state(self, learned: Mapping[str, Tensor]) -> None:
        """Called after ``setup`` with the state of the term of this name in the stage before.

        Most terms begin anew: what they have learned was for the student as it was.
        """

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        """The unweighted value, a scalar, mean over the batch; no gradient for the teacher."""
        raise NotImplementedError


def at_least_float32(tensor: Tensor) -> Tensor:
    """bf16 and fp16 become float32, float64 stays what it is.

    Under bf16 autocast networks hand out bf16 logits, too coarse to take logarithms of.
    """
    return tensor.to(reported_dtype(tensor))


def reported_dtype(tensor: Tensor) -> torch.dtype:
    """The type of a value that was computed from a tensor: float32, or float64 of float64."""
    return torch.promote_types(tensor.dtype, torch.float32)
