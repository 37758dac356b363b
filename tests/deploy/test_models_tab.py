"""A model in MLflow's UI: its real server, a real browser."""

from typing import TYPE_CHECKING

import pytest
from commands import Command
from pages import expect, mlflow_ui, visit

from kdsweep.common.files import read_json
from kdsweep.deploy.registry import promote
from kdsweep.report.sources.address import Address

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TRAINING = "workflowType=machine_learning"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_models_of_a_sweep(command: Command, browser: "Browser") -> None:
    outcome = command("T=1,4", tracking=True)
    assert outcome.code == 0, outcome.err
    promote(str(outcome.sweep / "0"), "student", "champion", Address())
    experiment = read_json(outcome.sweep / "sweep.json")["experiment_id"]
    with mlflow_ui(outcome.folder) as address:
        page = visit(browser, f"{address}/#/experiments/{experiment}/models?{TRAINING}")
        for T in (1, 4):
            expect(page.get_by_text(f"kl T={T} alpha=0_5 seed=0").first).to_be_visible()
        expect(page.get_by_text("student").first).to_be_visible()
        page = visit(browser, f"{address}/#/models/student/versions/1")
        expect(page.get_by_text("Accuracy of each class on test")).to_be_visible()
        expect(page.get_by_text("kdsweep.fingerprint")).to_be_visible()
