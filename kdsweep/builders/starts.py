"""Weights that a training starts from: a file, a folder of Hugging Face, a run, a library's name.

A name of a library is replaced by the file that its weights are written to, so that a config in
which every start is a file has the fingerprint of these weights, however they were named.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import Tensor

from kdsweep.builders.options import parameters_of
from kdsweep.builders.targets import find_target
from kdsweep.common.files import write_bytes_atomic
from kdsweep.common.notices import note_once
from kdsweep.common.text import error_reason
from kdsweep.errors import UserError
from kdsweep.models import hf_folder, hf_model, timm_model, torchvision_model
from kdsweep.models.components.input_normalization import WEIGHTS
from kdsweep.models.offered_features import TIMM, TRANSFORMERS
from kdsweep.training.tensor_files import tensors_as_bytes
from kdsweep.training.weight_labels import write_labels

TORCHVISION = "kdsweep.models.torchvision_model.Torchvision"
# What `save_pretrained` writes, in this order of preference.
OF_HUGGING_FACE = ("model.safetensors", "pytorch_model.bin")
IN_PARTS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# torchvision's name for the best weights of a network; timm has such, too, and a folder has its own
DEFAULT = "DEFAULT"


def folder_file(
    folder: Path, key: str, model: Mapping[str, Any] | None, downloads: Path
) -> Path | None:
    """The file of weights for a network in a folder of Hugging Face; None if it is another folder.

    For a network of transformers it is one with the network's own names, which transformers may
    have others for in the folder; it is written once, into the folder ``downloads``.

    Raises UserError if the weights cannot be read.
    """
    node = model or {}
    if node.get("_target_") != TRANSFORMERS:
        return file_in(folder, key)
    files = [folder / name for name in (hf_folder.WEIGHTS, hf_folder.IN_PARTS)]
    weights_file = next(filter(Path.is_file, files), None)
    if weights_file is None or not (folder / hf_folder.CONFIG).is_file():
        raise UserError(
            f"{key} must be a folder with {hf_folder.CONFIG} and {hf_folder.WEIGHTS} for a network"
            f" of transformers, got {folder}; save_pretrained writes them"
        )
    read = [*sorted(folder.glob("*.safetensors*")), folder / hf_folder.CONFIG]  # parts, too
    if (texts := node.get("texts")) is not None:
        read.append(Path(str(texts)))
    try:
        file = downloads / f"hf-{_stamp(read, node.get('head', True))}.safetensors"
        if not file.is_file():
            has_head = texts is None and node.get("head", True)
            labels = hf_folder.class_names_in(folder) if has_head else None
            _write(hf_model.weights_for(node, str(folder)), file, labels)
    except ValueError as error:
        raise UserError(f"{key} {error}") from error
    return file


def _stamp(files: Sequence[Path], head: bool) -> str:
    """Of what decides the tensors that transformers reads from files, without reading them."""
    states = [[str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size] for path in files]
    try:
        version = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        version = ""
    written = [states, version, head, "with the names of its classes"]  # unlike earlier versions
    return hashlib.sha256(json.dumps(written).encode()).hexdigest()[:16]


def with_description(model: dict[str, Any] | None, key: str) -> dict[str, Any] | None:
    """The node of a network with what its folder describes in place of the folder's path.

    Raises UserError, with the config ``key`` of the node, for a folder of something else.
    """
    if model is None or model.get("_target_") != TRANSFORMERS:
        return model
    try:
        return hf_model.described(model)
    except ValueError as error:
        raise UserError(f"{key}.{error}") from error


def file_in(folder: Path, key: str) -> Path | None:
    """The file of weights in a folder of Hugging Face's form; None if it is another folder.

    Raises UserError if the weights are in several files.
    """
    for name in OF_HUGGING_FACE:
        if (folder / name).is_file():
            return folder / name
    if any((folder / name).is_file() for name in IN_PARTS):
        raise UserError(
            f"{key} must be weights in one file, got {folder}, which has them in several;"
            " save_pretrained(FOLDER, max_shard_size='100GB') writes one"
        )
    return None


def library_file(
    word: str, key: str, model: Mapping[str, Any] | None, downloads: Path
) -> str | None:
    """The file of the weights that timm or torchvision have under a name; None if they have none.

    They are downloaded once, into the folder ``downloads``.

    Args:
        model: the config node of the network that starts from them.

    Raises UserError if they cannot be downloaded, or are for images of another normalisation.
    """
    node = model or {}
    target, name = node.get("_target_"), node.get("name")
    if target == TRANSFORMERS and word == DEFAULT and node.get("path") is not None:
        return str(folder_file(Path(str(node["path"])), key, model, downloads))
    own = str(name) if target in (TIMM, TORCHVISION) else None
    if (full := torchvision_model.full_name(word, own if target == TORCHVISION else None)) is None:
        full = own if word == DEFAULT and target == TIMM else word
        if not full or not timm_model.has_weights(full):
            return None
        load: Callable[[str], dict[str, Tensor]] = timm_model.download
        labels = None  # timm has none for its own weights
        _refuse_other_normalization(full, own if target == TIMM else None, key)
    else:
        load, labels = torchvision_model.download, torchvision_model.class_names(full)
    file = downloads / f"{full}.safetensors"
    if not file.is_file():
        try:
            _write(load(full), file, labels)
        except ValueError as error:
            raise UserError(
                f"{key} must be weights that can be loaded, got {word}: {error}"
            ) from error
    note_once(f"{key}: {word} is {file}")
    return str(file)


def _write(tensors: Mapping[str, Tensor], file: Path, labels: Sequence[str] | None) -> None:
    """Write weights and the names of their classes. Raises ValueError if that is not possible."""
    content = tensors_as_bytes(tensors)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_labels(file, labels)  # first, because the weights are not written again
        write_bytes_atomic(file, content)
    except OSError as error:
        reason = error.strerror or error_reason(error)
        raise ValueError(f"{file} cannot be written ({reason})") from error


def with_normalization(model: dict[str, Any] | None) -> dict[str, Any] | None:
    """The node of a network that starts from weights of its library, or further trained ones.

    Where its option `normalize` is left open, images get the normalisation of these weights.
    """
    target = None if model is None else find_target(model.get("_target_"))
    if model is None or target is None or model.get("normalize") is not None:
        return model
    if not any(parameter.name == "normalize" for parameter in parameters_of(target)):
        return model
    return {**model, "normalize": WEIGHTS}


def _refuse_other_normalization(word: str, name: str | None, key: str) -> None:
    """Raise UserError if weights of timm expect other images than the network of a name does."""
    if name is not None and timm_model.normalization(word) != timm_model.normalization(name):
        raise UserError(
            f"{key.rpartition('.')[0]}.model.name must be {word} with {key}={word}, whose images"
            f" are normalised otherwise than those of {name}, got {name}"
        )
