"""What people see of a search in MLflow and in Optuna's dashboard: real servers and browser."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from commands import Command, Outcome
from pages import expect, left_edge, mlflow_ui, row, serving, visit

from kdsweep.common.files import read_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TRIALS = 4
PLOTS = ["contour", "history", "importances", "slice"]


@pytest.fixture
def search(command: Command) -> Outcome:
    words = ["search=bayes", "search.name=night", f"hydra.sweeper.n_trials={TRIALS}"]
    words += ["search.seeds=[0,1]", "search.finalists=0", "tracking.plots=sweep"]
    outcome = command(*words, tracking=True)
    assert outcome.code == 0, outcome.err
    return outcome


def test_a_search_in_mlflow_nests_and_shows_its_plots(search: Outcome, browser: "Browser") -> None:
    note = read_json(search.sweep / "sweep.json")
    with mlflow_ui(search.folder) as server:
        experiment = f"{server}/#/experiments/{note['experiment_id']}/runs"
        see_the_tree(visit(browser, f"{experiment}?workflowType=machine_learning"))
        page = visit(browser, "about:blank")
        asked: list[str] = []
        broken: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(f"{experiment}/{note['parent_run_id']}/artifacts")
        see_the_plots(page)
    assert broken == []
    assert {url.removeprefix("blob:").startswith(server) for url in asked} == {True}, asked


def see_the_tree(page: "Page") -> None:
    above = row(page, "night")
    expect(above).to_be_visible()
    above.get_by_role("button").first.click()  # the plus sign of a run that has children
    trial = row(page, "trial 0: kl T=")
    expect(trial).to_be_visible()
    expect(row(page, "trial ")).to_have_count(TRIALS)
    trial.get_by_role("button").first.click()
    run = row(page, "seed=1")
    expect(run).to_be_visible()
    assert left_edge(above) < left_edge(trial) < left_edge(run), "not nested"


def see_the_plots(page: "Page") -> None:
    page.get_by_text("optimization_results.yaml").first.wait_for()
    page.get_by_text("plots", exact=True).first.click()
    for name in PLOTS:
        expect(page.get_by_text(f"{name}.png")).to_be_visible()
    page.get_by_text("search.html").first.click()
    viewer = page.frame_locator("iframe")
    expect(viewer.get_by_role("heading", name="Search night")).to_be_visible()
    for name in PLOTS:
        expect(viewer.locator(f"#{name} .main-svg").first).to_be_visible()
    expect(viewer.locator("#history .points .point")).to_have_count(TRIALS)


def test_the_dashboard_of_optuna_opens_the_study(search: Outcome, browser: "Browser") -> None:
    dashboard = [str(Path(sys.executable).with_name("optuna-dashboard")), "sqlite:///optuna.db"]
    with serving(dashboard, search.folder) as server:
        page = visit(browser, server)
        page.get_by_text("night").first.click()
        expect(page.get_by_text("night (id=1)")).to_be_visible()
        expect(page.get_by_role("heading", name="History", exact=True)).to_be_visible()
        page.goto(f"{page.url}/trials")
        expect(page.get_by_text(f"{TRIALS} Trials")).to_be_visible()
        expect(page.get_by_text("Complete", exact=True)).to_have_count(
            TRIALS + 1
        )  # and of the one shown
