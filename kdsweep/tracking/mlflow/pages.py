"""The addresses of pages in MLflow's UI, and the UI on a store that is no server itself."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from kdsweep.common.passwords import reveal
from kdsweep.tracking.mlflow.backend import SERVERS, scheme_of

LOCAL = "http://127.0.0.1:5000"  # of a plain `mlflow ui`


def is_server(uri: str) -> bool:
    """Whether a store is a tracking server, which has the UI itself."""
    return scheme_of(uri) in SERVERS


def ui_address(uri: str) -> str:
    """Where MLflow's pages are: a server's own address, else that of a local `mlflow ui`."""
    return uri.rstrip("/") if is_server(uri) else LOCAL


def run_page(uri: str, experiment: str, run_id: str) -> str:
    """The address of a run's page."""
    return f"{ui_address(uri)}/#/experiments/{experiment}/runs/{run_id}"


def page_of_sweep(sweep: Mapping[str, Any]) -> str:
    """The page of a sweep's runs below the address of the UI, best on validation first.

    ``sweep`` is the content of sweep.json.
    """
    page = f"#/experiments/{sweep['experiment_id']}/runs?workflowType=machine_learning"
    if (view := sweep.get("view")) is not None:  # the report has made one, with columns
        page += f"&viewStateShareKey={view}"
    elif (parent := sweep["parent_run_id"]) is not None:
        page += "&searchFilter=" + quote(f"tags.mlflow.parentRunId = '{parent}'")
        page += "&orderByKey=" + quote("metrics.`val/acc`") + "&orderByAsc=false"
    return page


def serve(uri: str, port: int | None, when_ready: Callable[[str], None]) -> int:
    """Run `mlflow ui` on a store until Ctrl-C; returns its exit code, 0 after Ctrl-C.

    ``port`` is by default a free one. ``when_ready`` is called with the address once it responds.
    """
    address = f"http://127.0.0.1:{port or free_port()}"
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1"]
    command += ["--port", address.rpartition(":")[2]]
    # In the environment, because every user of a machine can read command lines.
    process = subprocess.Popen(command, env={**os.environ, "MLFLOW_BACKEND_STORE_URI": reveal(uri)})
    try:
        while process.poll() is None and not _responds(address):
            time.sleep(0.2)
        if process.returncode is None:
            when_ready(address)
        return process.wait()
    except KeyboardInterrupt:
        process.wait()  # it has received the signal, too
        return 0
    finally:
        process.terminate()


def _responds(address: str) -> bool:
    with suppress(OSError), urlopen(f"{address}/health", timeout=5):
        return True
    return False


def free_port() -> int:
    """A port that no program listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
