"""One-for-all distillation between unlike architectures: Hao et al. 2023, arXiv 2310.19444.

    l(z, eps) = - 1 / B * sum_ij ((p_ij + y_ij)^eps - y_ij) log q_ij,
                p = softmax(z_t / T), q = softmax(z / T), y the label as one-hot
    ofa = logit_weight * l(z_s, eps_last) + stage_weight * sum over stages k of l(h_k(f_k), eps_k)

h_k are auxiliary heads from a stage of the student to logits (base/stage_heads.py), trained with
the student and not used in evaluation: features of unlike networks are compared as predictions. A
larger eps raises the weight of the labelled class where the teacher is confident; eps 1 is the
cross-entropy with the teacher's predictions. There is no T^2. Labels of mixed images are those with
the larger share. The hard cross-entropy keeps its weight.

Equal to ``OFA`` of Hao840/OFAKD, distillers/ofa.py, with the ground truth's loss, where the student
has four stages. docs/losses.md lists the differences of the heads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import (
    check_not_negative,
    check_temperature,
    is_finite_number,
    require,
)
from kdsweep.losses.base.feature_term import is_pair
from kdsweep.losses.base.shapes import Shape, shape_text, vector_width
from kdsweep.losses.base.stage_heads import TokenHead, map_head
from kdsweep.losses.base.term import Term, at_least_float32, result_dtype

LARGEST_EPS = 100.0  # 2^eps is the weight of a class


class OFA(Term):
    """The teacher's predictions as targets of the student's logits and of heads on its stages.

    Args:
        stages: module paths of the student's stages, first to last: maps or rows of tokens.
        embeddings: ``[[student_feature, teacher_feature]]``, what the classifiers take; the wider
            one is the width of heads on maps, the student's that of heads on tokens.
        eps: exponent in (0, 100], or a list of one for each stage and one for the logits.
        T: temperature in [1e-6, 1e6].
        stage_weight, logit_weight: of the two parts, >= 0.

    Raises ValueError for other values, and unless ``weight`` is a finite number >= 0.
    """

    def __init__(
        self,
        stages: Sequence[str],
        embeddings: Sequence[Sequence[str]],
        eps: float | Sequence[float],
        T: float,
        stage_weight: float,
        logit_weight: float,
        weight: float,
    ) -> None:
        super().__init__(weight)
        check_temperature("T", T)
        check_not_negative("stage_weight", stage_weight)
        check_not_negative("logit_weight", logit_weight)
        self.stages = validated_stages(stages)
        self.eps = exponents(eps, len(self.stages))
        self.T, self.stage_weight, self.logit_weight = float(T), stage_weight, logit_weight
        self.embedding, self.teacher_embedding = the_one_pair(embeddings)
        self.student_features = tuple(dict.fromkeys((*self.stages, self.embedding)))
        self.teacher_features = (self.teacher_embedding,)
        self.prefix = 0
        self.heads = nn.ModuleList()

    def prepare_student(self, network: nn.Module) -> None:
        """Reads the number of learned tokens before the patches, under timm's name.

        Not called by `compute_loss`, where rows of tokens are patches alone. Raises ValueError if
        the first of these tokens is not a class token.
        """
        self.prefix = int(getattr(network, "num_prefix_tokens", 0))
        if self.prefix and getattr(network, "cls_token", None) is None:
            raise ValueError(
                "stages must be of a student whose first learned token is a class token, got one"
                " with other learned tokens only"
            )

    def setup(self, student: Output, teacher: Output, labels: Tensor) -> None:
        """Raises ValueError for a stage that no head can be made for."""
        widths = (
            vector_width(student.features[self.embedding].shape),
            vector_width(teacher.features[self.teacher_embedding].shape),
        )
        self.heads = nn.ModuleList()
        for after, stage in zip(reversed(range(len(self.stages))), self.stages, strict=True):
            feature = student.features[stage]
            try:
                head = self.make_head(feature.shape, after, widths, student.logits.shape[1])
            except ValueError as error:
                raise ValueError(f"stages [{stage}]: {error}") from error
            self.heads.append(head.to(feature.device, at_least_float32(feature).dtype))

    def make_head(
        self, feature: Shape, stages_after: int, widths: tuple[int, int], num_classes: int
    ) -> nn.Module:
        if len(feature) == 4:
            return map_head(feature[1], stages_after, max(widths), num_classes)
        if len(feature) == 3:
            return TokenHead(feature, stages_after, widths[0], num_classes, self.prefix)
        raise ValueError(f"features must be maps or rows of tokens, got {shape_text(feature)}")

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        if not self.heads:
            raise RuntimeError("OFA.setup must be called before the first batch")
        with torch.autocast(student.logits.device.type, enabled=False):
            features = [at_least_float32(student.features[stage]) for stage in self.stages]
            logits = [head(feature) for head, feature in zip(self.heads, features, strict=True)]
            target = teacher.logits.detach().double(), batch.labels, self.T
            *stages, last = (
                ofa_loss(z.double(), *target, eps)
                for z, eps in zip([*logits, student.logits], self.eps, strict=True)
            )
            value = self.stage_weight * torch.stack(stages).sum() + self.logit_weight * last
        return value.to(result_dtype(student.logits))


def ofa_loss(
    logits: Tensor, teacher_logits: Tensor, labels: Tensor, T: float, eps: float
) -> Tensor:
    """l in the formula, of logits (B, C) in float64 and labels (B,)."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    own = (classes == labels.unsqueeze(1)).to(logits.dtype)
    target = ((teacher_logits / T).softmax(dim=1) + own) ** eps - own
    return -(target * (logits / T).log_softmax(dim=1)).sum(dim=1).mean()


def validated_stages(stages: Sequence[str]) -> tuple[str, ...]:
    is_list = isinstance(stages, list | tuple) and len(stages) > 0
    require(
        is_list and all(isinstance(stage, str) for stage in stages),
        "stages",
        "a list of module paths of the student, at least one",
        stages,
    )
    return tuple(stages)


def the_one_pair(embeddings: Sequence[Sequence[str]]) -> Sequence[str]:
    is_list = isinstance(embeddings, list | tuple) and len(embeddings) == 1
    require(
        is_list and is_pair(embeddings[0]),
        "embeddings",
        "[[student_feature, teacher_feature]], one pair",
        embeddings,
    )
    return embeddings[0]


def exponents(eps: float | Sequence[float], stages: int) -> list[float]:
    """One for each stage, and one for the logits."""
    given = list(eps) if isinstance(eps, Sequence) else [eps] * (stages + 1)
    require(
        len(given) == stages + 1
        and all(is_finite_number(one) and 0 < one <= LARGEST_EPS for one in given),
        "eps",
        f"a number in (0, {LARGEST_EPS:g}], or a list of one for each of stages and one for the"
        f" logits, {stages + 1}",
        eps,
    )
    return [float(one) for one in given]
