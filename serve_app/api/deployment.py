"""The API as a Serve deployment."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI

from models.logs import set_up_logs
from serve_app.adapters.mqtt_reader import open_reader
from serve_app.api.app import make_api
from serve_app.brokers import broker_address
from serve_app.live import Live
from serve_app.loopback import keep_to_loopback
from serve_app.observed import Seen
from serve_app.settings import process_settings
from serve_app.stores import open_readers
from serve_app.views import FlowHealth, FlushInfo, StreamInfo


class Api:
    """The Serve deployment around `make_api`.

    Args:
        gateway: The Gateway's handle.
    """

    def __init__(self, gateway: Any) -> None:
        keep_to_loopback()
        settings = process_settings()
        set_up_logs("Api")
        token = settings.api_token.get_secret_value() if settings.api_token else None
        self._app = make_api(
            RemoteGateway(gateway),
            open_readers(settings),
            Live(lambda hear, note: open_reader(broker_address(settings), hear, note)),
            api_token=token,
            public_url=settings.public_url,
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Asked for by `serve.ingress`."""
        return self._app


class RemoteGateway:
    """`GatewayView` over a Serve handle.

    Args:
        handle: The Gateway's.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def health(self) -> FlowHealth:
        """Whether frames can be taken."""
        health: FlowHealth = await self._handle.health.remote()
        return health

    async def streams(self) -> list[StreamInfo]:
        """The open streams."""
        streams: list[StreamInfo] = await self._handle.streams.remote()
        return streams

    async def stream(self, vehicle: uuid.UUID) -> StreamInfo | None:
        """One of them."""
        stream: StreamInfo | None = await self._handle.stream.remote(vehicle)
        return stream

    async def observed(self, vehicle: uuid.UUID, after: int) -> Sequence[Seen]:
        """What was seen of it since."""
        seen: Sequence[Seen] = await self._handle.observed.remote(vehicle, after)
        return seen

    async def open(self, vehicle: uuid.UUID) -> bool:
        """Begin a trip of the vehicle; False when that is refused."""
        opened: bool = await self._handle.open.remote(vehicle)
        return opened

    async def close(self, vehicle: uuid.UUID) -> bool:
        """End the vehicle's trip; False when none is open."""
        closed: bool = await self._handle.close.remote(vehicle)
        return closed

    async def flushes(self) -> list[FlushInfo]:
        """What is closed and not stored yet."""
        flushes: list[FlushInfo] = await self._handle.flushes.remote()
        return flushes
