"""DeiT's term; the golden values are of DistillationLoss in facebookresearch/deit, losses.py."""

import pytest
import torch

from kdsweep.common.types import Output
from kdsweep.losses.base.compute_loss import compute_loss
from kdsweep.losses.base.objective import Objective
from kdsweep.losses.base.term import Term
from kdsweep.losses.deit import DeiT
from kdsweep.models.cnn import CNN
from kdsweep.models.vit import VisionTransformer


def term(kind: str = "hard", tau: float = 1.0, weight: float = 0.5) -> DeiT:
    return DeiT(kind=kind, tau=tau, head="head_dist", weight=weight)


@pytest.fixture
def two_heads(student: Output) -> Output:
    """The student's logits, and those of a distillation head by formula."""
    i, j = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    logits = 2 * torch.cos(0.5 * i.double() - 0.8 * j.double() + 0.3)
    return Output(student.logits.requires_grad_(), {"head_dist": logits.requires_grad_()})


@pytest.mark.parametrize(
    ("kind", "alpha", "tau", "total", "value"),
    [
        ("hard", 0.5, 1.0, 2.4111097398, 1.9539843174),
        ("hard", 0.1, 3.0, 2.7768100777, 1.9539843174),
        ("soft", 0.5, 1.0, 1.5781765004, 0.2881178386),
        ("soft", 0.1, 3.0, 2.6405500994, 0.5913845351),
    ],
)
def test_golden_values_of_the_term_and_of_the_objective(
    two_heads, teacher, batch, kind, alpha, tau, total, value
) -> None:
    objective = Objective({"deit": term(kind, tau, alpha)}, hard_weight=None, alpha=alpha)
    summed, values, _ = objective(two_heads, teacher, batch)
    assert values["deit"].item() == pytest.approx(value, abs=1e-9)
    assert summed.item() == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_its_gradient_is_that_of_the_distillation_head_alone(
    two_heads, teacher, batch, kind
) -> None:
    teacher.logits.requires_grad_()
    term(kind)(two_heads, teacher, batch).backward()
    assert two_heads.features["head_dist"].grad.abs().sum() > 0
    assert two_heads.logits.grad is None
    assert teacher.logits.grad is None


def test_in_a_notebook_it_takes_the_logits_of_both_heads(two_heads, teacher, batch) -> None:
    heads = [two_heads.logits, two_heads.features["head_dist"]]
    value = compute_loss(term(), heads, teacher.logits)
    assert torch.equal(value, term()(two_heads, teacher, batch))
    with pytest.raises(ValueError, match="as many as logits and features, 2, got 1"):
        compute_loss(term(), two_heads.logits, teacher.logits)


def test_bf16_logits_are_compared_in_float32(two_heads, teacher, batch) -> None:
    halved = Output(
        two_heads.logits.bfloat16(), {"head_dist": two_heads.features["head_dist"].bfloat16()}
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = term("soft")(halved, teacher, batch)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(0.2881178386, rel=0.01)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "none"}, "kind must be one of hard, soft, got"),
        ({"tau": 0}, "tau must be a number from 1e-6 to 1e6, got 0"),
        ({"head": 1}, "head must be a module path, got 1"),
    ],
)
def test_other_options_are_refused(options, sentence) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        DeiT(**({"kind": "hard", "tau": 1.0, "head": "head_dist", "weight": 1.0} | options))


SENTENCE = "head must be the distillation head of a student with a distillation token, such as"


def test_a_network_without_a_distillation_head_is_refused() -> None:
    images = {"in_shape": (1, 8, 8), "num_classes": 4, "width": 8}
    plain = VisionTransformer(**images, depth=1, heads=2)
    for network in (CNN(**images), plain):
        with pytest.raises(ValueError, match=SENTENCE):
            term().prepare_student(network)


def test_a_head_of_another_shape_is_refused(teacher) -> None:
    student = Output(torch.zeros(4, 5), {"head_dist": torch.zeros(4, 3)})
    with pytest.raises(ValueError, match=r"head must have the shape .* got \(B, 3\) and \(B, 5\)"):
        term().setup(student, teacher, torch.arange(4))


@pytest.mark.parametrize("student", ["cnn", "vit_tiny"])
def test_the_refusal_names_the_key_before_any_training(refusal, student) -> None:
    width = f"student.model.width={12 if student == 'vit_tiny' else 4}"
    assert refusal("loss=deit", f"student={student}", width) == (
        f"loss.deit.{SENTENCE} student=vit_tiny_distilled, got head_dist"
    )


def test_other_terms_leave_a_network_as_it_is() -> None:
    network = VisionTransformer((1, 8, 8), 4, width=8, depth=1, heads=2, distillation_token=True)
    Term(weight=1).prepare_student(network)
    assert not network.distilled_training
    term().prepare_student(network)
    assert network.distilled_training
