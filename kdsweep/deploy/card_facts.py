"""What a model card states: read from the folder of a finished run and from its sweep."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from kdsweep.config.interpolation import raw
from kdsweep.deploy.manifest import Manifest, read_manifest
from kdsweep.models.quantization_aware import has_rounding
from kdsweep.report.analysis.aggregate import cell_name, is_finished
from kdsweep.tracking import run_dir
from kdsweep.tracking.find_sweep import sweep_of
from kdsweep.tracking.metadata import read_result, read_run_config, read_run_metadata
from kdsweep.tracking.predictions import load_predictions
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.results_table import ResultRow, collect

TEST = "test"
ABOUT = ("name", "role", "cell", "seed", "fingerprint")  # what a manifest has of a result
CHECKPOINT = Path(run_dir.CLASSIFIER).parent.name  # the folder of the bundle in that of a run


@dataclass(frozen=True)
class ClassAccuracy:
    """How many test images of a class there are, and how many are classified as it."""

    name: str
    images: int
    correct: int


@dataclass(frozen=True)
class CardFacts:
    """What is known of one run.

    Attributes:
        teacher: name -> accuracy on test, None where its run is not here.
        seeds: the rows of all finished runs of its cell, this one included.
        cells: how many cells its sweep has, among which it may have been chosen.
        images: of each part of the data, `train`, `val` and `test`.
        classes: on test; none if the logits were not kept (`tracking.answers`).
        with_rounding: whether its metrics were measured with the rounding of int8, which the
            network was trained with (`kdsweep quantize --qat`).
    """

    manifest: Manifest
    result: RunResult
    config: Mapping[str, Any]
    teacher: Mapping[str, float | None]
    seeds: Sequence[ResultRow]
    cells: int
    images: Mapping[str, int] = field(default_factory=dict)
    classes: Sequence[ClassAccuracy] = ()
    with_rounding: bool = False

    def values(self, metric: str) -> list[float]:
        """A metric of each seed that has it."""
        return [float(row[metric]) for row in self.seeds if row.get(metric) is not None]


def card_facts(bundle: Path) -> CardFacts:
    """The facts of the run that a bundle belongs to; outside of a run, those in its manifest."""
    manifest = read_manifest(bundle)
    folder = (bundle / os.pardir).resolve() if bundle.name == CHECKPOINT else bundle
    result, config, rows = read_result(folder), read_run_config(folder), _rows(folder)
    if result is None or result.fingerprint != manifest.run.get("fingerprint"):
        known = {key: manifest.run.get(key) for key in ABOUT} | manifest.run.get("metrics", {})
        result = RunResult.from_json({"status": "FINISHED", **known})
    return CardFacts(
        manifest=manifest,
        result=result,
        config=dict(config) if config is not None else {},
        teacher={str(one["name"]): _accuracy(one) for one in manifest.teachers},
        seeds=[row for row in rows if cell_name(row) == (result.cell or result.name)],
        cells=len({cell_name(row) for row in rows}),
        images=_images(folder),
        classes=_classes(folder / run_dir.PREDICTIONS),
        with_rounding=config is not None and _has_rounding(config),
    )


def _images(folder: Path) -> dict[str, int]:
    """The number of images in each part of the data of a run."""
    try:
        profile = (read_run_metadata(folder) or {})["dataset"]["profile"]
        return {part: int(profile[part]) for part in ("train", "val", TEST) if part in profile}
    except (KeyError, TypeError, ValueError):  # of an earlier version, or damaged
        return {}


def _has_rounding(config: DictConfig) -> bool:
    student = raw(config).get("student")
    model = student.get("model") if isinstance(student, dict) else None
    return isinstance(model, dict) and has_rounding(model)


def _rows(folder: Path) -> list[ResultRow]:
    """The finished runs of the sweep that a run belongs to; empty outside of a sweep."""
    sweep = sweep_of(folder)
    return [] if sweep is None else [row for row in collect(sweep) if is_finished(row)]


def _accuracy(teacher: Mapping[str, Any]) -> float | None:
    """A teacher's accuracy on test, if its own run is where it was."""
    folder = teacher.get("folder")
    result = None if folder is None else read_result(Path(folder))
    is_same = result is not None and result.fingerprint == teacher.get("fingerprint")
    return result.test_acc if result is not None and is_same else None


def _classes(path: Path) -> list[ClassAccuracy]:
    try:
        predictions = load_predictions(path)
        logits, labels = predictions.logits[TEST], predictions.labels[TEST]
    except (OSError, ValueError, KeyError):
        return []
    is_right = logits.argmax(1) == labels
    images = np.bincount(labels, minlength=len(predictions.classes)).tolist()
    correct = np.bincount(labels[is_right], minlength=len(predictions.classes)).tolist()
    return [ClassAccuracy(*row) for row in zip(predictions.classes, images, correct, strict=True)]
