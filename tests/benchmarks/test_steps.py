"""benchmarks/speed: the loops that are compared train the same."""

import platform
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from kdsweep.training.readings import read

IMAGES = [
    *("dataset=fake", "dataset.source.shape=[3,8,8]", "dataset.source.num_train=32"),
    *("dataset.source.num_test=10", "dataset.val_fraction=0", "trainer.batch_size=16"),
    *("teacher=cnn", "teacher.model.width=4", "student=cnn", "student.model.width=4"),
]
MIDDLE = 4  # of the grid: T=4 alpha=0.5


def cohorts_of(load: Any, *words: str) -> Any:
    module = load("speed.cohorts")
    whole = [*IMAGES, *words]
    return module.Cohorts(whole, module.load_images(whole), threads=1, device="cpu")


@pytest.fixture(scope="module")
def cohorts(load: Any) -> Any:
    return cohorts_of(load)


def first_step(cohorts: Any) -> tuple[Any, Any, float, torch.nn.Module]:
    """The first batch, the teacher's logits, the loss of a student, its network afterwards."""
    (batch, *_), student = cohorts.stream.epoch(0), cohorts.students()[MIDDLE]
    target = cohorts.teacher.targets(batch, 0)
    student.step(batch, target, 0)
    (found,) = read([student.readings()])
    return batch, target.logits, found["train/loss"], student.model


def assert_equal_weights(one: torch.nn.Module, other: torch.nn.Module, bound: float) -> None:
    own, others = one.state_dict(), other.state_dict()
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, others[name], atol=bound, rtol=bound, msg=name)


@pytest.mark.slow
def test_the_loop_of_a_user_has_the_loss_and_the_step_of_kdsweep(load: Any, cohorts: Any) -> None:
    student = deepcopy(cohorts.students()[MIDDLE].model)
    optimizer = load("speed.floor").plain_optimizer(student, cohorts)
    T, alpha = load("speed.cohorts").GRID[MIDDLE]
    teacher = cohorts.teacher.network.model
    batch, _, loss, model = first_step(cohorts)
    run = load("speed.solo_loop").SoloRun(student, teacher, optimizer, T, alpha)
    assert run.train_epoch([(batch.images, batch.labels)]) == pytest.approx(loss, rel=1e-6)
    assert_equal_weights(student, model, 1e-6)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("words", "form", "bound"),
    [
        (["trainer.memory_format=contiguous"], ("fp32", torch.contiguous_format), 1e-6),
        pytest.param(
            ["trainer.memory_format=channels_last"],
            ("fp32", torch.channels_last),
            1e-6,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["trainer.precision=bf16", "trainer.memory_format=channels_last"],
            ("bf16", torch.channels_last),
            1e-3,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_bare_step_is_that_of_kdsweep(
    load: Any, words: list[str], form: tuple[str, torch.memory_format], bound: float
) -> None:
    cohorts, floor = cohorts_of(load, *words), load("speed.floor")
    assert floor.form(cohorts) == form
    bare = floor.bare_students(cohorts)[MIDDLE]
    bare.model.load_state_dict(cohorts.students()[MIDDLE].model.state_dict())
    ready = floor.ready_batches(cohorts)[0]
    batch, logits, loss, model = first_step(cohorts)
    assert torch.equal(ready.images, batch.images)
    assert torch.equal(ready.teacher_logits, logits)
    assert ready.images.is_contiguous(memory_format=form[1])
    assert bare.step(ready).item() == pytest.approx(loss, rel=1e-6)
    assert_equal_weights(bare.model, model, bound)


def test_the_loader_of_a_user_has_the_images_of_kdsweep(load: Any, cohorts: Any) -> None:
    data = cohorts.dataset
    loader = load("speed.solo_loop").make_loader(
        data.train.images,
        data.train.labels,
        batch_size=32,
        mean=data.mean,
        std=data.std,
        augment=False,
    )
    assert loader.num_workers == 0  # docs/performance.md states it
    ((images, labels),) = loader
    batches = list(cohorts.stream.epoch(0))
    pairs = [
        {(label.item(), f"{image.sum():.3f}") for image, label in zip(*pair, strict=True)}
        for pair in (
            (images, labels),
            [torch.cat(parts) for parts in zip(*(batch[:2] for batch in batches), strict=True)],
        )
    ]
    assert len(pairs[0]) > 10
    assert pairs[0] == pairs[1]


@pytest.mark.slow
def test_all_columns_are_timed_with_students_past_their_first_step(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, cohorts = load("speed.step_times"), load("speed.cohorts")
    epochs: list[tuple[int, int]] = []
    train_epoch = cohorts.Cohorts.train_epoch

    def recorded(self: Any, students: Any) -> None:
        epochs.append((len(students), students[0].epoch))
        train_epoch(self, students)

    monkeypatch.setattr(cohorts.Cohorts, "train_epoch", recorded)
    work = cohorts.Work("small", tuple(IMAGES))
    extent = steps.Extent(rounds=1, alone=2, threads=1)
    rows = [steps.Setting("fp32")]
    samples = steps.time_steps(work, (), rows, cohorts.load_images(IMAGES), extent)
    names = ("alone", "lockstep", "teacher", "floor", "cached alone", "cached lockstep")
    columns = [steps.column("fp32", name) for name in names]
    assert list(samples) == ["solo", *columns]
    assert all(len(seconds) == 1 and seconds[0] > 0 for seconds in samples.values())
    alone = [(1, 0)] * 5 + [(1, 1)] * 5  # two columns of two, and the one that keeps the logits
    assert sorted(epochs) == [*alone, (9, 0), (9, 0), (9, 1), (9, 1)]


def test_kept_logits_are_read_and_change_nothing(
    load: Any, cohorts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (computed,) = cohorts.students(1)
    cohorts.train_epoch([computed])
    cohorts.with_kept_logits(tmp_path).train_epoch(cohorts.students(1))
    kept = cohorts.with_kept_logits(tmp_path)
    monkeypatch.setattr(kept.teacher.teacher, "targets", None)  # it is not called
    (read,) = kept.students(1)
    kept.train_epoch([read])
    assert_equal_weights(computed.model, read.model, 0.0)


def test_a_failed_student_ends_the_benchmark(cohorts: Any) -> None:
    students = cohorts.students()[:1]
    with torch.no_grad():
        students[0].model.head.weight.fill_(torch.nan)
    with pytest.raises(RuntimeError, match="non-finite"):
        cohorts.train_epoch(students)


def test_the_works_are_the_pairs_that_they_name(load: Any) -> None:
    module = load("speed.cohorts")
    for key, names in {"vgg": ("vgg16", "convnet4"), "resnet": ("resnet56", "resnet20")}.items():
        config = module.compose_config([*module.image_words(None, 2), *module.WORKS[key].words])
        assert (config.teacher.name, config.student.name) == names
        assert config.dataset.limit == 2 * config.trainer.batch_size == 256


def test_the_state_of_a_student(load: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    model(torch.rand(4, 2)).sum().backward()
    optimizer.step()
    parameters, buffers = 6 + 3 + 3 + 3, 4 * (3 + 3) + 8  # of BatchNorm, one int64
    assert load("speed.memory").state_bytes(model, optimizer) == 3 * 4 * parameters + buffers


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_a_further_student_adds_no_activations(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = load("speed.memory")
    monkeypatch.setattr(memory, "PROCESSES", 1)
    words = load("speed.cohorts").image_words(None, 1)
    one, four = (memory.measure_memory("resnet", count, words, 1) for count in (1, 4))
    # with first steps in the heap 60 MiB and more; else its own state, and what differs by chance
    assert (four["peak"] - one["peak"]) / 3 < 25 * 2**20
