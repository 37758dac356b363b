"""What the display learns of a cohort in training."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import torch

from kdsweep.execution.cohort_watcher import CohortWatcher, watched
from kdsweep.training.evaluation import Split


def writer(name: str, val_acc: float | None, failure: str | None = None) -> Any:
    return SimpleNamespace(
        spec=SimpleNamespace(name=name),
        student=SimpleNamespace(failure=failure),
        metrics={} if val_acc is None else {"val/acc": val_acc},
    )


def test_an_epoch_has_the_accuracies_of_the_runs_that_are_left() -> None:
    context = Mock(leader="another cohort's run 99.00%")
    runs = [writer("a", 0.5), writer("b", 0.1, "diverged"), writer("c", None)]
    watcher = CohortWatcher(runs, context)
    watcher.begin_epoch(2, 100)
    watcher.step(64)
    watcher.epoch(3)
    display = context.progress
    display.begin_epoch.assert_called_once_with(2, 100)
    display.step.assert_called_once_with(64)
    display.epoch.assert_called_once_with(3, "another cohort's run 99.00%", {"a": 0.5})


def test_every_evaluated_batch_is_shown() -> None:
    progress, batches = Mock(), ["first", "second"]
    split = Split("val", lambda: batches, torch.zeros(2))  # type: ignore[arg-type, return-value]
    seen = watched({"val": split}, progress)["val"]
    assert list(seen.batches()) == batches
    assert list(seen.batches()) == batches  # as often as it is asked
    assert progress.evaluated.call_count == 4
    assert seen.labels is split.labels
