"""Time of a grid in lockstep relative to its runs one by one.

Nine students (T in 1, 4, 16 x alpha in 0.1, 0.5, 0.9), a VGG16 teacher and the convnet4 student,
batch 128, fp32: the training steps of the cohort against those of nine cohorts of one, each with
its own stream and its own teacher forward. Both use kdsweep's own objects and `train_epoch`.
Rounds time both in turn, so that a noisy machine affects them equally; the ratio
of each round is printed, and their median.

Each round is an epoch of a few batches. The first one is not timed: it touches memory for the
first time, and the first step of a training measures the gradient of each term (`grad_ratio/`),
once per sweep.

    python benchmarks/lockstep_ratio.py --data FOLDER   # a folder of class folders with train/
    python benchmarks/lockstep_ratio.py                 # synthetic images of the same size

The teacher has its initial weights: speed does not depend on them.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from kdsweep.builders.data import build_dataset, build_stream
from kdsweep.builders.device import resolve_device
from kdsweep.builders.models import build_teacher_network
from kdsweep.builders.students import build_student
from kdsweep.cli import CONF
from kdsweep.common.types import Batch
from kdsweep.data.pipeline.stream import Stream
from kdsweep.runs.build_specs import build_specs
from kdsweep.training.student import Student
from kdsweep.training.teacher import Teacher
from kdsweep.training.trainer import torch_state, train_epoch

GRID = [
    f"T={T} alpha={alpha}".split() for T, alpha in itertools.product((1, 4, 16), (0.1, 0.5, 0.9))
]


def main() -> None:
    """Time the rounds and print their ratios."""
    options = _options()
    specs = build_specs([_config(job, options) for job in GRID], GRID, 0, ["T", "alpha"])
    config = specs[0].config
    device = resolve_device(options.device)
    dataset = build_dataset(config.dataset, device)
    network = build_teacher_network(config.teacher.model, config.teacher.seed, dataset)
    network.model.to(device)
    teacher = Teacher(network, precision=options.precision, device=device)
    stream = build_stream(config, dataset, device)
    print(f"{len(dataset.train.labels)} images of {dataset.image_shape}, {len(specs)} students")

    def students() -> list[Student]:
        return [build_student(s.config, dataset, [network], stream.steps_per_epoch) for s in specs]

    together, alone = students(), students()
    short = FirstBatches(stream, options.batches)
    rounds = []
    with torch_state(options.threads, device):
        for epoch in range(options.rounds + 1):
            one = timed(together, teacher, short, epoch)
            nine = sum(timed([student], teacher, short, epoch) for student in alone)
            if epoch == 0:
                continue  # the first epoch of a training has additional work
            rounds.append((one, nine, one / nine))
            print(
                f"round {epoch}: lockstep {one:.2f} s, nine solo runs {nine:.2f} s,"
                f" ratio {one / nine:.3f}",
                flush=True,
            )
    lockstep, solo, ratio = (spread(figures) for figures in zip(*rounds, strict=True))
    print(
        f"median of {len(rounds)} rounds [min..max]: lockstep {lockstep} s,"
        f" nine solo runs {solo} s, ratio {ratio}"
    )
    setting = f"{options.batches} batches, {options.threads} thread(s)"
    print(f"{setting}, {options.precision}, {device}")


def spread(figures: Sequence[float]) -> str:
    """Median, minimum and maximum."""
    return f"{statistics.median(figures):.3f} [{min(figures):.3f}..{max(figures):.3f}]"


class FirstBatches(Stream):
    """A stream that ends every epoch after a few batches."""

    def __init__(self, stream: Stream, count: int) -> None:
        self.__dict__.update(vars(stream))
        self.count = count

    def epoch(self, epoch: int) -> Iterator[Batch]:
        return itertools.islice(super().epoch(epoch), self.count)


def timed(students: Sequence[Student], teacher: Teacher, stream: Stream, epoch: int) -> float:
    """Seconds of an epoch's steps, without the end of epoch of `kdsweep.training.trainer.fit`."""
    began = time.perf_counter()
    train_epoch(students, stream, epoch, teacher)
    _synchronise(teacher)
    seconds = time.perf_counter() - began
    for student in students:
        if student.failure is not None:
            raise SystemExit(student.failure)
        student.end_epoch()  # the next step is not a training's first one
    return seconds


def _synchronise(teacher: Teacher) -> None:
    if teacher.device.type != "cpu":
        import torch

        torch.accelerator.synchronize(teacher.device)


def _config(job: list[str], options: argparse.Namespace) -> DictConfig:
    data = ["dataset=fake", "dataset.source.shape=[3,32,32]", "dataset.source.num_train=5000"]
    if options.data is not None:
        data = ["dataset=image_folder", f"dataset.root={options.data.resolve()}"]
    with initialize_config_dir(str(CONF)):
        return compose(
            "train",
            [
                *data,
                "dataset.augment.crop_padding=4",
                "dataset.augment.flip=true",
                "dataset.val_fraction=0",
                "teacher=vgg16",
                "student=convnet4",
                "optimizer=sgd",
                "trainer.epochs=1000",
                "trainer.batch_size=128",
                f"trainer.threads={options.threads}",
                f"trainer.precision={options.precision}",
                *job,
            ],
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="image folder; without it, synthetic images")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=2, help="batches timed in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
