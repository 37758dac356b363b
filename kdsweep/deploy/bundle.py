"""Writes and reads a bundle: a folder with `model.safetensors` and `classifier.json`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from kdsweep.builders.own_source import own_sources
from kdsweep.common.notices import warn_once
from kdsweep.common.text import one_line
from kdsweep.deploy.architecture import build_module
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.manifest import CLASSIFIER, WEIGHTS, Manifest, read_manifest, write_manifest
from kdsweep.errors import UserError
from kdsweep.training.checkpoint import has_digest, save_weights, sha256


def write_bundle(folder: Path, module: nn.Module, manifest: Manifest) -> Path:
    """Write the weights of a network, and what is needed to load them; returns the folder.

    Raises OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / WEIGHTS, module)
    write_manifest(folder, replace(manifest, weights_sha256=sha256(module)))
    return folder


def read_bundle(
    folder: Path, *, device: str = "cpu", source: dict[str, Any] | None = None
) -> Classifier:
    """The classifier in a folder. Nothing in it is executed, and nothing is unpickled.

    Args:
        source: more about where it comes from, for `Classifier.source`.

    Raises UserError if a file is missing or damaged, or the weights are those of another network.
    """
    manifest = read_manifest(folder)
    try:
        module = build_module(manifest)
    except UserError as error:
        raise UserError(
            f"SOURCE must be a network of kdsweep, got {folder / CLASSIFIER}: {one_line(error)}"
        ) from error
    _warn_of_edits(manifest, folder)
    _load_weights(module, folder / WEIGHTS, manifest)
    about = {"folder": str(folder), **manifest.run, **(source or {})}
    return Classifier(module.to(device), manifest, about, torch.device(device))


def _warn_of_edits(manifest: Manifest, folder: Path) -> None:
    """Warn if the code of a network of the user's is not that which was trained."""
    recorded = manifest.run.get("sources", {})
    for module, digest in own_sources(manifest.model).items():
        if recorded.get(module, digest) != digest:
            warn_once(
                f"{module} has changed since the network in {folder} was trained, which may compute"
                " something else now",
                str(folder),
            )


def _load_weights(module: nn.Module, path: Path, manifest: Manifest) -> None:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise UserError(f"SOURCE must have its weights, got {path}, which {reason}") from error
    if not has_digest(path, manifest.weights_sha256):
        raise UserError(
            f"SOURCE must have the weights that its {CLASSIFIER} is of, got {path}, which holds"
            " others"
        )
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            "SOURCE must have weights of its network, got"
            f" {path}, which do not fit: {one_line(error)}"
        ) from error
