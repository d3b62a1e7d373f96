"""One running service for the tests of this folder, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from serve_app.simulator import load_source
from serve_app.synthetic import Clip, ClipError, make_clip
from tests import servers
from tests.serve.service import Devices, Service, running, skip_without_index


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: servers.Server, mariadb: servers.MariaDb, gcs: servers.Gcs
) -> Iterator[Service]:
    """The service on mosquitto, MariaDB and fake-gcs-server."""
    settings: dict[str, Any] = {
        "MQTT_BROKER_URL": "127.0.0.1",
        "MQTT_BROKER_PORT": str(mosquitto.port),
        "MYSQL_HOST": f"127.0.0.1:{mariadb.port}",
        "MYSQL_USER": mariadb.user,
        "MYSQL_PASSWORD": mariadb.password,
        "MYSQL_DATABASE": mariadb.database(),
        "GOOGLE_STORAGE_BUCKET_NAME": gcs.bucket(),
        "STORAGE_EMULATOR_HOST": gcs.url,
        "STREAM_IDLE_TIMEOUT_S": "20",
    }
    with running(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


@pytest.fixture
def devices(service: Service) -> Iterator[Devices]:
    """Vehicles of the service."""
    with Devices(service.mqtt_port) as devices:
        yield devices


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """The synthetic driver."""
    try:
        return make_clip(tmp_path_factory.mktemp("clip"), say=lambda _: None)
    except ClipError as error:
        skip_without_index(error)
        raise


@pytest.fixture(scope="session")
def driver(clip: Clip) -> list[bytes]:
    """The synthetic driver's frames, 15 a second."""
    return [frame.jpeg for frame in load_source(clip.video)]
