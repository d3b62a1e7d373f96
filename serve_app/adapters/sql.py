"""Rows in MySQL 8, MariaDB 10.6+ or SQLite: vehicles, videos and per-frame metrics, as the companion reads them."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

from actors.records import AlertRecord, EventRecord, TripRecord, VideoRecord
from serve_app.adapters.engines import mysql_engine, sqlite_engine
from serve_app.adapters.schema import alerts, events, metadata, trips, vehicles, videos

EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 the columns are UTC without a zone
_LOST_RACES = {1205, 1213}  # MySQL: lock wait timeout, deadlock
_IN_ONE_QUERY = 5000
_DENIED = {1044, 1142}  # MySQL: no right to the database, to the command
_log = logging.getLogger(__name__)


def metrics_store(
    *,
    data_dir: Path,
    mysql_host: str | None = None,
    mysql_port: int | None = None,
    mysql_user: str | None = None,
    mysql_password: str | None = None,
    mysql_database: str | None = None,
    mysql_tls_ca: Path | None = None,
    pool_size: int = 0,
) -> SqlMetricsStore:
    """The database that the settings name; nothing is connected to yet.

    Args:
        data_dir: Without `mysql_host`, rows go to the SQLite file `dms.sqlite3` in it; the folder is made.
        mysql_host: Name or IP address of MySQL or MariaDB; the other `mysql_` arguments: see `mysql_engine`.
        mysql_port: Its port; None: 3306.
        mysql_user: Its user.
        mysql_password: Its password.
        mysql_database: Its database, which must exist.
        mysql_tls_ca: A PEM file.
        pool_size: Connections kept open. 0, for a vehicle: it speaks to the database twice a trip, and 200 vehicles
            that hold on to one each are more than MySQL's default of 151. A few for a process that many ask.

    Raises:
        ValueError: `mysql_host` comes without `mysql_database`.
        OSError: `data_dir` cannot be made.
    """
    if not mysql_host:
        data_dir.mkdir(parents=True, exist_ok=True)
        return SqlMetricsStore(sqlite_engine(data_dir / "dms.sqlite3", pool_size=pool_size))
    engine = mysql_engine(
        host=mysql_host,
        port=mysql_port or 3306,
        user=mysql_user,
        password=mysql_password,
        database=mysql_database,
        tls_ca=mysql_tls_ca,
        pool_size=pool_size,
    )
    return SqlMetricsStore(engine)


class SqlMetricsStore:
    """Implements `actors.ports.MetricsStore`. Safe to use from threads, and from several processes at once.

    Tables that are there are used as they are; missing ones are made at the first use.

    Args:
        engine: Of MySQL, MariaDB or SQLite, see `metrics_store`.

    Attributes:
        records_trips: Whether the tables of trips and events are there, as far as is known; see `prepare`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._prepared = False
        self._preparing = threading.Lock()
        self.records_trips = True

    @property
    def describe(self) -> str:
        """Which database, without secrets, for a health page."""
        url = self.engine.url
        if url.get_backend_name() == "sqlite":
            return f"sqlite {url.database}"
        return f"mysql {url.host}:{url.port}/{url.database}"

    def prepare(self) -> None:
        """Make the tables that are missing; `register`, `save` and `video_exists` do it too.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: The database did not do it. May be tried again.
        """
        with self._preparing:
            if self._prepared:
                return
            with self.engine.begin() as connection:
                # Asked first: a user who may not create tables may not say CREATE TABLE IF NOT EXISTS either.
                there = inspect(connection).get_table_names()
                self.records_trips = True
                for table in metadata.sorted_tables:
                    if table.name not in there:
                        self._make(connection, table)
            self._prepared = True

    def _make(self, connection: Connection, table: Table) -> None:
        try:
            _create(connection, table)
        except OperationalError as error:
            # The companion's tables are there and want no CREATE; without our own, videos and alerts land all the same.
            if table not in (trips, events) or error.orig is None or error.orig.args[0] not in _DENIED:
                raise
            if self.records_trips:
                _log.error(
                    "table %s is missing and may not be made: trips and events are not recorded (GRANT CREATE)",
                    table.name,
                )
            self.records_trips = False

    def register(self, vehicle: uuid.UUID) -> None:
        """See `MetricsStore.register`."""
        self._write(lambda connection: _vehicle_id(connection, vehicle, _now()))

    def save(
        self,
        video: VideoRecord | None,
        alerts: Sequence[AlertRecord],
        trip: TripRecord | None = None,
        events: Sequence[EventRecord] = (),
    ) -> None:
        """See `MetricsStore.save`."""

        def change(connection: Connection) -> None:
            if video is not None:
                _save_video(connection, video, alerts)
            if not self.records_trips:
                return
            for event in events:
                _save_event(connection, event)
            if trip is not None:
                _save_trip(connection, trip)

        self._write(change)

    def video_exists(self, video_uuid: uuid.UUID) -> bool:
        """Whether a `videos` row has this UUID.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: The database did not answer.
        """
        self.prepare()
        with self.engine.connect() as connection:
            return id_of(connection, videos, video_uuid) is not None

    def ping(self) -> None:
        """Return when the database answers now.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: It does not.
        """
        with self.engine.connect() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Close the connections kept open."""
        self.engine.dispose()

    def _write(self, change: Callable[[Connection], object]) -> None:
        """Do `change` in one transaction, again from its start where another process did the same meanwhile."""
        attempts = Retrying(
            stop=stop_after_attempt(3), wait=wait_random(0, 0.1), retry=retry_if_exception(_lost_a_race), reraise=True
        )
        try:
            for attempt in attempts:
                with attempt:
                    self.prepare()
                    with self.engine.begin() as connection:
                        change(connection)
        except SQLAlchemyError:
            self._prepared = False  # the tables may be gone, as after a restore: look again next time
            raise


def _lost_a_race(error: BaseException) -> bool:
    """Whether another writer came between; a new transaction sees its rows.

    Rows are inserted after a look whether they are there, since the ways to do both at once either differ between
    MySQL, MariaDB and SQLite or, like INSERT IGNORE, hide other errors.
    """
    if isinstance(error, OperationalError) and error.orig is not None:
        return error.orig.args[0] in _LOST_RACES
    return isinstance(error, IntegrityError)


def _save_video(connection: Connection, video: VideoRecord, records: Sequence[AlertRecord]) -> None:
    now = _now()
    vehicle_id = _vehicle_id(connection, video.vehicle, now)
    video_id = id_of(connection, videos, video.uuid)
    if video_id is None:
        video_id = _insert(connection, videos, video.uuid, now, vehicle_id=vehicle_id, url=video.url)
    uuids = [str(record.uuid) for record in records]
    there: set[str] = set()
    # By their own UUID: a frame that a lost process had in another part is stored, and stays there.
    for first in range(0, len(uuids), _IN_ONE_QUERY):
        some = uuids[first : first + _IN_ONE_QUERY]
        there |= set(connection.scalars(select(alerts.c.uuid).where(alerts.c.uuid.in_(some))))
    missing = {str(record.uuid): record for record in records if str(record.uuid) not in there}
    if missing:
        connection.execute(insert(alerts), [_alert_row(record, video_id, now) for record in missing.values()])


def _save_trip(connection: Connection, trip: TripRecord) -> None:
    now = _now()
    vehicle_id = _vehicle_id(connection, trip.vehicle, now)
    values = {
        "ended_at": _utc(trip.ended_at_ms),
        "closed_by": trip.closed_by,
        "recovered": trip.recovered,
        "frames": trip.frames,
        "flagged": trip.flagged,
    }
    trip_id = id_of(connection, trips, trip.uuid)
    if trip_id is None:
        _insert(connection, trips, trip.uuid, now, vehicle_id=vehicle_id, opened_at=_utc(trip.opened_at_ms), **values)
    else:
        # A trip only grows: whoever knows of fewer frames, as a process that lost its journal, knows less.
        which = (trips.c.id == trip_id) & (trips.c.frames <= trip.frames)
        connection.execute(update(trips).where(which).values(**values, updated_at=now))
    still = (events.c.trip == str(trip.uuid)) & events.c.ended_at.is_(None)
    connection.execute(update(events).where(still).values(ended_at=_utc(trip.ended_at_ms), updated_at=now))


def _save_event(connection: Connection, event: EventRecord) -> None:
    now = _now()
    values = {
        "kind": event.kind,
        "severity": event.severity,
        "ended_at": None if event.ended_ms is None else _utc(event.ended_ms),
        "peak": json.dumps(dict(event.peak)),
        "coverage": event.coverage,
    }
    event_id = id_of(connection, events, event.uuid)
    if event_id is not None:
        if event.ended_ms is not None:  # else it is a part that comes late, and knows less
            connection.execute(update(events).where(events.c.id == event_id).values(**values, updated_at=now))
        return
    _insert(
        connection,
        events,
        event.uuid,
        now,
        vehicle_id=_vehicle_id(connection, event.vehicle, now),
        trip=str(event.trip),
        started_at=_utc(event.started_ms),
        policy=event.policy,
        models=event.models,
        video_id=id_of(connection, videos, event.video) if event.video else None,
        offset_s=event.offset_s,
        **values,
    )


def _alert_row(record: AlertRecord, video_id: int, now: dt.datetime) -> dict[str, Any]:
    return {
        "video_id": video_id,
        "uuid": str(record.uuid),
        "ear": record.ear,
        "mar": record.mar,
        "sleep_duration": record.sleep_duration,
        "yawning_duration": record.yawning_duration,
        "focus_duration": record.focus_duration,
        "object_detected": record.object_detected,
        "time": _utc(record.time_ms),
        "created_at": now,
        "updated_at": now,
    }


def _vehicle_id(connection: Connection, vehicle: uuid.UUID, now: dt.datetime) -> int:
    found = id_of(connection, vehicles, vehicle)
    return _insert(connection, vehicles, vehicle, now) if found is None else found


def id_of(connection: Connection, table: Table, row: uuid.UUID) -> int | None:
    """The number of the row with this UUID; None when there is none."""
    found: int | None = connection.scalar(select(table.c.id).where(table.c.uuid == str(row)))
    return found


def _insert(connection: Connection, table: Table, row: uuid.UUID, now: dt.datetime, **values: Any) -> int:
    made = connection.execute(insert(table).values(uuid=str(row), created_at=now, updated_at=now, **values))
    return int(made.inserted_primary_key[0])  # type: ignore[index]  # a single insert has one


def _utc(time_ms: int) -> dt.datetime:
    return EPOCH + dt.timedelta(milliseconds=time_ms)


def _now() -> dt.datetime:
    """UTC to the millisecond; said by us, because the default of the columns is in the server's time zone."""
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _create(connection: Connection, table: Table) -> None:
    """IF NOT EXISTS: another process may be doing the same."""
    connection.execute(CreateTable(table, if_not_exists=True))
    if connection.dialect.name == "sqlite":
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))
