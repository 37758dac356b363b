"""A real sweep with its report in MLflow, and a made one, for the tests of reports."""

import pytest
from commands import Command, Outcome
from measured import ce_rows, measured, soft_rows

from kdsweep.report.report import Report, report


@pytest.fixture(scope="session")
def reported(trained: Command) -> Outcome:
    """A sweep of two cells with two seeds that ended with its report. No test changes it."""
    outcome = trained("loss=ce,kl", "seed=0,1", "tracking.report=true", tracking=True)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture(scope="session")
def made() -> Report:
    """The report of a grid of six cells and the baseline, with five seeds."""
    return report(measured([*ce_rows(), *soft_rows()], optimism=0.01))
