"""What the API reads back, over SQLite, MariaDB and the companion's MariaDB: newest first, every row on one page."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.types import Trip
from serve_app.adapters.sql import SqlMetricsStore
from serve_app.adapters.stored import Cursor, Page, StoredRows, T
from tests.builders import make_event
from tests.contract.databases import make_alerts, make_trip, make_video, mariadb_database, sqlite_database

ALL = 100


@pytest.fixture(params=["sqlite", "mariadb", "companion"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SqlMetricsStore:
    match request.param:
        case "sqlite":
            return sqlite_database(tmp_path).store()
        case "mariadb":
            return mariadb_database(request.getfixturevalue("mariadb"), tmp_path).store()
        case _:
            companion = request.getfixturevalue("companion")
            return SqlMetricsStore(companion.store().engine)


def paged(ask: Callable[[int, Cursor | None], Page[T] | None], limit: int) -> list[T]:
    """All rows, page by page."""
    found: list[T] = []
    cursor: Cursor | None = None
    while True:
        page = ask(limit, cursor)
        assert page is not None
        assert len(page.rows) <= limit
        found += page.rows
        cursor = page.next
        if cursor is None:
            return found


def test_vehicles_come_page_by_page_the_last_first(store: SqlMetricsStore) -> None:
    rows = StoredRows(store)
    before = [one.uuid for one in paged(rows.vehicles, ALL)]  # the companion's
    came = [uuid.uuid4() for _ in range(5)]
    for vehicle in came:
        store.register(vehicle)
    for limit in (1, 2, 3, ALL):
        found = paged(rows.vehicles, limit)
        assert {one.uuid for one in found} == {*before, *map(str, came)}
        assert len(found) == len(before) + 5
        times = [one.created_at for one in found]
        assert times == sorted(times, reverse=True)
        assert times[0].tzinfo is dt.UTC


def test_a_page_that_fits_has_no_next(store: SqlMetricsStore) -> None:
    trip = make_trip()
    for part in (1, 2):
        store.save(make_video(trip, part), [])
    page = StoredRows(store).videos(trip.vehicle, 2)
    assert page is not None
    assert (len(page.rows), page.next) == (2, None)


def test_the_videos_of_one_vehicle(store: SqlMetricsStore) -> None:
    trip, other = make_trip(), make_trip()
    for part in (1, 2, 3):
        store.save(make_video(trip, part), [])
    store.save(make_video(other), [])
    rows = StoredRows(store)
    found = paged(lambda limit, cursor: rows.videos(trip.vehicle, limit, cursor), 2)
    assert [(one.uuid, one.url) for one in found] == [
        (str(video.uuid), video.url) for video in (make_video(trip, part) for part in (3, 2, 1))
    ]
    assert {one.vehicle for one in found} == {str(trip.vehicle)}


def test_what_is_unknown_is_none(store: SqlMetricsStore) -> None:
    rows = StoredRows(store)
    assert rows.videos(uuid.uuid4(), 1) is None
    assert rows.alerts(uuid.uuid4(), 1) is None


def test_the_flagged_frames_of_one_video(store: SqlMetricsStore) -> None:
    trip = make_trip()
    alerts = make_alerts(trip, 7)
    store.save(make_video(trip), alerts)
    store.save(make_video(make_trip()), make_alerts(make_trip(), 2))
    rows = StoredRows(store)
    video = make_video(trip).uuid
    found = paged(lambda limit, cursor: rows.alerts(video, limit, cursor), 3)
    assert [one.uuid for one in found] == [str(alert.uuid) for alert in reversed(alerts)]
    newest, last = found[0], alerts[-1]
    assert newest.time.timestamp() == last.time_ms / 1000
    assert (newest.ear, newest.mar, newest.sleep_duration) == (last.ear, last.mar, last.sleep_duration)
    assert (newest.yawning_duration, newest.focus_duration) == (last.yawning_duration, last.focus_duration)
    assert [one.object_detected for one in found[:2]] == [None, "bottle, phone"]


def test_events_by_vehicle_kind_and_time(store: SqlMetricsStore) -> None:
    early, late = make_trip(), _an_hour_later(make_trip())
    store.save(make_video(early), [])
    phone = replace(make_event(early, 2, kind="phone_use"), started_ms=early.opened_at_ms + 900)
    nap = make_event(early, 1, video=make_video(early).uuid, offset_s=0.5)
    later = replace(make_event(late, 1), ended_ms=late.opened_at_ms + 2000)
    store.save(None, [], None, [nap, phone, later])
    rows = StoredRows(store)
    assert [one.id for one in paged(rows.events, 1)] == [str(later.uuid), str(phone.uuid), str(nap.uuid)]
    last, _, first = paged(rows.events, ALL)
    assert (first.vehicle, first.video, first.offset_s) == (str(early.vehicle), str(make_video(early).uuid), 0.5)
    assert (first.ended_at, first.peak, first.severity) == (None, {"eyes_closed_s": 1.6}, "high")
    assert (last.video, last.trip) == (None, str(late.id))
    assert last.ended_at is not None

    def ids(**filters: object) -> list[str]:
        return [one.id for one in rows.events(ALL, **filters).rows]  # type: ignore[arg-type]

    assert ids(vehicle=early.vehicle) == [str(phone.uuid), str(nap.uuid)]
    assert ids(kind="phone_use") == [str(phone.uuid)]
    begun = dt.datetime.fromtimestamp(phone.started_ms / 1000, dt.UTC)
    assert ids(since=begun) == [str(later.uuid), str(phone.uuid)]
    assert ids(until=begun) == [str(nap.uuid)]
    assert ids(vehicle=uuid.uuid4()) == []


def _an_hour_later(trip: Trip) -> Trip:
    return replace(trip, opened_at_ms=trip.opened_at_ms + 3_600_000)
