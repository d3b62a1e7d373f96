"""Databases and stores that more than one contract test asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import servers
from tests.contract.databases import COMPANION, Database, mariadb_database, sqlite_database


@pytest.fixture(params=["sqlite", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return sqlite_database(tmp_path)
    return mariadb_database(request.getfixturevalue("mariadb"), tmp_path)


@pytest.fixture
def companion(mariadb: servers.MariaDb, tmp_path: Path) -> Database:
    """A MariaDB database that the companion web backend was in first."""
    database = mariadb_database(mariadb, tmp_path)
    for statement in COMPANION.split(";"):
        database.sql(statement)
    return database


@pytest.fixture
def emulator(gcs: servers.Gcs, monkeypatch: pytest.MonkeyPatch) -> servers.Gcs:
    """The object store, and the environment that leads to it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    return gcs
