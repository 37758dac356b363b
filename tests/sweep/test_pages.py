"""What people see of a sweep in MLflow: its real server, a real browser."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Command, Outcome
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from kdsweep.tracking.files import read_json

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE = 60_000  # milliseconds; the first page takes long on a busy machine


@pytest.fixture
def sweep(command: Command) -> Outcome:
    outcome = command("T=1,4", "tracking.plots=run", tracking=True)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture
def server(sweep: Outcome) -> Iterator[str]:
    """The address of `mlflow ui`, as a user starts it in the sweep's folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    with (sweep.folder / "ui.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=sweep.folder, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, process, sweep.folder / "ui.log")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(120):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        time.sleep(0.5)
    raise AssertionError(log.read_text())


@pytest.fixture
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


def visit(browser: Browser, address: str) -> Page:
    """Open an address as somebody who has not been there: MLflow remembers how runs were sorted."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    return page


def test_the_pages_of_a_sweep(sweep: Outcome, server: str, browser: Browser) -> None:
    note = read_json(sweep.sweep / "sweep.json")
    experiment = f"{server}/#/experiments/{note['experiment_id']}/runs"

    page = visit(browser, f"{experiment}?workflowType=machine_learning")
    parent = row(page, "tracking.plots=run")
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
    sweep: Outcome, server: str, browser: Browser
) -> None:
    usual = "http://127.0.0.1:5000"
    printed = next(word for word in sweep.out.split() if word.startswith(usual))
    page = visit(browser, printed.replace(usual, server))
    expect(page.get_by_text("2 matching runs")).to_be_visible()
    for T in (1, 4):
        expect(row(page, f"kl T={T} alpha=0.5 seed=0")).to_be_visible()


def row(page: Page, name: str) -> Locator:
    """The cell that names a run."""
    return page.get_by_role("gridcell").filter(has_text=name)


def left_edge(cell: Locator) -> float:
    """Where the name of a run begins, in pixels."""
    box = cell.get_by_role("link").bounding_box()
    assert box is not None
    return box["x"]


def expect_picture(page: Page, file: Path) -> None:
    """Choose an artifact in the list; it must be shown as the image that the file holds."""
    page.get_by_text(file.name).first.click()
    expect(page.get_by_text(f"/artifacts/{file.name}")).to_be_visible()
    shown = "size => [...document.images].some(i => `${[i.naturalWidth, i.naturalHeight]}` == size)"
    with Image.open(file) as image:
        width, height = image.size
    page.wait_for_function(shown, arg=f"{width},{height}")
