"""The loop: equality, isolation, failures."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toys import BATCH, CLASSES, EPOCHS, make_stream, make_student, make_teacher, train

from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.weight_schedule import WeightSchedule
from kdsweep.losses.kl import KL
from kdsweep.training import trainer
from kdsweep.training.checkpoint import sha256
from kdsweep.training.student import Student
from kdsweep.training.trainer import Unwatched, train_epoch

RECIPES = [
    {"T": 1.0},
    {"T": 16.0, "alpha": 0.9},
    {"terms": {}},
    {"model": "cnn"},
    {"dropout": 0.5},
    {"model": "cnn", "precision": "bf16"},
    {"model": "cnn", "memory_format": "channels_last", "grad_clip": 0.1},
    {"model": "cnn", "precision": "bf16", "memory_format": "channels_last"},
    {"optimizer": torch.optim.SGD, "grad_clip": 1.0},
    {"seed": 5},
    {"schedules": {"kl": WeightSchedule(warmup=3)}},
    {"model": "cnn", "ema": 0.9},
    {"model": "cnn", "dropout": 0.5, "accumulate": 2, "grad_clip": 0.1, "ema": 0.5},
]


def test_student_among_many_equals_student_alone() -> None:
    together = [make_student(**recipe) for recipe in RECIPES]
    train(together)
    for recipe, student in zip(RECIPES, together, strict=True):
        alone = make_student(**recipe)
        train([alone])
        assert sha256(student.model) == sha256(alone.model), recipe
        assert sha256(student.reported) == sha256(alone.reported), recipe


@pytest.mark.slow
def test_order_does_not_matter() -> None:
    order = list(range(len(RECIPES)))
    forward = [make_student(**RECIPES[i]) for i in order]
    train(forward)
    random.Random(0).shuffle(order)
    shuffled = [make_student(**RECIPES[i]) for i in order]
    train(shuffled)
    for i, student in zip(order, shuffled, strict=True):
        assert sha256(student.model) == sha256(forward[i].model)


def test_metrics_too_depend_on_the_student_alone() -> None:
    found: dict[Student, list[dict[str, float]]] = {}

    def record(student: Student, metrics: dict[str, float]) -> None:
        del metrics["images_per_second"]
        found.setdefault(student, []).append(metrics)

    students = [make_student(T=1.0), make_student(dropout=0.5), make_student(model="cnn")]
    train(students, record=record)
    alone = make_student(dropout=0.5)
    train([alone], record=record)
    assert found[alone] == found[students[1]]


def test_a_student_that_is_not_taught_has_no_agreement_whatever_the_cohort() -> None:
    seen: dict[Student, dict[str, float]] = {}
    taught, untaught = make_student(), make_student(terms={})
    train([taught, untaught], record=lambda student, metrics: seen.update({student: metrics}))
    assert "val/agreement" in seen[taught]
    assert "val/agreement" not in seen[untaught]


def test_students_learn() -> None:
    seen = train([make_student(terms={}, lr=0.02)], epochs=EPOCHS)
    assert seen[-1]["train/loss"] < seen[0]["train/loss"]
    assert seen[-1]["val/acc"] > 1.5 / CLASSES


def test_a_diverging_neighbour_fails_alone() -> None:
    calm, alone = make_student(), make_student()
    storm = make_student(lr=1e30, optimizer=torch.optim.SGD)
    train([storm, calm])
    train([alone])
    assert storm.failure is not None
    assert "non-finite" in storm.failure
    assert storm.epoch < EPOCHS
    assert calm.failure is None
    assert sha256(calm.model) == sha256(alone.model)


def test_a_raising_neighbour_fails_alone() -> None:
    broken, calm, alone = make_student(), make_student(), make_student()

    def explode(*inputs: object) -> None:
        raise RuntimeError("no such kernel")

    broken.network.model.forward = explode
    train([broken, calm])
    train([alone])
    assert broken.failure == "RuntimeError in epoch 0: no such kernel"
    assert sha256(calm.model) == sha256(alone.model)


def test_the_norm_of_gradients_is_bounded_for_each_student_by_itself() -> None:
    def clipped(weight: float) -> Student:
        return make_student(terms={"kl": KL(T=4.0, weight=weight)}, grad_clip=0.01)

    loud, calm, alone = clipped(1e4), clipped(0.5), clipped(0.5)
    norms: dict[Student, list[float]] = {loud: [], calm: []}
    for student, seen in norms.items():

        def keep(optimizer: torch.optim.Optimizer, *_: object, seen: list[float] = seen) -> None:
            trained = [p for group in optimizer.param_groups for p in group["params"]]
            seen.append(torch.nn.utils.get_total_norm([p.grad for p in trained]).item())

        student.optimizer.register_step_pre_hook(keep)
    train([loud, calm])
    train([alone])
    assert sha256(calm.model) == sha256(alone.model)
    for seen in norms.values():
        assert seen == pytest.approx([0.01] * len(seen), rel=1e-3)


def test_a_failing_teacher_fails_the_cohort() -> None:
    teacher = make_teacher()
    teacher.network.model.forward = lambda images: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        train([make_student()], teacher=teacher)


def test_the_teacher_never_changes() -> None:
    teacher = make_teacher()
    before = sha256(teacher.network.model)
    train([make_student(), make_student(model="cnn")], teacher=teacher)
    assert sha256(teacher.network.model) == before
    assert not teacher.network.model.training
    assert all(p.grad is None for p in teacher.network.model.parameters())


def test_the_teacher_runs_once_a_batch() -> None:
    teacher = make_teacher()
    batches: list[int] = []
    forward = teacher.network.model.forward

    def counting(images: torch.Tensor) -> torch.Tensor:
        batches.append(len(images))
        return forward(images)

    teacher.network.model.forward = counting  # type: ignore[method-assign]
    train([make_student(T=T) for T in (1.0, 2.0, 4.0, 8.0)], teacher=teacher)
    training = [BATCH, BATCH, 8] * EPOCHS
    validation = [8, 8, 4]
    assert batches == validation + training


def test_the_global_random_state_and_threads_are_given_back() -> None:
    threads, teacher = torch.get_num_threads(), make_teacher()
    student = make_student(dropout=0.5)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train([student], teacher=teacher)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_what_was_drawn_before_does_not_matter() -> None:
    first, second = make_student(dropout=0.5), make_student(dropout=0.5)
    torch.manual_seed(1)
    train([first])
    torch.manual_seed(2)
    train([second])
    assert sha256(first.model) == sha256(second.model)


def test_no_gradient_outlives_its_step() -> None:
    student = make_student()
    train([student], epochs=1)
    assert all(p.grad is None for p in student.model.parameters())


def test_one_who_is_ahead_waits_for_the_others() -> None:
    ahead, behind, alone = make_student(), make_student(T=1.0), make_student()
    train([ahead], epochs=1)
    train([ahead, behind])
    train([alone])
    assert ahead.epoch == behind.epoch == EPOCHS
    assert sha256(ahead.model) == sha256(alone.model)


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(epoch, step) of the steps of students with large blocks of memory mapped."""
    seen: list[tuple[int, int]] = []
    inside: list[bool] = []
    own = Student.step

    @contextmanager
    def recorded() -> Iterator[None]:
        inside.append(True)
        yield
        inside.clear()

    def step(self: Student, batch: Batch, target: Output | None, step: int) -> None:
        if inside:
            seen.append((self.epoch, step))
        own(self, batch, target, step)

    monkeypatch.setattr(trainer, "large_blocks_mapped", recorded)
    monkeypatch.setattr(Student, "step", step)
    return seen


def test_large_blocks_are_mapped_in_the_first_step(mapped: list[tuple[int, int]]) -> None:
    students = [make_student(), make_student(T=1.0)]
    train(students, epochs=2)
    train(students)
    assert mapped == [(0, 0), (0, 0)]


def test_the_first_step_may_be_of_a_later_epoch(mapped: list[tuple[int, int]]) -> None:
    resumed = make_student()
    resumed.epoch = 1
    train([resumed])
    assert mapped == [(1, 0)]


def test_large_blocks_are_not_mapped_for_a_gpu(mapped: list[tuple[int, int]]) -> None:
    stream: Any = SimpleNamespace(device=torch.device("cuda"), epoch=make_stream().epoch)
    train_epoch([make_student(terms={})], stream, 0, None, Unwatched())
    assert mapped == []


def test_each_epoch_is_recorded_once_with_every_metric() -> None:
    seen = train([make_student()])
    assert len(seen) == EPOCHS
    assert set(seen[0]) - set(seen[1]) == {"grad_ratio/kl"}  # of the first batch of all
    assert set(seen[2]) == set(seen[1])
    assert set(seen[1]) == {
        "train/loss",
        "train/ce",
        "train/kl",
        "train/acc",
        "lr",
        "val/acc",
        "val/loss",
        "val/ece",
        "val/agreement",
        "images_per_second",
    }
    assert seen[0]["train/loss"] == pytest.approx(
        0.5 * seen[0]["train/ce"] + 0.5 * seen[0]["train/kl"], rel=1e-5
    )


def test_the_weight_of_a_term_follows_its_schedule_from_epoch_to_epoch() -> None:
    schedule = WeightSchedule(warmup=2, until=3)
    assert [schedule.factor(epoch) for epoch in range(EPOCHS + 1)] == [0.5, 1, 1, 0]
    seen = train([make_student(schedules={"kl": schedule})])
    for factor, metrics in zip([0.5, 1, 1], seen, strict=True):
        expected = 0.5 * metrics["train/ce"] + 0.5 * factor * metrics["train/kl"]
        assert metrics["train/loss"] == pytest.approx(expected, rel=1e-5)


def test_another_stream_gives_another_student() -> None:
    first, second = make_student(), make_student()
    train([first])
    train([second], stream=make_stream(seed=1))
    assert sha256(first.model) != sha256(second.model)


def test_a_watcher_sees_every_batch_and_epoch() -> None:
    seen: list[tuple[str, int]] = []

    class Watcher:
        def begin_epoch(self, epoch: int, images: int) -> None:
            seen.append(("begin", epoch))
            seen.append(("images", images))

        def step(self, images: int) -> None:
            seen.append(("step", images))

        def epoch(self, done: int) -> None:
            seen.append(("done", done))

    stream = make_stream()
    recorded = train([make_student(), make_student(T=1.0)], 2, stream=stream, watcher=Watcher())
    assert len(recorded) == 4
    one = [batch for kind, batch in seen[: seen.index(("done", 1))] if kind == "step"]
    assert sum(one) == stream.images_per_epoch
    assert len(one) == stream.steps_per_epoch
    steps = [("step", images) for images in one]
    size = ("images", stream.images_per_epoch)
    assert seen == [
        ("begin", 0),
        size,
        *steps,
        ("done", 1),
        ("begin", 1),
        size,
        *steps,
        ("done", 2),
    ]
