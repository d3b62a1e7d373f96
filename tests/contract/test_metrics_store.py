"""One suite for every store of rows: the fake, SQLite, MariaDB, MariaDB where the companion was first."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.ports import MetricsStore
from actors.records import VideoRecord
from tests.builders import make_event
from tests.contract.databases import (
    Database,
    make_alerts,
    make_trip,
    make_trip_record,
    make_video,
    mariadb_database,
    sqlite_database,
)
from tests.fakes.stores import FakeMetricsStore


class Fake:
    """Asks the fake what `Real` asks a database."""

    def __init__(self) -> None:
        self.store = FakeMetricsStore()

    def vehicles(self) -> set[str]:
        """Their UUIDs."""
        return {str(vehicle) for vehicle in self.store.vehicles}

    def videos(self) -> set[tuple[str, str, str]]:
        """UUID, vehicle, URL of each."""
        return {(str(v.uuid), str(v.vehicle), v.url) for v in self.store.videos.values()}

    def alerts(self, video: VideoRecord) -> set[str]:
        """The UUIDs of one video's."""
        return {str(alert.uuid) for of, alert in self.store.alerts.values() if of == video.uuid}

    def events(self) -> list[tuple[str, str, str, str | None, float | None]]:
        """Kind, severity, JSON of the peak, the video's UUID and the offset of each, by their start."""
        found = sorted(self.store.events.values(), key=lambda event: event.started_ms)
        return [(e.kind, e.severity, json.dumps(e.peak), str(e.video) if e.video else None, e.offset_s) for e in found]

    def running(self) -> int:
        """How many have no end."""
        return sum(event.ended_ms is None for event in self.store.events.values())

    def trips(self) -> set[tuple[str, str, str, int]]:
        """UUID, vehicle, closed_by and frames of each."""
        return {(str(t.uuid), str(t.vehicle), t.closed_by, t.frames) for t in self.store.trips.values()}


class Real:
    """Reads rows back past the store; a row that is there twice fails by the length of the list."""

    def __init__(self, database: Database) -> None:
        self.store = database.store()
        self._sql = database.sql

    def vehicles(self) -> set[str]:
        """Their UUIDs."""
        return _set(self._sql("SELECT uuid FROM vehicles"), lambda row: row[0])

    def videos(self) -> set[tuple[str, str, str]]:
        """UUID, vehicle, URL of each."""
        query = "SELECT v.uuid, w.uuid, v.url FROM videos v JOIN vehicles w ON w.id = v.vehicle_id"
        return _set(self._sql(query), lambda row: row)

    def alerts(self, video: VideoRecord) -> set[str]:
        """The UUIDs of one video's."""
        query = f"SELECT a.uuid FROM alerts a JOIN videos v ON v.id = a.video_id WHERE v.uuid = '{video.uuid}'"  # noqa: S608
        return _set(self._sql(query), lambda row: row[0])

    def events(self) -> list[tuple[str, str, str, str | None, float | None]]:
        """Kind, severity, JSON of the peak, the video's UUID and the offset of each, by their start."""
        query = (
            "SELECT e.kind, e.severity, e.peak, v.uuid, e.offset_s FROM dms_events e "
            "LEFT JOIN videos v ON v.id = e.video_id ORDER BY started_at"
        )
        return [(row[0], row[1], row[2], row[3], row[4]) for row in self._sql(query)]

    def running(self) -> int:
        """How many have no end."""
        [(count,)] = self._sql("SELECT COUNT(*) FROM dms_events WHERE ended_at IS NULL")
        return int(count)

    def trips(self) -> set[tuple[str, str, str, int]]:
        """UUID, vehicle, closed_by and frames of each."""
        query = "SELECT t.uuid, v.uuid, closed_by, frames FROM dms_trips t JOIN vehicles v ON v.id = t.vehicle_id"
        return _set(self._sql(query), lambda row: row)


def _set(rows: list[tuple[Any, ...]], key: Callable[[tuple[Any, ...]], Any]) -> set[Any]:
    found = {key(row) for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(params=["fake", "sqlite", "mariadb", "companion"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Fake | Real:
    match request.param:
        case "fake":
            return Fake()
        case "sqlite":
            return Real(sqlite_database(tmp_path))
        case "mariadb":
            return Real(mariadb_database(request.getfixturevalue("mariadb"), tmp_path))
        case _:
            return Real(request.getfixturevalue("companion"))


def test_a_vehicle_is_registered_once(world: Fake | Real) -> None:
    store: MetricsStore = world.store
    first, second = uuid.uuid4(), uuid.uuid4()
    for vehicle in (first, second, first):
        store.register(vehicle)
    assert world.vehicles() == {str(first), str(second)}


def test_a_trip_saved_twice_is_there_once(world: Fake | Real) -> None:
    trip = make_trip()
    video, alerts = make_video(trip), make_alerts(trip, 20)
    for _ in range(2):
        world.store.save(video, alerts)
    assert world.vehicles() == {str(trip.vehicle)}
    assert world.videos() == {(str(video.uuid), str(trip.vehicle), video.url)}
    assert world.alerts(video) == {str(alert.uuid) for alert in alerts}


def test_a_registered_vehicle_gets_the_video_and_a_second_part(world: Fake | Real) -> None:
    trip = make_trip()
    alerts = make_alerts(trip, 10)
    world.store.register(trip.vehicle)
    world.store.save(make_video(trip), alerts[:6])
    world.store.save(make_video(trip, 2), alerts[6:])
    assert len(world.vehicles()) == 1
    assert len(world.videos()) == 2
    assert world.alerts(make_video(trip)) == {str(alert.uuid) for alert in alerts[:6]}
    assert world.alerts(make_video(trip, 2)) == {str(alert.uuid) for alert in alerts[6:]}


def test_alerts_that_are_missing_are_added(world: Fake | Real) -> None:
    trip = make_trip()
    alerts = make_alerts(trip, 10)
    world.store.save(make_video(trip), alerts[::2])
    world.store.save(make_video(trip), alerts)
    assert world.alerts(make_video(trip)) == {str(alert.uuid) for alert in alerts}


def test_a_video_without_alerts(world: Fake | Real) -> None:
    video = make_video(make_trip())
    world.store.save(video, [])
    assert world.alerts(video) == set()
    assert world.store.video_exists(video.uuid)


def test_a_video_exists_once_it_is_saved(world: Fake | Real) -> None:
    video = make_video(make_trip())
    assert not world.store.video_exists(video.uuid)
    world.store.save(video, [])
    assert world.store.video_exists(video.uuid)


def test_a_trip_without_a_video_is_recorded_once(world: Fake | Real) -> None:
    trip = make_trip()
    for _ in range(2):
        world.store.save(None, (), make_trip_record(trip))
    assert world.trips() == {(str(trip.id), str(trip.vehicle), "device", 20)}
    assert world.videos() == set()


def test_a_trip_that_has_gone_on_is_recorded_with_its_later_end(world: Fake | Real) -> None:
    trip = make_trip()
    world.store.save(make_video(trip), make_alerts(trip, 3), make_trip_record(trip, "orphaned", 20))
    world.store.save(make_video(trip, 2), [], make_trip_record(trip, "device", 30))
    world.store.save(None, (), make_trip_record(trip, "recovered", 0))
    assert world.trips() == {(str(trip.id), str(trip.vehicle), "device", 30)}


def test_an_event_is_one_row_from_its_beginning_to_its_end(world: Fake | Real) -> None:
    trip = make_trip()
    first, second = make_video(trip), make_video(trip, part=2)
    begun = make_event(trip, video=first.uuid, offset_s=1.5)
    world.store.save(first, (), None, [begun])
    world.store.save(first, (), None, [begun])
    assert world.events() == [("microsleep", "high", '{"eyes_closed_s": 1.6}', str(first.uuid), 1.5)]
    assert world.running() == 1
    worse = replace(begun, kind="sleep", severity="critical", peak={"eyes_closed_s": 4.0})
    worse = replace(worse, ended_ms=begun.started_ms + 4000)
    world.store.save(second, (), None, [replace(worse, video=second.uuid, offset_s=0.0)])
    world.store.save(first, (), None, [begun])
    assert world.events() == [("sleep", "critical", '{"eyes_closed_s": 4.0}', str(first.uuid), 1.5)]
    assert world.running() == 0


def test_an_event_without_footage_is_stored_and_ends_with_its_trip(world: Fake | Real) -> None:
    trip = make_trip()
    world.store.save(None, (), None, [make_event(trip), make_event(make_trip(), number=2)])
    world.store.save(None, (), make_trip_record(trip))
    assert [event[3:] for event in world.events()] == [(None, None)] * 2
    assert world.running() == 1, "the other trip goes on"


def test_it_answers_a_ping(world: Fake | Real) -> None:
    world.store.ping()


def test_threads_that_do_the_same_at_once(world: Fake | Real) -> None:
    trip = make_trip()
    video, alerts = make_video(trip), make_alerts(trip, 50)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: world.store.save(video, alerts), range(6)))
    assert len(world.videos()) == 1
    assert len(world.alerts(video)) == 50
