"""Checkpoints: exact continuation, atomic files, and no pickle."""

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toys import make_student, train

from kdsweep.common.files import write_bytes_atomic
from kdsweep.losses.base.weight_schedule import WeightSchedule
from kdsweep.tracking.disk import is_full
from kdsweep.training.checkpoint import (
    Saved,
    finish,
    fit_weights,
    latest_epoch,
    load_latest,
    load_weights,
    save,
    save_weights,
    sha256,
)
from kdsweep.training.memory import is_out_of_memory

RECIPES = [
    {},
    {"dropout": 0.5},
    {"model": "cnn", "optimizer": torch.optim.SGD},
    {"model": "cnn", "precision": "bf16"},
    {"schedules": {"kl": WeightSchedule(warmup=3)}},
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
    assert second.best_acc == whole.best_acc


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
    fit_weights(fresh.model, load_weights(path), str(path))
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


def test_plain_state_dicts_of_torch_are_read(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    torch.save(model.state_dict(), tmp_path / "bare.pt")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "wrapped.pt")
    for name in ("bare.pt", "wrapped.pt"):
        assert torch.equal(load_weights(tmp_path / name)["weight"], model.weight)


class Payload:
    """What a hostile file would carry."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/tmp/kdsweep-was-here"),)  # type: ignore[return-value]


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"weight": Payload()}))
    torch.save({"weight": nn.Linear(2, 2)}, tmp_path / "module.pt")
    for name in ("evil.pkl", "module.pt"):
        with pytest.raises(ValueError, match="pickled objects; those are never loaded"):
            load_weights(tmp_path / name)
    assert not Path("/tmp/kdsweep-was-here").exists()


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.pt, which does not exist"):
        load_weights(tmp_path / "missing.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")
    with pytest.raises(ValueError, match=r"cut\.safetensors, which is damaged"):
        load_weights(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, "lacks 'bias', which the model has"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)},
            "has 'more', which the model lacks",
        ),
        (
            {"weight": torch.zeros(5, 3), "bias": torch.zeros(5)},
            r"has 'bias' of shape \(5,\), the model needs \(2,\)",
        ),
    ],
)
def test_weights_must_fit(weights: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_weights(nn.Linear(3, 2), weights, "the file")


def test_safetensors_files_hold_only_tensors(tmp_path: Path) -> None:
    student = make_student()
    train([student], epochs=1)
    save(tmp_path, student, "mark")
    assert set(load_file(tmp_path / "epoch-0001.safetensors")) == set(student.model.state_dict())


def test_a_mask_may_hold_infinities() -> None:
    class Masked(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))

    fit_weights(Masked(), Masked().state_dict(), "file")
    with pytest.raises(ValueError, match="file must hold finite weights, got nan or inf in 'mask'"):
        fit_weights(
            Masked(), {**Masked().state_dict(), "mask": torch.full((2,), -torch.inf)}, "file"
        )
