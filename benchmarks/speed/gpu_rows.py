"""The rows of benchmarks/gpu.py: a pair of networks in a precision and a memory format, and what
is timed of it.

loop: a user's loop for one run, with a DataLoader or with images that are on the device already.
lockstep N, floor N: N students of kdsweep, and their bare steps with the same kernels.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kdsweep.training.determinism import deterministic_kernels
from speed import floor
from speed.cohorts import Cohorts, Work
from speed.floor import BareStudent
from speed.machine import usable_cores
from speed.solo_loop import SoloRun, make_loader
from speed.stacked import EXPERIMENTS, Looped, difference

LOADER, TENSORS, DEFAULT = "loop, DataLoader", "loop, ready images", "floor, default kernels"
MOST_WORKERS = 8
PREFETCHED = 2  # batches of a worker, PyTorch's default
REPEATED = 8  # times that the loader's images come before its order is drawn anew


@dataclass(frozen=True)
class Pair:
    """A teacher and a student on images of one size.

    Attributes:
        batch: images in a batch.
        batches: in a round.
        counts: numbers of students in lockstep.
    """

    work: Work
    shape: tuple[int, int, int]
    batch: int
    batches: int
    counts: tuple[int, ...]

    def words(self, batches: int) -> tuple[str, ...]:
        """Overrides for made images of this size, as many as there are in the batches."""
        images = self.batch * batches
        shape = str(list(self.shape)).replace(" ", "")
        return (
            *("dataset=fake", f"dataset.source.shape={shape}", "dataset.val_fraction=0"),
            *("dataset.source.num_classes=4", "dataset.source.num_test=64"),
            f"dataset.source.num_train={images}",
            *("dataset.augment.crop_padding=4", "dataset.augment.flip=true"),
            *(*self.work.words, f"trainer.batch_size={self.batch}"),
        )


RESNET = Work("resnet56 -> resnet20", ("teacher=resnet56", "student=resnet20"))
VGG = Work("VGG16 -> convnet4", ("teacher=vgg16", "student=convnet4"))
MOBILE = Work(
    "resnet34 -> mobilenet_v2",
    ("teacher=resnet34", "student=torchvision", "student.model.name=mobilenet_v2"),
)
SIZES = {
    "full": [
        Pair(RESNET, (3, 32, 32), 128, 10, (1, 9, 32)),
        Pair(VGG, (3, 32, 32), 128, 10, (1, 9, 32)),
        Pair(MOBILE, (3, 224, 224), 32, 3, (1, 9, 32)),
    ],
    "small": [
        Pair(RESNET, (3, 32, 32), 8, 1, (1, 2, 3)),
        Pair(VGG, (3, 32, 32), 8, 1, (1, 2, 3)),
        Pair(MOBILE, (3, 64, 64), 4, 1, (1, 2, 3)),
    ],
}
FORMS = {
    "fp32": ("trainer.precision=fp32", "trainer.memory_format=contiguous"),
    "bf16, channels_last": ("trainer.precision=bf16", "trainer.memory_format=channels_last"),
    "fp32, channels_last": ("trainer.precision=fp32", "trainer.memory_format=channels_last"),
}


def teacher_words(form: str) -> list[str]:
    """The teacher in the form of its students, where a format is to be compared."""
    memory_format = FORMS[form][1].partition("=")[2]
    return [f"teacher.memory_format={memory_format}"]


class Row:
    """What is timed of one pair in one form; everything is built when it is first run."""

    def __init__(self, cohorts: Cohorts, pair: Pair) -> None:
        self.cohorts, self.pair, self.device = cohorts, pair, cohorts.device
        self.precision, self.memory_format = floor.form(cohorts)
        self.workers = min(usable_cores() - 1, MOST_WORKERS)
        with deterministic_kernels(self.device):
            self.batches = floor.ready_batches(cohorts)

    def columns(self) -> dict[str, Callable[[], Callable[[], object]]]:
        """What makes each column: it returns what is called once a round."""
        columns: dict[str, Callable[[], Callable[[], object]]] = {
            LOADER: self.loop_with_loader,
            TENSORS: self.loop_on_tensors,
        }
        for count in self.pair.counts:
            columns[f"lockstep {count}"] = partial(self.lockstep, count)
            columns[f"floor {count}"] = partial(self.floor, count)
        columns[DEFAULT] = partial(self.floor, self.some, deterministic=False)
        for name in EXPERIMENTS:
            columns[name] = partial(self.experiment, name)
        return columns

    @property
    def some(self) -> int:
        """The number of students of the experiments."""
        return self.pair.counts[1]

    def students_of(self, column: str) -> int:
        """How many students a column trains."""
        last = column.rpartition(" ")[2]
        if last.isdigit():
            return int(last)
        return 1 if column in (LOADER, TENSORS) else self.some

    def loop_with_loader(self) -> Callable[[], object]:
        run, self._loaded = self._solo_run(), endless(self._loader())
        return lambda: run.train_epoch(self._in_format(self._loaded, len(self.batches)))

    def prepare(self, column: str) -> None:
        """Before a column is timed: what workers have loaded ahead meanwhile would cost nothing."""
        if column == LOADER:
            for _ in itertools.islice(self._loaded, PREFETCHED * self.workers):
                pass

    def loop_on_tensors(self) -> Callable[[], object]:
        run = self._solo_run()
        return lambda: run.train_epoch([(batch.images, batch.labels) for batch in self.batches])

    def lockstep(self, count: int) -> Callable[[], object]:
        made = itertools.chain.from_iterable(self.cohorts.students() for _ in itertools.count())
        students = list(itertools.islice(made, count))
        return lambda: self.cohorts.train_epoch(students)

    def floor(self, count: int, *, deterministic: bool = True) -> Callable[[], object]:
        students = self.bare_students(count)

        def train() -> None:
            with deterministic_kernels(self.device if deterministic else "cpu"):
                floor.train_epoch(students, self.batches)

        return train

    def experiment(self, name: str) -> Callable[[], object]:
        with deterministic_kernels(self.device):
            trained = EXPERIMENTS[name](self.bare_students(self.some), self.batches[0])

        def train() -> None:
            with deterministic_kernels(self.device):
                for batch in self.batches:
                    trained.step(batch)

        return train

    def differences(self, name: str) -> dict[str, float]:
        """How far an experiment's students are from those of the loop after an epoch.

        Without dropout, whose masks are drawn in another order.
        """
        with deterministic_kernels(self.device):
            looped = Looped(self.bare_students(self.some))
            others = self.bare_students(self.some)
            for one, other in zip(looped.students, others, strict=True):
                other.model.load_state_dict(one.model.state_dict())
            for student in (*looped.students, *others):
                without_dropout(student.model)
            return difference(EXPERIMENTS[name](others, self.batches[0]), looped, self.batches)

    def bare_students(self, count: int) -> list[BareStudent]:
        """As many, with the options of the nine runs in turn."""
        made = itertools.chain.from_iterable(
            floor.bare_students(self.cohorts) for _ in itertools.count()
        )
        return list(itertools.islice(made, count))

    def _solo_run(self) -> "AutocastRun":
        student, teacher = (
            self._plain(make) for make in (self.cohorts.plain_student, self.cohorts.plain_teacher)
        )
        optimizer = floor.plain_optimizer(student, self.cohorts)
        run = AutocastRun(student, teacher, optimizer, 4.0, 0.5, self.device)
        run.precision = self.precision
        return run

    def _plain(self, make: Callable[[], nn.Module]) -> nn.Module:
        return make().to(memory_format=self.memory_format)

    def _loader(self) -> DataLoader[tuple[Tensor, int]]:
        data = self.cohorts.dataset
        loader = make_loader(
            data.train.images[:].repeat(REPEATED, 1, 1, 1),
            data.train.labels.repeat(REPEATED),
            batch_size=self.pair.batch,
            mean=data.mean,
            std=data.std,
        )
        return DataLoader(
            loader.dataset,
            batch_size=self.pair.batch,
            shuffle=True,
            drop_last=True,
            num_workers=self.workers,
            prefetch_factor=PREFETCHED if self.workers else None,
            persistent_workers=self.workers > 0,
            pin_memory=self.device != "cpu",
        )

    def _in_format(
        self, images: Iterator[tuple[Tensor, Tensor]], count: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for pixels, labels in itertools.islice(images, count):
            moved = pixels.to(self.device, non_blocking=True)
            yield (
                moved.contiguous(memory_format=self.memory_format),
                labels.to(self.device, non_blocking=True),
            )


class AutocastRun(SoloRun):
    """The loop in a precision."""

    precision = "fp32"

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        enabled = self.precision == "bf16"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=enabled):
            return super().loss(images, labels)


def without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def endless(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batch after batch: epochs are short here, and no loop is to wait for the first of each."""
    while True:
        yield from loader
