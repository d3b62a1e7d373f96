"""`WS /v1/live/{uuid}`: a vehicle's frames and events as they come."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from fastapi import APIRouter, WebSocket

from models.errors import one_line
from models.types import Face
from serve_app.api.streams import GatewayView
from serve_app.live import Live, Watcher
from serve_app.observed import Seen

_log = logging.getLogger(__name__)

MOST_WATCHERS = 500
MOST_OBSERVERS = 50
"""Of them, those who see what the models saw: each is a call to the Gateway some ten times a second."""
PACE_S = 0.1
TRY_AGAIN_LATER = 1013  # of IANA's registry of close codes
AGAIN_S = 1.0


def live_routes(live: Live, gateway: GatewayView) -> APIRouter:
    """`/v1/live/{uuid}`."""
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
        await socket.accept()
        if live.watchers >= MOST_WATCHERS:
            await socket.close(TRY_AGAIN_LATER)
            return
        with live.watch(vehicle) as watcher:
            tasks = [asyncio.create_task(_send(socket, watcher), name=f"live {vehicle}")]
            if observations and len(observers) < MOST_OBSERVERS:
                observers.add(watcher)
                tasks.append(asyncio.create_task(_observe(gateway, vehicle, watcher), name=f"observe {vehicle}"))
            try:
                while (await socket.receive())["type"] != "websocket.disconnect":
                    watcher.came()
            finally:
                observers.discard(watcher)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    return router


async def _send(socket: WebSocket, watcher: Watcher) -> None:
    while True:
        item = await watcher.next()
        if isinstance(item, bytes):
            await socket.send_bytes(item)
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
