"""`WS /v1/live/{uuid}`: a vehicle's frames and events as they come."""

from __future__ import annotations

import asyncio
import uuid

from fastapi import APIRouter, WebSocket

from serve_app.live import Live, Watcher

MOST_WATCHERS = 500
TRY_AGAIN_LATER = 1013  # of IANA's registry of close codes


def live_routes(live: Live) -> APIRouter:
    """`/v1/live/{uuid}`."""
    router = APIRouter()

    @router.websocket("/v1/live/{vehicle}")
    async def watch(socket: WebSocket, vehicle: uuid.UUID) -> None:
        """Binary messages are JPEG frames; text is JSON: events, `{"alert": text}` and `{"broker": state}`.

        A page that sends any message after each frame that it has shown never gets frames faster than it shows them.
        Nothing else tells: what is sent passes through Serve, which takes all of it at once.
        """
        await socket.accept()
        if live.watchers >= MOST_WATCHERS:
            await socket.close(TRY_AGAIN_LATER)
            return
        with live.watch(vehicle) as watcher:
            sending = asyncio.create_task(_send(socket, watcher), name=f"live {vehicle}")
            try:
                while (await socket.receive())["type"] != "websocket.disconnect":
                    watcher.came()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    return router


async def _send(socket: WebSocket, watcher: Watcher) -> None:
    while True:
        item = await watcher.next()
        if isinstance(item, bytes):
            await socket.send_bytes(item)
        else:
            await socket.send_text(item)
