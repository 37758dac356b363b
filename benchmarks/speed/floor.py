"""The floor: bare steps of N students on ready tensors and ready outputs of the teacher.

Forward, loss, backward and optimizer of each student in turn, in the precision and the memory
format of the sweep that it is compared with; nothing is read, augmented, measured or recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from speed.cohorts import GRID, Cohorts
from speed.solo_loop import distillation_loss

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class ReadyBatch(NamedTuple):
    """What a step takes: (B, channels, H, W), (B,), (B, C)."""

    images: Tensor
    labels: Tensor
    teacher_logits: Tensor


@dataclass
class BareStudent:
    """A network in training and nothing around it."""

    model: nn.Module
    optimizer: Optimizer
    T: float
    alpha: float
    precision: str = "fp32"  # or bf16 (autocast)

    def step(self, batch: ReadyBatch) -> Tensor:
        """Train on a batch; returns the loss."""
        is_bf16 = self.precision == "bf16"
        with torch.autocast(batch.images.device.type, dtype=torch.bfloat16, enabled=is_bf16):
            logits = self.model(batch.images)
        # A CPU's autocast would take the softmax in bf16, where a loss is wrong by a percent.
        loss = distillation_loss(
            logits.float(), batch.teacher_logits, batch.labels, self.T, self.alpha
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


def bare_students(cohorts: Cohorts) -> list[BareStudent]:
    """One for each run of the grid, in the precision and memory format of its students."""
    precision, memory_format = form(cohorts)
    students = []
    for T, alpha in GRID:
        model = cohorts.plain_student().to(memory_format=memory_format).train()
        students.append(BareStudent(model, plain_optimizer(model, cohorts), T, alpha, precision))
    return students


def form(cohorts: Cohorts) -> tuple[str, torch.memory_format]:
    """Precision and memory format of a cohort's students."""
    trainer = cohorts.config.trainer
    return trainer.precision, FORMATS[trainer.memory_format]


def plain_optimizer(model: nn.Module, cohorts: Cohorts) -> Optimizer:
    """SGD with the options of the runs."""
    options = cohorts.config.optimizer
    names = ("lr", "momentum", "weight_decay")
    return SGD(model.parameters(), **{name: options[name] for name in names})


def ready_batches(cohorts: Cohorts) -> list[ReadyBatch]:
    """The batches of an epoch, in the students' memory format, with the teacher's logits."""
    assert cohorts.teacher is not None, "each of the nine runs has one"
    _, memory_format = form(cohorts)
    batches = []
    for step, batch in enumerate(cohorts.stream.epoch(0)):
        logits = cohorts.teacher.targets(batch, step).logits
        images = batch.images.contiguous(memory_format=memory_format)
        batches.append(ReadyBatch(images, batch.labels, logits))
    return batches


def train_epoch(students: Sequence[BareStudent], batches: Sequence[ReadyBatch]) -> None:
    """The bare steps of an epoch."""
    for batch in batches:
        for student in students:
            student.step(batch)
