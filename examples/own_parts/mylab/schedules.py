"""A learning rate schedule: down to zero along a power of what is left of the training."""

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from kdsweep import Schedule


class Polynomial(Schedule):
    """`power` 1 is a straight line. `warmup_epochs` comes with every Schedule."""

    def __init__(self, *, power: float = 1.0, warmup_epochs: int = 0) -> None:
        super().__init__(warmup_epochs=warmup_epochs)
        if power <= 0:
            raise ValueError(f"power must be > 0, got {power}")
        self.power = power

    def curve(self, optimizer: Optimizer, steps: int, warmup: int, per_epoch: int) -> LRScheduler:
        """Stepped after every batch, `steps` times."""
        return lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=self.power)
