"""`WS /v1/live/{uuid}`: a vehicle's frames and events as they come; `WS /v1/live`: the pictures of many."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import one_line
from models.types import Face
from serve_app.api.streams import GatewayView
from serve_app.live import FleetWatcher, Live, Watcher
from serve_app.observed import Seen

_log = logging.getLogger(__name__)

MOST_WATCHERS = 500
MOST_OBSERVERS = 50
"""Of them, those who see what the models saw: each is a call to the Gateway some ten times a second."""
MOST_TILES = 200
"""That one page watches."""
PACE_S = 0.1
"""Between two looks at what the models saw."""
FLEET_PACE_S = 0.1
"""Between groups of frames: what comes meanwhile goes with the next."""
INVALID = 1007  # RFC 6455, 7.4.1
MOST_REASON_BYTES = 123  # RFC 6455, 5.5
TRY_AGAIN_LATER = 1013  # of IANA's registry of close codes
AGAIN_S = 1.0


class Choice(BaseModel):
    """What a fleet's page asks for."""

    model_config = ConfigDict(extra="forbid")

    watch: list[uuid.UUID] = Field(max_length=MOST_TILES)


def live_routes(live: Live, gateway: GatewayView) -> APIRouter:
    """`/v1/live/{uuid}` and `/v1/live`."""
    router = APIRouter()
    observers: set[Watcher] = set()

    @router.websocket("/v1/live/{vehicle}")
    async def watch(socket: WebSocket, vehicle: uuid.UUID, *, observations: bool = False) -> None:
        """Binary messages are JPEG frames; text is JSON: events, `{"alert": text}` and `{"broker": state}`.

        With `?observations=1` also `{"observations": [...]}`, what the models saw, each with the number of its frame
        among those that came here, from 1.

        A page that sends any message after each frame that it has shown never gets frames faster than it shows them.
        Nothing else tells: what is sent passes through Serve, which takes all of it at once.
        """
        if not await _let_in(socket, live):
            return
        with live.watch(vehicle) as watcher:
            work = [_send(socket, watcher)]
            if observations and len(observers) < MOST_OBSERVERS:
                observers.add(watcher)
                work.append(_observe(gateway, vehicle, watcher))
            try:
                async with _beside(*work):
                    while (await socket.receive())["type"] != "websocket.disconnect":
                        watcher.came()
            finally:
                observers.discard(watcher)

    @router.websocket("/v1/live")
    async def watch_fleet(socket: WebSocket) -> None:
        """The pictures of many vehicles: `{"watch": [uuid, ...]}` says which, in place of those before.

        Binary messages are groups of frames, the latest of each vehicle that has a new one: UUID (16 bytes), length
        (4 bytes, big-endian), JPEG, and again. Text is `{"broker": state}`. After each group that it has shown the page
        sends any other message; without it no more than two come.
        """
        if not await _let_in(socket, live):
            return
        with live.watch_fleet() as watcher:
            async with _beside(_send(socket, watcher, FLEET_PACE_S)):
                refusal = await _hear(socket, live, watcher)
        if refusal:
            await socket.close(INVALID, refusal.encode()[:MOST_REASON_BYTES].decode(errors="ignore"))

    return router


async def _let_in(socket: WebSocket, live: Live) -> bool:
    await socket.accept()
    if live.watchers < MOST_WATCHERS:
        return True
    await socket.close(TRY_AGAIN_LATER)
    return False


@contextlib.asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """It goes on until the block ends; that it fails, since the page has gone, is of no interest."""
    tasks = [asyncio.create_task(one, name="live") for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hear(socket: WebSocket, live: Live, watcher: FleetWatcher) -> str:
    """What the page says, until it goes; what is wrong with it, if anything."""
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        text = message.get("text") or ""
        if not text.startswith("{"):
            watcher.came()
            continue
        try:
            live.choose(watcher, Choice.model_validate_json(text).watch)
        except ValidationError as error:
            return str(error.errors()[0]["msg"])
    return ""


async def _send(socket: WebSocket, watcher: Watcher | FleetWatcher, pace_s: float = 0.0) -> None:
    while True:
        item = await watcher.next()
        if isinstance(item, bytes):
            await socket.send_bytes(item)
            await asyncio.sleep(pace_s)
        else:
            await socket.send_text(item)


async def _observe(gateway: GatewayView, vehicle: uuid.UUID, watcher: Watcher) -> None:
    number, knows = 0, True
    while True:
        try:
            found = await gateway.observed(vehicle, number)
        except Exception as error:  # noqa: BLE001 - the Gateway is being replaced: the next one will say
            if knows:
                _log.info("what is seen of %s is not known for now: %s", vehicle, one_line(error))
            knows = False
            await asyncio.sleep(AGAIN_S)
            continue
        knows = True
        await asyncio.sleep(PACE_S)
        for seen in found:
            watcher.observe(seen.frame, observation_message(seen))
            number = seen.number


def observation_message(seen: Seen) -> dict[str, Any]:
    """As the page draws it: pixels of the frame, seconds since the trip opened."""
    observation = seen.observation
    return {
        "captured_s": round(seen.captured_s, 3),
        "objects": [
            {"label": one.label, "confidence": round(one.confidence, 2), "xyxy": [round(side) for side in one.xyxy]}
            for one in observation.detections
        ],
        "face": _face(observation.face) if observation.face else None,
    }


def _face(face: Face) -> dict[str, Any]:
    return {
        "xyxy": [round(side) for side in face.xyxy],
        "points": face.points,
        "ear": round(face.ear, 3),
        "mar": round(face.mar, 3),
        "yaw_deg": round(face.yaw_deg, 1),
        "pitch_deg": round(face.pitch_deg, 1),
        "eye_blink": None if face.eye_blink is None else round(face.eye_blink, 3),
        "jaw_open": None if face.jaw_open is None else round(face.jaw_open, 3),
    }
