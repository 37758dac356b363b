"""A real server and a real browser, for the tests of what people see."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

PATIENCE = 60_000  # milliseconds; the first page takes long on a busy machine


@contextlib.contextmanager
def mlflow_ui(folder: Path) -> Iterator[str]:
    """The address of `mlflow ui`, as a user starts it in a folder."""
    with serving([sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1"], folder) as address:
        yield address


@contextlib.contextmanager
def serving(command: Sequence[str], folder: Path) -> Iterator[str]:
    """The address of a server that takes `--port`, for as long as it is needed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, process, folder / "server.log")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # a busy machine; its group is its own
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(120):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.5)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of this machine; the test is skipped if there is none."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


def visit(browser: Browser, address: str) -> Page:
    """Open an address as somebody who has not been there: MLflow remembers how runs were sorted."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    return page


def row(page: Page, name: str) -> Locator:
    """The cell of MLflow's table that names a run."""
    return page.get_by_role("gridcell").filter(has_text=name)


def left_edge(cell: Locator) -> float:
    """Where the name of a run begins, in pixels."""
    box = cell.get_by_role("link").bounding_box()
    assert box is not None
    return box["x"]
