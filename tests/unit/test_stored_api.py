"""What is stored, over HTTP: on a SQLite file."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from httpx import Response

from serve_app.adapters.sql import metrics_store
from serve_app.adapters.stored import Cursor
from serve_app.api import make_api
from serve_app.api.paging import read_cursor, write_cursor
from serve_app.stores import Readers
from tests.asking import ask
from tests.builders import make_event
from tests.contract.databases import make_alerts, make_trip, make_video
from tests.fakes.gateway import FakeGateway
from tests.fakes.live import FakeReader
from tests.fakes.stores import FakeFootageStore


class World:
    """An API over a database with one trip of three flagged frames and two events."""

    def __init__(self, folder: Path) -> None:
        self.store = metrics_store(data_dir=folder)
        self.trip = make_trip()
        self.video = make_video(self.trip)
        events = [make_event(self.trip, 1), make_event(self.trip, 2, kind="phone_use", severity="medium")]
        self.store.save(self.video, make_alerts(self.trip, 3), None, events)
        readers = Readers(footage=FakeFootageStore(), metrics=self.store)
        self._api = make_api(
            FakeGateway(), readers, FakeReader().live(), api_token=None, public_url="http://127.0.0.1:8000"
        )

    def get(self, path: str, **query: Any) -> Response:
        """Ask."""
        return ask(self._api, "GET", path, params=query)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_vehicles_and_their_videos(world: World) -> None:
    vehicle = str(world.trip.vehicle)
    answer = world.get("/v1/vehicles").json()
    [found] = answer["items"]
    assert (found["uuid"], answer["next_cursor"]) == (vehicle, None)
    assert found["created_at"].endswith("Z")
    [video] = world.get(f"/v1/vehicles/{vehicle}/videos").json()["items"]
    assert (video["uuid"], video["vehicle"], video["url"]) == (str(world.video.uuid), vehicle, world.video.url)


def test_the_metrics_of_a_video_page_by_page(world: World) -> None:
    path = f"/v1/videos/{world.video.uuid}/alerts"
    first = world.get(path, limit=2).json()
    second = world.get(path, limit=2, cursor=first["next_cursor"]).json()
    assert [len(page["items"]) for page in (first, second)] == [2, 1]
    assert second["next_cursor"] is None
    assert [one["ear"] for one in first["items"] + second["items"]] == [2.125, 1.125, 0.125]
    assert first["items"][1]["object_detected"] == "bottle, phone"
    assert first["items"][0]["time"].endswith("Z")


def test_events_by_what_is_asked_for(world: World) -> None:
    assert len(world.get("/v1/events").json()["items"]) == 2
    [event] = world.get("/v1/events", kind="phone_use", vehicle=str(world.trip.vehicle)).json()["items"]
    assert (event["kind"], event["severity"], event["trip"]) == ("phone_use", "medium", str(world.trip.id))
    assert (event["ended_at"], event["video"], event["offset_s"]) == (None, None, None)
    assert world.get("/v1/events", until=event["started_at"]).json()["items"] == []
    assert len(world.get("/v1/events", since=event["started_at"]).json()["items"]) == 2


@pytest.mark.parametrize("path", [f"/v1/vehicles/{uuid.uuid4()}/videos", f"/v1/videos/{uuid.uuid4()}/alerts"])
def test_what_is_unknown_is_not_found(world: World, path: str) -> None:
    answer = world.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/vehicles", {"limit": 0}),
        ("/v1/vehicles", {"limit": 1001}),
        ("/v1/vehicles", {"limit": "many"}),
        ("/v1/vehicles", {"cursor": "x"}),
        ("/v1/vehicles", {"cursor": "ä"}),
        ("/v1/vehicles", {"cursor": ""}),
        ("/v1/vehicles", {"cursor": "A" * 65}),
        ("/v1/vehicles/x/videos", {}),
        ("/v1/videos/x/alerts", {}),
        ("/v1/events", {"kind": "nap"}),
        ("/v1/events", {"vehicle": "x"}),
        ("/v1/events", {"since": "yesterday"}),
        ("/v1/events", {"until": "9999-12-31T23:59:59-23:00"}),
        ("/v1/events", {"since": "0001-01-01T00:00:00+23:00"}),
    ],
)
def test_a_wrong_question_is_told_so(world: World, path: str, query: dict[str, Any]) -> None:
    answer = world.get(path, **query)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize("query", [{"since": "0001-01-01"}, {"until": "9999-12-31T23:59:59Z"}, {"since": "2026-01-01"}])
def test_any_time_of_the_calendar_may_be_asked_for(world: World, query: dict[str, str]) -> None:
    assert world.get("/v1/events", **query).status_code == 200


def test_a_database_that_does_not_answer_is_503_and_tells_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.store.close()
    (tmp_path / "dms.sqlite3").write_bytes(b"no database at all" * 1000)
    for path in ("/v1/vehicles", f"/v1/videos/{world.video.uuid}/alerts", "/v1/events"):
        answer = world.get(path)
        assert answer.status_code == 503, answer.text
        assert str(tmp_path) not in answer.text


def test_a_cursor_comes_back_as_it_was() -> None:
    for cursor in (Cursor(0, 0), Cursor(1_795_871_620_942, 7), Cursor(10**14 - 1, 10**18 - 1)):
        assert read_cursor(write_cursor(cursor)) == cursor
    assert read_cursor(None) is None
