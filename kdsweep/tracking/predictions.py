"""What a network said of every image that it was measured on: answers.safetensors.

One file has the logits on validation and test beside the labels. That of a run names its teacher's
by a digest; a sweep keeps each teacher's once, in its folder `answers`. N images, C classes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.common.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

OF_TEACHERS = "answers"  # folder of a sweep


@dataclass(frozen=True)
class Answers:
    """Of one network. The splits are `val` (if anything was held out) and `test`."""

    logits: Mapping[str, "Tensor"]  # split -> (N, C) float32
    labels: Mapping[str, "Tensor"]  # split -> (N,) int64
    classes: tuple[str, ...]
    teacher: str | None = None  # digest of the answers that it was to learn from

    @property
    def digest(self) -> str:
        """Names the logits by their bits."""
        found = hashlib.sha256()
        for split, logits in sorted(self.logits.items()):
            found.update(split.encode())
            found.update(logits.contiguous().numpy().tobytes())
        return found.hexdigest()[:16]


def save_answers(path: Path, answers: Answers) -> None:
    """Write a file of answers in one step. Raises OSError if it cannot be written."""
    from kdsweep.training.tensor_files import save_tensors

    tensors = {f"{split}/logits": logits for split, logits in answers.logits.items()}
    tensors |= {f"{split}/labels": labels for split, labels in answers.labels.items()}
    metadata = {"classes": json.dumps(answers.classes)}
    if answers.teacher is not None:
        metadata["teacher"] = answers.teacher
    with atomic_write(path) as draft:
        save_tensors(draft, tensors, metadata)


def save_once(folder: Path, answers: Answers) -> str:
    """Write a teacher's answers under their digest, which is given back, unless they are there."""
    path = folder / f"{answers.digest}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_answers(path, answers)
    return answers.digest


def load_answers(path: Path) -> Answers:
    """Read a file of answers. Raises OSError, or ValueError naming a file that holds none."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file, got a damaged one") from error
    return Answers(
        _part(tensors, "logits"),
        _part(tensors, "labels"),
        tuple(json.loads(metadata["classes"])),
        metadata.get("teacher"),
    )


def _part(tensors: Mapping[str, "Tensor"], part: str) -> dict[str, "Tensor"]:
    splits: Sequence[str] = [name.removesuffix(f"/{part}") for name in tensors]
    return {split: tensors[f"{split}/{part}"] for split in splits if f"{split}/{part}" in tensors}
