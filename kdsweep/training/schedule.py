"""Learning-rate schedules, stepped with the optimizer, each with an optional linear warm-up.

The curves are torch's own; these classes only translate epochs into steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from kdsweep.common.validation import check_whole, require


class Schedule(ABC):
    """A recipe for a learning-rate curve; `build` ties it to an optimizer.

    The learning rate rises linearly from 1/(steps + 1) of itself in `warmup_epochs` epochs (>= 0).
    Raises ValueError, naming the schedule key that is out of range.
    """

    def __init__(self, *, warmup_epochs: int = 0) -> None:
        check_whole("warmup_epochs", warmup_epochs, least=0)
        self.warmup_epochs = warmup_epochs

    def build(self, optimizer: Optimizer, *, epochs: int, steps_per_epoch: int) -> LRScheduler:
        """The scheduler to be stepped after every optimizer step, of `epochs * steps_per_epoch`."""
        if 0 < epochs <= self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs must be less than trainer.epochs={epochs}, got {self.warmup_epochs}"
            )
        warmup = self.warmup_epochs * steps_per_epoch
        curve = self.curve(optimizer, epochs * steps_per_epoch - warmup, warmup, steps_per_epoch)
        if not warmup:
            return curve
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        return lr_scheduler.SequentialLR(optimizer, [rise, curve], milestones=[warmup])

    @abstractmethod
    def curve(self, optimizer: Optimizer, steps: int, warmup: int, per_epoch: int) -> LRScheduler:
        """The curve after the warm-up: `steps` steps long, from step `warmup`; steps per epoch."""


class Constant(Schedule):
    """The optimizer's own learning rate throughout."""

    def curve(self, optimizer: Optimizer, steps: int, warmup: int, per_epoch: int) -> LRScheduler:
        return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)


class MultiStep(Schedule):
    """Multiplied by `gamma` whenever `milestones` epochs have been trained (warm-up included)."""

    def __init__(
        self, *, milestones: Sequence[int], gamma: float = 0.1, warmup_epochs: int = 0
    ) -> None:
        super().__init__(warmup_epochs=warmup_epochs)
        is_rising = all(first < second for first, second in pairwise([0, *milestones]))
        require(is_rising, "milestones", "rising epochs >= 1", list(milestones))
        require(0 < gamma <= 1, "gamma", "in (0, 1]", gamma)
        self.milestones, self.gamma = list(milestones), gamma

    def curve(self, optimizer: Optimizer, steps: int, warmup: int, per_epoch: int) -> LRScheduler:
        milestones = [epoch * per_epoch - warmup for epoch in self.milestones]
        return lr_scheduler.MultiStepLR(optimizer, milestones, gamma=self.gamma)


class Cosine(Schedule):
    """Half a cosine down to 0 (SGDR without restarts, Loshchilov & Hutter 2017)."""

    def curve(self, optimizer: Optimizer, steps: int, warmup: int, per_epoch: int) -> LRScheduler:
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)


class OneCycle(Schedule):
    """Up to the optimizer's learning rate and down to almost 0 (Smith & Topin 2018).

    Momentum (beta1 of Adam) runs the other way, as in `torch.optim.lr_scheduler.OneCycleLR`. Other
    optimizers, such as DOT with two momenta, have only their learning rate moved.
    """

    def __init__(self, *, pct_start: float = 0.3, warmup_epochs: int = 0) -> None:
        super().__init__(warmup_epochs=warmup_epochs)
        require(0 < pct_start < 1, "pct_start", "in (0, 1)", pct_start)
        self.pct_start = pct_start

    def curve(self, optimizer: Optimizer, steps: int, warmup: int, per_epoch: int) -> LRScheduler:
        peaks = [group["lr"] for group in optimizer.param_groups]
        # One step more than the optimizer takes: the scheduler is stepped once after the last one.
        return lr_scheduler.OneCycleLR(
            optimizer,
            peaks,
            total_steps=steps + 1,
            pct_start=self.pct_start,
            cycle_momentum=not optimizer.defaults.keys().isdisjoint({"momentum", "betas"}),
        )


class OncePerEpoch(LRScheduler):
    """A scheduler that moves after every so many steps, as those of torch do after an epoch.

    It is not initialised as a scheduler: the one that it holds has set the learning rate.
    """

    def __init__(self, scheduler: LRScheduler, steps_per_epoch: int) -> None:
        self.scheduler, self.steps_per_epoch, self.steps = scheduler, steps_per_epoch, 0

    def step(self, epoch: int | None = None) -> None:
        self.steps += 1
        if self.steps % self.steps_per_epoch == 0:
            self.scheduler.step()

    def get_last_lr(self) -> list[float | Tensor]:
        return self.scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = state_dict["steps"]
        self.scheduler.load_state_dict(state_dict["scheduler"])
