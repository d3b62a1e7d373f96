"""What every test may ask for: the real servers, the folder of pictures and models beside the checkout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.fetch import default_data_dir
from tests import servers

# Before Ray or ultralytics are imported by anything: no token file, nothing installed, nothing reported.
for _name, _value in {"RAY_AUTH_MODE": "disabled", "YOLO_AUTOINSTALL": "false", "RAY_USAGE_STATS_ENABLED": "0"}.items():
    os.environ.setdefault(_name, _value)


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[servers.Server]:
    """A broker for all tests; one that stops it starts its own."""
    with servers.mosquitto() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[servers.MariaDb]:
    """A database server for all tests; take a database of your own from it."""
    with servers.mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[servers.Gcs]:
    """An object store for all tests; take a bucket of your own, and set `STORAGE_EMULATOR_HOST` to its `url`."""
    with servers.gcs() as server:
        yield server


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout, with pictures and models."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder.name} beside the checkout")
    return folder


@pytest.fixture(scope="session")
def model_files() -> Path:
    """Where `python -m models.fetch` puts the model files; `make test` runs it."""
    return default_data_dir() / "models"
