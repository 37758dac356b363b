"""The names of the classes that a file of weights was trained for, where they are known.

In a file of kdsweep's they are metadata, `classes`; of a library's weights they are written next to
the file; in a folder of Hugging Face they are in `config.json`.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.models.hf_folder import class_names_in
from kdsweep.training.weight_match import split_selection

CLASSES = "classes"  # key of the metadata, and in the file next to one
OF_A_FOLDER = ("model.safetensors", "pytorch_model.bin")


def class_labels(word: str) -> tuple[str, ...] | None:
    """The names for `FILE` or `FILE:PART`, in the order of the logits; None if they are unknown.

    A file that cannot be read has none: it is refused when its weights are loaded.
    """
    path, _ = split_selection(word)
    names = _metadata(path) or _next_to(path)
    if names is None and path.name in OF_A_FOLDER:
        return class_names_in(path.parent)
    are_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if are_names else None


def write_labels(file: Path, labels: Sequence[str] | None) -> None:
    """Write the names next to a file of weights, if they are known. Raises OSError."""
    if labels is not None and not _file_of_labels(file).is_file():
        write_json_atomic(_file_of_labels(file), {CLASSES: list(labels)})


def _metadata(path: Path) -> Any:
    with (
        suppress(SafetensorError, OSError, ValueError, KeyError),
        safe_open(path, framework="pt") as content,
    ):
        return json.loads((content.metadata() or {})[CLASSES])
    return None


def _next_to(file: Path) -> Any:
    with suppress(OSError, ValueError):
        return read_json(_file_of_labels(file)).get(CLASSES)
    return None


def _file_of_labels(file: Path) -> Path:
    return file.with_name(f"{file.name}.{CLASSES}.json")
