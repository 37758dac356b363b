"""The teacher that a classifier's network learned from, as a classifier of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep.builders.class_order import Task, put_in_order
from kdsweep.builders.models import load_checkpoint
from kdsweep.common.notices import warn_once
from kdsweep.common.types import Output
from kdsweep.config.schema import BY_NAME
from kdsweep.deploy.architecture import build_module
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.manifest import CLASSIFIER, Manifest, read_manifest
from kdsweep.deploy.sources import SOURCE, checked_device, find_bundle, load_bundle
from kdsweep.errors import UserError
from kdsweep.models.components.embedding_output import gives_logits
from kdsweep.models.components.input_size import resize_input
from kdsweep.tracking.find_run import recorded_as
from kdsweep.tracking.find_sweep import sweep_of
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.training.teacher import mean_output


def teacher_of(
    student: Classifier, open_store: Callable[[], MLflowStore], device: str = "cpu"
) -> Classifier:
    """Its teacher; of an ensemble one whose probabilities are the mean of the members'.

    Raises UserError if it has learned from none, or the teacher is not here and not in MLflow.
    """
    recorded = student.manifest.teachers
    if not recorded:
        raise UserError(
            f"{SOURCE} must be a run with a teacher for --teacher, got {student.source['folder']},"
            f" whose {CLASSIFIER} has none"
        )
    members = [_loaded(entry, student, open_store, device) for entry in recorded]
    return members[0] if len(members) == 1 else _ensemble(members)


def teacher_if_here(
    student: Classifier, open_store: Callable[[], MLflowStore], device: str = "cpu"
) -> Classifier | None:
    """Its teacher; None if it has none, and with a warning if that cannot be loaded."""
    if not student.manifest.teachers:
        return None
    try:
        return teacher_of(student, open_store, device)
    except UserError as error:
        warn_once(f"without its teacher: {error}", str(student.manifest.teachers))
        return None


class MeanProbabilities(nn.Module):
    """Several networks; the softmax of its logits (B, C) is the mean of theirs."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        return mean_output([Output(member(images), {}) for member in self.members]).logits


def _ensemble(members: Sequence[Classifier]) -> Classifier:
    """The members have the classes and the images of the student, and so of each other.

    They may be for images of several sizes: each resizes those of the data set then.
    """
    first, source = members[0], {"name": "+".join(str(m.source.get("name")) for m in members)}
    module = MeanProbabilities([member.module for member in members]).eval()
    if len({member.preprocessing for member in members}) > 1:
        for member in members:
            resize_input(member.module, member.preprocessing.image_size)
        shown = first.preprocessing.of_network(None)
        first = replace(first, manifest=replace(first.manifest, preprocessing=shown))
    return replace(first, module=module, source=source)


def _loaded(
    entry: Mapping[str, Any],
    student: Classifier,
    open_store: Callable[[], MLflowStore],
    device: str,
) -> Classifier:
    if "fingerprint" in entry:
        return load_bundle(_folder(entry, student, open_store), device)
    if "model" in entry and "weights" in entry:
        return _of_checkpoint(entry, student.manifest, device)
    raise UserError(
        f"{SOURCE} must be a run with its teacher's weights, got"
        f" {student.source['folder']}, whose {CLASSIFIER} does not name those of {entry['name']}"
    )


def _folder(
    entry: Mapping[str, Any], student: Classifier, open_store: Callable[[], MLflowStore]
) -> Path:
    """The folder of a teacher's own run: of equal ones any."""
    fingerprint = str(entry["fingerprint"])
    for place in _places(entry, student):
        folder = place / "checkpoint"
        is_there = (folder / CLASSIFIER).is_file()
        if is_there and read_manifest(folder).run.get("fingerprint") == fingerprint:
            return folder
    return find_bundle(fingerprint, open_store, key=f"the teacher of {SOURCE}")


def _places(entry: Mapping[str, Any], student: Classifier) -> Iterator[Path]:
    """Where the run of a teacher may be on this machine."""
    fingerprint = str(entry["fingerprint"])
    if "folder" in entry:
        yield Path(str(entry["folder"]))
    sweep = sweep_of(Path(str(student.source["folder"])))
    if sweep is not None:
        yield sweep / f"teacher-{fingerprint}"
    yield from recorded_as(fingerprint)


def _of_checkpoint(entry: Mapping[str, Any], of_student: Manifest, device: str) -> Classifier:
    """A teacher that was given as a file of weights, which is read as in training."""
    manifest = replace(
        of_student,
        model=entry["model"],
        preprocessing=of_student.preprocessing.of_network(entry.get("image_size")),
        run={"name": entry["name"]},
        teachers=(),
        expects=None,
    )
    module = build_module(manifest, may_download=True)
    if not gives_logits(module):
        raise UserError(
            f"{SOURCE} must be a run with a classifier as its teacher, got one without a head"
        )
    match = str(entry.get("start_match", BY_NAME))
    load_checkpoint(module, str(entry["weights"]), "teacher", "start", match)
    task = Task(manifest.classes, manifest.preprocessing.in_shape)
    put_in_order(module, str(entry["weights"]), "teacher.start", task)
    target = torch.device(checked_device(device))
    source = {"name": entry["name"], "folder": str(entry["weights"])}
    return Classifier(module.to(target), manifest, source, target)
