"""A throw-away PostgreSQL: made in a folder of its own, on a free port, gone with the test."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

# Debian keeps the programs of a server out of PATH.
DEBIAN = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
PASSWORD = "s3cret"


@dataclass(frozen=True)
class Server:
    """A running server."""

    folder: Path
    port: int

    def new_database(self) -> str:
        """The address of an empty database that is made here."""
        name = f"studies_{uuid4().hex}"
        # no transaction can make a database
        with psycopg.connect(f"{self._address}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{self._address}/{name}"

    def texts(self, address: str) -> str:
        """Everything that the tables of a database hold, a row a line."""
        with psycopg.connect(address) as connection:
            tables = connection.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            ).fetchall()
            rows = [
                row
                for (table,) in tables
                for row in connection.execute(f'SELECT * FROM "{table}"'.encode()).fetchall()
            ]
        return "\n".join(map(repr, rows))

    def control(self, *words: str) -> None:
        """Tell the server something by pg_ctl, and wait until it has done it."""
        # No file is synced to the disk: no test cuts the power.
        options = f"-F -p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        log = self.folder / "log"
        _call("pg_ctl", "-w", f"-D{self.folder}/data", f"-l{log}", f"-o{options}", *words)

    @property
    def _address(self) -> str:
        return f"postgresql://kdsweep:{PASSWORD}@127.0.0.1:{self.port}"


@contextmanager
def postgres() -> Iterator[Server]:
    """A server for as long as the context lasts; the test is skipped where none is installed."""
    if _program("initdb") is None:
        pytest.skip("no PostgreSQL here: initdb is neither in PATH nor in /usr/lib/postgresql")
    # Not pytest's tmp_path, which root alone can enter.
    with tempfile.TemporaryDirectory(prefix="kdsweep-postgres-") as made:
        server = Server(Path(made), _free_port())
        password = server.folder / "password"
        password.write_text(PASSWORD)
        if owner := _unprivileged():
            for path in (server.folder, password):
                os.chown(path, owner["user"], owner["group"])
        asked = ["--auth-host=scram-sha-256", f"--pwfile={password}"]
        plain = ["--no-sync", "--no-locale", "-EUTF8", "-Ukdsweep", f"-D{made}/data"]
        _call("initdb", *asked, *plain)
        server.control("start")
        try:
            yield server
        finally:
            server.control("-mimmediate", "stop")


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *DEBIAN]))


def _call(name: str, *words: str) -> None:
    program = _program(name)
    assert program is not None, name
    done = subprocess.run(
        [program, *words],
        cwd="/",  # which the other user may enter
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **_unprivileged(),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _unprivileged() -> dict[str, Any]:
    """Whom a child process is to be; root, as which PostgreSQL does not start, becomes nobody."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
