"""Trips over HTTP: what they left, what was seen in each frame, what other profiles say; on a SQLite file."""

from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import Any, get_args

import pytest
from httpx import Response

from actors.records import object_name, trace_name
from models.profiles import LIMITS_OF, PROFILES
from models.trace import TraceHead, row_of, write_trace
from models.types import EventKind
from serve_app.adapters.footage import trace_of
from serve_app.adapters.sql import metrics_store
from serve_app.api import make_api
from serve_app.stores import Readers
from tests.asking import ask
from tests.builders import CLOSED, make_event, observation
from tests.contract.databases import make_alerts, make_trip, make_trip_record, make_video
from tests.fakes.gateway import FakeGateway
from tests.fakes.live import FakeReader
from tests.fakes.stores import FakeFootageStore

ASLEEP_S = range(20, 50)
"""Tenths of a second from the trip's beginning."""


class World:
    """An API over a trip in two parts, with a sleep in the first one, and a trip in which nothing was flagged."""

    def __init__(self, folder: Path) -> None:
        store = self.store = metrics_store(data_dir=folder)
        self.footage = FakeFootageStore()
        self.trip, self.calm = make_trip(), make_trip()
        for part in (1, 2):
            store.save(make_video(self.trip, part), make_alerts(self.trip, 2) if part == 1 else [])
        video = make_video(self.trip).uuid
        events = [make_event(self.trip, 1, video=video, offset_s=1.5), make_event(self.trip, 2, kind="yawn")]
        store.save(None, [], make_trip_record(self.trip), events)
        store.save(None, [], make_trip_record(self.calm))
        for part, tenths in ((1, range(60)), (2, range(60, 90))):
            self._trace(part, tenths)
        readers = Readers(footage=self.footage, metrics=store)
        live = FakeReader().live()
        self._api = make_api(FakeGateway(), readers, live, api_token=None, public_url="http://127.0.0.1:8000")

    def get(self, path: str, **query: Any) -> Response:
        """Ask."""
        return ask(self._api, "GET", path, params=query)

    def _trace(self, part: int, tenths: range) -> None:
        trip, text = self.trip, io.StringIO()
        head = TraceHead(trip.id, trip.vehicle, trip.opened_at_ms, part, "default@2", "weights", footage_first_s=2.5)
        seen = (observation(**(CLOSED if tenth in ASLEEP_S else {})) for tenth in tenths)
        write_trace(text, head, (row_of(one, tenth / 10) for one, tenth in zip(seen, tenths, strict=True)))
        self.footage.objects[trace_name(trip, part)] = text.getvalue().encode()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_trips_with_their_events_counted(world: World) -> None:
    found = {one["uuid"]: one for one in world.get("/v1/trips").json()["items"]}
    assert set(found) == {str(world.trip.id), str(world.calm.id)}
    assert found[str(world.trip.id)]["events"] == {"microsleep": 1, "yawn": 1}
    assert found[str(world.calm.id)]["events"] == {}
    assert found[str(world.trip.id)]["opened_at"].endswith("Z")
    [one] = world.get("/v1/trips", vehicle=str(world.calm.vehicle)).json()["items"]
    assert one["uuid"] == str(world.calm.id)


def test_a_trip_and_its_parts_in_order(world: World) -> None:
    found = world.get(f"/v1/trips/{world.trip.id}").json()
    names = [object_name(world.trip, part) for part in (1, 2)]
    assert [video["footage"] for video in found["videos"]] == [f"/footage/{name}" for name in names]
    assert world.get(f"/v1/trips/{world.calm.id}").json()["videos"] == []
    assert world.get(f"/v1/trips/{uuid.uuid4()}").status_code == 404


def test_one_event_and_those_of_a_trip(world: World) -> None:
    items = world.get("/v1/events", trip=str(world.trip.id)).json()["items"]
    assert {one["kind"] for one in items} == {"microsleep", "yawn"}
    assert world.get("/v1/events", trip=str(world.calm.id)).json()["items"] == []
    assert world.get(f"/v1/events/{items[0]['id']}").json() == items[0]
    assert world.get(f"/v1/events/{uuid.uuid4()}").status_code == 404


def test_the_trace_of_a_video(world: World) -> None:
    video = make_video(world.trip).uuid
    found = world.get(f"/v1/videos/{video}/trace")
    assert found.headers["content-type"] == "application/json"
    assert (len(found.json()["frames"]), found.json()["footage_first_s"]) == (60, 2.5)
    assert world.get(f"/v1/videos/{uuid.uuid4()}/trace").status_code == 404
    world.footage.objects.clear()
    assert world.get(f"/v1/videos/{video}/trace").status_code == 404


def test_what_every_profile_would_have_said(world: World) -> None:
    found = world.get(f"/v1/trips/{world.trip.id}/profiles").json()
    assert set(found) == {f"{profile.name}@{profile.version}" for profile in PROFILES.values()}
    [sleep] = found["default@2"]
    assert (sleep["kind"], sleep["started_s"]) == ("microsleep", 2.0)
    assert found[f"legacy@{PROFILES['legacy'].version}"] == []


def test_a_trip_without_a_trace_cannot_be_scored_again(world: World) -> None:
    assert world.get(f"/v1/trips/{world.calm.id}/profiles").status_code == 404
    name = trace_name(world.trip, 2)
    del world.footage.objects[name]
    assert world.get(f"/v1/trips/{world.trip.id}/profiles").status_code == 404
    world.footage.objects[name] = b"no trace"
    answer = world.get(f"/v1/trips/{world.trip.id}/profiles")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")


def test_a_store_that_is_away_is_said_to_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str) -> int | None:
        raise OSError("a secret address")

    monkeypatch.setattr(world.footage, "size", away)
    name = object_name(world.trip, 1)
    for path in (
        f"/v1/videos/{make_video(world.trip).uuid}/trace",
        f"/v1/trips/{world.trip.id}/profiles",
        f"/footage/{name}",
    ):
        answer = world.get(path)
        assert (answer.status_code, answer.json()["detail"]) == (503, "the footage store does not answer; try again")


def test_a_database_without_our_tables_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.store, "records_trips", False)
    for path in ("/v1/trips", f"/v1/trips/{world.trip.id}", "/v1/events"):
        answer = world.get(path)
        assert (answer.status_code, answer.json()["title"]) == (503, "Service Unavailable")
        assert "may not make their tables" in answer.json()["detail"]
    assert world.get("/v1/vehicles").status_code == 200


def test_the_numbers_of_every_profile_and_what_they_decide(world: World) -> None:
    found = {one["name"]: one for one in world.get("/v1/profiles").json()}
    assert len(found) == len(PROFILES)
    values = {limit["name"]: limit for limit in found["default@2"]["limits"]}
    assert values["microsleep_s"]["value"] == 1.5
    assert "Guardian" in values["microsleep_s"]["source"]
    nothing = {limit["name"]: limit["value"] for limit in found[f"legacy@{PROFILES['legacy'].version}"]["limits"]}
    assert nothing["microsleep_s"] is None
    assert set(found["default@2"]["of_kind"]) == set(get_args(EventKind))


def test_the_numbers_that_decide_are_numbers_of_a_profile() -> None:
    assert set(LIMITS_OF) == set(get_args(EventKind))
    known = PROFILES["default"].limits
    assert [name for names in LIMITS_OF.values() for name in names if name not in known] == []


def test_a_trace_is_found_by_the_name_of_its_video() -> None:
    trip = make_trip()
    for part in (1, 2, 12):
        assert trace_of(object_name(trip, part)) == trace_name(trip, part)
