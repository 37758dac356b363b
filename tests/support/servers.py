"""A real server for as long as a test needs it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


@contextlib.contextmanager
def tracking_server(
    folder: Path, store: str, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The address of an `mlflow server` on a database, whose artifacts are in the folder."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--backend-store-uri", store, "--serve-artifacts"]
    command += ["--artifacts-destination", str(folder / "files"), *options]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **(environment or {})}
    with serving(command, folder, "/health", environment=quiet) as address:
        yield address


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    folder: Path,
    page: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """The address of a server that takes `--port`, for as long as it is needed.

    It is ready once it responds for the page, `/health`.
    """
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
            env={**os.environ, **(environment or {})},
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address + page, process, folder / "server.log")
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
def silent() -> Iterator[int]:
    """The port of a listener that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # the kernel accepts for it
        yield listener.getsockname()[1]
