"""Made runs of a distilled cell and its baseline, with predictions for seven images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from collection import MadeRun, collection, predicting, predictions, run

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sections.distilled import section
from kdsweep.report.sections.networks import Pair, pair
from kdsweep.report.sections.section import Section
from kdsweep.report.sources.collection import RunCollection
from kdsweep.tracking.predictions import Predictions

CAT, DOG, FISH = range(3)
TRUE = [CAT, CAT, CAT, CAT, DOG, DOG, FISH]
TEACHER = [CAT, CAT, CAT, DOG, DOG, CAT, FISH]
# What the seeds of the baseline, and those of the distilled cell, predict for the images.
BEFORE = ([DOG, CAT, CAT, DOG, DOG, CAT, FISH], [DOG, CAT, CAT, CAT, DOG, CAT, CAT])
BEFORE = (*BEFORE, [FISH, CAT, FISH, FISH, DOG, FISH, FISH])
AFTER = ([CAT, CAT, DOG, DOG, DOG, DOG, FISH], [CAT, CAT, DOG, DOG, DOG, DOG, FISH])
AFTER = (*AFTER, [CAT, CAT, CAT, CAT, DOG, CAT, FISH])
TAUGHT, CE = "kl T=4 alpha=0.9", "ce"
PIXELS = torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1).expand(7, 1, 8, 8) * 30
DATA = {"dataset": {"name": "made"}}


def distilled_runs(cell: str, classes: Sequence[Sequence[int]], **other: Any) -> list[MadeRun]:
    return [
        run(
            cell,
            seed,
            0.8 if cell == CE else 0.9,
            predictions=predicting(one, TRUE),
            teacher_predictions=None if cell == CE else predicting(TEACHER, TRUE),
            config=DATA,
            **other,
        )
        for seed, one in enumerate(classes)
    ]


def distilled_collection(home: Path = Path()) -> RunCollection:
    return collection([*distilled_runs(CE, BEFORE), *distilled_runs(TAUGHT, AFTER)], home)


def distilled_pair(found: RunCollection | None = None) -> Pair:
    found = found or distilled_collection()
    cells = grid(found.rows)
    assert cells.best is not None
    return pair(found, cells.best, cells.baselines.get(cells.best.name))


def load_data(config: dict[str, Any]) -> Any:
    """Stands for the data set of a run."""
    assert config == DATA
    return SimpleNamespace(test=SimpleNamespace(images=PIXELS, labels=torch.tensor(TRUE)))


def distilled_section(found: RunCollection, load: Any = load_data) -> Section:
    shown = section(replace(found, load=load), grid(found.rows))
    assert shown is not None
    return shown


def random_predictions(images: int, classes: int, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    names = [f"class {number}" for number in range(classes)]
    labels = np.arange(images) % classes
    return predictions(3 * rng.normal(size=(images, classes)), labels, classes=names)
