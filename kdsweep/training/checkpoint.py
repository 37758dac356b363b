"""Weights and training state on disk: written atomically, never as a pickle.

`epoch-0012.safetensors` holds the model, `epoch-0012.pt` the rest (objective, optimizer, schedule,
averaged weights) in plain types that `torch.load(weights_only=True)` accepts. The last two epochs
are kept, so that a file damaged by a power cut costs one epoch. No random state is stored: every
draw of the loop follows from (seed, epoch, step).
"""

import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kdsweep.common.files import write_bytes_atomic
from kdsweep.training.device_group import DeviceGroup
from kdsweep.training.student import Student
from kdsweep.training.tensor_files import tensors_as_bytes

log = logging.getLogger(__name__)

KEPT = 2  # epochs
TERMS = "terms.safetensors"  # state of a stage's loss terms
RAW = "raw.safetensors"  # final weights that are not averaged, where the reported ones are


def save(folder: Path, student: Student, fingerprint: str) -> None:
    """Write the student after `student.epoch` epochs, and remove all but the last two epochs.

    Raises OSError if the folder cannot be written or the disk is full; older files stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"epoch-{student.epoch:04d}"
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **state_of(student)}, buffer)
    write_bytes_atomic(folder / f"{stem}.pt", buffer.getbuffer())
    save_weights(folder / f"{stem}.safetensors", student.model)
    for stale in _stems(folder)[KEPT:]:
        _remove(folder, stale)


def state_of(student: Student) -> dict[str, Any]:
    """All of a student's state but the weights of its model."""
    return {
        "epoch": student.epoch,
        "seconds": student.seconds,
        "best_acc": student.best_acc,
        "objective": student.objective.state_dict(),
        "optimizer": student.optimizer.state_dict(),
        "schedule": student.schedule.state_dict(),
        **({} if student.average is None else {"average": student.average.state_dict()}),
    }


def restore(student: Student, state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Give a student a state and the weights of its model."""
    student.model.load_state_dict(weights)
    student.objective.load_state_dict(state["objective"])
    student.optimizer.load_state_dict(state["optimizer"])
    student.schedule.load_state_dict(state["schedule"])
    if student.average is not None:
        student.average.load_state_dict(state["average"])
    student.epoch, student.seconds = state["epoch"], state["seconds"]
    student.best_acc = state["best_acc"]


def share_state(students: Sequence[Student], group: DeviceGroup) -> None:
    """Give the students of every process the state of those of the first one.

    Weights, training state, and the reason of one that has failed.
    """
    for student in students if group.size > 1 else ():
        sent = b""
        if group.is_first:
            buffer = io.BytesIO()
            torch.save([student.failure, state_of(student), student.model.state_dict()], buffer)
            sent = buffer.getvalue()
        received = group.from_first(sent)
        if not group.is_first:
            shared = torch.load(io.BytesIO(received), weights_only=True, map_location="cpu")
            student.failure, state, weights = shared
            restore(student, state, weights)


class Saved(NamedTuple):
    """A student and the folder of its checkpoints."""

    folder: Path
    student: Student
    fingerprint: str


def load_latest(unit: Sequence[Saved], at_most: int | None = None) -> bool:
    """Restore the students of a unit at the latest epoch that is readable for all of them.

    A file that is damaged, or of a run with another fingerprint, is skipped with a warning. Returns
    whether there was such an epoch, not after ``at_most``.
    """
    for stem in _stems(unit[0].folder):
        if at_most is not None and _epoch_of(stem) > at_most:
            continue
        checkpoints = [_read(saved.folder / stem, saved) for saved in unit]
        complete = [checkpoint for checkpoint in checkpoints if checkpoint is not None]
        if len(complete) < len(unit):  # truncated by a crash: the epoch before it is still there
            continue
        for saved, (state, weights) in zip(unit, complete, strict=True):
            restore(saved.student, state, weights)
        return True
    return False


def _read(stem: Path, saved: Saved) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """State and weights under a stem; None if they are unreadable or of another run."""
    try:
        # On the CPU, for the objects to move what they hold: Adam's counters of steps stay there,
        # and on a GPU each step would wait for their values.
        state = torch.load(f"{stem}.pt", weights_only=True, map_location="cpu")
        weights = load_file(f"{stem}.safetensors")
        fingerprint = state["fingerprint"]
    except Exception as error:
        log.warning("%s.* is passed over: it cannot be read (%s)", stem, type(error).__name__)
        return None
    if fingerprint != saved.fingerprint:
        log.warning("%s.* is passed over: it is of run %s", stem, fingerprint)
        return None
    return state, weights


def finish(
    folder: Path, student: Student, metadata: Mapping[str, str], *, terms: bool = False
) -> Path:
    """Write the final weights as `model.safetensors` and remove the checkpoints.

    Those are the reported ones; the weights that they are an average of are `raw.safetensors`. With
    ``terms`` the state of the loss terms is written, too, as `terms.safetensors`.
    """
    path = folder / "model.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    if terms and student.objective.state_dict():
        save_weights(folder / TERMS, student.objective)
    if student.average is not None:
        save_weights(folder / RAW, student.model)
    save_weights(path, student.reported, metadata)
    for stem in _stems(folder):
        _remove(folder, stem)
    return path


def save_weights(path: Path, model: nn.Module, metadata: Mapping[str, str] | None = None) -> None:
    """Write a model's parameters and buffers as safetensors, with string metadata."""
    write_bytes_atomic(path, tensors_as_bytes(model.state_dict(), metadata))


def sha256(model: nn.Module) -> str:
    """A digest of names, types, shapes and bits of a model's parameters and buffers."""
    return _digest(model.state_dict())


def has_digest(path: Path, digest: str | None) -> bool:
    """Whether a file of weights is readable and has this digest; None matches any."""
    status = path.stat()
    actual = _digest_of_file(path, status.st_mtime_ns, status.st_size)
    return actual is not None and digest in (None, actual)


@cache
def _digest_of_file(path: Path, mtime_ns: int, size: int) -> str | None:
    """The digest of a file's weights, None if unreadable. Cached: many runs share a teacher."""
    try:
        return _digest(load_file(path))
    except (SafetensorError, OSError):
        return None


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def latest_epoch(folder: Path) -> int:
    """Epochs trained when the latest checkpoint in a folder was written; 0 without one."""
    return max(map(_epoch_of, _stems(folder)), default=0)


def _stems(folder: Path) -> list[str]:
    """`epoch-0012` and so on, latest first."""
    stems = (path.stem for path in folder.glob("epoch-*.safetensors"))
    epochs = (stem for stem in stems if stem.removeprefix("epoch-").isdecimal())
    return sorted(epochs, key=_epoch_of, reverse=True)


def _epoch_of(stem: str) -> int:
    return int(stem.removeprefix("epoch-"))


def _remove(folder: Path, stem: str) -> None:
    for suffix in (".safetensors", ".pt"):
        (folder / f"{stem}{suffix}").unlink(missing_ok=True)
