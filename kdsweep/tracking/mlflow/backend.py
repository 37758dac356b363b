"""Where MLflow's store is, and whether it can be used at all.

Everything that could make a sweep lose its tracking is refused here, before training, in one
message. mlflow itself would retry for minutes, or fill another program's database with tables.
"""

import logging
import os
import re
import shlex
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import UNAUTHORIZED
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit, urlunsplit

from kdsweep.common.files import can_be_made
from kdsweep.common.passwords import how_to_give, lacks_password, redact_password, reveal
from kdsweep.common.text import first_line
from kdsweep.tracking.mlflow import schema
from kdsweep.tracking.mlflow.addresses import fault_of, without_login
from kdsweep.tracking.mlflow.connections import engine_of

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https")

LOCK_SECONDS = 5.0  # how long another program may lock a sqlite file
CREATION_SECONDS = 60.0  # how long another process may take to create the schema
RESPONSE_SECONDS = 15.0  # how long a tracking server may take for its first response
REQUEST_SECONDS = 30  # how long a tracking server may take for one request


def import_mlflow() -> ModuleType:
    """mlflow (a second, so never at start-up), configured to keep the terminal clean."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # kdsweep uploads what is missing from the run folder. A request that MLflow's client repeats by
    # itself, because the response was lost, would create a run twice.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_SECONDS))
    import mlflow

    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # warns of each retry

    # One logs every migration, and every error with a traceback, which kdsweep reports itself.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return mlflow


def resolve(uri: str, cwd: Path) -> str:
    """The address with a relative sqlite path made absolute against ``cwd``.

    It has its password, if this process was given one. Raises ValueError for an address of which
    MLflow has no usable store.
    """
    scheme = scheme_of(uri)
    if scheme not in DATABASES + SERVERS:
        raise ValueError(
            f"{_key(uri)} must be sqlite:///FILE, another database or an http(s) server, "
            f"got {redact_password(uri) or 'nothing'}; try tracking.uri=sqlite:///mlflow.db"
        )
    if scheme in SERVERS:
        # MLflow reads a login from the environment, and writes the address into its errors.
        if (fault := fault_of(reveal(uri))) is not None:
            raise ValueError(
                f"{_key(uri)} must be an address like http://HOST:5000,"
                f" got {without_login(uri)}: {fault}"
            )
        parts = urlsplit(reveal(uri))
        if parts.password is not None:
            os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
            os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if scheme != "sqlite":
        return reveal(uri)
    head, _, path = uri.partition(":///")
    name, question_mark, options = path.partition("?")
    if not name or name == ":memory:":
        raise ValueError(
            f"{_key(uri)} must name a file, got {uri}; try tracking.uri=sqlite:///mlflow.db"
        )
    file = Path(os.path.abspath(cwd / Path(unquote(name)).expanduser()))
    return f"{sqlite_address(file, head)}{question_mark}{options}"


def scheme_of(uri: str) -> str:
    """``sqlite`` of ``sqlite+pysqlite:///mlflow.db``; empty for a plain path."""
    match = re.match(r"([a-z]+)(\+\w+)?:", uri)
    return match.group(1) if match else ""


def sqlite_address(file: Path, head: str = "sqlite") -> str:
    """The address of a sqlite file, quoted where SQLAlchemy would read something else.

    It takes `%20` for a space, and `?` for the end of the path.
    """
    path = str(file).replace("%", "%25").replace("?", "%3F")
    # mlflow takes what follows `sqlite:///` for a path as it is, and would make a folder of it.
    return f"{head if path == str(file) else 'sqlite+pysqlite'}:///{path}"


def sqlite_file(address: str) -> Path:
    """The file of a resolved sqlite address."""
    return Path(unquote(address.partition(":///")[2].partition("?")[0]))


def is_sqlite_file(address: str) -> bool:
    """Whether a resolved address is that of a sqlite file that is there."""
    return scheme_of(address) == "sqlite" and sqlite_file(address).is_file()


def is_there(address: str) -> bool:
    """Whether a resolved address may be that of a store: a sqlite file must be there, not empty."""
    if scheme_of(address) != "sqlite":
        return True
    file = sqlite_file(address)
    return file.is_file() and file.stat().st_size > 0


def is_makeable(uri: str) -> bool:
    """Whether a store is a sqlite file that can be made. Raises ValueError as `resolve`."""
    address = resolve(uri, Path.cwd())
    if scheme_of(address) != "sqlite" or (file := sqlite_file(address)).exists():
        return False
    return can_be_made(file.parent)


@contextmanager
def ensure_store(uri: str, address: str) -> Iterator[None]:
    """Inside, the store at ``address`` responds and has the schema of the installed mlflow.

    A sqlite file stays locked against other kdsweep processes meanwhile, so that only one of them
    creates what is missing. ``uri`` is the address as the user wrote it. Raises ValueError.
    """
    scheme = scheme_of(address)
    if scheme == "sqlite":
        file = sqlite_file(address)
        with _creation_lock(uri, file):
            if _is_fresh(uri, file):
                _create(address, file)
            with schema.is_current():
                yield
        return
    if scheme in SERVERS:
        _check_server(uri, address)
    else:
        _check_database(uri, address)
    yield


@contextmanager
def _creation_lock(uri: str, file: Path) -> Iterator[None]:
    # Four processes that open a new sqlite file together break it for good.
    from filelock import FileLock, Timeout

    lock = FileLock(f"{file}.lock", timeout=CREATION_SECONDS)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise refusal(uri, "another process is still creating it; try again later") from None
    except OSError as error:
        why = f"its folder {file.parent} cannot be written ({error.strerror}); name another file"
        raise refusal(uri, why) from error
    try:
        yield
    finally:
        lock.release()


def _is_fresh(uri: str, file: Path) -> bool:
    """Whether the schema has yet to be created. Raises ValueError for a file of another kind."""
    if file.is_dir():
        raise refusal(uri, "it is a folder; name a file")
    try:
        tables, revision = _read_schema(file)
    except sqlite3.OperationalError as error:
        why = f"it cannot be written ({error}); name another file"
        if "locked" in str(error):
            why = f"another program keeps it locked (waited {LOCK_SECONDS:g} s); close that program"
        raise refusal(uri, why) from error
    except sqlite3.DatabaseError as error:
        raise refusal(uri, "it is no sqlite file; move it away or name another file") from error
    if not tables:
        return True
    if not {"experiments", "runs", "alembic_version"} <= tables:
        raise refusal(uri, "it belongs to another program; name another file")
    _check_revision(uri, file, revision)
    return False


def _read_schema(file: Path) -> tuple[set[str], str | None]:
    """The names of the tables, and the schema's revision if there is one."""
    with closing(sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # reading alone would not notice a writer's lock
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in names}
        if "alembic_version" not in tables:
            return tables, None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return tables, row[0] if row else None


def _check_revision(uri: str, file: Path, revision: str | None) -> None:
    """Neither an older nor a newer schema is touched: mlflow would upgrade some without asking."""
    mlflow = import_mlflow()
    known, latest = schema.known_revisions()
    if revision == latest:
        return
    if revision in known:
        raise refusal(
            uri,
            f"its schema {revision} is older than mlflow {mlflow.__version__} needs; "
            f"copy the file, then run `mlflow db upgrade {shlex.quote(sqlite_address(file))}`, "
            "or name another file",
        )
    raise refusal(
        uri,
        f"its schema {revision} is newer than mlflow {mlflow.__version__} knows; "
        "update mlflow or name another file",
    )


def _create(address: str, file: Path) -> None:
    """Create the schema in a file next to it and move that into place.

    It takes seconds and is no transaction: an interrupted creation must not leave a broken file.
    """
    import_mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = file.with_name(file.name + ".new")
    for leftover in (draft, draft.with_name(draft.name + "-journal")):
        leftover.unlink(missing_ok=True)
    # Quoted: mlflow writes the place of its default experiment into a statement as it is.
    SqlAlchemyStore(sqlite_address(draft), (Path.cwd() / "mlruns").as_uri())  # type: ignore[no-untyped-call]
    draft.replace(file)


def _check_server(uri: str, address: str) -> None:
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        with urlopen(address.rstrip("/") + "/health", timeout=RESPONSE_SECONDS):
            pass
    except HTTPError as error:
        error.close()  # it responds; whether it grants access is seen at the first real call
    except (OSError, ValueError) as error:
        why = f"nothing answers there ({first_line(error)}); start the server"
        raise refusal(uri, why) from error


def _check_database(uri: str, address: str) -> None:
    # mlflow would retry for a minute and a half before it reports that nothing is there.
    import sqlalchemy

    try:
        with engine_of(address).connect():
            pass
    # A port that is no number is a ValueError.
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError) as error:
        why = f"it cannot be opened ({first_line(error)}); start it, or install its driver"
        raise refusal(uri, why) from error


def describe_store_error(error: BaseException) -> str | None:
    """An error of a store that a command was using, in a line; None for other errors."""
    if "mlflow" not in sys.modules:
        return None
    import requests
    from mlflow.exceptions import MlflowException

    known = (MlflowException, requests.RequestException)
    return first_line(error) if isinstance(error, known) else None


def reason_of(error: Exception, uri: str) -> str:
    """Why the store at an address, as the user wrote it, refuses a request, in a line."""
    from mlflow.exceptions import MlflowException

    status = None
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
    if status == UNAUTHORIZED:
        return f"it refuses the login; give the right one in {how_to_give(uri)}"
    return first_line(error)


class StoreError(ValueError):
    """A store cannot be used: it is away, broken, or another program's."""


def refusal(uri: str, why: str) -> StoreError:
    """The error that a store cannot be used, by its address as the user wrote it."""
    message = f"{_key(uri)} must be an MLflow store that works, got {redact_password(uri)}: {why}"
    if lacks_password(uri):  # it was read from a folder, where no password is kept
        message += f"; its password is kept nowhere: give it in {how_to_give(uri)} or in --uri"
    return StoreError(message)


def _key(uri: str) -> str:
    """What the user has set an address by: the variable of MLflow's client or the config key."""
    given = redact_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    return "MLFLOW_TRACKING_URI" if given and given == redact_password(uri) else "tracking.uri"
