"""The API keeps to its own description: no 5xx, and no answer that is not described, whatever schemathesis makes up."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import schemathesis
from httpx import Response
from hypothesis import HealthCheck, settings
from ray.exceptions import RayActorError
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from actors.flush import FlushStatus
from actors.records import object_name
from serve_app.adapters.sql import metrics_store
from serve_app.api import make_api
from serve_app.api.guard import MAX_LOGIN_BYTES
from serve_app.stores import Readers
from serve_app.views import FlushInfo, StreamInfo
from tests.asking import URL, ask
from tests.builders import make_event
from tests.contract.databases import make_alerts, make_trip, make_trip_record, make_video
from tests.fakes.gateway import FakeGateway
from tests.fakes.live import FakeReader
from tests.fakes.stores import FakeFootageStore, FakeMetricsStore

TOKEN = "s3cret"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
made_up = settings(
    max_examples=12, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


class World:
    """An API over SQLite with a stored trip, while another one of its vehicle is open.

    Attributes:
        app: The API.
        headers: Of whoever may call.
        known: What there is, by the path parameters' names.
    """

    def __init__(self, folder: Path, token: str | None = None) -> None:
        store, footage = metrics_store(data_dir=folder), FakeFootageStore()
        self.gateway = FakeGateway()
        stored = make_trip()
        self._open = dataclasses.replace(stored, id=uuid.uuid4())
        video = make_video(stored)
        events = [make_event(stored, 1, video=video.uuid, offset_s=0.5), make_event(stored, 2, kind="phone_use")]
        store.save(video, make_alerts(stored, 3), make_trip_record(stored), events)
        name = object_name(stored, 1)
        footage.objects[name] = bytes(1000)
        self.gateway.flushing = [FlushInfo(FlushStatus(stored.vehicle, stored.id, 1, name), "node", None)]
        of_stored = {"vehicle": stored.vehicle, "trip": stored.id, "video": video.uuid, "event": events[0].uuid}
        self.known = {**of_stored, "name": name}
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        readers = Readers(footage=footage, metrics=store)
        self.app = make_api(self.gateway, readers, FakeReader().live(), api_token=token, public_url=URL)
        self.reopen()

    def reopen(self) -> None:
        """Have a stream be open, also if it was closed."""
        self.gateway.now_open = [StreamInfo(self._open, 100, 7, {"not_jpeg": 1}, 3, "attentive", "node", 4711)]

    def check(self, case: schemathesis.Case[Any]) -> None:
        """Ask for what was made up, and for what there is."""
        asked, headers = case.path_parameters or {}, {} if case.path == "/login" else self.headers
        for known in ({}, {name: str(self.known[name]) for name in asked if name in self.known}):
            self.reopen()
            case.path_parameters = {**asked, **known}
            case.call_and_validate(URL, headers=headers, checks=CHECKS, app=self.app)

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """What is described: method, path to what there is, description."""
        for path, operations in self.app.openapi()["paths"].items():
            for method, operation in operations.items():
                yield method.upper(), path.format(**self.known), operation


def described(token: str | None = None) -> schemathesis.BaseSchema:
    """What schemathesis makes its requests from."""
    readers = Readers(footage=FakeFootageStore(), metrics=cast("Any", FakeMetricsStore()))
    app = make_api(FakeGateway(), readers, FakeReader().live(), api_token=token, public_url=URL)
    return schemathesis.openapi.from_dict(app.openapi())


OPEN_API, GUARDED_API = described(), described(TOKEN)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("guarded"), TOKEN)


@OPEN_API.parametrize()
@made_up
def test_every_answer_is_described(case: schemathesis.Case[Any], world: World) -> None:
    world.check(case)


@GUARDED_API.parametrize()
@made_up
def test_every_answer_to_who_has_the_token_is_described(case: schemathesis.Case[Any], guarded: World) -> None:
    guarded.check(case)


def is_described(answer: Response, operation: dict[str, Any]) -> bool:
    """Whether status and media type are."""
    described = operation["responses"].get(str(answer.status_code))
    return described is not None and answer.headers.get("content-type") in described.get("content", {None})


@pytest.mark.parametrize(
    ("asked", "status"), [("", 200), ("bytes=0-9", 206), ("bytes=-9", 206), ("bytes=5000-", 416), ("tapes=0-9", 200)]
)
def test_parts_of_footage_are_described(world: World, asked: str, status: int) -> None:
    operation = world.app.openapi()["paths"]["/footage/{name}"]["get"]
    answer = ask(world.app, "GET", f"/footage/{world.known['name']}", headers={"Range": asked})
    assert answer.status_code == status
    assert is_described(answer, operation)


def test_the_way_to_a_bucket_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeFootageStore, "signed_url", lambda _self, name: f"https://storage.example/{name}")
    world = World(tmp_path)
    answer = ask(world.app, "GET", f"/footage/{world.known['name']}")
    assert answer.status_code == 307
    assert is_described(answer, world.app.openapi()["paths"]["/footage/{name}"]["get"])


def test_a_login_that_is_too_long_is_described(guarded: World) -> None:
    answer = ask(guarded.app, "POST", "/login", body=b" " * (MAX_LOGIN_BYTES + 1))
    assert answer.status_code == 413
    assert is_described(answer, guarded.app.openapi()["paths"]["/login"]["post"])


@pytest.mark.parametrize("of", ["world", "guarded"])
def test_refusals_are_described(of: str, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue(of)
    for method, path, operation in world.operations():
        refused = {421: ask(world.app, method, path, headers={"Host": "evil.example", **world.headers})}
        if method != "GET":
            refused[403] = ask(world.app, method, path, headers={"Origin": "https://evil.example", **world.headers})
        if of == "guarded" and (method, path) != ("DELETE", "/login"):
            refused[401] = ask(world.app, method, path, headers={"Authorization": "Bearer wrong"})
        if path == "/healthz":
            assert {str(answer.status_code) for answer in refused.values()} == {"200"}, "it answers everybody"
            continue
        assert {status: answer.status_code for status, answer in refused.items()} == {
            status: status for status in refused
        }
        assert all(is_described(answer, operation) for answer in refused.values()), (method, path)


def test_a_gateway_that_is_away_is_described(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.gateway.failure = RayActorError()
    answers = [(operation, ask(world.app, method, path)) for method, path, operation in world.operations()]
    away = [(operation, answer) for operation, answer in answers if answer.status_code >= 500]
    assert len(away) >= 5
    assert all(is_described(answer, operation) for operation, answer in away)


def test_everything_that_is_answered_has_a_description(guarded: World) -> None:
    described = guarded.app.openapi()
    schemas = cast("dict[str, Any]", described["components"]["schemas"])
    assert "Problem" in schemas and "HTTPValidationError" not in schemas
    bare = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, about in schema.get("properties", {}).items()
        if not about.get("description")
    ]
    assert bare == []
    for method, path, operation in guarded.operations():
        assert operation.get("description"), f"{method} {path}"
        assert all(answer["description"] for answer in operation["responses"].values())
        assert bool(operation.get("security")) == (path not in {"/healthz", "/login"})
