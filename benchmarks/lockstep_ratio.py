"""How much cheaper is a grid in lockstep than its runs one by one?

Nine students (T in 1, 4, 16 x alpha in 0.1, 0.5, 0.9), a VGG16 teacher and the convnet4 student,
batch 128, fp32: the training steps of the cohort against those of nine cohorts of one, each with
its own stream and its own teacher forward. Both are the project's own objects and loop body. A
round times both, in turn, so that a noisy machine disturbs them alike; the ratio of each round is
printed, and their median.

    python benchmarks/lockstep_ratio.py --data FOLDER   # a folder of class folders with train/
    python benchmarks/lockstep_ratio.py                 # made images of the same size

The teacher's weights are those it is born with: speed does not depend on them.
"""

import argparse
import itertools
import statistics
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from kdsweep.build import (
    build_dataset,
    build_stream,
    build_student,
    build_teacher_network,
    resolve_device,
)
from kdsweep.cli import CONF
from kdsweep.plan import make_plans
from kdsweep.training.lockstep import isolated
from kdsweep.training.student import Student
from kdsweep.training.teacher import Teacher

GRID = [
    f"T={T} alpha={alpha}".split() for T, alpha in itertools.product((1, 4, 16), (0.1, 0.5, 0.9))
]


def main() -> None:
    """Time the rounds and print their ratios."""
    options = _options()
    plans = make_plans([_config(job, options) for job in GRID], GRID, 0, ["T", "alpha"])
    values = plans[0].values
    device = resolve_device(options.device)
    dataset = build_dataset(values["dataset"], device)
    network = build_teacher_network(values, dataset, ())
    network.model.to(device)
    teacher = Teacher(network, precision=options.precision, device=device)
    stream = build_stream(values, dataset, device)
    print(f"{len(dataset.train.labels)} images of {dataset.image_shape}, {len(plans)} students")

    def students() -> list[Student]:
        return [build_student(p.values, dataset, [network], stream.steps_per_epoch) for p in plans]

    together, alone = students(), students()
    ratios = []
    with isolated(options.threads):
        for round in range(-1, options.rounds):
            one = timed(together, teacher, stream, options.batches, max(round, 0))
            nine = sum(
                timed([student], teacher, stream, options.batches, max(round, 0))
                for student in alone
            )
            if round < 0:
                continue  # the first touch of memory is not a measurement
            ratios.append(one / nine)
            print(
                f"round {round + 1}: lockstep {one:.2f} s, nine solo runs {nine:.2f} s,"
                f" ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(
        f"median ratio {statistics.median(ratios):.3f} [{min(ratios):.3f}..{max(ratios):.3f}],"
        f" n = {len(ratios)} rounds, {options.threads} thread(s), {options.precision}, {device}"
    )


def timed(
    students: list[Student], teacher: Teacher, stream: object, batches: int, epoch: int
) -> float:
    """Seconds for the first batches of an epoch, as `kdsweep.training.lockstep.fit` trains them."""
    began = time.perf_counter()
    for step, batch in enumerate(itertools.islice(stream.epoch(epoch), batches)):
        target = teacher(batch.images)
        for student in students:
            student.step(batch, target, step)
    _synchronise(teacher)
    return time.perf_counter() - began


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
    parser.add_argument("--data", type=Path, help="image folder; without it, made images")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=2, help="batches timed in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
