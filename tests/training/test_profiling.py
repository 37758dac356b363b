"""The cost of a cohort's steps, piece by piece."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR
from toys import make_stream, make_student, make_teacher, make_val

from kdsweep.common.types import Batch, Output
from kdsweep.data.pipeline.stream import Stream
from kdsweep.training import checkpoint
from kdsweep.training import profiling as probing
from kdsweep.training.mutual import Peers
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.profiling import STEPS, WARM_UP, CohortProfile, profile_cohort
from kdsweep.training.student import Student
from kdsweep.training.trainer import AnyTeacher, CohortUnit


def student(**options: object) -> Student:
    """One whose schedule never ends."""
    made = make_student(**options)  # type: ignore[arg-type]
    made.schedule = ConstantLR(made.optimizer, factor=1.0)
    return made


def probed(
    *units: CohortUnit, teacher: AnyTeacher | None = None, stream: Stream | None = None
) -> CohortProfile:
    return profile_cohort(
        units, stream or make_stream(), teacher=teacher, split=make_val(), threads=1
    )


class Slow(Stream):
    """Takes its time for every batch."""

    def epoch(self, epoch: int) -> Iterator[Batch]:
        for batch in super().epoch(epoch):
            time.sleep(0.01)
            yield batch


def slow_stream() -> Stream:
    stream = make_stream()
    stream.__class__ = Slow
    return stream


def test_twenty_steps_are_timed_after_some_that_are_not() -> None:
    first, second = student(), student(T=1.0)
    found = probed(first, second, teacher=make_teacher())
    assert len(found.steps) == STEPS == 20
    assert first.schedule.last_epoch == second.schedule.last_epoch == WARM_UP + STEPS
    for lap in (*found.steps, *found.evaluations):
        assert lap.data > 0
        assert lap.teacher > 0
        assert len(lap.units) == 2
        assert min(lap.units) > 0


def test_an_epoch_that_is_shorter_than_the_probe_is_followed_by_the_next() -> None:
    assert make_stream().steps_per_epoch < STEPS
    assert len(probed(student(terms={})).steps) == STEPS


def test_pieces_are_told_apart() -> None:
    found = probed(student(terms={}), stream=slow_stream())
    assert all(lap.data >= 0.01 for lap in found.steps)
    assert sorted(sum(lap.units) for lap in found.steps)[STEPS // 2] < 0.01
    assert sorted(lap.teacher for lap in found.steps)[STEPS // 2] < 0.001


def test_slow_steps_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "SECONDS", 0.0)
    assert len(probed(student(), teacher=make_teacher()).steps) == probing.LEAST


def test_the_global_state_is_as_it_was() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    probed(student(model="cnn", dropout=0.5), teacher=make_teacher())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_peers_are_one_unit_of_several_students() -> None:
    found = probed(Peers({"student": student(), "other": student(seed=1)}))
    assert [size.students for size in found.sizes] == [2]
    assert all(len(lap.units) == 1 for lap in found.steps)


def test_a_teacher_that_learns_beside_is_timed_and_weighed() -> None:
    beside = student(model="cnn", terms={})
    found = probed(student(), teacher=OnlineTeacher(beside))
    assert beside.schedule.last_epoch == WARM_UP + STEPS
    assert found.teacher_size is not None
    assert found.teacher_size.students == 1
    assert probed(student(), teacher=make_teacher()).teacher_size is None


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    made = student()
    (size,) = probed(made, teacher=make_teacher()).sizes
    made.end_epoch()
    checkpoint.save(tmp_path, made, "fingerprint")
    files = {path.suffix: path.stat().st_size for path in tmp_path.iterdir()}
    assert 0 <= files[".safetensors"] - size.weights < 1000  # the names of the tensors
    assert size.rest > size.weights  # AdamW keeps two numbers for each
    assert 0 <= files[".pt"] - size.rest < 10_000


def test_evaluations_are_of_the_first_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probed(student(terms={})).images == 20  # three batches of 8, the last one smaller
    monkeypatch.setattr(probing, "BATCHES", 2)
    assert probed(student(terms={})).images == 16


def test_a_unit_that_raises_says_so_and_the_others_go_on() -> None:
    broken, sound = student(), student()

    def raises(batch: Batch, step: int) -> Output:
        raise RuntimeError("no such batch")

    broken.forward = raises  # type: ignore[method-assign]
    probed(broken, sound, teacher=make_teacher())
    assert broken.failure == "RuntimeError in epoch 0: no such batch"
    assert sound.failure is None
