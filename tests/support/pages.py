"""A real server and a real browser, for the tests of what people see."""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from servers import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PATIENCE = 60_000  # milliseconds; the first page takes long on a busy machine


@contextlib.contextmanager
def mlflow_ui(folder: Path) -> Iterator[str]:
    """The address of `mlflow ui`, as a user starts it in a folder."""
    with serving([sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1"], folder) as address:
        yield address


@contextlib.contextmanager
def chromium() -> "Iterator[Browser]":
    """The Chromium of this machine; the test is skipped if there is none."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


def expect(shown: "Locator") -> Any:
    """Playwright's, which is imported where there is a browser: nearly all of it is one module."""
    from playwright.sync_api import expect

    return expect(shown)


def visit(browser: "Browser", address: str) -> "Page":
    """Open an address as somebody who has not been there: MLflow remembers how runs were sorted."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    return page


def row(page: "Page", name: str) -> "Locator":
    """The cell of MLflow's table that names a run."""
    # The column of models has the names of runs, too.
    names = page.locator('[role="gridcell"][col-id="attributes.`Run Name`"]')
    return names.filter(has_text=name)


def left_edge(cell: "Locator") -> float:
    """Where the name of a run begins, in pixels."""
    box = cell.get_by_role("link").bounding_box()
    assert box is not None
    return box["x"]
