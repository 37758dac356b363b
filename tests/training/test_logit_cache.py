"""A teacher whose logits are on disk: the bits of one that computes them, without computing."""

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import (
    BATCH,
    CLASSES,
    MEAN,
    STD,
    images,
    make_stream,
    make_student,
    make_teacher,
    make_val,
    train,
)

from kdsweep.common.disk_cache import DiskCache
from kdsweep.common.types import Batch, Output
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.data.pipeline.stream import Stream
from kdsweep.data.pipeline.strong_view import StrongView
from kdsweep.models.cnn import CNN
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.training import logit_cache
from kdsweep.training.checkpoint import sha256
from kdsweep.training.logit_cache import LOGITS, CachedTeacher
from kdsweep.training.student import Student
from kdsweep.training.teacher import Ensemble, Teacher
from kdsweep.training.trainer import with_teacher


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each forward pass of a teacher."""
    seen: list[int] = []
    forward = Teacher._forward

    def counted(self: Teacher, network: Any, images: torch.Tensor) -> Output:
        seen.append(len(images))
        return forward(self, network, images)

    monkeypatch.setattr(Teacher, "_forward", counted)
    return seen


def one(logits: str = "fp32", seed: int = 99, precision: str = "fp32") -> Teacher:
    torch.manual_seed(seed)
    network = FeatureExtractor(CNN(in_shape=(1, 8, 8), num_classes=CLASSES, width=4))
    return Teacher(network, logits_dtype=logits, precision=precision)


def ensemble(logits: str = "fp32") -> Ensemble:
    return Ensemble([one(logits, 1), one(logits, 2)])


def cached(teacher: Teacher | Ensemble, folder: Path, gib: float = 1, **what: Any) -> CachedTeacher:
    cache, options = DiskCache(folder, gib), {"num_classes": CLASSES, "description": "cnn on toys"}
    return CachedTeacher(teacher, cache, identity=what, stream={}, **options)


def stream(**options: Any) -> Stream:
    augment = Augment(crop_padding=1, flip=True)
    given = {"batch_size": BATCH, "seed": 0, "augment": augment, "mean": MEAN, "std": STD}
    return Stream(images(options.pop("count", 40), 0), **{**given, **options})


STREAMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "mixup": {"mix": BatchMixer(mixup=0.4, cutmix=1.0)},
    "two views": {"strong": StrongView(Augment(crop_padding=1), 2)},
    "single last": {"count": 2 * BATCH + 1},
}
TEACHERS: dict[str, Callable[[], Teacher | Ensemble]] = {
    "fp32": one,
    "fp16": lambda: one("fp16"),
    "bf16": lambda: one(precision="bf16"),
    "ensemble": ensemble,
    "ensemble fp16": lambda: ensemble("fp16"),
    "mixed ensemble": lambda: Ensemble([one("fp16", 1), one("fp32", 2)]),
}


def tensors(output: Output) -> Iterator[torch.Tensor]:
    """All logits of an output."""
    yield output.logits
    for member in output.members:
        yield from tensors(member)
    if output.strong is not None:
        yield from tensors(output.strong)


def all_logits(teacher: Teacher | Ensemble | CachedTeacher, of: Stream) -> list[torch.Tensor]:
    if not isinstance(teacher, CachedTeacher):
        outputs = [teacher.targets(batch, step) for step, batch in enumerate(of.epoch(1))]
    else:
        with teacher.epoch(of, 1) as source:
            outputs = [source.targets(batch, step) for step, batch in enumerate(of.epoch(1))]
    return [logits for output in outputs for logits in tensors(output)]


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("name", TEACHERS)
def test_what_is_read_has_the_bits_of_what_is_computed(
    tmp_path: Path, calls: list[int], name: str, kind: str
) -> None:
    plain = all_logits(TEACHERS[name](), stream(**STREAMS[kind]))
    written = all_logits(cached(TEACHERS[name](), tmp_path), stream(**STREAMS[kind]))
    calls.clear()
    read = all_logits(cached(TEACHERS[name](), tmp_path), stream(**STREAMS[kind]))
    assert calls == []
    assert len(plain) == len(written) == len(read)
    for first, second, third in zip(plain, written, read, strict=True):
        assert first.is_contiguous()
        assert third.is_contiguous()
        assert torch.equal(first, second)
        assert torch.equal(first, third)


def test_logits_that_are_moved_in_the_middle_of_an_epoch_have_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = all_logits(one(), stream())
    monkeypatch.setattr(logit_cache, "WAITING_BYTES", 2 * BATCH * CLASSES * 4)  # of two batches
    for _ in range(2):
        assert all(map(torch.equal, plain, all_logits(cached(one(), tmp_path), stream())))


@pytest.mark.parametrize("name", TEACHERS)
def test_the_logits_of_a_split_have_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    split = make_val()
    plain = with_teacher(split, TEACHERS[name]()).teacher_logits
    written = with_teacher(split, cached(TEACHERS[name](), tmp_path)).teacher_logits
    monkeypatch.setattr(Teacher, "logits", None)  # from here on, it cannot be run
    read = with_teacher(split, cached(TEACHERS[name](), tmp_path)).teacher_logits
    assert plain is not None
    assert written is not None
    assert read is not None
    assert torch.equal(plain, written)
    assert torch.equal(plain, read)


def test_fp16_logits_are_what_fp16_holds() -> None:
    (batch, *_) = make_stream().epoch(0)
    logits = one("fp16").targets(batch, 0).logits
    assert logits.dtype == torch.float32
    assert torch.equal(logits, one().targets(batch, 0).logits.half().float())


def record_of(students: list[Student], teacher: Any, **options: Any) -> tuple[list[str], list[Any]]:
    metrics = train(students, teacher=teacher, **options)
    for one_epoch in metrics:
        del one_epoch["images_per_second"]
    return [sha256(student.model) for student in students], metrics


@pytest.mark.ci
@pytest.mark.parametrize(
    "name", ["fp32", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fp16", "ensemble"))]
)
def test_students_have_the_same_weights_and_metrics(
    tmp_path: Path, calls: list[int], name: str
) -> None:
    def students() -> list[Student]:
        return [make_student(T=1.0), make_student(model="cnn", precision="bf16")]

    plain = record_of(students(), TEACHERS[name]())
    assert record_of(students(), cached(TEACHERS[name](), tmp_path)) == plain
    calls.clear()
    assert record_of(students(), cached(TEACHERS[name](), tmp_path)) == plain
    alone = record_of([make_student(T=1.0)], cached(TEACHERS[name](), tmp_path))
    assert alone[0] == plain[0][:1]
    assert calls == []


def test_a_run_that_is_resumed_reads_from_its_epoch_on(tmp_path: Path, calls: list[int]) -> None:
    (whole,), _ = record_of([make_student()], make_teacher())
    train([make_student()], epochs=2, teacher=cached(make_teacher(), tmp_path))
    student = make_student()
    train([student], epochs=1, teacher=make_teacher())
    calls.clear()
    train([student], teacher=cached(make_teacher(), tmp_path))
    assert calls == [BATCH, BATCH, 8]  # of the third epoch alone
    assert sha256(student.model) == whole


def test_an_epoch_that_ends_early_is_not_kept(tmp_path: Path) -> None:
    teacher = cached(make_teacher(), tmp_path)
    with teacher.epoch(make_stream(), 0) as source:
        source.targets(next(iter(make_stream().epoch(0))), 0)
    with pytest.raises(KeyboardInterrupt), teacher.epoch(make_stream(), 0):
        raise KeyboardInterrupt
    assert DiskCache(tmp_path, 1).entries() == []


def test_a_cohort_that_fails_midway_keeps_nothing_of_that_epoch(tmp_path: Path) -> None:
    student = make_student()
    step = student.step

    def failing(batch: Batch, target: Output | None, number: int) -> None:
        if (student.epoch, number) == (1, 1):
            raise ValueError("a term of the user's")
        step(batch, target, number)

    student.step = failing  # type: ignore[method-assign]
    train([student], teacher=cached(make_teacher(), tmp_path))
    assert student.failure is not None
    arrays = [entry for entry in DiskCache(tmp_path, 1).entries() if entry.kind == LOGITS]
    assert len(arrays) == 2  # the validation split and epoch 0


def test_damaged_entries_are_computed_again(tmp_path: Path, calls: list[int]) -> None:
    plain = all_logits(make_teacher(), make_stream())
    all_logits(cached(make_teacher(), tmp_path), make_stream())
    (file,) = tmp_path.glob("*/*/array.bin")
    content = bytearray(file.read_bytes())
    content[7] ^= 1
    file.write_bytes(content)
    calls.clear()
    again = all_logits(cached(make_teacher(), tmp_path), make_stream())
    assert calls == [BATCH, BATCH, 8]
    assert all(map(torch.equal, plain, again))


def test_without_room_nothing_is_written(tmp_path: Path) -> None:
    plain = all_logits(make_teacher(), make_stream())
    for gib in (0, 1e-9):
        teacher = cached(make_teacher(), tmp_path, gib)
        assert all(map(torch.equal, plain, all_logits(teacher, make_stream())))
    assert list(tmp_path.glob("*/*/array.bin")) == []


def test_other_identities_and_epochs_are_other_entries(tmp_path: Path, calls: list[int]) -> None:
    all_logits(cached(make_teacher(), tmp_path, data="a"), make_stream())
    calls.clear()
    all_logits(cached(make_teacher(), tmp_path, data="b"), make_stream())
    assert calls == [BATCH, BATCH, 8]
    with cached(make_teacher(), tmp_path, data="a").epoch(make_stream(), 2) as source:
        source.targets(next(iter(make_stream().epoch(2))), 0)
    assert calls[3:] == [BATCH]


def keep_epoch(folder: Path, both: Any, digest: Any) -> None:
    """Run an epoch of the teacher in a process that has begun to keep it when another one does."""
    torch.set_num_threads(1)
    found = []
    with cached(one(), folder).epoch(stream(), 1) as source:
        both.wait(60)
        for step, batch in enumerate(stream().epoch(1)):
            found.append(source.targets(batch, step).logits)
        both.wait(60)
    digest.put(torch.cat(found).numpy().tobytes())


@pytest.mark.slow
def test_two_processes_that_compute_the_same_epoch_keep_one(
    tmp_path: Path, calls: list[int]
) -> None:
    spawn = multiprocessing.get_context("spawn")
    both, digests = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=keep_epoch, args=(tmp_path, both, digests)) for _ in "ab"]
    for process in processes:
        process.start()
    first, second = digests.get(timeout=120), digests.get(timeout=120)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(list(tmp_path.glob("*/[!.]*/array.bin"))) == 1
    assert list(tmp_path.glob("*/.*.*")) == []  # no draft is left
    read = all_logits(cached(one(), tmp_path), stream())
    assert calls == []
    assert first == second == torch.cat(read).numpy().tobytes()
