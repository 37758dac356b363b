"""What the processes of `device_processes` do in tests of training on several devices."""

import io
import itertools
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from loss_students import LOSSES, Pair, make_batch, make_pair
from torch import Tensor
from toys import EPOCHS, make_stream, make_student, make_teacher, train

from kdsweep.common.types import Batch, Output
from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.data.pipeline.strong_view import StrongView
from kdsweep.losses.base.multi_teacher import MultiTeacherLoss
from kdsweep.losses.base.term import Term
from kdsweep.losses.kl import KL
from kdsweep.training import device_group, trainer
from kdsweep.training.checkpoint import restore, sha256, share_state, state_of
from kdsweep.training.device_group import SINGLE, DeviceGroup
from kdsweep.training.dot import DOT
from kdsweep.training.mutual import Peers
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.student import Student
from kdsweep.training.synchronized_batch_norm import SynchronizedBatchNorms
from kdsweep.training.teacher import Ensemble
from kdsweep.training.trainer import CohortUnit

LAST_IS_SMALL = 35  # images: batches of 16, 16 and 3, the last of which is not split
RECIPES: list[dict[str, Any]] = [
    {"T": 1.0},
    {"model": "cnn"},
    {"dropout": 0.5},
    {"model": "cnn", "precision": "bf16", "memory_format": "channels_last", "grad_clip": 0.1},
    {"optimizer": DOT, "grad_clip": 1.0},
    {"terms": {}, "optimizer": torch.optim.SGD},
    {"model": "cnn", "T": 2.0, "ema": 0.9},
    {"optimizer": DOT, "T": 2.0, "accumulate": 2, "ema": 0.5},
]


class Step(NamedTuple):
    """What one step of a student in float64 comes to, as lists of numbers in one order."""

    gradients: Tensor
    terms: Tensor  # parameters, memory, statistics
    statistics: Tensor  # running ones of the student's BatchNorms, and its weights
    readings: Tensor  # losses, and the ratios of gradients


def step(group: DeviceGroup, loss: str, family: str, count: int) -> Step:
    """The first step of a student of `loss_students` on a batch of ``count`` images."""
    student, teacher = in_float64(make_pair(loss, family))
    student.group = group
    kept: list[Tensor] = []

    def keep(optimizer: torch.optim.Optimizer, *_: object) -> None:
        trained = [p for part in optimizer.param_groups for p in part["params"]]
        kept.extend(torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in trained)

    student.optimizer.register_step_pre_hook(keep)
    whole = make_batch(images=count)
    whole = whole._replace(images=whole.images.double())
    batch = whole._replace(images=whole.images[group.rows(count)])
    with torch.no_grad(), group.batch_norms(count):
        own = teacher.network.with_train_features(batch.images)
    student.update(batch, student.forward(batch, 0), group.gathered(own, count), 0)
    states = [part.state_dict().values() for part in (student.objective, student.model)]
    return Step(joined(kept), *map(joined, states), joined(student.readings().values()))


def in_float64(pair: Pair) -> Pair:
    for part in (pair.student.model, pair.student.objective, pair.teacher.network.model):
        part.double()
    return pair


def joined(tensors: Any) -> Tensor:
    parts = [tensor.detach().double().reshape(-1) for tensor in tensors]
    return torch.cat(parts) if parts else torch.zeros(0)


def distance(one: Tensor, other: Tensor) -> float:
    """The L2 norm of the difference, in units of that of the other one."""
    return ((one - other).norm() / other.norm().clamp(min=1e-30)).item()


def distances(
    group: DeviceGroup, families: Sequence[str], losses: Sequence[str] = LOSSES
) -> dict[tuple[str, str], list[float]]:
    """How far a step of each loss is from that of a single process, the first, with one of several.

    BatchNorms are synchronised, and the rows of 7 images are 4 and 3.
    """
    synchronised = replace(group, sync_batchnorm=True)
    found = {}
    for loss, family in itertools.product(losses, families):
        own = step(synchronised, loss, family, 7)
        single = group.from_first(step(SINGLE, loss, family, 7) if group.is_first else own)
        pairs = zip(own, single, strict=True)
        found[loss, family] = [distance(*pair) for pair in pairs]
    return found


def small_batch_distances(group: DeviceGroup) -> list[float]:
    """The same of a batch that is too small to be split, without synchronisation."""
    both = zip(step(group, "srd", "resnet8", 3), step(SINGLE, "srd", "resnet8", 3), strict=True)
    return [distance(*pair) for pair in both]


def distance_from_separate_rows(group: DeviceGroup) -> float:
    """How far a gradient is from that of one process in which each slice has a forward pass."""
    got = step(group, "sp", "resnet8", 7).gradients
    student, teacher = in_float64(make_pair("sp", "resnet8"))
    batch = make_batch(images=7)
    images = batch.images.double()
    parts = [student.network(images[replace(group, rank=rank).rows(7)]) for rank in (0, 1)]
    output = Output(
        torch.cat([part.logits for part in parts]),
        {name: torch.cat([part.features[name] for part in parts]) for name in parts[0].features},
    )
    with torch.no_grad():
        target = teacher.network(images)
    student.objective(output, target, batch, 0).total.backward()
    trained = [*student.model.parameters(), *student.objective.parameters()]
    return distance(got, joined(torch.zeros_like(p) if p.grad is None else p.grad for p in trained))


def batch_norm_distances(group: DeviceGroup) -> dict[str, float]:
    """How far a synchronised BatchNorm is from one of a single process, rows 0-3 and 4-6."""
    found = {}
    for name, shape in {"vectors": (7, 5), "maps": (7, 5, 3, 2)}.items():
        norms = [torch.nn.BatchNorm1d(5) if len(shape) == 2 else torch.nn.BatchNorm2d(5)]
        norms.append(deepcopy(norms[0]))
        for norm in norms:
            norm.double()
            with torch.no_grad():
                norm.weight.copy_(torch.arange(5.0))
                norm.bias.fill_(0.5)
        generator = torch.Generator().manual_seed(0)
        x, slope = (torch.randn(shape, generator=generator).double() + 3 for _ in range(2))
        rows = group.rows(7)
        own, whole = x[rows].requires_grad_(), x.clone().requires_grad_()
        with SynchronizedBatchNorms():
            y = norms[0](own)
        expected = norms[1](whole)
        (y * slope[rows]).sum().backward()
        (expected * slope).sum().backward()
        assert own.grad is not None
        assert whole.grad is not None
        found[f"{name} value"] = distance(y.detach(), expected.detach()[rows])
        found[f"{name} gradient"] = distance(own.grad, whole.grad[rows])
        sums = [joined(p.grad for p in norm.parameters()) for norm in norms]
        dist.all_reduce(sums[0])
        found[f"{name} parameters"] = distance(*sums)
        states = [joined(norm.state_dict().values()) for norm in norms]
        found[f"{name} statistics"] = distance(*states)
        with SynchronizedBatchNorms():
            y = norms[0].eval()(x)
        found[f"{name} in eval mode"] = distance(y.detach(), norms[1].eval()(x).detach())
    return found


def make_units() -> list[CohortUnit]:
    """Students of every recipe, and peers."""
    return [*(make_student(**recipe) for recipe in RECIPES), make_peers()]


def make_peers() -> Peers:
    def peer(seed: int) -> Student:
        terms: dict[str, Term] = {"kl": MultiTeacherLoss([KL(T=1.0, weight=0.5)])}
        return make_student(seed=seed, terms=terms, dropout=0.5)

    return Peers({f"peer{seed}": peer(seed) for seed in range(2)})


def bits(units: Sequence[CohortUnit]) -> list[str]:
    students = trainer.students_of(units)
    return [sha256(model) for student in students for model in student.models]


def bits_in_lockstep_and_alone(group: DeviceGroup) -> tuple[list[str], list[str]]:
    together = make_units()
    train_units(group, together)
    alone = make_units()
    for unit in alone:
        train_units(group, [unit])
    return bits(together), bits(alone)


def bits_with_an_online_teacher(group: DeviceGroup) -> tuple[list[str], list[str]]:
    def online() -> OnlineTeacher:
        return OnlineTeacher(make_student(model="cnn", terms={}, seed=7, dropout=0.5))

    together, teacher = make_units()[:3], online()
    train_units(group, together, teacher=teacher)
    alone = make_units()[:3]
    for unit in alone:
        train_units(group, [unit], teacher=online())
    labels = online().student  # alone, as a run on labels
    train_units(group, [labels])
    return bits([*together, teacher.student]), bits([*alone, labels])


def train_units(group: DeviceGroup, units: Sequence[CohortUnit], **options: Any) -> None:
    stream = options.pop("stream", None) or make_stream(count=LAST_IS_SMALL, rows=group.rows)
    train(units, group=group, stream=stream, **options)  # type: ignore[arg-type]
    assert [unit.failure for unit in units] == [None] * len(units)


def distances_after_training(group: DeviceGroup) -> dict[str, float]:
    """How far weights are from those of one process after epochs on mixed images, in two views."""

    def averaged() -> dict[str, Term]:
        return {"kl": MultiTeacherLoss([KL(T=4.0, weight=0.9) for _ in range(2)])}

    def weights(each: DeviceGroup, **options: Any) -> Tensor:
        teacher = options.pop("teacher", None)
        student = make_student(alpha=0.9, **options)
        stream = make_stream(count=LAST_IS_SMALL, rows=each.rows)
        stream.mix, stream.strong = BatchMixer(mixup=0.5), StrongView(stream.augment, 1)
        train_units(each, [student], stream=stream, teacher=teacher)
        return joined(student.reported.state_dict().values())

    cases: dict[str, dict[str, Any]] = {
        "SGD": {"optimizer": torch.optim.SGD},
        "BatchNorm": {"optimizer": torch.optim.SGD, "model": "cnn"},
        "DOT": {"optimizer": DOT, "lr": 0.01, "grad_clip": 0.5},
        "accumulation": {"optimizer": torch.optim.SGD, "accumulate": 2, "grad_clip": 0.5},
        "of whole epochs": {"optimizer": DOT, "lr": 0.01, "accumulate": 3},
        "average": {"optimizer": torch.optim.SGD, "model": "cnn", "ema": 0.5},
        "ensemble": {
            "optimizer": torch.optim.SGD,
            "terms": averaged,
            "teacher": Ensemble([make_teacher(), make_teacher()]),
        },
    }
    synchronised = replace(group, sync_batchnorm=True)
    found = {}
    for name, options in cases.items():
        own = weights(synchronised, **options)
        single = group.from_first(weights(SINGLE, **options) if group.is_first else own)
        found[name] = distance(own, single)
    return found


def bits_whole_and_resumed(group: DeviceGroup) -> tuple[list[str], list[str]]:
    """Of training to the end; and for an epoch, whose state only the first process has kept."""
    whole = make_units()
    train_units(group, whole)
    begun, resumed = make_units(), make_units()
    train_units(group, begun, epochs=1)
    if group.is_first:
        pairs = zip(trainer.students_of(begun), trainer.students_of(resumed), strict=True)
        for before, after in pairs:
            buffer = io.BytesIO()
            torch.save([state_of(before), before.model.state_dict()], buffer)
            buffer.seek(0)
            restore(after, *torch.load(buffer, weights_only=True))
    share_state(trainer.students_of(resumed), group)
    train_units(group, resumed, epochs=EPOCHS)
    return bits(whole), bits(resumed)


class Raises(KL):
    """Fails in the objective, which every process computes."""

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        raise RuntimeError("no such kernel")


def reasons_of_failures(group: DeviceGroup) -> tuple[list[str | None], list[str], list[str]]:
    """The reasons, and the bits of those that have none, in a cohort and alone."""
    storm = make_student(lr=1e30, optimizer=torch.optim.SGD)
    raising = make_student(terms={"kl": Raises(T=1.0, weight=0.5)})
    stopped, calm, alone = make_student(), make_student(model="cnn"), make_student(model="cnn")

    def record(student: Student, metrics: dict[str, float]) -> None:
        if student is stopped and group.is_first:
            student.fail("pruned")

    units = [storm, raising, stopped, calm]
    train(units, group=group, record=record)
    train([alone], group=group)
    return [unit.failure for unit in units], bits([calm]), bits([alone])


def raised_alone(group: DeviceGroup) -> str:
    """What a process raises whose forward pass fails, while that of the first one does not."""
    student = make_student()
    if group.is_first:
        return "the others would wait for it"

    def explode(*inputs: object) -> None:
        raise ValueError("no such kernel")

    student.network.model.forward = explode  # type: ignore[method-assign]
    device_group.PATIENCE = 0.2
    teacher = make_student(terms={}).network  # of the whole batch: nothing is gathered
    try:
        with trainer.isolate_failures(student, group, "a place"):
            student.step(next(iter(make_stream().epoch(0))), teacher(torch.zeros(16, 1, 8, 8)), 0)
    except ValueError as error:
        return str(error)
    return f"nothing, and the student fails: {student.failure}"
