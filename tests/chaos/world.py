"""The real servers that a service of these tests stands on, and what it has left in them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pymysql

from tests import servers
from tests.chaos.app import FIRST_EAR
from tests.chaos.pictures import number_of
from tests.chaos.proxy import Proxy


@dataclass(frozen=True, slots=True)
class Stored:
    """What the trips of one vehicle have left.

    Args:
        rows: The number of the frame that each row of `alerts` is of.
        pictures: The number of the frame that each picture in the MP4s shows.
        objects: The object of each row of `videos`.
        trips: The rows of `dms_trips`.
    """

    rows: list[int]
    pictures: list[int]
    objects: list[str]
    trips: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class World:
    """Broker, database and storage of one service; the storage is behind a proxy.

    Args:
        broker: mosquitto.
        mariadb: The database server.
        gcs: The storage itself.
        proxy: Where the service finds the storage.
        database: Name of the service's database.
        bucket: Name of its bucket.
    """

    broker: servers.Server
    mariadb: servers.MariaDb
    gcs: servers.Gcs
    proxy: Proxy
    database: str
    bucket: str

    def settings(self, **more: str) -> dict[str, str]:
        """Of the service."""
        return {
            "MQTT_BROKER_URL": servers.HOST,
            "MQTT_BROKER_PORT": str(self.broker.port),
            "MYSQL_HOST": f"{servers.HOST}:{self.mariadb.port}",
            "MYSQL_USER": self.mariadb.user,
            "MYSQL_PASSWORD": self.mariadb.password,
            "MYSQL_DATABASE": self.database,
            "GOOGLE_STORAGE_BUCKET_NAME": self.bucket,
            "STORAGE_EMULATOR_HOST": self.proxy.url,
            # a fault may last a while, and what is measured is not how patient the service is with devices,
            "STREAM_IDLE_TIMEOUT_S": "120",
            # nor how much it can hold while there is no Detector
            "MAILBOX_FRAMES": "1000",
            # the books know of each frame whether it is to be flagged; an event flags those around it as well
            "POLICY_PROFILE": "legacy",
            **more,
        }

    def rows(self, vehicle: uuid.UUID) -> list[int]:
        """The numbers of the frames of which there are rows in `alerts`."""
        return [round(row["ear"] - FIRST_EAR) for row in self._alerts(vehicle)]

    def times(self, vehicle: uuid.UUID) -> dict[int, dt.datetime]:
        """The capture time of each of these frames."""
        return {round(row["ear"] - FIRST_EAR): row["time"] for row in self._alerts(vehicle)}

    def stored(self, vehicle: uuid.UUID) -> Stored:
        """Everything that is there of a vehicle."""
        found = self._select(
            "SELECT url FROM videos JOIN vehicles ON vehicles.id = vehicle_id WHERE vehicles.uuid = %s", vehicle
        )
        objects = [row["url"].partition("/footage/")[2] for row in found]
        in_bucket = [name for name in self._names() if f"/{vehicle}-" in name and name.endswith(".mp4")]
        return Stored(
            self.rows(vehicle), [n for name in in_bucket for n in self._pictures(name)], objects, self.trips(vehicle)
        )

    def trips(self, vehicle: uuid.UUID) -> list[dict[str, Any]]:
        """The rows of `dms_trips`."""
        return self._select(
            "SELECT dms_trips.* FROM dms_trips JOIN vehicles ON vehicles.id = vehicle_id WHERE vehicles.uuid = %s "
            "ORDER BY opened_at",
            vehicle,
        )

    def _alerts(self, vehicle: uuid.UUID) -> list[dict[str, Any]]:
        return self._select(
            "SELECT ear, time FROM alerts JOIN videos ON videos.id = video_id "
            "JOIN vehicles ON vehicles.id = vehicle_id WHERE vehicles.uuid = %s",
            vehicle,
        )

    def _select(self, sql: str, vehicle: uuid.UUID) -> list[dict[str, Any]]:
        with (
            self.mariadb.root(self.database) as connection,
            connection.cursor(pymysql.cursors.DictCursor) as cursor,
        ):
            cursor.execute(sql, (str(vehicle),))
            return list(cursor.fetchall())

    def _names(self) -> list[str]:
        listed = json.loads(self._get(f"/storage/v1/b/{self.bucket}/o"))
        return [item["name"] for item in listed.get("items", [])]

    def _pictures(self, name: str) -> list[int]:
        body = self._get(f"/storage/v1/b/{self.bucket}/o/{name.replace('/', '%2F')}?alt=media")
        with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
            Path(file.name).write_bytes(body)
            with av.open(file.name) as container:
                return [number_of(picture.to_ndarray(format="gray")) for picture in container.decode(video=0)]

    def _get(self, path: str) -> bytes:
        """From the storage itself, past the proxy."""
        with urllib.request.urlopen(self.gcs.url + path, timeout=30) as answer:  # noqa: S310 - our own server
            body: bytes = answer.read()
            return body


@contextlib.contextmanager
def storage() -> Iterator[tuple[servers.Gcs, Proxy]]:
    """fake-gcs-server and a proxy before it, through which all that it tells its clients leads."""
    with servers.gcs() as gcs, contextlib.closing(Proxy(gcs.port)) as proxy:
        gcs.stop()
        gcs.args[gcs.args.index("-external-url") + 1] = proxy.url
        gcs.start()
        yield gcs, proxy


@contextlib.contextmanager
def new_world(mariadb: servers.MariaDb, gcs: servers.Gcs, proxy: Proxy) -> Iterator[World]:
    """A broker, a database and a bucket that nobody has used; a broker that is restarted has forgotten everybody."""
    with servers.mosquitto() as broker:
        yield World(broker, mariadb, gcs, proxy, mariadb.database(), gcs.bucket())
