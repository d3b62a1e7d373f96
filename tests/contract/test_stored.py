"""What the API reads back, over SQLite, MariaDB and the companion's MariaDB: newest first, every row on one page."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from actors.records import object_name
from models.types import Trip
from serve_app.adapters.sql import SqlMetricsStore
from serve_app.adapters.stored import Cursor, Page, StoredRows, StoredVideo, T
from tests.builders import make_event
from tests.contract.databases import (
    OPENED_AT_MS,
    make_alerts,
    make_trip,
    make_trip_record,
    make_video,
    mariadb_database,
    sqlite_database,
)

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


def test_trips_by_what_is_asked_for_with_their_events_counted(store: SqlMetricsStore) -> None:
    trips = [replace(make_trip(), opened_at_ms=OPENED_AT_MS + 1000 * number) for number in range(5)]
    for number, trip in enumerate(trips):
        record = replace(make_trip_record(trip), flagged=number % 2)
        store.save(None, [], record, [make_event(trip, n, kind="yawn") for n in range(1, number)])
    rows = StoredRows(store)
    ours = {str(trip.id): number for number, trip in enumerate(trips)}
    for limit in (2, ALL):
        found = [one for one in paged(rows.trips, limit) if one.uuid in ours]
        assert [ours[one.uuid] for one in found] == [4, 3, 2, 1, 0]
        assert [one.events.get("yawn", 0) for one in found] == [3, 2, 1, 0, 0]
    at = [dt.datetime.fromtimestamp(trip.opened_at_ms / 1000, dt.UTC) for trip in trips]
    inside = rows.trips(ALL, since=at[1], until=at[3])
    assert [ours[one.uuid] for one in inside.rows if one.uuid in ours] == [2, 1]
    assert [one.uuid for one in rows.trips(ALL, vehicle=trips[2].vehicle).rows] == [str(trips[2].id)]
    flagged = {one.uuid for one in rows.trips(ALL, flagged=True).rows}
    assert {number for uuid_, number in ours.items() if uuid_ in flagged} == {1, 3}
    assert not {one.uuid for one in rows.trips(ALL, flagged=False).rows} & flagged


def test_one_trip_with_its_videos_in_order_and_one_event(store: SqlMetricsStore) -> None:
    trip = make_trip()
    for part in range(1, 54):  # more than are looked for at once
        store.save(make_video(trip, part), [])
    store.save(None, [], make_trip_record(trip), [make_event(trip, 1)])
    rows = StoredRows(store)
    found = rows.trip(trip.id)
    assert found is not None
    assert (found.vehicle, found.frames, found.closed_by) == (str(trip.vehicle), 20, "device")
    assert [one.uuid for one in rows.videos_of_trip(trip.id)] == [str(make_video(trip, n).uuid) for n in range(1, 54)]
    video = rows.video(make_video(trip, 2).uuid)
    assert video is not None
    assert (video.vehicle, video.footage) == (str(trip.vehicle), f"/footage/{object_name(trip, 2)}")
    event = rows.event(make_event(trip, 1).uuid)
    assert event is not None and event.trip == str(trip.id)
    nobody = uuid.uuid4()
    assert (rows.trip(nobody), rows.video(nobody), rows.event(nobody)) == (None, None, None)
    assert rows.videos_of_trip(nobody) == []


@pytest.mark.parametrize(
    "url", ["", "x", "http://127.0.0.1:8000/footage/other.mp4", "https://elsewhere.example/a/b.mp4"]
)
def test_a_video_of_the_companion_is_not_one_of_ours(url: str) -> None:
    assert StoredVideo("u", "v", url, dt.datetime.now(dt.UTC)).footage is None
