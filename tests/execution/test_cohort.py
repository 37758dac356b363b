"""The training of a cohort of many runs: each epoch of a student costs its own record only."""

from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import Mock

import pytest
from commands import Command

from kdsweep.execution.cohort import EpochRecorder
from kdsweep.execution.context import TrainingContext
from kdsweep.tracking.console import Progress


class Writers(Mapping[Any, Any]):
    """The writers of a cohort, of which only single ones may be looked up."""

    def __init__(self) -> None:
        self.writer = Mock()

    def __getitem__(self, student: Any) -> Any:
        return self.writer

    def __len__(self) -> int:
        raise AssertionError("all writers are counted")

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("all writers are visited")


@pytest.mark.parametrize("stop_in_time", [None, lambda: None], ids=["no timeout", "timeout"])
def test_an_epoch_visits_all_runs_only_if_the_time_is_over(stop_in_time: Any) -> None:
    context, writers = TrainingContext({"uri": None}, Progress()), Writers()
    context.stop_in_time = stop_in_time
    EpochRecorder(writers, context)(Mock(epoch=3), {"val/acc": 0.5})
    writers.writer.epoch.assert_called_once_with({"val/acc": 0.5})


@pytest.mark.slow
def test_a_run_that_had_only_its_test_set_to_go_keeps_its_validation(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdsweep.execution import cohort as module

    words = ["T=1,4", "tracking.checkpoint_seconds=0"]
    whole = command(*words).rows

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_finish", interrupted)
        assert command(*words).code == 130
    resumed = command(*words, "resume=true")
    assert resumed.code == 0, resumed.err
    for key in ("val/acc", "val/loss", "val/agreement", "test/acc", "weights_sha256"):
        assert [row[key] for row in resumed.rows] == [row[key] for row in whole]
