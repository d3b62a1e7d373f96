"""Databases to hold stores against, and records to put into them."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.records import AlertRecord, TripRecord, VideoRecord, alert_uuid, object_name, video_uuid
from models.types import ClosedBy, Trip
from serve_app.adapters.sql import SqlMetricsStore, metrics_store
from tests import servers

OPENED_AT_MS = 1_760_000_000_123
"""2025-10-09 08:53:20.123 UTC."""

# As the companion's migrations leave them.
COMPANION = """
CREATE TABLE vehicles (id BIGINT NOT NULL AUTO_INCREMENT, uuid VARCHAR(191) NOT NULL,
  created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  UNIQUE INDEX vehicles_uuid_key(uuid), PRIMARY KEY (id)) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
CREATE TABLE videos (id BIGINT NOT NULL AUTO_INCREMENT, vehicle_id BIGINT NOT NULL, uuid VARCHAR(191) NOT NULL,
  url VARCHAR(191) NOT NULL,
  created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  UNIQUE INDEX videos_uuid_key(uuid), PRIMARY KEY (id),
  CONSTRAINT videos_vehicle_id_fkey FOREIGN KEY (vehicle_id) REFERENCES vehicles(id)
    ON DELETE RESTRICT ON UPDATE CASCADE) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
CREATE TABLE alerts (id BIGINT NOT NULL AUTO_INCREMENT, video_id BIGINT NOT NULL, uuid VARCHAR(191) NOT NULL,
  ear DOUBLE NOT NULL DEFAULT 0, mar DOUBLE NOT NULL DEFAULT 0, sleep_duration DOUBLE NOT NULL DEFAULT 0,
  yawning_duration DOUBLE NOT NULL DEFAULT 0, focus_duration DOUBLE NOT NULL DEFAULT 0,
  object_detected VARCHAR(191) NULL, time DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  UNIQUE INDEX alerts_uuid_key(uuid), PRIMARY KEY (id),
  CONSTRAINT alerts_video_id_fkey FOREIGN KEY (video_id) REFERENCES videos(id)
    ON DELETE RESTRICT ON UPDATE CASCADE) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci
"""

Sql = Callable[[str], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Database:
    """A real database under test: what `metrics_store` needs to reach it, and a look past the store."""

    settings: dict[str, Any]
    sql: Sql

    def store(self) -> SqlMetricsStore:
        """A store on it, as another process would make one."""
        return metrics_store(**self.settings)


def make_trip() -> Trip:
    """A trip of a vehicle of its own."""
    return Trip(id=uuid.uuid4(), vehicle=uuid.uuid4(), opened_at_ms=OPENED_AT_MS)


def make_video(trip: Trip, part: int = 1) -> VideoRecord:
    """The record of one part."""
    url = f"http://127.0.0.1:8000/footage/{object_name(trip, part)}"
    return VideoRecord(uuid=video_uuid(trip.id, part), vehicle=trip.vehicle, url=url)


def make_alerts(trip: Trip, n: int) -> list[AlertRecord]:
    """`n` flagged frames, 0.1 s apart; every second one with objects."""
    return [
        AlertRecord(
            uuid=alert_uuid(trip.id, seq),
            time_ms=trip.opened_at_ms + 100 * seq,
            ear=0.125 + seq,
            mar=0.5,
            sleep_duration=1.25,
            yawning_duration=0.0,
            focus_duration=2.5,
            object_detected="bottle, phone" if seq % 2 else None,
        )
        for seq in range(n)
    ]


def make_trip_record(trip: Trip, closed_by: ClosedBy = "device", frames: int = 20) -> TripRecord:
    """The trip's end, 2 s after it opened."""
    return TripRecord(
        uuid=trip.id,
        vehicle=trip.vehicle,
        opened_at_ms=trip.opened_at_ms,
        ended_at_ms=trip.opened_at_ms + 2000,
        closed_by=closed_by,
        recovered=False,
        frames=frames,
        flagged=3,
    )


def sqlite_database(folder: Path) -> Database:
    """The SQLite file below `folder`."""

    def sql(query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(folder / "dms.sqlite3") as connection:
            rows = connection.execute(query).fetchall()
        connection.close()
        return rows

    return Database({"data_dir": folder}, sql)


def mariadb_database(server: servers.MariaDb, folder: Path) -> Database:
    """A new, empty database of the server."""
    name = server.database()

    def sql(query: str) -> list[tuple[Any, ...]]:
        with server.root(name) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    at = {"mysql_host": servers.HOST, "mysql_port": server.port}
    login = {"mysql_user": server.user, "mysql_password": server.password}
    return Database({"data_dir": folder, **at, "mysql_database": name, **login}, sql)
