"""Options that every loss has, from the command line to the numbers."""

import pytest
from commands import Command

from kdsweep.tracking.run_dir import read_rows


def test_a_schedule_scales_the_weight_and_is_printed(command: Command) -> None:
    outcome = command("loss=dkd", "loss.dkd.schedule={warmup:2}")
    assert outcome.code == 0, outcome.err
    folder = outcome.sweep / "0"
    assert "objective: 1 ce + 1 dkd (warmup=2)\n" in (folder / "train.log").read_text()
    rows = [row["metrics"] for row in read_rows(folder)[:2]]  # then the test set
    for factor, row in zip([0.5, 1.0], rows, strict=True):
        expected = row["train/ce"] + factor * row["train/dkd"]
        assert row["train/loss"] == pytest.approx(expected, rel=1e-5)


def test_the_log_has_once_how_hard_each_term_pulls(command: Command) -> None:
    outcome = command("loss=[kl,mse]", "loss.mse.weight=0.1")
    assert outcome.code == 0, outcome.err
    folder = outcome.sweep / "0"
    metrics = read_rows(folder)[0]["metrics"]
    kl, mse = (f"{metrics[f'grad_ratio/{name}']:.3g}" for name in ("kl", "mse"))
    printed = f"weighted gradients of the first batch: |kl| = {kl} |ce|, |mse| = {mse} |ce|\n"
    log = (folder / "train.log").read_text()
    assert log.count("weighted gradients") == log.count(printed) == 1


def test_schedules_are_swept(command: Command) -> None:
    outcome = command("loss.kl.schedule=null,{until:1},{until:2}")
    whole, cut, late = (row["weights_sha256"] for row in outcome.rows)
    assert whole == late != cut


def test_standardised_logits_are_swept(command: Command) -> None:
    outcome = command("loss=kl", "loss.kl.standardize=false,true")
    plain, standardized = (row["weights_sha256"] for row in outcome.rows)
    assert plain != standardized
