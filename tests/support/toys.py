"""A cohort to train in milliseconds: small networks, made images, real parts."""

from collections.abc import Sequence
from typing import Any

import torch

from kdsweep.common.rng import derive
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.stream import Stream, evaluation_batches
from kdsweep.data.types import LabelledImages
from kdsweep.losses.base.objective import Objective
from kdsweep.losses.base.term import Term
from kdsweep.losses.kl import KL
from kdsweep.models.cnn import CNN
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.mlp import MLP
from kdsweep.training.arithmetic import put_in_format
from kdsweep.training.device_group import SINGLE
from kdsweep.training.evaluation import Split
from kdsweep.training.schedule import OneCycle
from kdsweep.training.student import Student
from kdsweep.training.teacher import Teacher
from kdsweep.training.trainer import fit

SHAPE, CLASSES, EPOCHS, BATCH = (1, 8, 8), 4, 3, 16
MEAN, STD = (0.5,), (0.25,)


def images(count: int, seed: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    pixels = torch.randint(0, 60, (count, *SHAPE), generator=generator)
    pixels += (labels * 50).view(-1, 1, 1, 1)  # learnable: the brightness tells the class
    return LabelledImages(pixels.to(torch.uint8), labels)


def make_stream(seed: int = 0, **options: Any) -> Stream:
    given = {"augment": Augment(crop_padding=1, flip=True), "mean": MEAN, "std": STD}
    data = images(options.pop("count", 40), 0)
    return Stream(data, seed=seed, **{"batch_size": BATCH, **given, **options})


def make_val() -> Split:
    data = images(20, 1)
    return Split(
        "val", lambda: evaluation_batches(data, batch_size=8, mean=MEAN, std=STD), data.labels
    )


def make_teacher() -> Teacher:
    torch.manual_seed(99)
    return Teacher(FeatureExtractor(CNN(in_shape=SHAPE, num_classes=CLASSES, width=4)))


def make_student(
    *, T: float = 4.0, alpha: float = 0.5, seed: int = 0, model: str = "mlp", **options: Any
) -> Student:
    """A student as build.py makes it: model and terms right after seeding their names."""
    lr, terms = options.pop("lr", 0.05), options.pop("terms", None)
    torch.manual_seed(derive("student", seed))
    keywords: dict[str, Any] = {"in_shape": SHAPE, "num_classes": CLASSES, "width": 8}
    dropout, memory_format = options.pop("dropout", 0.0), options.pop("memory_format", "contiguous")
    network = {"mlp": MLP, "cnn": CNN}[model](**keywords, dropout=dropout)
    put_in_format(network, memory_format)
    made: dict[str, Term] = {"kl": KL(T=T, weight=alpha)} if terms is None else terms
    if callable(terms):  # so that each student gets its own
        made = terms()
    schedules = options.pop("schedules", None)
    follows = alpha if made else None
    objective = Objective(made, hard_weight=None, alpha=follows, schedules=schedules)
    kind = options.pop("optimizer", torch.optim.AdamW)
    optimizer = kind([*network.parameters(), *objective.parameters()], lr=lr)
    batches = options.setdefault("per_epoch", 3)
    steps = -(-batches // options.get("accumulate", 1))
    schedule = OneCycle().build(optimizer, epochs=EPOCHS, steps_per_epoch=steps)
    return Student(FeatureExtractor(network), objective, optimizer, schedule, seed=seed, **options)


def train(
    students: Sequence[Student], epochs: int = EPOCHS, record: Any = None, **options: Any
) -> list[dict[str, float]]:
    """Fit the students on the same stream; returns the metrics that were recorded."""
    seen: list[dict[str, float]] = []
    group = options.pop("group", SINGLE)
    fit(
        students,
        options.pop("stream", None) or make_stream(rows=group.rows),
        teacher=options.pop("teacher", None) or make_teacher(),
        splits=[make_val()] if group.is_first else [],
        epochs=epochs,
        threads=1,
        record=record or (lambda student, metrics: seen.append(metrics)),
        watcher=options.pop("watcher", None),
        group=group,
    )
    return seen
