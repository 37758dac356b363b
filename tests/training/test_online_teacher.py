"""An online teacher, trained together with its students."""

import pytest
import torch
from toys import EPOCHS, SHAPE, make_stream, make_student, train

from kdsweep.common.types import Output
from kdsweep.training.checkpoint import sha256
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.student import Student


def make_online(**options: object) -> OnlineTeacher:
    return OnlineTeacher(make_student(model="cnn", terms={}, seed=7, **options))  # type: ignore


def test_the_teacher_has_the_bits_of_a_run_on_labels_alone() -> None:
    teacher, alone = make_online(dropout=0.5), make_online(dropout=0.5).student
    train([make_student(), make_student(T=1.0)], teacher=teacher)
    train([alone])
    assert teacher.student.epoch == EPOCHS
    assert sha256(teacher.student.model) == sha256(alone.model)


@pytest.mark.ci
def test_students_keep_their_bits_with_any_neighbour() -> None:
    recipes = [{"T": 1.0}, {"dropout": 0.5}, {"model": "cnn"}, {"terms": {}}]
    together = [make_student(**recipe) for recipe in recipes]
    train(together, teacher=make_online())
    for recipe, student in zip(recipes, together, strict=True):
        alone = make_student(**recipe)
        train([alone], teacher=make_online())
        assert sha256(student.model) == sha256(alone.model), recipe


def test_targets_are_its_outputs_in_training_before_its_own_step() -> None:
    teacher, twin = make_online(dropout=0.5), make_online(dropout=0.5)
    batch = next(iter(make_stream().epoch(0)))
    expected = twin.student.forward(batch, 0)
    target = teacher.targets(batch, 0)
    assert torch.equal(target.logits, expected.logits)
    assert not target.logits.requires_grad
    assert sha256(teacher.student.model) != sha256(twin.student.model)
    assert not torch.equal(teacher(batch.images).logits, target.logits)
    assert teacher.student.model.training


@pytest.mark.ci
def test_a_student_that_joins_later_gets_the_targets_of_all_epochs() -> None:
    whole, late, ahead = make_student(), make_student(), make_student(T=1.0)
    train([whole], teacher=make_online())
    train([late], epochs=1, teacher=make_online())
    train([ahead], epochs=2, teacher=make_online())
    train([late, ahead], teacher=make_online())  # replayed from the start
    assert sha256(late.model) == sha256(whole.model)


def test_agreement_is_with_the_teacher_as_it_stands() -> None:
    seen: dict[Student, list[dict[str, float]]] = {}
    teacher, student = make_online(), make_student()
    train(
        [student],
        teacher=teacher,
        record=lambda who, metrics: seen.setdefault(who, []).append(metrics),
    )
    assert len(seen[student]) == len(seen[teacher.student]) == EPOCHS
    assert all("val/agreement" in metrics for metrics in seen[student])
    assert not any("val/agreement" in metrics for metrics in seen[teacher.student])


def test_it_is_evaluated_once_an_epoch() -> None:
    teacher, sizes = make_online(), []
    forward = teacher.student.model.forward

    def counted(images: torch.Tensor) -> torch.Tensor:
        if not teacher.student.model.training:
            sizes.append(len(images))
        return forward(images)

    teacher.student.model.forward = counted  # type: ignore[method-assign]
    train([make_student()], teacher=teacher)
    assert sizes == [8, 8, 4] * EPOCHS


def test_it_ends_when_no_student_is_left() -> None:
    teacher, student = make_online(), make_student(lr=1e30, optimizer=torch.optim.SGD)
    train([student], teacher=teacher)
    assert student.failure is not None
    assert teacher.student.failure is None
    assert teacher.student.epoch == 1


def test_its_students_end_with_a_teacher_that_diverges() -> None:
    teacher = make_online(lr=1e30, optimizer=torch.optim.SGD)
    student = make_student(terms={})
    train([student], teacher=teacher)
    assert "non-finite" in str(teacher.student.failure)
    assert student.failure == f"its teacher: {teacher.student.failure}"


def test_outputs_in_bf16_are_float32() -> None:
    teacher = make_online(precision="bf16")
    output = teacher(torch.zeros(2, *SHAPE))
    assert isinstance(output, Output)
    assert output.logits.dtype == torch.float32
