"""A network whose answers were kept, or the same one of several seeds, and its calibration."""

from collections.abc import Sequence
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
from kdsweep.report.sources.collection import Run
from kdsweep.tracking.predictions import Predictions


def is_finished(run: Run) -> bool:
    """Whether a run got to its end, and was not folded into an equal one."""
    return run.row["status"] == "FINISHED" and run.row["same_as"] is None


def runs_of(cell: str, runs: Sequence[Run]) -> list[Run]:
    """Those of a cell, as `kdsweep.report.analysis.aggregate` names them."""
    return [run for run in runs if str(run.row["cell"] or run.row["name"]) == cell]


def distinct(answers: Sequence[Predictions | None]) -> list[Predictions]:
    """Those there are, each once: runs of many seeds may share a teacher."""
    return list({found.digest: found for found in answers if found is not None}.values())


def of(answers: Predictions, split: str) -> tuple[Array, Array]:
    """Logits (N, C) and labels (N,)."""
    return answers.logits[split].numpy(), answers.labels[split].numpy()


@dataclass(frozen=True)
class Network:
    """A teacher, or the students of a cell: one network, or one of every seed.

    Args:
        answers: with validation among their splits.
    """

    name: str
    answers: Sequence[Predictions]

    @cached_property
    def temperatures(self) -> list[float]:
        """The calibrated T of each, which may be a limit."""
        return [calibrated_temperature(*of(found, "val")) for found in self.answers]

    @cached_property
    def fitted(self) -> list[tuple[Predictions, float]]:
        """Those that have a calibrated T, with it."""
        every = zip(self.answers, self.temperatures, strict=True)
        return [(found, T) for found, T in every if is_reached(T)]

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
        ((found, T),) = self.fitted
        return bootstrap_interval(*of(found, "val"), T)

    @property
    def T_with_interval(self) -> str:
        """`1.64 [1.21, 2.1]`; an end at 0 is the limit where all images are right."""
        if self.interval is None:
            return f"{self.T:.3g}"
        low, high = self.interval
        return f"{self.T:.3g} [{low:.3g}, {high:.3g}]"

    @cached_property
    def before(self) -> list[Scores]:
        """On test, of the same ones as `after`; of all where none has a calibrated T."""
        shown = [found for found, _ in self.fitted] or self.answers
        return [scores(*of(found, "test")) for found in shown]

    @cached_property
    def after(self) -> list[Scores]:
        """On test with logits divided by T, of those that have one."""
        return [scores(*of(found, "test"), T) for found, T in self.fitted]

    @property
    def images(self) -> int:
        """That T is fitted on."""
        return len(self.answers[0].labels["val"])
