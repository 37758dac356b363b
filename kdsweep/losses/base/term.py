"""The contract of every term of an objective: one distillation method, unweighted.

Shapes: B images in a batch, C classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import check_not_negative


class Term(nn.Module):
    """One soft term. Its value is *unweighted*; the Objective applies ``weight``.

    A subclass defines ``forward``, and where required:

    - ``needs_teacher = False`` if it does not use the teacher's output, ``needs_logits = False`` if
      it uses features of it alone, so that the teacher need not be a classifier;
    - ``needs_labels = True`` if it uses the one label of each image, which excludes mixed images;
    - ``compares_views = True`` if it uses ``Output.strong`` where a batch has a strong view; of any
      other term the mean over both views counts;
    - ``student_features`` and ``teacher_features``, the module paths whose outputs it reads from
      ``Output.features``;
    - ``prepare_student``, to read the student's network, or to set how it runs in training;
    - ``setup``, to create parameters or buffers whose shapes depend on both networks;
    - ``read_teacher``, to copy from the teacher's network what its outputs do not show, and
      ``needs_trained_teacher = True`` if it cannot do without;
    - ``initialize_student``, to give the student weights of its teacher before training, with
      ``initializes_student = True``, and ``needs_one_teacher = True`` if they must be those of a
      single one;
    - ``needs_classifier = True`` if its features of the teacher must be what the teacher's
      classifier, a single linear layer, maps to the logits;
    - ``metrics``, to record what it has learned after every epoch;
    - ``load_stage_state``, to load what the term of its name has learned in the previous stage,
      and ``needs_stage = True`` if it requires that.
    """

    needs_teacher: bool = True
    needs_logits: bool = True
    needs_trained_teacher: bool = False
    needs_one_teacher: bool = False
    needs_classifier: bool = False
    initializes_student: bool = False
    needs_labels: bool = False
    needs_stage: bool = False
    compares_views: bool = False
    student_features: tuple[str, ...]
    teacher_features: tuple[str, ...]
    epoch: int = 0  # of the batch, counted from 0; set by the objective

    def __init__(self, weight: float) -> None:
        """Raises ValueError unless ``weight`` is a finite number >= 0."""
        super().__init__()
        check_not_negative("weight", weight)
        self.weight = float(weight)
        self.student_features = ()
        self.teacher_features = ()

    def prepare_student(self, network: nn.Module) -> None:
        """Called once, before ``setup``, with the network of the student; not by `compute_loss`."""

    def setup(self, student: Output, teacher: Output, labels: Tensor) -> None:
        """Called once, before training, with the outputs for one batch of zeros.

        ``labels`` (N,) are those of all training images; ``Batch.index`` points into them. Random
        draws come from torch's default generator, which the caller has seeded.
        """

    def read_teacher(self, network: nn.Module) -> None:
        """Called after ``setup`` with the network of a teacher that is trained before its students.

        Not called for teachers that are trained meanwhile (online, peers), nor by `compute_loss`.
        """

    def metrics(self) -> dict[str, Tensor]:
        """Scalars by name, such as a learned temperature T; none by default."""
        return {}

    def initialize_student(self, student: nn.Module, teacher: nn.Module) -> None:
        """Called after ``read_teacher``, and where that is, with both networks."""

    def load_stage_state(self, state: Mapping[str, Tensor]) -> None:
        """Called after ``setup`` with the state of the term of this name in the previous stage.

        Ignored by default: what a term has learned belongs to the student at that time.
        """

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        """The unweighted value, a scalar, mean over the batch; no gradient for the teacher."""
        raise NotImplementedError


def at_least_float32(tensor: Tensor) -> Tensor:
    """Converts bf16 and fp16 to float32; float64 is kept.

    Under bf16 autocast networks return bf16 logits, too coarse to take logarithms of.
    """
    return tensor.to(result_dtype(tensor))


def result_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of a value computed from a tensor: float32, or float64 for a float64 tensor."""
    return torch.promote_types(tensor.dtype, torch.float32)


def state_below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a state dict whose keys start with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
