"""The HTTP side over fakes of the Gateway and the stores."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any, cast

import pytest
from httpx import Response
from ray.exceptions import RayActorError

from actors.records import VideoRecord, object_name, video_uuid
from models.senses import Limits
from models.types import Trip
from serve_app.api import make_api
from serve_app.stores import Readers
from serve_app.views import StreamInfo
from tests.asking import ask
from tests.builders import make_event, trip, vehicle_id
from tests.fakes.gateway import FakeGateway
from tests.fakes.live import FakeReader
from tests.fakes.stores import FakeFootageStore, FakeMetricsStore

TRIP = trip()
NAME = object_name(TRIP, 1)
MP4 = bytes(range(256)) * 40


class SigningFootageStore(FakeFootageStore):
    """As a bucket whose credentials can sign."""

    def signed_url(self, name: str) -> str | None:
        """See `FootageReader.signed_url`."""
        super().signed_url(name)
        return f"https://storage.example/{name}?signature=x"


class World:
    """An API and what stands behind it."""

    def __init__(
        self,
        footage: FakeFootageStore | None = None,
        metrics: FakeMetricsStore | None = None,
    ) -> None:
        self.gateway = FakeGateway()
        self.footage = footage or FakeFootageStore()
        self.metrics = metrics or FakeMetricsStore()
        readers = Readers(footage=self.footage, metrics=cast("Any", self.metrics))
        self._api = make_api(
            self.gateway, readers, FakeReader().live(), api_token=None, public_url="http://127.0.0.1:8000"
        )

    def store(self, of: Trip = TRIP, part: int = 1, *, row: bool = True) -> str:
        """Put footage into the bucket, and its row into the database."""
        name = object_name(of, part)
        self.footage.objects[name] = MP4
        if row:
            self.metrics.save(VideoRecord(video_uuid(of.id, part), of.vehicle, self.footage.url(name)), [])
        return name

    def get(self, path: str, **headers: str) -> Response:
        """Ask as a browser would."""
        return self.ask("GET", path, {name: value.encode("latin-1") for name, value in headers.items()})

    def ask(self, method: str, path: str, headers: dict[str, bytes] | None = None) -> Response:
        """Ask."""
        return ask(self._api, method, path, headers=[(name.encode(), value) for name, value in (headers or {}).items()])


def problem(response: Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"]
    assert body["title"]
    return body


def info(number: int = 1) -> StreamInfo:
    return StreamInfo(
        trip=trip(number),
        frames=100,
        flagged=7,
        dropped={"not_jpeg": 1},
        backlog=3,
        driver_state="eyes closed",
        node=None,
        pid=4711,
    )


def test_health_says_what_runs() -> None:
    w = World()
    response = w.get("/healthz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "broker": "connected",
        "detector_replicas": 2,
        "object_model": "yolo",
        "face_model": "landmarker-478",
        "database": "ok",
        "storage": "ok",
        "journal": "ok",
        "streams": 0,
        "refused": {"not_jpeg": 3},
        "batch_frames": None,
    }


@pytest.mark.parametrize(
    "changes", [{"broker": "not connected"}, {"detector_replicas": 0}, {"detector": None}], ids=lambda c: next(iter(c))
)
def test_health_is_503_when_frames_cannot_be_taken(changes: dict[str, Any]) -> None:
    w = World()
    w.gateway.now = dataclasses.replace(w.gateway.now, **changes)
    response = w.get("/healthz")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"


@pytest.mark.parametrize("error", [RayActorError(), TimeoutError(), RuntimeError("secret place")])
def test_health_is_503_when_the_gateway_is_gone(error: Exception) -> None:
    w = World()
    w.gateway.failure = error
    response = w.get("/healthz")
    assert response.status_code == 503
    assert "secret place" not in response.text


def test_frames_are_taken_while_database_and_storage_are_away() -> None:
    w = World()
    w.metrics.failures = [OSError("mysql://user:password@host")]
    w.footage.failures = [PermissionError("denied")]
    response = w.get("/healthz")
    assert response.status_code == 200
    assert (response.json()["database"], response.json()["storage"]) == ("OSError", "PermissionError")
    assert "password" not in response.text


def test_the_open_streams() -> None:
    w = World()
    w.gateway.now_open = [info(1), info(2)]
    first, second = w.get("/v1/streams").json()
    assert first == {
        "vehicle": str(vehicle_id(1)),
        "trip": str(TRIP.id),
        "opened_at": "2025-12-31T23:59:59.250000Z",
        "frames": 100,
        "flagged": 7,
        "dropped": {"not_jpeg": 1},
        "backlog": 3,
        "driver_state": "eyes closed",
        "node": None,
        "pid": 4711,
        "events": [],
        "limits": None,
    }
    assert second["vehicle"] == str(vehicle_id(2))


def test_one_open_stream_by_any_form_of_its_uuid() -> None:
    w = World()
    w.gateway.now_open = [info()]
    for text in (str(TRIP.vehicle), str(TRIP.vehicle).upper(), TRIP.vehicle.hex):
        assert w.get(f"/v1/streams/{text}").json()["trip"] == str(TRIP.id)


def test_a_stream_that_is_not_open_is_not_found() -> None:
    body = problem(World().get(f"/v1/streams/{TRIP.vehicle}"), 404)
    assert str(TRIP.vehicle) in body["detail"]


def test_errors_are_problems() -> None:
    w = World()
    problem(w.get("/nowhere"), 404)
    problem(w.get("/v1/streams/no-uuid"), 422)
    response = w.ask("POST", "/healthz")
    problem(response, 405)
    assert "GET" in response.headers["allow"]


def test_a_fault_is_a_problem_too_and_tells_nothing() -> None:
    w = World()
    w.gateway.failure = RuntimeError("secret place")
    response = w.get("/v1/streams")
    problem(response, response.status_code)
    assert response.status_code >= 500
    assert "secret place" not in response.text


def test_a_database_that_is_away_is_a_problem() -> None:
    class Away(FakeMetricsStore):
        """A database that does not answer."""

        def video_exists(self, video_uuid: uuid.UUID) -> bool:
            """See `SqlMetricsStore.video_exists`."""
            raise OSError(f"mysql://user:password@host does not know {video_uuid}")

    w = World(metrics=Away())
    w.store()
    response = w.get(f"/footage/{NAME}")
    problem(response, response.status_code)
    assert response.status_code >= 500
    assert "password" not in response.text


def test_footage_as_a_whole() -> None:
    w = World()
    response = w.get(f"/footage/{w.store()}")
    assert response.status_code == 200
    assert response.content == MP4
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["content-length"] == str(len(MP4))
    assert response.headers["accept-ranges"] == "bytes"


def test_a_look_at_what_is_there_without_its_bytes() -> None:
    w = World()
    response = w.ask("HEAD", f"/footage/{w.store()}")
    assert response.status_code == 200
    assert response.headers["content-length"] == str(len(MP4))
    assert w.ask("HEAD", "/healthz").status_code == 200


def test_every_part_of_a_trip() -> None:
    w = World()
    for part in (1, 2, 12):
        assert w.get(f"/footage/{w.store(part=part)}").status_code == 200
    assert w.get(f"/footage/{object_name(TRIP, 3)}").status_code == 404


SIZE = len(MP4)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, SIZE),
        ("bytes=0-", 0, SIZE),
        (f"bytes=10-{10 * SIZE}", 10, SIZE),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-100", SIZE - 100, SIZE),
        (f"bytes=-{10 * SIZE}", 0, SIZE),
    ],
)
def test_a_range_of_footage(asked: str, start: int, end: int) -> None:
    w = World()
    response = w.get(f"/footage/{w.store()}", Range=asked)
    assert response.status_code == 206
    assert response.content == MP4[start:end]
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0"])
def test_a_range_outside_the_footage(asked: str) -> None:
    w = World()
    response = w.get(f"/footage/{w.store()}", Range=asked)
    problem(response, 416)
    assert response.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("asked", ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,4-5"])
def test_a_range_that_is_not_understood_is_ignored(asked: str) -> None:
    w = World()
    response = w.get(f"/footage/{w.store()}", Range=asked)
    assert response.status_code == 200
    assert response.content == MP4


@pytest.mark.parametrize("asked", [f"bytes={'9' * 5000}-", f"bytes=-{'9' * 5000}", f"bytes=0-{'9' * 5000}"])
def test_a_range_with_numbers_beyond_measure_is_no_fault(asked: str) -> None:
    w = World()
    assert w.get(f"/footage/{w.store()}", Range=asked).status_code in {200, 206, 416}


def test_only_footage_that_a_video_row_names_is_served() -> None:
    w = World()
    problem(w.get(f"/footage/{w.store(row=False)}"), 404)


def test_a_row_whose_object_is_gone_is_not_found() -> None:
    w = World()
    w.store()
    w.footage.objects.clear()
    problem(w.get(f"/footage/{NAME}"), 404)


TRICKS = [
    "",
    "x",
    "../../etc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    f"{NAME}/",
    f"/{NAME}",
    f"x/../{NAME}.txt",
    f"{NAME}%00",
    f"{NAME}?x=/../..",
    NAME.upper(),
    NAME.replace(".mp4", "-0.mp4"),
    NAME.replace(".mp4", "-1.mp4"),
    NAME.replace(".mp4", "-0001.mp4"),
    NAME.replace(".mp4", "-99999.mp4"),
    NAME.replace("2025-12-31", "..%2f..%2f.."),
    NAME.replace("2025-12-31", "2026-01-01"),
    NAME.replace("2025", "٢٠٢٥"),
    NAME.replace(str(TRIP.vehicle), str(vehicle_id(2))),
    NAME.replace(str(TRIP.vehicle), "-" * 36),
    NAME.replace(str(TRIP.id), "-" * 36),
]


@pytest.mark.parametrize("signing", [False, True], ids=["streams", "signs"])
@pytest.mark.parametrize("name", TRICKS)
def test_no_other_name_opens_anything(name: str, *, signing: bool) -> None:
    w = World(footage=SigningFootageStore() if signing else None)
    w.store()
    response = w.get(f"/footage/{name}")
    if name.endswith("?x=/../.."):
        assert response.status_code in {200, 307}, "a query is no part of the name"
        return
    problem(response, 404)


def test_a_bucket_that_can_sign_is_gone_to() -> None:
    w = World(footage=SigningFootageStore())
    response = w.get(f"/footage/{w.store()}")
    assert response.status_code in {302, 303, 307}
    assert response.headers["location"] == f"https://storage.example/{NAME}?signature=x"


def test_the_openapi_page_names_the_routes() -> None:
    paths = World().get("/openapi.json").json()["paths"]
    assert {"/healthz", "/v1/streams", "/v1/streams/{vehicle}", "/footage/{name}"} <= set(paths)


def test_a_trip_is_opened_as_a_device_would() -> None:
    world, vehicle = World(), vehicle_id()
    answer = world.ask("POST", f"/v1/streams/{vehicle}/open")
    assert (answer.status_code, answer.json()) == (202, {"vehicle": str(vehicle)})
    assert world.gateway.opened == [vehicle]
    world.gateway.full = True
    assert world.ask("POST", f"/v1/streams/{vehicle}/open").status_code == 503


def test_an_open_stream_says_what_runs_and_what_the_driver_is_compared_with() -> None:
    world = World()
    limits = Limits(0.5, 0.13, None, 1.0, (-25.0, 25.0), (-20.0, 20.0))
    world.gateway.now_open = [
        StreamInfo(TRIP, 9, 1, {}, 0, "eyes closed", "n", 1, events=(make_event(TRIP),), limits=limits)
    ]
    [found] = world.get("/v1/streams").json()
    assert [(one["kind"], one["severity"]) for one in found["events"]] == [("microsleep", "high")]
    assert found["events"][0]["started_at"].endswith("Z")
    assert found["limits"]["yaw_deg"] == [-25.0, 25.0]
