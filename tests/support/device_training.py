"""A training of a few steps on a device, of students of `loss_students`."""

from collections.abc import Sequence

import torch
from loss_students import CLASSES, NUM_TRAIN, SHAPE, Pair

from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.data.pipeline.stream import Stream, evaluation_batches
from kdsweep.data.pipeline.strong_view import StrongView
from kdsweep.data.types import LabelledImages
from kdsweep.training.arithmetic import put_in_format
from kdsweep.training.checkpoint import sha256
from kdsweep.training.evaluation import Split
from kdsweep.training.student import Student
from kdsweep.training.teacher import Teacher
from kdsweep.training.trainer import fit

EPOCHS, BATCH = 2, 8
MEAN, STD = (0.5,) * 3, (0.25,) * 3


def labelled_images() -> LabelledImages:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (NUM_TRAIN, *SHAPE), dtype=torch.uint8, generator=generator)
    return LabelledImages(pixels, torch.arange(NUM_TRAIN) % CLASSES)


def make_stream(device: str, *, mix: BatchMixer | None = None, operations: int = 0) -> Stream:
    augment = Augment(crop_padding=2, flip=True)
    return Stream(
        labelled_images(),
        batch_size=BATCH,
        seed=0,
        augment=augment,
        mix=mix,
        strong=StrongView(augment, operations),
        mean=MEAN,
        std=STD,
        device=device,
    )


def train(
    students: Sequence[Student],
    teacher: Teacher,
    device: str,
    epochs: int = EPOCHS,
    stream: Stream | None = None,
) -> None:
    """In lockstep; no student fails."""
    data = labelled_images().to(device)
    val = Split(
        "val",
        lambda: evaluation_batches(data, batch_size=16, mean=MEAN, std=STD, device=device),
        data.labels,
    )
    fit(
        students,
        stream or make_stream(device),
        teacher=teacher,
        splits=[val],
        epochs=epochs,
        threads=1,
        record=lambda student, metrics: None,
    )
    assert [student.failure for student in students] == [None] * len(students)
    assert {student.epoch for student in students} == {epochs}


def bits(student: Student) -> tuple[str, str]:
    """Digests of all that a student has learned."""
    return sha256(student.model), sha256(student.objective)


def in_format(pair: Pair, memory_format: str) -> Pair:
    for network in (pair.student.model, pair.teacher.network.model):
        put_in_format(network, memory_format)
    return pair
