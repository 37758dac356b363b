"""Connections to database servers, with a limit on the wait for each."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

CONNECT_SECONDS = 10  # for a connection to a database server and its first response
SERVERS = ("postgresql", "mysql", "mariadb")
OPTION = "connect_timeout"
DRIVERS = ("psycopg", "psycopg2", "mysqldb", "pymysql", "mysqlconnector")  # with that option


def bounded(address: str) -> str:
    """The address with a limit for connecting, if it is of a server and the user has set none.

    The option is part of the address because MLflow makes its engines of an address alone. libpq
    and MySQL's client count the wait for the server's first response as well.

    Raises ValueError for a port that is no number, and sqlalchemy.exc.ArgumentError if it is no
    address, or of a database unknown to SQLAlchemy.
    """
    if not address.startswith(SERVERS):
        return address
    from sqlalchemy import make_url

    url = make_url(address)
    driver = url.get_dialect().driver
    in_environment = driver.startswith("psycopg") and "PGCONNECT_TIMEOUT" in os.environ
    if driver not in DRIVERS or OPTION in url.query or in_environment:
        return address
    return f"{address}{'&' if '?' in address else '?'}{OPTION}={CONNECT_SECONDS}"


def engine_of(address: str) -> "Engine":
    """An engine for short statements at the start, which keeps no connection open.

    Raises ImportError if the driver is missing, and as `bounded`.
    """
    from sqlalchemy import NullPool, create_engine, make_url

    limited = bounded(address)
    url = make_url(limited)
    if url.get_dialect().driver == "pymysql" and "read_timeout" not in url.query:
        # Its option ends with the TCP connection; the server's first response is a read like any.
        limited += f"&read_timeout={CONNECT_SECONDS}"
    return create_engine(limited, poolclass=NullPool)
