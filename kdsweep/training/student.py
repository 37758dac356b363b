"""A student: a network in training, with its objective, optimizer and schedule."""

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kdsweep.common.rng import reseed
from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.objective import Loss, Objective
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.training.arithmetic import autocast
from kdsweep.training.device_group import SINGLE
from kdsweep.training.gradients import RATIO, gradient_ratios
from kdsweep.training.readings import Readings
from kdsweep.training.step import GradientChange, StepGradients
from kdsweep.training.views import output_of_views
from kdsweep.training.weight_average import WeightAverage

LARGEST = "largest_parameter"  # a reading that is no metric: whether all parameters are finite


class Student:
    """One run's network, objective, optimizer, schedule and running metrics.

    Its weights depend only on itself, the batches and the teacher's outputs: they end with the
    same bits whatever else the cohort holds, in whatever order.

    Args:
        network: the model, with the features that the objective needs.
        objective: the weighted sum of loss terms; its parameters are trained too.
        optimizer: over the parameters of model and objective.
        schedule: stepped after every step of the optimizer.
        seed: of the run; dropout masks follow from (seed, epoch, step).
        precision: "fp32" or "bf16" (autocast).
        grad_clip: the largest norm of the gradient; None for no clipping.
        accumulate: batches of a step of the optimizer, whose gradient is their mean.
        per_epoch: batches in an epoch; with ``accumulate``, for the last step of each.
        ema: decay of the average of its weights that is reported; None: the weights themselves.
        ema_warmup: whether that decay rises with the first steps.
        device: where the model is.
    """

    _ratios: dict[str, Tensor]  # of gradients, on the very first batch
    _terms: tuple[str, ...]  # names, in the order of the sums

    def __init__(
        self,
        network: FeatureExtractor,
        objective: Objective,
        optimizer: Optimizer,
        schedule: LRScheduler,
        *,
        seed: int,
        precision: str = "fp32",
        grad_clip: float | None = None,
        accumulate: int = 1,
        per_epoch: int = 1,
        ema: float | None = None,
        ema_warmup: bool = False,
        device: str = "cpu",
    ) -> None:
        self.network, self.objective = network, objective
        self.optimizer, self.schedule = optimizer, schedule
        self.seed, self.precision = seed, precision
        self.gradients = StepGradients(
            optimizer, most=grad_clip, batches=accumulate, per_epoch=per_epoch
        )
        self.device = torch.device(device)
        self.average = None if ema is None else WeightAverage(network.model, ema, warmup=ema_warmup)
        self.epoch = 0  # epochs trained
        self.seconds = 0.0  # of training, summed over restarts
        self.best_acc: float | None = None  # best val/acc of any epoch
        self.failure: str | None = None
        self.has_stepped = False  # in this process
        self.group = SINGLE  # the processes that train it; set by `fit`
        self._begin_epoch()

    @property
    def model(self) -> nn.Module:
        """The model, without the hooks for features."""
        return self.network.model

    @property
    def reported(self) -> nn.Module:
        """The model whose figures and weights are reported: that of averaged weights, if any."""
        return self.model if self.average is None else self.average.model

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """The model, and that of its averaged weights if there is one."""
        return (self.model,) if self.average is None else (self.model, self.average.model)

    @property
    def num_params(self) -> int:
        """Number of the model's trainable parameters."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def fail(self, reason: str) -> None:
        """Take this student out of its cohort; the others continue. The first reason is kept."""
        self.failure = self.failure or reason

    @property
    def students(self) -> "tuple[Student, ...]":
        """Itself: a single student is a unit of its cohort."""
        return (self,)

    def step(self, batch: Batch, target: Output | None, step: int) -> None:
        """Train on one batch. Never waits for the device: metrics are read once an epoch."""
        self.update(batch, self.forward(batch, step), target, step)

    def forward(self, batch: Batch, step: int) -> Output:
        """Forward pass in training mode, with gradients; of each view if there are two.

        On several devices that of the own rows of the batch; the output is of the whole batch.
        """
        seed, count = ("step", self.seed, self.epoch, step), len(batch.labels)
        reseed(self.device, *seed, *self.group.seed_parts(count))
        with self.autocast(), self.group.batch_norms(count):
            output = output_of_views(self.network, batch)
        if self.group.splits(count):
            reseed(self.device, *seed)  # what terms draw is the same in every process
        return self.group.gathered(output, count)

    def update(self, batch: Batch, output: Output, target: Output | None, step: int) -> None:
        """One optimizer step from the network's output for the batch.

        With accumulation only if it is the last batch of its group.
        """
        with self.autocast():
            loss = self.objective(output, target, batch, self.epoch)
        count = len(batch.labels)
        change = self._change_of_gradients(count)
        if self.epoch == step == 0:
            weights = self.objective.weights
            self._ratios = gradient_ratios(loss.values, weights, self.model, change)
        # Where it is not split, every process has the whole gradient, and the first one's counts.
        is_own = self.group.is_first or self.group.splits(count)
        self.gradients.add(loss, step, count, counts=is_own)
        if self.gradients.ends(step):
            self._optimizer_step(change)
        self._count_in(loss, output.logits, batch.labels)

    def _optimizer_step(self, change: GradientChange | None) -> None:
        self.gradients.finish(change)
        self._lr = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        # Else each student would keep its gradients while the others train.
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.average is not None:
            self.average.update(self.model)
        self.has_stepped = True

    def _change_of_gradients(self, count: int) -> GradientChange | None:
        """What makes the gradients of this process those of a batch of so many images.

        With accumulation those of the whole group: of a batch that is not split, the network's are
        zeros in all processes but the first.
        """
        if self.group.size == 1:
            return None
        are_own = self.group.splits(count) or self.gradients.batches > 1
        sliced = set(self.model.parameters()) if are_own else set()
        return partial(self.group.sum_gradients, sliced=sliced)

    @torch.no_grad()
    def _count_in(self, loss: Loss, logits: Tensor, labels: Tensor) -> None:
        """Add a batch to the sums of the epoch."""
        correct = (logits.argmax(1) == labels).double().mean()
        losses = (value.double() for value in (loss.total, *loss.values.values()))
        values = torch.stack([*losses, correct])
        if not self._count:
            self._terms = tuple(loss.values)
            self._sums = torch.zeros_like(values)
        self._sums += values * len(labels)
        self._count += len(labels)

    @torch.no_grad()
    def readings(self) -> Readings:
        """What `end_epoch` needs, on the device: the epoch's training metrics but `lr`."""
        names = ["train/loss", *(f"train/{name}" for name in self._terms), "train/acc"]
        means = (self._sums / max(self._count, 1)).unbind()
        largest = nn.utils.get_total_norm(list(self.model.parameters()), math.inf)
        return {
            **dict(zip(names, means, strict=True)),
            **self.objective.metrics(),
            **{f"{RATIO}{name}": ratio for name, ratio in self._ratios.items()},
            LARGEST: largest.to(self.device),
        }

    def end_epoch(self, read: Mapping[str, float]) -> dict[str, float]:
        """The metrics of the epoch; fails the student if it has become non-finite.

        ``read`` has the values of its `readings`, and may have more metrics.
        """
        rest = dict(read)
        largest = rest.pop(LARGEST)
        means = {name: rest.pop(name) for name in read if name.startswith("train/")}
        metrics = {**means, "lr": self._lr, **rest}
        if not math.isfinite(largest):
            self.fail(f"non-finite parameters at the end of epoch {self.epoch}")
        if not all(map(math.isfinite, means.values())):
            self.fail(f"non-finite training loss in epoch {self.epoch}")
        self.epoch += 1
        self._begin_epoch()
        return metrics

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, C) of images by the reported model, in its mode and the own precision."""
        return self._logits_of(self.reported, images)

    def raw_logits(self, images: Tensor) -> Tensor:
        """Those of the model in training, whose weights are not averaged."""
        return self._logits_of(self.model, images)

    def _logits_of(self, model: nn.Module, images: Tensor) -> Tensor:
        with self.autocast():
            logits: Tensor = model(images)
        return logits

    def autocast(self) -> torch.autocast:
        """The student's precision, entered anew for every forward pass."""
        return autocast(self.device, self.precision)

    def _begin_epoch(self) -> None:
        self.network.model.train()
        self._count, self._lr = 0, 0.0
        self._terms = ()
        self._ratios = {}
        self._sums = torch.zeros(0, dtype=torch.float64, device=self.device)
