"""`/v1/live/{uuid}` and `/v1/live` over a fake broker."""

from __future__ import annotations

import asyncio
import json
import uuid
import zlib
from base64 import b64encode
from typing import Any, Self, cast

import pytest
from fastapi import FastAPI

from actors.records import event_message
from serve_app.api import live as live_module
from serve_app.api import make_api
from serve_app.api.live import INVALID, MOST_REASON_BYTES, MOST_TILES
from serve_app.live import LATE_GROUPS, pack
from serve_app.observed import Seen
from serve_app.stores import Readers
from tests.builders import make_event, observation, trip
from tests.fakes.gateway import FakeGateway
from tests.fakes.live import FakeReader
from tests.fakes.stores import FakeFootageStore, FakeMetricsStore
from tests.waiting import until

VEHICLE = uuid.UUID(int=1)


def api(reader: FakeReader, gateway: FakeGateway | None = None) -> FastAPI:
    readers = Readers(footage=FakeFootageStore(), metrics=cast("Any", FakeMetricsStore()))
    return make_api(
        gateway or FakeGateway(), readers, reader.live(), api_token=None, public_url="http://127.0.0.1:8000"
    )


class Socket:
    """A WebSocket as a server would hand it to the application; of the fleet, without a vehicle."""

    def __init__(self, app: FastAPI, vehicle: object = VEHICLE, query: bytes = b"") -> None:
        path = f"/v1/live/{vehicle}" if vehicle else "/v1/live"
        self._scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": [(b"host", b"127.0.0.1:8000")],
            "subprotocols": [],
        }
        self._app = app
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._received: asyncio.Queue[Any] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._app(self._scope, self._sent.get, self._received.put), name="app")
        await self._sent.put({"type": "websocket.connect"})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._sent.put({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait_for(self._task, 5)

    async def message(self) -> dict[str, Any]:
        """The next from the application."""
        return cast("dict[str, Any]", await asyncio.wait_for(self._received.get(), 5))

    async def said(self) -> Any:
        """The next, which is JSON."""
        return json.loads((await self.message())["text"])

    async def send(self, **content: object) -> None:
        """To the application."""
        await self._sent.put({"type": "websocket.receive", **content})


def test_frames_are_bytes_and_the_rest_is_json() -> None:
    async def story() -> None:
        reader = FakeReader()
        async with Socket(api(reader)) as socket:
            assert (await socket.message())["type"] == "websocket.accept"
            assert await socket.said() == {"broker": "disconnected"}
            reader.hear(f"base64/{VEHICLE}", b64encode(b"jpeg"))
            assert (await socket.message())["bytes"] == b"jpeg"
            await socket.send(text="came")
            await socket.send(bytes=b"came")
            event = event_message(make_event(trip()))
            reader.hear(f"event/{VEHICLE}", json.dumps(event).encode())
            assert await socket.said() == event
            assert reader.wanted
        await until(lambda: not reader.wanted)

    asyncio.run(story())


@pytest.mark.parametrize("text", [f"{{{VEHICLE}}}", str(VEHICLE).upper(), VEHICLE.hex])
def test_any_form_of_the_uuid(text: str) -> None:
    async def story() -> None:
        reader = FakeReader()
        async with Socket(api(reader), text) as socket:
            await socket.message()
            await socket.message()
            assert f"base64/{VEHICLE}" in reader.wanted

    asyncio.run(story())


def test_what_is_no_vehicle_cannot_be_watched() -> None:
    async def story() -> None:
        async with Socket(api(FakeReader()), "everybody") as socket:
            assert (await socket.message())["type"] == "websocket.close"

    asyncio.run(story())


def test_there_is_a_limit_to_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "MOST_WATCHERS", 1)

    async def story() -> None:
        app = api(FakeReader())
        async with Socket(app) as first:
            await first.message()
            await first.message()
            async with Socket(app) as second:
                assert (await second.message())["type"] == "websocket.accept"
                assert (await second.message())["code"] == live_module.TRY_AGAIN_LATER

    asyncio.run(story())


def test_who_wants_to_know_is_told_what_was_seen_and_in_which_frame() -> None:
    async def story() -> None:
        reader, gateway = FakeReader(), FakeGateway()
        async with Socket(api(reader, gateway), query=b"observations=1") as socket:
            await socket.message()
            await socket.said()
            for jpeg in (b"first", b"second"):
                reader.hear(f"base64/{VEHICLE}", b64encode(jpeg))
                await socket.message()
            points = ((1.0, 2.0),)
            gateway.seen[VEHICLE] = [
                Seen(1, 0.5, zlib.crc32(b"second"), observation("phone", points=points, eye_blink=0.25)),
                Seen(2, 0.6, zlib.crc32(b"never came here"), observation(face=None)),
            ]
            first, second = (await socket.said())["observations"]
            assert (first["frame"], first["captured_s"], second["frame"]) == (2, 0.5, None)
            assert first["objects"] == [{"label": "phone", "confidence": 0.8, "xyxy": [0, 0, 9, 9]}]
            assert (first["face"]["points"], first["face"]["eye_blink"]) == ([[1.0, 2.0]], 0.25)
            assert second["face"] is None

    asyncio.run(story())


def test_a_gateway_that_is_gone_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "AGAIN_S", 0.01)

    async def story() -> None:
        reader, gateway = FakeReader(), FakeGateway()
        gateway.failure = RuntimeError("it is gone")
        async with Socket(api(reader, gateway), query=b"observations=1") as socket:
            await socket.message()
            await socket.said()
            await asyncio.sleep(0.05)
            gateway.failure = None
            gateway.seen[VEHICLE] = [Seen(1, 0.5, 7, observation())]
            assert len((await socket.said())["observations"]) == 1

    asyncio.run(story())


def test_there_is_a_limit_to_those_who_see_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "MOST_OBSERVERS", 1)

    async def story() -> None:
        reader, gateway = FakeReader(), FakeGateway()
        app = api(reader, gateway)
        async with Socket(app, query=b"observations=1") as first, Socket(app, query=b"observations=1") as second:
            for socket in (first, second):
                await socket.message()
                await socket.said()
            gateway.seen[VEHICLE] = [Seen(1, 0.5, 7, observation())]
            assert len((await first.said())["observations"]) == 1
            reader.hear(f"base64/{VEHICLE}", b64encode(b"jpeg"))
            assert (await second.message())["bytes"] == b"jpeg"

    asyncio.run(story())


def test_a_fleets_page_gets_groups_of_those_it_chose() -> None:
    async def story() -> None:
        reader = FakeReader()
        async with Socket(api(reader), vehicle=None) as socket:
            assert (await socket.message())["type"] == "websocket.accept"
            assert await socket.said() == {"broker": "disconnected"}
            for _ in range(2 * LATE_GROUPS):
                await socket.send(text=json.dumps({"watch": [str(VEHICLE)]}))
                await until(lambda: f"base64/{VEHICLE}" in reader.wanted)
                reader.hear(f"base64/{VEHICLE}", b64encode(b"jpeg"))
                assert (await socket.message())["bytes"] == pack({VEHICLE: b"jpeg"})
                await socket.send(text="shown")
        await until(lambda: not reader.wanted)

    asyncio.run(story())


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        f'{{"watch": ["{"é" * 200}"]}}',
        '{"watch": 1}',
        '{"watch": ["everybody"]}',
        json.dumps({"watch": [str(VEHICLE)] * (MOST_TILES + 1)}),
    ],
)
def test_a_fleets_page_that_asks_for_nonsense_is_told_so(text: str) -> None:
    async def story() -> None:
        reader = FakeReader()
        async with Socket(api(reader), vehicle=None) as socket:
            await socket.message()
            await socket.said()
            await socket.send(text=text)
            end = await socket.message()
            assert (end["type"], end["code"]) == ("websocket.close", INVALID)
            assert 0 < len(end["reason"].encode()) <= MOST_REASON_BYTES
            assert reader.wanted == {}

    asyncio.run(story())
