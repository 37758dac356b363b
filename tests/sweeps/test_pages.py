"""What people see of a sweep in MLflow: its real server, a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from commands import Command, Outcome
from pages import expect, left_edge, mlflow_ui, row, visit
from PIL import Image

from kdsweep.common.files import read_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def sweep(command: Command) -> Outcome:
    outcome = command("T=1,4", "tracking.plots=run", tracking=True)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture
def server(sweep: Outcome) -> Iterator[str]:
    with mlflow_ui(sweep.folder) as address:
        yield address


def test_the_pages_of_a_sweep(sweep: Outcome, server: str, browser: "Browser") -> None:
    note = read_json(sweep.sweep / "sweep.json")
    experiment = f"{server}/#/experiments/{note['experiment_id']}/runs"

    page = visit(browser, f"{experiment}?workflowType=machine_learning")
    parent = row(page, note["name"][:100])  # long names are cut
    expect(parent).to_be_visible()
    expect(row(page, "kl T=1 alpha=0.5 seed=0")).to_be_hidden()
    parent.get_by_role("button").first.click()  # the plus sign of a run that has children
    for T in (1, 4):
        run = row(page, f"kl T={T} alpha=0.5 seed=0")
        expect(run).to_be_visible()
        assert left_edge(parent) < left_edge(run), "not nested under its parent"

    row(page, "kl T=1 alpha=0.5 seed=0").get_by_role("link").click()
    expect(page.get_by_role("heading", name="kl T=1 alpha=0.5 seed=0")).to_be_visible()
    page.get_by_role("tab", name="Model metrics").click()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    for picture in ("curves.png", "confusion.png"):
        expect_picture(page, sweep.sweep / "0" / picture)

    page = visit(browser, f"{experiment}/{note['parent_run_id']}/artifacts")
    for picture in ("heatmap.png", "samples.png"):
        expect_picture(page, sweep.sweep / picture)


def test_the_printed_link_opens_the_runs_of_the_sweep(
    sweep: Outcome, server: str, browser: "Browser"
) -> None:
    usual = "http://127.0.0.1:5000"
    printed = next(word for word in sweep.out.split() if word.startswith(usual))
    page = visit(browser, printed.replace(usual, server))
    expect(page.get_by_text("2 matching runs")).to_be_visible()
    for T in (1, 4):
        expect(row(page, f"kl T={T} alpha=0.5 seed=0")).to_be_visible()


def expect_picture(page: "Page", file: Path) -> None:
    """Choose an artifact in the list; it must be shown as the image that the file holds."""
    page.get_by_text(file.name).first.click()
    expect(page.get_by_text(f"/artifacts/{file.name}")).to_be_visible()
    shown = "size => [...document.images].some(i => `${[i.naturalWidth, i.naturalHeight]}` == size)"
    with Image.open(file) as image:
        width, height = image.size
    page.wait_for_function(shown, arg=f"{width},{height}")
