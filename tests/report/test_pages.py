"""What people see of a report in MLflow: its real server, a real browser."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from commands import Command, Outcome
from pages import chromium, expect, mlflow_ui, row, visit

from kdsweep.common.files import read_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.server, pytest.mark.slow]


def test_the_pages_of_a_report(command: Command, tmp_path: Path) -> None:
    sweep = command("loss=ce,kl", "seed=0,1", "tracking.report=true", tracking=True)
    assert sweep.code == 0, sweep.err
    with mlflow_ui(sweep.folder) as server, chromium() as browser:
        look(sweep, server, browser, tmp_path)


def look(sweep: Outcome, server: str, browser: "Browser", tmp_path: Path) -> None:
    note = read_json(sweep.sweep / "sweep.json")
    experiment = f"{server}/#/experiments/{note['experiment_id']}"

    usual = "http://127.0.0.1:5000"
    printed = next(word for word in sweep.out.split() if word.startswith(usual))
    page = visit(browser, printed.replace(usual, server))
    page.set_viewport_size({"width": 2000, "height": 1000})  # columns outside of it are not made
    expect(page.get_by_text("4 matching runs")).to_be_visible()
    for run in ("ce seed=0", "kl T=4 alpha=0.5 seed=1"):
        expect(row(page, run)).to_be_visible()
    for column in ("val/acc", "test/acc", "kdsweep.rank", "kdsweep.verdict"):
        expect(page.get_by_role("columnheader", name=column).first).to_be_attached()
    keep(page, tmp_path / "runs.png")

    page = visit(browser, f"{experiment}/runs?workflowType=machine_learning")
    expect(row(page, note["name"][:100])).to_be_visible()  # long names are cut
    keep(page, tmp_path / "experiment.png")

    page = visit(browser, f"{experiment}/runs/{note['parent_run_id']}")
    table = page.get_by_role("table").filter(has_text="kl T=4 alpha=0.5")
    expect(table).to_be_visible()  # the description's markdown is a table by now
    expect(page.get_by_text("was chosen by validation among 2 cells")).to_be_visible()
    table.scroll_into_view_if_needed()
    keep(page, tmp_path / "parent.png")

    page.get_by_role("tab", name="Artifacts").click()
    for name in ("report.html", "report.md", "table.tex", "results.csv"):
        expect(page.get_by_text(name).first).to_be_visible()
    page.get_by_text("report.html").first.click()
    inside = page.frame_locator("iframe").first
    expect(inside.get_by_text("kl T=4 alpha=0.5").first).to_be_visible()
    keep(page, tmp_path / "artifacts.png")

    ids = [str(row["mlflow_run_id"]) for row in sweep.rows if row["seed"] == 0]
    runs = quote(str(ids).replace("'", '"').replace(" ", ""))
    experiments = quote(f'["{note["experiment_id"]}"]')
    page = visit(browser, f"{server}/#/compare-runs?runs={runs}&experiments={experiments}")
    expect(page.get_by_text("Comparing 2 Runs").first).to_be_visible()
    expect(page.get_by_text("val/acc_best").first).to_be_attached()
    keep(page, tmp_path / "compare.png")


def keep(page: "Page", path: Path) -> None:
    """A picture to look at."""
    page.wait_for_timeout(1000)
    page.screenshot(path=path)
    assert path.stat().st_size > 20_000
