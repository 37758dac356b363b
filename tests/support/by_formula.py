"""Networks and images whose every number follows from a formula, so that the published code, too,
can compute from them: golden values of terms on whole networks."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.wide_resnet import WideResNet

Module = TypeVar("Module", bound=nn.Module)

# Where the codes of AB and OFD read a wide ResNet.
BEFORE_RELU = [[name, name] for name in ("stage2.0.bn1", "stage3.0.bn1", "last.0")]


def fill(module: Module) -> Module:
    """Each of its parameters, in their order, by a formula, in float64."""
    with torch.no_grad():
        for place, parameter in enumerate(module.double().parameters()):
            numbers = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_((0.4 * torch.sin(0.9 * place + 1.7 * numbers)).view_as(parameter))
    return module


def formula_images() -> Tensor:
    """(4, 3, 32, 32)."""
    axes = [torch.arange(size, dtype=torch.float64) for size in (4, 3, 32, 32)]
    b, c, h, w = torch.meshgrid(*axes, indexing="ij")
    return torch.sin(0.3 * b + 0.5 * c + 0.11 * h * (1 + c) + 0.17 * w + 0.001 * h * w * (1 + b))


class WideResNets(NamedTuple):
    """WRN-10-1 as student in train mode, WRN-10-``width`` as teacher, and their outputs."""

    student: WideResNet
    teacher: WideResNet
    outputs: tuple[Output, Output]

    def value(self, term: FeatureTerm) -> Tensor:
        batch = Batch(formula_images(), torch.zeros(4).long(), torch.arange(4))
        value: Tensor = fill(term)(*self.outputs, batch)
        return value

    def gradient_norm(self, value: Tensor) -> float:
        """Of the student's first convolution."""
        (gradient,) = torch.autograd.grad(value, self.student.stem.weight, retain_graph=True)
        return gradient.norm().item()


def wide_resnets(term: FeatureTerm, width: int) -> WideResNets:
    """The networks with the features of a term, which is set up for them."""
    student, teacher = (
        fill(WideResNet((3, 32, 32), 10, depth=10, width=factor)) for factor in (1, width)
    )
    outputs = (
        output_of(student.train(), term.student_features),
        output_of(teacher.eval(), term.teacher_features),
    )
    term.setup(*outputs, torch.arange(10))
    term.read_teacher(teacher)
    return WideResNets(student, teacher, outputs)


def output_of(network: nn.Module, names: Sequence[str]) -> Output:
    return FeatureExtractor(network, names).with_train_features(formula_images())
