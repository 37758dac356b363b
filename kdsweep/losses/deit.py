"""DeiT's distillation through a token: Touvron et al. 2021, arXiv 2012.12877.

    hard = CE(z_d, argmax z_t)
    soft = tau^2 / (B C) * sum_ij p_ij (log p_ij - log q_ij),
           p = softmax(z_t / tau), q = softmax(z_d / tau)

z_d are the logits of the student's distillation head, which only this term trains: in training the
hard cross-entropy of the objective takes those of the class head. In evaluation the network's
logits are the mean of both. The weight is alpha, that of the hard cross-entropy 1 - alpha. ``soft``
is divided by the classes as well, so that it is C times smaller than ``kl``. The defaults of the
authors' code are alpha 0.5 and tau 1. The paper's best results have hard targets and alpha 0.5; its
soft ones have tau 3 and alpha 0.1.

Equal to ``DistillationLoss`` of facebookresearch/deit, losses.py, together with the hard
cross-entropy.
"""

from typing import Literal, get_args

from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import check_option, check_temperature, require
from kdsweep.losses.base.hard_label import cross_entropy
from kdsweep.losses.base.logit_term import LogitTerm
from kdsweep.losses.base.shapes import both_shapes
from kdsweep.losses.kl import kl_divergence

Kind = Literal["hard", "soft"]


class DeiT(LogitTerm):
    """The teacher's prediction as the target of the student's distillation head.

    Args:
        kind: ``hard``, the teacher's class, or ``soft``, its softened prediction.
        tau: temperature of ``soft``, a number in [1e-6, 1e6].
        head: module path of the distillation head of a network that has ``set_distilled_training``,
            as `models.vit.VisionTransformer` and timm's distilled models do.

    Raises ValueError for other values, and unless ``weight`` is a finite number >= 0.
    """

    def __init__(self, kind: Kind, tau: float, head: str, weight: float) -> None:
        super().__init__(weight)
        check_option("kind", kind, get_args(Kind))
        check_temperature("tau", tau)
        require(isinstance(head, str), "head", "a module path", head)
        self.kind, self.tau, self.head = kind, float(tau), head
        self.student_features = (head,)

    def prepare_student(self, network: nn.Module) -> None:
        """Make the class head give the network's logits in training.

        Raises ValueError if the network has no distillation head.
        """
        paths = {path for path, _ in network.named_modules()}
        train_both_heads = getattr(network, "set_distilled_training", None)
        require(
            self.head in paths and train_both_heads is not None,
            "head",
            "the distillation head of a student with a distillation token, such as"
            " student=vit_tiny_distilled",
            self.head,
        )
        assert callable(train_both_heads)
        train_both_heads()

    def setup(self, student: Output, teacher: Output, labels: Tensor) -> None:
        """Raises ValueError unless the head has one output per class."""
        shape, logits = student.features[self.head].shape, student.logits.shape
        if shape != logits:
            raise ValueError(
                f"head must have the shape of the logits, got {both_shapes(shape, logits)}"
            )

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        head = student._replace(logits=student.features[self.head])
        return super().forward(head, teacher, batch)

    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        if self.kind == "hard":
            return cross_entropy(student_logits, teacher_logits.argmax(dim=1))
        return kl_divergence(student_logits, teacher_logits, self.tau) / student_logits.shape[1]
