"""The manifest of a finished run: as it finishes, or later from what its folder records."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from kdsweep.builders.data import build_dataset
from kdsweep.builders.models import build_network
from kdsweep.builders.own_source import own_sources
from kdsweep.common.notices import note_once
from kdsweep.common.text import error_reason, one_line
from kdsweep.config.interpolation import raw
from kdsweep.config.run_config import RunConfig, from_public, to_values
from kdsweep.config.schema import BY_NAME
from kdsweep.data.pipeline.split import Dataset
from kdsweep.deploy.architecture import NETWORKS, described, expectation, refuse_code
from kdsweep.deploy.manifest import CLASSIFIER, Manifest, write_manifest
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.errors import UserError
from kdsweep.models.quantization_aware import has_rounding
from kdsweep.runs.spec import RunSpec, TeacherSpec
from kdsweep.tracking.metadata import read_result, read_run_config
from kdsweep.tracking.result import RESULT_KEYS, RunResult
from kdsweep.tracking.run_dir import CLASSIFIER as CLASSIFIER_FILE
from kdsweep.tracking.run_dir import CONFIG
from kdsweep.training.arithmetic import BF16, FP32

SOURCES = "kdsweep.data.*"  # what the data set of a run may name
# Metrics of the weights: the best accuracy is that of an epoch, the latency that of a machine.
EVALUATED = [k for k in RESULT_KEYS if k.startswith(("val/", "test/")) and k != "val/acc_best"]


def manifest_of_run(
    spec: RunSpec,
    dataset: Dataset,
    model: nn.Module,
    metrics: Mapping[str, float],
    weights_sha256: str,
) -> Manifest:
    """What is needed to load the weights of a run that finishes now.

    Args:
        dataset: that it was trained and evaluated on.
        model: its network.
        metrics: by their names; those on validation and test are kept.
    """
    about = {
        "name": spec.name,
        "role": spec.role,
        "cell": spec.cell.name,
        "seed": spec.config.seed,
        "fingerprint": spec.fingerprint,
    }
    teachers = (*map(_teacher, spec.teachers), *_online(spec))
    return _manifest(spec.config, dataset, model, about, metrics, weights_sha256, teachers)


def write_missing_manifest(folder: Path) -> None:
    """Write what a finished run of an earlier version lacks, from its config and its data set.

    Neither is needed again then. Raises UserError if one of them is not there.
    """
    result, config = read_result(folder), recorded_config(folder)
    assert result is not None, "the run has finished"
    try:
        with torch.random.fork_rng():
            dataset = build_dataset(config.dataset, "cpu")
            student = config.student
            model = build_network(dataset, student.model, "student", student.image_size)
    except UserError as error:
        raise UserError(
            f"SOURCE must have a {CLASSIFIER}, which an earlier version of kdsweep did not write,"
            f" or the data set of its {CONFIG}, got {folder}: {one_line(error)}"
        ) from error
    about = {key: getattr(result, key) for key in ("name", "role", "cell", "seed", "fingerprint")}
    figures = {k: v for k, v in result.to_json().items() if isinstance(v, float)}
    manifest = _manifest(config, dataset, model, about, figures, result.weights_sha256, ())
    try:
        write_manifest((folder / CLASSIFIER_FILE).parent, manifest)
    except OSError as error:
        raise UserError(
            f"SOURCE must be a folder that its {CLASSIFIER} can be written to, got {folder}"
            f" ({error.strerror})"
        ) from error
    note_once(f"{folder}: its {CLASSIFIER} was written from its {CONFIG} and the data set")


def recorded_config(folder: Path) -> RunConfig:
    """The config of a finished run, whose folder may come from anywhere.

    Raises UserError if it is missing or damaged, or names anything but a data set and a network.
    """
    config, result = read_run_config(folder), read_result(folder)
    if config is None:
        raise UserError(
            f"SOURCE must have a {CLASSIFIER} next to its weights, or its {CONFIG}, got {folder},"
            " which has neither"
        )
    try:
        run_config = from_public(raw(config), _derived(result))
        # An augmentation is not built: it is of training images.
        plain = replace(run_config.dataset, augment=replace(run_config.dataset.augment, own={}))
        refuse_code(to_values(plain), "dataset", SOURCES)
        refuse_code(run_config.student.model, "student.model", NETWORKS)
        return run_config
    except (OmegaConfBaseException, TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f"SOURCE must be a run with a valid config, got {folder / CONFIG}:"
            f" {error_reason(error)}"
        ) from error


def _derived(result: RunResult | None) -> Mapping[str, Any]:
    provenance = None if result is None else result.provenance
    return {} if provenance is None else provenance.get("derived", {})


def _manifest(
    config: RunConfig,
    dataset: Dataset,
    model: nn.Module,
    about: Mapping[str, Any],
    metrics: Mapping[str, float],
    weights_sha256: str | None,
    teachers: tuple[Mapping[str, Any], ...],
) -> Manifest:
    sources = own_sources(config.student.model)
    # The manifest describes a network without rounding; with it, it has other metrics.
    kept = () if has_rounding(config.student.model) else EVALUATED
    preprocessing = Preprocessing.of(dataset, config.student.image_size)
    return Manifest(
        model=described(config.student.model, preprocessing.in_shape, dataset.num_classes),
        classes=dataset.class_names,
        preprocessing=preprocessing,
        precision=BF16 if config.trainer.precision == BF16 else FP32,
        weights_sha256=weights_sha256,
        run={
            **about,
            "student": config.student.name,
            "dataset": config.dataset.name,
            **({"sources": sources} if sources else {}),
            "metrics": {key: metrics[key] for key in kept if key in metrics},
        },
        teachers=teachers,
        **expectation(model),
    )


def _teacher(teacher: TeacherSpec) -> dict[str, Any]:
    name = teacher.config.name
    if teacher.run is None:
        by_position = teacher.config.given_by == "start" and teacher.config.start_match != BY_NAME
        match = {"start_match": teacher.config.start_match} if by_position else {}
        size = teacher.config.image_size
        sized = {} if size is None else {"image_size": size}
        given = {"model": teacher.model, "weights": teacher.config.given}
        return {"name": name, **given, **match, **sized}
    return {"name": name, "fingerprint": teacher.run.fingerprint, "folder": str(teacher.run_dir)}


def _online(spec: RunSpec) -> tuple[dict[str, Any], ...]:
    online = spec.online_teacher
    if online is None:
        return ()
    return ({"name": online.config.student.name, "fingerprint": online.fingerprint},)
