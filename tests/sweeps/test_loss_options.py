"""Options that every loss has, from the command line to the numbers."""

import pytest
from commands import Command, Outcome

from kdsweep.tracking.run_dir import read_rows


@pytest.fixture(scope="module")
def single(trained: Command) -> Outcome:
    """A run with two terms, one of which is scheduled."""
    return trained("loss=[dkd,mse]", "loss.dkd.schedule={warmup:2}", "loss.mse.weight=0.1")


def test_a_schedule_scales_the_weight_and_is_printed(single: Outcome) -> None:
    assert single.code == 0, single.err
    folder = single.sweep / "0"
    log = (folder / "train.log").read_text()
    assert "objective: 1 ce + 1 dkd (warmup=2) + 0.1 mse\n" in log
    rows = [row["metrics"] for row in read_rows(folder)[:2]]  # then the test set
    for factor, row in zip([0.5, 1.0], rows, strict=True):
        expected = row["train/ce"] + factor * row["train/dkd"] + 0.1 * row["train/mse"]
        assert row["train/loss"] == pytest.approx(expected, rel=1e-5)


def test_the_log_has_once_how_hard_each_term_pulls(single: Outcome) -> None:
    folder = single.sweep / "0"
    metrics = read_rows(folder)[0]["metrics"]
    dkd, mse = (f"{metrics[f'grad_ratio/{name}']:.3g}" for name in ("dkd", "mse"))
    printed = f"weighted gradients of the first batch: |dkd| = {dkd} |ce|, |mse| = {mse} |ce|\n"
    log = (folder / "train.log").read_text()
    assert log.count("weighted gradients") == log.count(printed) == 1


@pytest.mark.slow
def test_schedules_and_standardised_logits_are_swept(command: Command) -> None:
    schedules = "loss.kl.schedule=null,{until:1},{until:2}"
    two_steps = "dataset.source.num_train=64"
    outcome = command("loss=kl", "loss.kl.standardize=false,true", schedules, two_steps)
    plain, standardized = (
        [row["weights_sha256"] for row in outcome.rows[first : first + 3]] for first in (0, 3)
    )
    for whole, cut, late in (plain, standardized):
        assert whole == late != cut
    assert not set(plain) & set(standardized)
