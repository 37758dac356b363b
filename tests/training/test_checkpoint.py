"""Checkpoints: exact continuation, atomic files, and no pickle."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toys import make_student, train

from kdsweep.common.files import write_bytes_atomic
from kdsweep.losses.base.weight_schedule import WeightSchedule
from kdsweep.losses.ctkd import CTKD
from kdsweep.tracking.disk import is_full
from kdsweep.training.checkpoint import (
    Saved,
    finish,
    latest_epoch,
    load_latest,
    save,
    save_weights,
    sha256,
)
from kdsweep.training.dot import DOT
from kdsweep.training.memory import is_out_of_memory
from kdsweep.training.student import Student
from kdsweep.training.weight_match import load_file_into

RECIPES = [
    {},
    {"dropout": 0.5},
    {"model": "cnn", "optimizer": torch.optim.SGD},
    {"model": "cnn", "precision": "bf16"},
    {"model": "cnn", "memory_format": "channels_last", "grad_clip": 0.1},
    {"model": "cnn", "memory_format": "channels_last", "precision": "bf16", "grad_clip": 0.1},
    {"schedules": {"kl": WeightSchedule(warmup=3)}},
    {"terms": lambda: {"ctkd": CTKD(T_min=1, T_range=20, loops=3, strength=1, weight=0.5)}},
    {"optimizer": DOT},
    {"model": "cnn", "ema": 0.9, "ema_warmup": True, "memory_format": "channels_last"},
    {"model": "cnn", "dropout": 0.5, "accumulate": 2, "grad_clip": 0.1, "ema": 0.5},
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_student_ends_with_the_same_bits(
    tmp_path: Path, recipe: dict[str, object]
) -> None:
    whole, first, second = make_student(**recipe), make_student(**recipe), make_student(**recipe)
    train([whole])
    train([first], epochs=1)
    save(tmp_path, first, "mark")
    assert load_latest([Saved(tmp_path, second, "mark")])
    assert second.epoch == 1
    train([second])
    assert sha256(second.model) == sha256(whole.model)
    assert sha256(second.reported) == sha256(whole.reported)
    assert second.best_acc == whole.best_acc


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, DOT])
def test_the_state_of_a_resumed_optimizer_keeps_its_strides(
    tmp_path: Path, kind: type[torch.optim.Optimizer]
) -> None:
    recipe = {"model": "cnn", "memory_format": "channels_last", "optimizer": kind}
    first, second = make_student(**recipe), make_student(**recipe)
    train([first], epochs=1)
    save(tmp_path, first, "mark")
    assert load_latest([Saved(tmp_path, second, "mark")])
    assert strides(second) == strides(first)
    weight = next(p for p in second.model.parameters() if p.dim() == 4 and p.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def strides(student: Student) -> list[tuple[int, ...]]:
    """Of the parameters, and of their states in the optimizer."""
    found = [parameter.stride() for parameter in student.model.parameters()]
    for state in student.optimizer.state.values():
        found += [value.stride() for value in state.values() if torch.is_tensor(value)]
    return found


def test_the_last_two_epochs_are_kept(tmp_path: Path) -> None:
    student = make_student()
    train([student], record=lambda student, metrics: save(tmp_path, student, "mark"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch-0002.pt",
        "epoch-0002.safetensors",
        "epoch-0003.pt",
        "epoch-0003.safetensors",
    ]


def test_epochs_are_kept_by_number_beyond_four_digits(tmp_path: Path) -> None:
    student, kept = make_student(), []
    for student.epoch in range(9_998, 10_003):
        save(tmp_path, student, "mark")
        kept.append(latest_epoch(tmp_path))
    assert kept == [9_998, 9_999, 10_000, 10_001, 10_002]
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == ["epoch-10001.safetensors", "epoch-10002.safetensors"]
    again = make_student()
    assert load_latest([Saved(tmp_path, again, "mark")])
    assert again.epoch == 10_002


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_damaged_file_costs_one_epoch(tmp_path: Path, suffix: str) -> None:
    student = make_student()
    train([student], record=lambda student, metrics: save(tmp_path, student, "mark"))
    damaged = tmp_path / f"epoch-0003{suffix}"
    damaged.write_bytes(damaged.read_bytes()[:100])
    again = make_student()
    assert load_latest([Saved(tmp_path, again, "mark")])
    assert again.epoch == 2


def test_nothing_to_load_is_reported(tmp_path: Path) -> None:
    assert not load_latest([Saved(tmp_path / "missing", make_student(), "mark")])


def test_the_checkpoint_of_another_run_is_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    student = make_student()
    train([student], epochs=1)
    save(tmp_path, student, "mark")
    other = make_student()
    assert not load_latest([Saved(tmp_path, other, "other")])
    assert other.epoch == 0
    assert f"{tmp_path}/epoch-0001.* is passed over: it is of run mark" in caplog.text


def test_the_final_weights_stand_alone(tmp_path: Path) -> None:
    student = make_student(model="cnn")
    train([student], record=lambda student, metrics: save(tmp_path, student, "mark"))
    path = finish(tmp_path, student, {"cell": "kl T=4"})
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    fresh = make_student(model="cnn", seed=9)
    assert load_file_into(fresh.model, str(path)) is None
    assert sha256(fresh.model) == sha256(student.model)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full_disk(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        write_bytes_atomic(path, b"new")
    assert is_full(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "of_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_what_a_device_reports_while_weights_are_written_is_no_error_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, of_memory: bool
) -> None:
    def fail(tensor: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(torch.Tensor, "cpu", fail)
    with pytest.raises(type(error)) as caught:
        save_weights(tmp_path / "model.safetensors", nn.Linear(3, 2))
    assert caught.value is error
    assert is_out_of_memory(caught.value) is of_memory
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_nor_is_one_while_the_state_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def save_nothing(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(torch, "save", save_nothing)
    with pytest.raises(type(error)) as caught:
        save(tmp_path, make_student(), "mark")
    assert is_out_of_memory(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_digest_differs_with_any_bit() -> None:
    model = nn.Linear(3, 2)
    before = sha256(model)
    with torch.no_grad():
        model.weight[0, 0] = torch.nextafter(model.weight[0, 0], torch.tensor(9.0))
    assert sha256(model) != before


def test_safetensors_files_hold_only_tensors(tmp_path: Path) -> None:
    student = make_student()
    train([student], epochs=1)
    save(tmp_path, student, "mark")
    assert set(load_file(tmp_path / "epoch-0001.safetensors")) == set(student.model.state_dict())


def test_counters_of_an_optimizer_stay_on_the_cpu_whatever_the_device(tmp_path: Path) -> None:
    """On a GPU each of Adam's steps would wait for them."""
    trained, resumed = make_student(), make_student()
    train([trained], epochs=1)
    save(tmp_path, trained, "mark")
    resumed.device = torch.device("meta")  # to which nothing can be moved and read again
    assert load_latest([Saved(tmp_path, resumed, "mark")])
    steps = {int(state["step"]) for state in resumed.optimizer.state.values()}
    assert steps == {3}
