"""Nine runs of a T x alpha grid as kdsweep trains them: its config, its builders, its loop.

An epoch is short because the training set is limited to a few batches (`dataset.limit`), not
because a loop is left early: it begins and ends as in a sweep, except for the evaluation, which
none of the compared loops has. Teachers have their initial weights; speed does not depend on them.
"""

import itertools
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import nn

from kdsweep.builders.data import build_dataset, build_stream
from kdsweep.builders.device import resolve_device
from kdsweep.builders.models import build_network
from kdsweep.cli import CONF
from kdsweep.config.run_config import RunConfig
from kdsweep.config.schema import CacheConfig
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.pipeline.stream import Stream
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.teacher_logits import with_logit_cache
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.runs.units import build_unit, build_untrained_teacher
from kdsweep.tracking.console import Progress
from kdsweep.training.student import Student
from kdsweep.training.teacher import Teacher
from kdsweep.training.trainer import AnyTeacher, fit

GRID = tuple(itertools.product((1, 4, 16), (0.1, 0.5, 0.9)))  # T, alpha
KEPT_GIB = 1.0
EPOCHS = 1000  # of the recipe, of which only the first are trained


@dataclass(frozen=True)
class Work:
    """What is trained: teacher, student and images.

    Attributes:
        words: overrides of train.py, without the data set unless the work has its own.
        batches: of 128 images, in an epoch; None: the epoch of its own data set.
        contiguous: whether contiguous memory is timed next to the format that `auto` stands for.
    """

    name: str
    words: tuple[str, ...]
    batches: int | None = None
    contiguous: bool = False


CIFAR = (
    *("dataset.augment.crop_padding=4", "dataset.augment.flip=true", "dataset.val_fraction=0"),
    "trainer.batch_size=128",
)
WORKS = {
    "vgg": Work(
        "VGG16 -> convnet4", ("teacher=vgg16", "student=convnet4", *CIFAR), 2, contiguous=True
    ),
    "resnet": Work("resnet56 -> resnet20", ("teacher=resnet56", "student=resnet20", *CIFAR), 1),
    "digits": Work("cnn -> mlp, digits", ("dataset=digits", "teacher=cnn", "student=mlp")),
}


def image_words(folder: Path | None, batches: int) -> tuple[str, ...]:
    """The overrides for a few batches of 128 images of a folder, or of made ones of 3 x 32 x 32."""
    made = ("dataset=fake", "dataset.source.num_train=5000", "dataset.source.num_test=1000")
    given = ("dataset=image_folder", f"dataset.root={folder.resolve()}") if folder else made
    return (*given, f"dataset.limit={128 * batches}")


def compose_config(words: Sequence[str]) -> DictConfig:
    """The config of one run, as train.py composes it."""
    with initialize_config_dir(str(CONF)):
        return compose("train", list(words))


def load_images(words: Sequence[str]) -> Dataset:
    """The data set of these overrides, on its device."""
    (spec,) = build_specs([compose_config(words)], [list(words)], 0, [])
    return build_dataset(spec.config.dataset, resolve_device(spec.config.trainer.device))


class Cohorts:
    """The nine runs of one configuration, to be trained together or one at a time."""

    def __init__(self, words: Sequence[str], dataset: Dataset, *, threads: int, device: str):
        """``words``: overrides of train.py for all nine runs."""
        recipe = [
            *("optimizer=sgd", "optimizer.lr=0.01", "schedule=constant", "tracking=none"),
            *(f"trainer.epochs={EPOCHS}", f"trainer.threads={threads}", f"trainer.device={device}"),
        ]
        jobs = [[*recipe, *words, f"T={T}", f"alpha={alpha}"] for T, alpha in GRID]
        configs = [compose_config(job) for job in jobs]
        self.specs: list[RunSpec] = build_specs(configs, jobs, 0, ["T", "alpha"])
        self.dataset, self.device, self.threads = dataset, device, threads
        self.stream: Stream = build_stream(self.config, dataset, device)
        self.teacher: AnyTeacher | None = build_untrained_teacher(
            self.specs, dataset, self.stream.steps_per_epoch
        )

    @property
    def config(self) -> RunConfig:
        """Of the first run; the others differ in T and alpha."""
        return self.specs[0].config

    def students(self, count: int = len(GRID)) -> list[Student]:
        """The students of the first runs of the nine, with their initial weights."""
        networks = self.teacher.networks if self.teacher else ()
        steps = self.stream.steps_per_epoch
        return [
            student
            for spec in self.specs[:count]
            for student in build_unit(spec, self.dataset, networks, steps).students
        ]

    def with_kept_logits(self, folder: Path) -> "Cohorts":
        """The same with the teacher's logits on disk, where one pass of an epoch keeps them."""
        with Progress() as progress:
            context = TrainingContext({"uri": None}, progress, CacheConfig(str(folder), KEPT_GIB))
            assert isinstance(self.teacher, Teacher), "it is one frozen network"
            other = copy(self)
            other.teacher = with_logit_cache(self.teacher, self.specs, self.dataset, context)
        return other

    def train_epoch(self, students: Sequence[Student]) -> None:
        """Train their next epoch, without evaluation. Raises RuntimeError if a student fails."""
        fit(
            students,
            self.stream,
            teacher=self.teacher,
            splits=[],
            epochs=students[0].epoch + 1,
            threads=self.threads,
            record=lambda student, metrics: None,
        )
        for student in students:
            if student.failure is not None:
                raise RuntimeError(student.failure)

    def plain_student(self) -> nn.Module:
        """A student as a plain module with initial weights of its own."""
        return build_network(self.dataset, self.config.student.model, "student").to(self.device)

    def plain_teacher(self) -> nn.Module:
        """The teacher likewise, as a user has it: whole, in fp32, in PyTorch's memory format."""
        assert self.config.teacher.model is not None, "it is one network"
        network = build_network(self.dataset, self.config.teacher.model, "teacher")
        return network.to(self.device).eval()
