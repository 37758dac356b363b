"""A network whose predictions were kept, or the same one of several seeds, and its calibration."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from kdsweep.report.analysis.statistics import Interval, summary
from kdsweep.report.analysis.temperature_scaling import (
    Array,
    Scores,
    bootstrap_interval,
    calibrated_temperature,
    is_reached,
    scores,
)
from kdsweep.report.formatting import interval
from kdsweep.tracking.predictions import Answers


def distinct(predictions: Iterable[Answers | None]) -> list[Answers]:
    """Those that were kept, each once: runs of many seeds may share a teacher."""
    return list({each.digest: each for each in predictions if each is not None}.values())


def with_validation(predictions: Iterable[Answers | None]) -> list[Answers]:
    """Those that were kept, of validation images, too."""
    return [each for each in predictions if each is not None and "val" in each.logits]


def logits_and_labels(predictions: Answers, split: str) -> tuple[Array, Array]:
    """Logits (N, C) and labels (N,)."""
    return predictions.logits[split].numpy(), predictions.labels[split].numpy()


@dataclass(frozen=True)
class Network:
    """A teacher, or the students of a cell: one network, or one of every seed.

    Args:
        predictions: with validation among their splits.
    """

    name: str
    predictions: Sequence[Answers]

    @cached_property
    def temperatures(self) -> list[float]:
        """The calibrated T of each, which may be a limit."""
        return [calibrated_temperature(*logits_and_labels(p, "val")) for p in self.predictions]

    @cached_property
    def fitted(self) -> list[tuple[Answers, float]]:
        """The networks that have a calibrated T, with it."""
        every = zip(self.predictions, self.temperatures, strict=True)
        return [(predictions, T) for predictions, T in every if is_reached(T)]

    @property
    def T(self) -> float:
        """The calibrated T, its mean over the seeds."""
        return fmean(T for _, T in self.fitted)

    @cached_property
    def interval(self) -> Interval | None:
        """95 % of T: over images (bootstrap) for one network, over seeds (t) for several."""
        if not self.fitted:
            return None
        if len(self.fitted) > 1:
            return summary([T for _, T in self.fitted]).t_interval
        ((predictions, T),) = self.fitted
        return bootstrap_interval(*logits_and_labels(predictions, "val"), T)

    @property
    def T_with_interval(self) -> str:
        """`1.64 [1.21, 2.1]`; an end at 0 is the limit where all images are right."""
        return f"{self.T:.3g} {interval(self.interval, '.3g', 1)}".rstrip()

    @cached_property
    def before(self) -> list[Scores]:
        """On test, of the same networks as `after`; of all where none has a calibrated T."""
        shown = [predictions for predictions, _ in self.fitted] or self.predictions
        return [scores(*logits_and_labels(predictions, "test")) for predictions in shown]

    @cached_property
    def after(self) -> list[Scores]:
        """On test with logits divided by T, of the networks that have one."""
        return [scores(*logits_and_labels(p, "test"), T) for p, T in self.fitted]

    @property
    def images(self) -> int:
        """Validation images, on which T is fitted."""
        return len(self.predictions[0].labels["val"])
