"""Connections to the databases: what each of them must be told before it may be trusted with rows."""

from __future__ import annotations

import ipaddress
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, NullPool, QueuePool, create_engine, event
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

_CONNECT_TIMEOUT_S = 5
_ANSWER_TIMEOUT_S = 30

_patiently = Retrying(
    retry=retry_if_exception_type(sqlite3.OperationalError),
    stop=stop_after_delay(_ANSWER_TIMEOUT_S),
    wait=wait_random(0, 0.05),
    reraise=True,
)


def mysql_engine(
    *,
    host: str,
    port: int = 3306,
    user: str | None,
    password: str | None,
    database: str | None,
    tls_ca: Path | None = None,
    pool_size: int = 0,
) -> Engine:
    """MySQL or MariaDB through PyMySQL; connects at the first use.

    Args:
        host: A name or an IP address, IPv6 without brackets.
        port: Where it listens.
        user: The user.
        password: The password; neither the engine's repr nor its URL has it.
        database: The database, which must exist.
        tls_ca: A PEM file: the connection is then encrypted and the server's certificate must be signed by it. The
            certificate must carry the host's name too, unless `host` is an address: Cloud SQL is reached by address,
            and its instances are told apart by their own CA.
        pool_size: Connections kept open; 0 opens one for every use.

    Raises:
        ValueError: `database` is empty.
    """
    if not database:
        raise ValueError("MYSQL_DATABASE is empty: with MYSQL_HOST, expected the name of a database")
    connect_args: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": _ANSWER_TIMEOUT_S,
        "write_timeout": _ANSWER_TIMEOUT_S,
        # Not in the URL, which ends up in logs; as bytes, because PyMySQL would write text in Latin-1.
        "password": (password or "").encode(),
        # Without it a server may cut what is too long for a column, and say nothing.
        "init_command": "SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',STRICT_TRANS_TABLES')",
    }
    if tls_ca:
        connect_args |= {
            "ssl_ca": str(tls_ca),
            "ssl_verify_cert": True,
            "ssl_verify_identity": not _is_address(host),
        }
    url = URL.create("mysql+pymysql", user, host=host, port=port, database=database, query={"charset": "utf8mb4"})
    return create_engine(url, connect_args=connect_args, **_pool(pool_size))


def sqlite_engine(file: Path, *, pool_size: int = 0) -> Engine:
    """SQLite in `file`, which is made at the first use; its folder must exist."""
    connect_args = {"timeout": _ANSWER_TIMEOUT_S}  # SQLite's busy_timeout
    engine = create_engine(URL.create("sqlite", database=str(file)), connect_args=connect_args, **_pool(pool_size))

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        # Readers and a writer do not wait for each other. To switch a new file over, SQLite does not wait for another
        # process that does the same, whatever its busy_timeout; afterwards it is a property of the file.
        _patiently(connection.execute, "PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a trip is forgotten once its rows are committed
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _pool(size: int) -> dict[str, Any]:
    if not size:
        return {"poolclass": NullPool}
    return {
        "poolclass": QueuePool,
        "pool_size": size,
        "max_overflow": 0,
        "pool_pre_ping": True,
        "pool_recycle": 1800,
        "pool_timeout": 2 * _CONNECT_TIMEOUT_S,
    }
