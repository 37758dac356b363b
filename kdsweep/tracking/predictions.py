"""Logits of a network on every image that it was evaluated on: answers.safetensors.

One file has the logits on validation and test, and the labels. That of a run names its teacher's
by a digest; a sweep keeps each teacher's once, in its folder `answers`. N images, C classes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdsweep.common.files import write_bytes_atomic

TEACHER_PREDICTIONS_DIR = "answers"  # folder of a sweep


@dataclass(frozen=True)
class Predictions:
    """Those of one network. The splits are `val` (if anything was held out) and `test`."""

    logits: Mapping[str, NDArray[np.float32]]  # split -> (N, C)
    labels: Mapping[str, NDArray[np.int64]]  # split -> (N,)
    classes: tuple[str, ...]
    teacher: str | None = None  # digest of the predictions that it was to learn from

    @property
    def digest(self) -> str:
        """A hash of the logits, bit by bit."""
        digest = hashlib.sha256()
        for split, logits in sorted(self.logits.items()):
            digest.update(split.encode())
            digest.update(logits.tobytes())
        return digest.hexdigest()[:16]


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write a file of predictions in one step. Raises OSError if it cannot be written."""
    from torch import from_numpy  # where predictions are made, but not where they are read

    from kdsweep.training.tensor_files import tensors_as_bytes

    tensors = {
        f"{split}/{part}": from_numpy(array)
        for part, arrays in (("logits", predictions.logits), ("labels", predictions.labels))
        for split, array in arrays.items()
    }
    metadata = {"classes": json.dumps(predictions.classes)}
    if predictions.teacher is not None:
        metadata["teacher"] = predictions.teacher
    write_bytes_atomic(path, tensors_as_bytes(tensors, metadata))


def save_teacher_predictions(folder: Path, predictions: Predictions) -> str:
    """Write a teacher's predictions, named by their digest, unless they are there; returns it."""
    path = folder / f"{predictions.digest}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_predictions(path, predictions)
    return predictions.digest


def load_predictions(path: Path) -> Predictions:
    """Read a file of predictions. Raises OSError, or ValueError naming a damaged file."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file, got a damaged one") from error
    logits, labels = (
        {name.removesuffix(part): arrays[name] for name in arrays if name.endswith(part)}
        for part in ("/logits", "/labels")
    )
    return Predictions(
        logits, labels, tuple(json.loads(metadata["classes"])), metadata.get("teacher")
    )
