"""Collections of made runs with predictions, as a report reads them from folders or from MLflow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rows import Row, row

from kdsweep.report.sources.collection import RunCollection
from kdsweep.tracking.deployed import Records
from kdsweep.tracking.predictions import Predictions

CLASSES = ("cat", "dog", "fish")


@dataclass(frozen=True)
class MadeRun:
    """`kdsweep.report.sources.collection.Run`."""

    row: Row
    predictions: Predictions | None = None
    teacher_predictions: Predictions | None = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[Any] = field(default_factory=list)
    deployed: Records = field(default_factory=dict)


def predictions(
    test: Any,
    labels: Any,
    val: Any = None,
    val_labels: Any = None,
    classes: Sequence[str] = CLASSES,
) -> Predictions:
    """Of logits (N, C) and labels (N,), in whatever they are given."""
    logits = {"test": np.asarray(test, np.float32)}
    named = {"test": np.asarray(labels, np.int64)}
    if val is not None:
        logits["val"] = np.asarray(val, np.float32)
        named["val"] = np.asarray(val_labels, np.int64)
    return Predictions(logits, named, tuple(classes))


def predicting(classes: Sequence[int], labels: Sequence[int], sure: float = 4.0) -> Predictions:
    """Of a network that predicts one class for each image of test and validation."""
    logits = sure * np.eye(len(CLASSES))[list(classes)]
    return predictions(logits, labels, logits, labels)


def run(cell: str, seed: int, acc: float, **other: Any) -> MadeRun:
    """A finished run; its T is that of its cell, its teacher "cnn" unless its loss is ce."""
    words = dict(word.split("=") for word in cell.split() if "=" in word)
    made = {
        "T": float(words["T"]) if "T" in words else None,
        "teacher": None if cell.startswith("ce") else "cnn",
    }
    parts = {
        key: other.pop(key)
        for key in ("predictions", "teacher_predictions", "config", "deployed")
        if key in other
    }
    return MadeRun(row(cell, seed, acc, **{**made, **other}), **parts)


def collection(runs: Sequence[MadeRun], home: Path = Path()) -> RunCollection:
    return RunCollection("sweep", list(runs), home)


def drawn(
    images: int, classes: int, T: float, seed: int = 0, scale: float = 4.0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C), and labels (N,) that are drawn from softmax(logits / T)."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(images, classes))
    soft = np.exp((logits - logits.max(1, keepdims=True)) / T)
    cumulated = (soft / soft.sum(1, keepdims=True)).cumsum(1)
    return logits, (cumulated > rng.random((images, 1))).argmax(1)
