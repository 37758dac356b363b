"""The timings of a cohort's steps, part by part."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR
from toys import make_stream, make_student, make_teacher, make_val

from kdsweep.common.types import Batch, Output
from kdsweep.data.pipeline.stream import Stream
from kdsweep.training import checkpoint, profiling, trainer
from kdsweep.training.mutual import Peers
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.profiling import STEPS, WARM_UP, CohortProfile, profile_cohort
from kdsweep.training.readings import read
from kdsweep.training.student import Student
from kdsweep.training.trainer import AnyTeacher, CohortUnit


def student(**options: object) -> Student:
    """A student with an endless schedule."""
    made = make_student(**options)  # type: ignore[arg-type]
    made.schedule = ConstantLR(made.optimizer, factor=1.0)
    return made


def profiled(
    *units: CohortUnit, teacher: AnyTeacher | None = None, stream: Stream | None = None
) -> CohortProfile:
    return profile_cohort(
        units, stream or make_stream(), teacher=teacher, split=make_val(), threads=1
    )


def test_twenty_steps_are_timed_after_some_that_are_not() -> None:
    first, second = student(), student(T=1.0)
    found = profiled(first, second, teacher=make_teacher())
    assert len(found.steps) == STEPS == 20
    assert first.schedule.last_epoch == second.schedule.last_epoch == WARM_UP + STEPS
    for timing in (*found.steps, *found.evaluations):
        assert timing.data > 0
        assert timing.teacher > 0
        assert len(timing.units) == 2
        assert min(timing.units) > 0


def test_an_epoch_that_is_shorter_than_the_profile_is_followed_by_the_next() -> None:
    assert make_stream().steps_per_epoch < STEPS
    assert len(profiled(student(terms={})).steps) == STEPS


def test_each_part_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    class Slow(Stream):
        def epoch(self, epoch: int) -> Iterator[Batch]:
            for batch in super().epoch(epoch):
                clock[0] += 0.5
                yield batch

    stream = make_stream()
    stream.__class__ = Slow
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: clock[0])
    found = profiled(student(terms={}), stream=stream)
    assert found.steps == (profiling.StepTiming(0.5, 0.0, (0.0,)),) * STEPS


def test_slow_steps_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "SECONDS", 0.0)
    assert len(profiled(student(), teacher=make_teacher()).steps) == profiling.LEAST


def test_the_first_step_allocates_as_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    mapped: list[bool] = []
    monkeypatch.setattr(trainer, "large_blocks_mapped", lambda: nullcontext(mapped.append(True)))
    profiled(student(), student(T=1.0), teacher=make_teacher())
    assert len(mapped) == 1


def test_the_global_state_is_as_it_was() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    profiled(student(model="cnn", dropout=0.5), teacher=make_teacher())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_peers_are_one_unit_of_several_students() -> None:
    found = profiled(Peers({"student": student(), "other": student(seed=1)}))
    assert [size.students for size in found.sizes] == [2]
    assert all(len(timing.units) == 1 for timing in found.steps)


@pytest.mark.ci
def test_an_online_teacher_is_timed_and_its_size_measured() -> None:
    teacher = student(model="cnn", terms={})
    found = profiled(student(), teacher=OnlineTeacher(teacher))
    assert teacher.schedule.last_epoch == WARM_UP + STEPS
    assert found.teacher_size is not None
    assert found.teacher_size.students == 1
    assert profiled(student(), teacher=make_teacher()).teacher_size is None


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    made = student()
    (size,) = profiled(made, teacher=make_teacher()).sizes
    made.end_epoch(*read([made.readings()]))
    checkpoint.save(tmp_path, made, "fingerprint")
    files = {path.suffix: path.stat().st_size for path in tmp_path.iterdir()}
    assert 0 <= files[".safetensors"] - size.weights < 1000  # the names of the tensors
    assert size.rest > size.weights  # AdamW keeps two numbers for each
    assert 0 <= files[".pt"] - size.rest < 10_000


def test_evaluations_are_of_the_first_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert profiled(student(terms={})).images == 20  # three batches of 8, the last one smaller
    monkeypatch.setattr(profiling, "BATCHES", 2)
    assert profiled(student(terms={})).images == 16


def test_a_unit_that_raises_fails_and_the_others_continue() -> None:
    broken, sound = student(), student()

    def raises(batch: Batch, step: int) -> Output:
        raise RuntimeError("no such batch")

    broken.forward = raises  # type: ignore[method-assign]
    profiled(broken, sound, teacher=make_teacher())
    assert broken.failure == "RuntimeError in epoch 0: no such batch"
    assert sound.failure is None
