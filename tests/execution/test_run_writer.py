"""The record of a run: its pictures, and what a full disk leaves."""

from pathlib import Path

import pytest
from commands import Command

from kdsweep.training import checkpoint


@pytest.mark.slow
def test_pictures_that_fail_are_named_and_the_sweep_continues(command, monkeypatch, caplog):
    from kdsweep.execution import run_writer
    from kdsweep.sweeps import batch, finalize

    def broken(*_):
        raise ValueError("no such colour")

    for place, name in (
        (run_writer, "curves_plot"),
        (run_writer, "confusion_plot"),
        (finalize, "draw_heatmap"),
        (batch, "samples_plot"),
    ):
        monkeypatch.setattr(place, name, broken)
    outcome = command("loss=ce", "tracking.plots=run", "optimizer.lr=1,2", tracking=True)
    assert outcome.code == 0, outcome.err
    assert {row["status"] for row in outcome.rows} == {"FINISHED"}
    text = outcome.out + outcome.err + caplog.text
    for picture in ("curves", "confusion", "heatmap", "samples"):
        assert f"{picture}.png could not be drawn: no such colour" in text


def test_a_full_disk_at_a_checkpoint_ends_the_runs_with_the_reason(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, student: object, fingerprint: str) -> None:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(checkpoint, "save", full)
    outcome = command("loss=ce", "seed=0,1", "tracking.checkpoint_seconds=0")
    assert outcome.code == 1
    assert "the disk of" in outcome.err
    assert "is full" in outcome.err
    assert "Traceback" not in outcome.err
    assert {row["status"] for row in outcome.rows} == {"FAILED"}
