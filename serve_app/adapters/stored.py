"""What is stored, for reading: vehicles, videos, their flagged frames, and events; newest first, a page at a time."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Column, Row, Select, Table, and_, func, or_, select
from sqlalchemy.sql import ColumnElement

from actors.records import video_uuid
from models.types import EventKind
from serve_app.adapters.footage import is_object_name
from serve_app.adapters.schema import alerts, events, trips, vehicles, videos
from serve_app.adapters.sql import EPOCH, SqlMetricsStore, id_of

T = TypeVar("T")


class Cursor(NamedTuple):
    """Where a page ended: its last row's time, milliseconds since 1970 UTC, and number."""

    time_ms: int
    row: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, newest first.

    Args:
        rows: At most as many as were asked for.
        next: Where the next page begins; None when this is the last.
    """

    rows: tuple[T, ...]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class StoredVehicle:
    """A row of `vehicles`; times know that they are UTC here and below."""

    uuid: str
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """A row of `videos`."""

    uuid: str
    vehicle: str
    url: str
    created_at: dt.datetime

    @property
    def object_name(self) -> str | None:
        """Of its MP4; None for one that no flush makes."""
        name = "/".join(self.url.split("/")[-2:])
        return name if is_object_name(name) else None

    @property
    def footage(self) -> str | None:
        """Where this service has it, without host."""
        return self.object_name and f"/footage/{self.object_name}"


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """A row of `alerts`, a flagged frame; durations are seconds."""

    uuid: str
    video: str
    time: dt.datetime
    ear: float
    mar: float
    sleep_duration: float
    yawning_duration: float
    focus_duration: float
    object_detected: str | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A row of `dms_events`, see `EventRecord`; its UUID is its `id`, as the contract says."""

    id: str
    trip: str
    vehicle: str
    kind: str
    severity: str
    started_at: dt.datetime
    ended_at: dt.datetime | None
    peak: dict[str, float]
    coverage: float
    policy: str
    models: str
    video: str | None
    offset_s: float | None


@dataclass(frozen=True, slots=True)
class StoredTrip:
    """A row of `dms_trips`, and how many events of each kind it had."""

    uuid: str
    vehicle: str
    opened_at: dt.datetime
    ended_at: dt.datetime
    closed_by: str
    recovered: bool
    frames: int
    flagged: int
    events: dict[str, int]


PARTS = 50
"""Of a trip, looked for at once."""


class NotRecordedError(Exception):
    """The database's user may not make the tables of trips and events; the message is for a person."""


class StoredRows:
    """Reads what a `SqlMetricsStore` writes. Safe to use from threads.

    Every method raises `sqlalchemy.exc.SQLAlchemyError` when the database does not answer, and those about trips and
    events `NotRecordedError`.

    Args:
        store: Says where; its tables are made if they are missing.
    """

    def __init__(self, store: SqlMetricsStore) -> None:
        self._store = store

    def vehicles(self, limit: int, after: Cursor | None = None) -> Page[StoredVehicle]:
        """All vehicles, the last to come first."""
        return self._page(
            select(vehicles.c.id, vehicles.c.created_at, vehicles.c.uuid),
            (vehicles.c.created_at, vehicles.c.id),
            limit,
            after,
            lambda row: StoredVehicle(row.uuid, _utc(row.created_at)),
        )

    def videos(self, vehicle: uuid.UUID, limit: int, after: Cursor | None = None) -> Page[StoredVideo] | None:
        """A vehicle's; None when it is unknown."""
        vehicle_id = self._id_of(vehicles, vehicle)
        if vehicle_id is None:
            return None
        return self._page(
            select(videos.c.id, videos.c.created_at, videos.c.uuid, videos.c.url).where(
                videos.c.vehicle_id == vehicle_id
            ),
            (videos.c.created_at, videos.c.id),
            limit,
            after,
            lambda row: StoredVideo(row.uuid, str(vehicle), row.url, _utc(row.created_at)),
        )

    def alerts(self, video: uuid.UUID, limit: int, after: Cursor | None = None) -> Page[StoredAlert] | None:
        """The flagged frames of a video; None when that is unknown."""
        video_id = self._id_of(videos, video)
        if video_id is None:
            return None
        return self._page(
            select(alerts).where(alerts.c.video_id == video_id),
            (alerts.c.time, alerts.c.id),
            limit,
            after,
            lambda row: StoredAlert(
                uuid=row.uuid,
                video=str(video),
                time=_utc(row.time),
                ear=row.ear,
                mar=row.mar,
                sleep_duration=row.sleep_duration,
                yawning_duration=row.yawning_duration,
                focus_duration=row.focus_duration,
                object_detected=row.object_detected,
            ),
        )

    def video(self, video: uuid.UUID) -> StoredVideo | None:
        """One of them; None when it is unknown."""
        found = self._videos(videos.c.uuid == str(video))
        return found[0] if found else None

    def trips(
        self,
        limit: int,
        after: Cursor | None = None,
        *,
        vehicle: uuid.UUID | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        flagged: bool | None = None,
    ) -> Page[StoredTrip]:
        """The trips that have ended, the last to open first.

        Args:
            limit: At most so many.
            after: Where the page before this one ended.
            vehicle: Of this one only.
            since: Opened at or after this, UTC.
            until: Opened before this, UTC.
            flagged: With flagged frames, or without any.
        """
        which = [] if vehicle is None else [vehicles.c.uuid == str(vehicle)]
        which += _between(trips.c.opened_at, since, until)
        if flagged is not None:
            which.append(trips.c.flagged > 0 if flagged else trips.c.flagged == 0)
        return self._counted(self._page(_TRIPS.where(*which), (trips.c.opened_at, trips.c.id), limit, after, _trip))

    def trip(self, trip: uuid.UUID) -> StoredTrip | None:
        """One of them; None when it is unknown or has not ended."""
        found = self._page(_TRIPS.where(trips.c.uuid == str(trip)), (trips.c.opened_at, trips.c.id), 1, None, _trip)
        return next(iter(self._counted(found).rows), None)

    def videos_of_trip(self, trip: uuid.UUID) -> list[StoredVideo]:
        """Its parts, in order."""
        found: list[StoredVideo] = []
        for first in range(1, 10_000, PARTS):
            names = [str(video_uuid(trip, part)) for part in range(first, first + PARTS)]
            some = {video.uuid: video for video in self._videos(videos.c.uuid.in_(names))}
            found += [some[name] for name in names if name in some]
            if len(some) < PARTS:
                break
        return found

    def event(self, event: uuid.UUID) -> StoredEvent | None:
        """One of them; None when it is unknown."""
        query = _EVENTS.where(events.c.uuid == str(event))
        return next(iter(self._page(query, (events.c.started_at, events.c.id), 1, None, _event).rows), None)

    def events(
        self,
        limit: int,
        after: Cursor | None = None,
        *,
        vehicle: uuid.UUID | None = None,
        trip: uuid.UUID | None = None,
        kind: EventKind | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
    ) -> Page[StoredEvent]:
        """Events of all vehicles, by their beginning.

        Args:
            limit: At most so many.
            after: Where the page before this one ended.
            vehicle: Of this one only.
            trip: Of this one only.
            kind: Of this kind only.
            since: Begun at or after this, UTC.
            until: Begun before this, UTC.
        """
        which: list[ColumnElement[bool]] = []
        if vehicle is not None:
            which.append(vehicles.c.uuid == str(vehicle))
        if trip is not None:
            which.append(events.c.trip == str(trip))
        if kind is not None:
            which.append(events.c.kind == kind)
        which += _between(events.c.started_at, since, until)
        return self._page(_EVENTS.where(*which), (events.c.started_at, events.c.id), limit, after, _event)

    def _page(
        self,
        query: Select[Any],
        order: tuple[Column[Any], Column[Any]],
        limit: int,
        after: Cursor | None,
        make: Callable[[Row[Any]], T],
    ) -> Page[T]:
        time, number = order
        if after is not None:
            at = EPOCH + dt.timedelta(milliseconds=after.time_ms)
            query = query.where(or_(time < at, and_(time == at, number < after.row)))
        self._store.prepare()
        if time.table in {trips, events} and not self._store.records_trips:
            raise NotRecordedError("trips and events are not recorded: the database's user may not make their tables")
        with self._store.engine.connect() as connection:
            rows = connection.execute(query.order_by(time.desc(), number.desc()).limit(limit + 1)).all()
        shown = rows[:limit]
        end = None
        if len(rows) > limit:
            end = Cursor(round((getattr(shown[-1], time.name) - EPOCH) / dt.timedelta(milliseconds=1)), shown[-1].id)
        return Page(tuple(make(row) for row in shown), end)

    def _videos(self, which: ColumnElement[bool]) -> list[StoredVideo]:
        self._store.prepare()
        query = (
            select(videos.c.uuid, vehicles.c.uuid.label("vehicle"), videos.c.url, videos.c.created_at)
            .join(vehicles, vehicles.c.id == videos.c.vehicle_id)
            .where(which)
        )
        with self._store.engine.connect() as connection:
            rows = connection.execute(query).all()
        return [StoredVideo(row.uuid, row.vehicle, row.url, _utc(row.created_at)) for row in rows]

    def _counted(self, page: Page[StoredTrip]) -> Page[StoredTrip]:
        """The same with their events."""
        by_uuid = {trip.uuid: trip for trip in page.rows}
        query = (
            select(events.c.trip, events.c.kind, func.count().label("number"))
            .where(events.c.trip.in_(by_uuid))
            .group_by(events.c.trip, events.c.kind)
        )
        with self._store.engine.connect() as connection:
            for row in connection.execute(query):
                by_uuid[row.trip].events[row.kind] = row.number
        return page

    def _id_of(self, table: Table, row: uuid.UUID) -> int | None:
        self._store.prepare()
        with self._store.engine.connect() as connection:
            return id_of(connection, table, row)


_EVENTS = (
    select(events, vehicles.c.uuid.label("vehicle"), videos.c.uuid.label("video"))
    .join(vehicles, vehicles.c.id == events.c.vehicle_id)
    .outerjoin(videos, videos.c.id == events.c.video_id)
)
_TRIPS = select(trips, vehicles.c.uuid.label("vehicle")).join(vehicles, vehicles.c.id == trips.c.vehicle_id)


def _between(column: Column[Any], since: dt.datetime | None, until: dt.datetime | None) -> list[ColumnElement[bool]]:
    begun = [] if since is None else [column >= since.replace(tzinfo=None)]
    return begun if until is None else [*begun, column < until.replace(tzinfo=None)]


def _trip(row: Row[Any]) -> StoredTrip:
    return StoredTrip(
        uuid=row.uuid,
        vehicle=row.vehicle,
        opened_at=_utc(row.opened_at),
        ended_at=_utc(row.ended_at),
        closed_by=row.closed_by,
        recovered=row.recovered,
        frames=row.frames,
        flagged=row.flagged,
        events={},
    )


def _event(row: Row[Any]) -> StoredEvent:
    return StoredEvent(
        id=row.uuid,
        trip=row.trip,
        vehicle=row.vehicle,
        kind=row.kind,
        severity=row.severity,
        started_at=_utc(row.started_at),
        ended_at=None if row.ended_at is None else _utc(row.ended_at),
        peak=json.loads(row.peak),
        coverage=row.coverage,
        policy=row.policy,
        models=row.models,
        video=row.video,
        offset_s=row.offset_s,
    )


def _utc(time: dt.datetime) -> dt.datetime:
    return time.replace(tzinfo=dt.UTC)
