"""Weights and training state on disk: written whole or not at all, never a pickle.

`epoch-0012.safetensors` holds the model, `epoch-0012.pt` the rest (objective, optimizer, schedule)
in plain types that `torch.load(weights_only=True)` accepts. The last two epochs are kept, so that
a file damaged by a power cut costs one epoch. No random state is stored: every draw of the loop
follows from (seed, epoch, step).
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
from kdsweep.training.student import Student
from kdsweep.training.tensor_files import tensors_as_bytes

log = logging.getLogger(__name__)

KEPT = 2
TERMS = "terms.safetensors"  # of a stage


def save(folder: Path, student: Student, fingerprint: str) -> None:
    """Write the student as it is after `student.epoch` epochs, and drop older epochs but one.

    Raises:
        OSError: if the folder cannot be written or the disk is full; older files stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"epoch-{student.epoch:04d}"
    rest = {
        "fingerprint": fingerprint,
        "epoch": student.epoch,
        "seconds": student.seconds,
        "best_acc": student.best_acc,
        "objective": student.objective.state_dict(),
        "optimizer": student.optimizer.state_dict(),
        "schedule": student.schedule.state_dict(),
    }
    state = io.BytesIO()
    torch.save(rest, state)
    write_bytes_atomic(folder / f"{stem}.pt", state.getbuffer())
    save_weights(folder / f"{stem}.safetensors", student.model)
    for stale in _stems(folder)[KEPT:]:
        _remove(folder, stale)


class Saved(NamedTuple):
    """A student and where its checkpoints are."""

    folder: Path
    student: Student
    fingerprint: str


def load_latest(unit: Sequence[Saved], at_most: int | None = None) -> bool:
    """Bring the students of a unit to the latest epoch that can be read of all of them.

    A file that is damaged, or of a run with another fingerprint, is passed over with a warning.

    Args:
        at_most: the last epoch that will do; None for any.
    """
    for stem in _stems(unit[0].folder):
        if at_most is not None and _epoch_of(stem) > at_most:
            continue
        read = [_read(saved.folder / stem, saved) for saved in unit]
        found = [state for state in read if state is not None]
        if len(found) < len(unit):  # cut short by a crash: the epoch before it is still there
            continue
        for saved, (rest, weights) in zip(unit, found, strict=True):
            _apply(saved.student, rest, weights)
        return True
    return False


def _read(stem: Path, saved: Saved) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What was saved of a run under a stem, None if it cannot be read whole or is another run's."""
    try:
        rest = torch.load(f"{stem}.pt", weights_only=True, map_location=saved.student.device)
        weights = load_file(f"{stem}.safetensors")
        whose = rest["fingerprint"]
    except Exception as error:
        log.warning("%s.* is passed over: it cannot be read (%s)", stem, type(error).__name__)
        return None
    if whose != saved.fingerprint:
        log.warning("%s.* is passed over: it is of run %s", stem, whose)
        return None
    return rest, weights


def _apply(student: Student, rest: dict[str, Any], weights: dict[str, Tensor]) -> None:
    student.model.load_state_dict(weights)
    student.objective.load_state_dict(rest["objective"])
    student.optimizer.load_state_dict(rest["optimizer"])
    student.schedule.load_state_dict(rest["schedule"])
    student.epoch, student.seconds = rest["epoch"], rest["seconds"]
    student.best_acc = rest["best_acc"]


def finish(
    folder: Path, student: Student, metadata: Mapping[str, str], *, terms: bool = False
) -> Path:
    """Write the final weights as `model.safetensors`; drop what only resuming needs.

    Args:
        terms: whether what the loss terms have learned is kept, too, in `terms.safetensors`.
    """
    path = folder / "model.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    if terms and student.objective.state_dict():
        save_weights(folder / TERMS, student.objective)
    save_weights(path, student.model, metadata)
    for stem in _stems(folder):
        _remove(folder, stem)
    return path


def save_weights(path: Path, model: nn.Module, metadata: Mapping[str, str] | None = None) -> None:
    """Write a model's parameters and buffers as safetensors, with string metadata."""
    write_bytes_atomic(path, tensors_as_bytes(model.state_dict(), metadata))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Weights from a file a user gives: safetensors, or a `weights_only` state dict of torch.

    Raises:
        ValueError: if the file is missing, damaged, or would need unpickling arbitrary objects.
    """
    if not path.is_file():
        raise ValueError(f"must be a file of weights, got {path}, which does not exist")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"must be a safetensors file, got {path}, which is damaged") from error
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise ValueError(
            f"must be a safetensors file or a plain state dict, got {path}, which is damaged or"
            " holds pickled objects; those are never loaded"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"must hold a state dict of tensors, got {path}, which does not")
    return state


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Load weights into a model that they must fit exactly.

    Raises:
        ValueError: naming the first tensor that is missing, unknown, of another shape, or not
            finite.
    """
    own = model.state_dict()
    for name in sorted({*own, *weights}):
        if name not in weights:
            raise ValueError(f"{origin} lacks {name!r}, which the model has")
        if name not in own:
            raise ValueError(f"{origin} has {name!r}, which the model lacks")
        if own[name].shape != weights[name].shape:
            found, needed = tuple(weights[name].shape), tuple(own[name].shape)
            raise ValueError(f"{origin} has {name!r} of shape {found}, the model needs {needed}")
    if (broken := _first_not_finite(own, weights)) is not None:
        raise ValueError(f"{origin} must hold finite weights, got nan or inf in {broken!r}")
    model.load_state_dict(dict(weights))


def _first_not_finite(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that is not finite where a new model's own is: a mask may be."""
    for name, tensor in weights.items():
        if (~torch.isfinite(tensor) & torch.isfinite(own[name].to(tensor.device))).any():
            return name
    return None


def sha256(model: nn.Module) -> str:
    """A digest of names, types, shapes and bits of a model's parameters and buffers."""
    return _digest(model.state_dict())


def has_digest(path: Path, digest: str | None) -> bool:
    """Whether a file of weights can be read and has this digest; None is that of any weights."""
    status = path.stat()
    found = _digest_of_file(path, status.st_mtime_ns, status.st_size)
    return found is not None and digest in (None, found)


@cache
def _digest_of_file(path: Path, changed: int, size: int) -> str | None:
    """The digest of a file's weights, None if it cannot be read; many runs ask for one teacher."""
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
    stems = [path.stem for path in folder.glob("epoch-*.safetensors")]
    return sorted(filter(_is_epoch, stems), key=_epoch_of, reverse=True)


def _is_epoch(stem: str) -> bool:
    return stem.removeprefix("epoch-").isdecimal()


def _epoch_of(stem: str) -> int:
    return int(stem.removeprefix("epoch-"))


def _remove(folder: Path, stem: str) -> None:
    for suffix in (".safetensors", ".pt"):
        (folder / f"{stem}{suffix}").unlink(missing_ok=True)
