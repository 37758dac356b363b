"""What a cohort is evaluated on: every network once on each image."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from toys import make_student, make_teacher, make_val

from kdsweep.execution.evaluation import (
    evaluate_trained,
    measured_every_epoch,
    with_frozen_teacher,
)
from kdsweep.training.evaluation import Split
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.trainer import measure

BATCHES = [8, 8, 4]


def make_splits() -> dict[str, Split]:
    return {"val": make_val(), "test": replace(make_val(), name="test")}


def counted(model: nn.Module) -> list[int]:
    """The sizes of the batches that a model is run on from now on."""
    sizes: list[int] = []
    forward: Callable[[Tensor], Tensor] = model.forward

    def count(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return forward(images)

    model.forward = count  # type: ignore[method-assign]
    return sizes


@pytest.mark.parametrize("test_curve", [False, True])
def test_a_frozen_teacher_is_evaluated_once_on_each_split(test_curve: bool) -> None:
    teacher, student = make_teacher(), make_student()
    sizes = counted(teacher.network.model)
    splits = with_frozen_teacher(make_splits(), teacher, test=test_curve)
    assert sizes == BATCHES * (2 if test_curve else 1)
    measured = measured_every_epoch(splits, test_curve=test_curve)
    assert [split.name for split in measured] == ["val", *(["test_curve"] if test_curve else [])]
    for _ in range(2):
        readings = measure([student], measured, teacher)[student]
    assert [name for name in readings if "agreement" in name] == [
        f"{split.name}/agreement" for split in measured
    ]
    for split in splits.values():
        evaluate_trained([student], split, teacher)
    assert sizes == BATCHES * 2


def test_an_online_teacher_is_evaluated_with_the_students_it_is_one_of() -> None:
    teacher, student = OnlineTeacher(make_student(model="cnn", terms={}, seed=7)), make_student()
    sizes = counted(teacher.student.model)
    splits = with_frozen_teacher(make_splits(), teacher, test=True)
    assert sizes == []
    recorded = evaluate_trained([student, teacher.student], splits["test"], teacher)
    assert sizes == BATCHES
    alone = evaluate_trained([student], splits["test"], teacher)  # its record is another process's
    assert sizes == BATCHES * 2
    for one in (recorded, alone):
        (metrics, *_) = one.metrics([student, teacher.student][: len(one.logits)])
        assert (
            metrics["test/agreement"]
            == recorded.metrics([student, teacher.student])[0]["test/agreement"]
        )
    assert torch.equal(recorded.split.teacher_logits, alone.split.teacher_logits)
    assert "test/agreement" not in recorded.metrics([student, teacher.student])[1]


def test_the_final_metrics_are_those_of_an_epoch() -> None:
    teacher, students = make_teacher(), [make_student(), make_student(model="cnn", terms={})]
    splits = with_frozen_teacher(make_splits(), teacher, test=True)
    found = evaluate_trained(students, splits["test"], teacher)
    readings = measure(students, [splits["test"]])
    for student, metrics in zip(students, found.metrics(students), strict=True):
        assert metrics == pytest.approx({k: float(v) for k, v in readings[student].items()})
    assert sum(map(sum, found.confusion(0))) == sum(BATCHES)
