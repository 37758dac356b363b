"""Shows the training of a cohort on the display: batch by batch, and the accuracies of its runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kdsweep.common.types import Batch
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.run_writer import RunWriter
from kdsweep.tracking.console import Progress
from kdsweep.training.evaluation import Split


class CohortWatcher:
    """The trainer's `Watcher` of a cohort; ``writers`` are those of its runs."""

    def __init__(self, writers: Sequence[RunWriter], context: TrainingContext) -> None:
        self._writers, self._context = writers, context

    def begin_epoch(self, epoch: int, images: int) -> None:
        self._context.progress.begin_epoch(epoch, images)

    def step(self, images: int) -> None:
        self._context.progress.step(images)
        if self._context.stop_at_step is not None:
            self._context.stop_at_step()

    def epoch(self, done: int) -> None:
        accs = {
            writer.spec.name: writer.metrics["val/acc"]
            for writer in self._writers
            if writer.student.failure is None and "val/acc" in writer.metrics
        }
        self._context.progress.epoch(done, self._context.leader, accs)


def watched(splits: Mapping[str, Split], progress: Progress) -> dict[str, Split]:
    """The splits; every batch that is read of them is shown on the display."""
    return {
        name: replace(split, batches=_Watched(split, progress)) for name, split in splits.items()
    }


class _Watched:
    """The batches of a split."""

    def __init__(self, split: Split, progress: Progress) -> None:
        self._split, self._progress = split, progress

    def __call__(self) -> Iterator[Batch]:
        for batch in self._split.batches():
            yield batch
            self._progress.evaluated()
